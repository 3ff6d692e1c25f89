"""Curves of angles break where they wrap, and nowhere else."""

import jax
import numpy as np
import pytest

import kfjax as kf
from kfjax import plotting
from kfjax.plotting.wraps import broken, wraps_of

STEPS = 200
TURNING = 0.15 * np.arange(STEPS) + 0.05 * np.random.default_rng(0).normal(size=STEPS)


def wrapped(angle, turn=2 * np.pi, low=-np.pi):
    return (angle - low) % turn + low


def longest(line):
    """Length of the longest piece of a curve along y."""
    steps = np.abs(np.diff(line.get_ydata()))
    return np.nanmax(steps)


@pytest.mark.parametrize(
    ("turn", "low"), [(2 * np.pi, -np.pi), (2 * np.pi, 0.0), (360.0, -180.0), (360.0, 0.0)]
)
def test_a_wrapped_angle_breaks_at_every_wrap(turn, low):
    angle = TURNING * turn / (2 * np.pi)
    curve = wrapped(angle, turn, low)
    jumps = 1 + np.flatnonzero(np.abs(np.diff(curve)) > turn / 2)
    assert len(jumps) > 3
    assert wraps_of(curve).tolist() == jumps.tolist()
    (gapped,) = broken(jumps, curve)
    assert np.nanmax(np.abs(np.diff(gapped))) < 0.1 * turn


@pytest.mark.parametrize(
    "curve",
    [
        np.where(np.arange(STEPS) // 40 % 2, 3.0, -3.0),  # switches between two values
        3 * np.sin(0.1 * np.arange(STEPS)),
        np.array([-2.5, 1.0, 2.4, -2.0, 0.5, 2.9, -1.5, -2.8, 2.0, -0.3]),  # noise in +- 3
        10 * wrapped(TURNING),  # a saw of another height
        np.full(STEPS, np.nan),
        np.zeros(0),
    ],
)
def test_other_curves_stay_whole(curve):
    assert wraps_of(curve).size == 0
    assert broken(wraps_of(curve), curve)[0] is curve


def test_a_wrap_across_a_gap_and_one_that_is_seen():
    curve = wrapped(TURNING)
    first, second = 1 + np.flatnonzero(np.abs(np.diff(curve)) > np.pi)[:2]
    curve[first - 2 : first] = np.nan
    assert wraps_of(curve).tolist()[:2] == [first, second]


def heading_model():
    """A heading that turns steadily, and is measured."""
    return kf.StateSpaceModel(
        f=kf.Linear(np.eye(1), b=[0.3]),
        h=kf.Linear(np.eye(1)),
        Q=[[0.001]],
        R=[[0.01]],
        prior=kf.Gaussian(np.zeros(1), 0.1 * np.eye(1)),
        state_space=kf.angles(0),
        observation_space=kf.angles(0),
        names=["heading [rad]"],
    )


def test_pictures_of_a_heading_have_no_vertical_lines():
    model = heading_model()
    xs, ys = kf.simulate(jax.random.key(0), model, steps=80)
    comparison = kf.compare({"EKF": (kf.extended(), model)}, kf.Dataset(ys[None], xs[None]))
    state, channel = plotting.plot_comparison(comparison).axes[:2]
    curves = [*state.lines, *(line for line in channel.lines if line.get_label() == "predicted")]
    assert [line.get_label() for line in curves] == ["true", "EKF", "predicted"]
    for line in curves:
        assert np.isnan(line.get_ydata()).sum() >= 3
        assert longest(line) < 1.5
    band = state.collections[0]
    heights = [np.ptp(path.vertices[:, 1]) for path in band.get_paths()]
    assert len(heights) >= 4  # one piece for each turn
    later = kf.Dataset(ys[None])
    ahead = kf.evaluation.forecast_series(kf.extended(), model, later, steps=3)
    (ax,) = plotting.plot_forecast(later, ahead)
    assert longest(ax.lines[0]) < 1.5
    ax.figure.canvas.draw()
    # the legend hides no curve
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 1


def test_readings_of_a_heading_lie_on_its_estimates():
    """A compass from 0 to a whole turn beside a state from minus half a turn to half a turn."""
    model = heading_model()
    _, ys = kf.simulate(jax.random.key(0), model, steps=80)
    compass = np.mod(ys, 2 * np.pi)
    _, estimate = kf.run(kf.extended(), model, compass)
    labels = kf.data.Labels(ys=["heading"]).naming_states(["heading"])
    data = kf.Dataset(compass[None], labels=labels)
    (figure,) = plotting.plot_record(data, {"EKF": estimate})
    (readings,) = [line for line in figure.axes[0].lines if line.get_label() == "measured"]
    assert np.abs(readings.get_ydata() - estimate.mean[:, 0]).max() < np.pi / 2


def test_curves_break_where_nothing_was_recorded():
    mean = wrapped(TURNING)[:, None]
    mean[150:] += 40.0  # an angle may count its turns after a pause
    times = np.arange(STEPS) + np.where(np.arange(STEPS) < 150, 0.0, 60.0)
    cov = 0.01 * np.ones((STEPS, 1, 1))
    (state,) = plotting.plot_trajectory(mean, cov, mean, times=times)
    (error,) = plotting.plot_error_bounds(mean, mean, cov, times=times)
    for line in (*state.lines, error.lines[0]):
        at = line.get_xdata()
        assert longest(line) < 1.5
        assert np.nanmax(np.diff(at)) == 1.0
    assert "error" in error.lines[0].get_label()


def test_forecasts_break_at_pauses_and_continue_the_dates():
    dates = np.arange("2024-01", "2027-01", dtype="datetime64[M]").astype("datetime64[ns]")
    times = np.concatenate([dates[:3], dates[-3:]])
    labels = kf.data.Labels(ys=["y"], times=times[None], time="month")
    data = kf.Dataset(np.ones((1, 6, 1)), labels=labels)
    future = kf.data.Future(1, None, np.array([["2027-01-01"]], "datetime64[ns]"), "MS")
    one = np.ones((1, 1, 1))
    ahead = kf.evaluation.SeriesForecast(one, one, one, one, 0.95, None, future, labels)
    (ax,) = plotting.plot_forecast(data, ahead)
    assert np.isnan(ax.lines[0].get_ydata()).sum() == 1
    assert ax.lines[-1].get_xdata() > np.nanmax(ax.lines[0].get_xdata())
    assert ax.get_xlabel() == "month"
    ax.figure.canvas.draw()
    assert "2024" in {text.get_text() for text in ax.get_xticklabels()}
