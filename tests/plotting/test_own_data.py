"""Pictures of one's own data: measurements, names, units, times, and nothing cut off unseen."""

import datetime as dt
import itertools

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import pytest
from matplotlib import dates
from matplotlib.backends.backend_agg import FigureCanvasAgg

import kfjax as kf
from kfjax import plotting
from kfjax.evaluation import Interval
from kfjax.plotting.limits import LABEL

STEPS = 24
START = np.datetime64("2024-03-31T00:30", "s")  # half an hour before clocks go forward in Berlin


def lines(ax):
    """Curves by their labels."""
    return {line.get_label(): line for line in ax.lines}


def innovations(spread=1.0):
    """Predictions of 0 with standard deviation `spread`, of ones and a spike that was rejected."""
    ys = np.ones((STEPS, 2))
    ys[7] = 500.0
    ys[10:14, 0] = np.nan
    accepted = np.ones(STEPS)
    accepted[7] = 0
    cov = np.tile(spread**2 * np.eye(2), (STEPS, 1, 1))
    return ys, kf.Info(np.nan_to_num(ys), cov, extra={"accepted": accepted})


def test_observations_beside_predictions_with_gaps_and_rejected_ones():
    ys, info = innovations()
    first, second = plotting.plot_observations(ys, info, names=["range [m]", "bearing [rad]"])
    assert (first.get_ylabel(), second.get_ylabel()) == ("range [m]", "bearing [rad]")
    predicted = lines(first)["predicted"].get_ydata()
    assert np.isnan(predicted).sum() == 1  # one break, in the gap
    np.testing.assert_array_equal(predicted[~np.isnan(predicted)], 0)
    (gap,) = [path.get_extents() for path in first.collections[0].get_paths()]
    assert (gap.x0, gap.x1) == (10.5, 14.5)  # steps 11 to 14
    assert "not observed" not in second.get_legend_handles_labels()[1]
    assert np.isfinite(lines(second)["measured"].get_ydata()).sum() == STEPS - 1
    # the spike does not flatten the rest; a triangle says where it is
    assert second.get_ylim()[1] < 10
    assert lines(second)[LABEL].get_xdata().tolist() == [8]
    assert lines(second)[LABEL].get_color() == lines(second)["rejected"].get_color()


def test_a_table_without_rows_for_a_while_has_a_gap():
    ys, info = innovations()
    times = np.arange(STEPS) + np.where(np.arange(STEPS) < 18, 0.0, 60.0)
    _, ax = plotting.plot_observations(ys, info, times=times)
    (gap,) = [path.get_extents() for path in ax.collections[0].get_paths()]
    assert (gap.x0, gap.x1) == (17.0, 78.0)
    predicted = lines(ax)["predicted"]
    assert np.flatnonzero(np.isnan(predicted.get_ydata())).tolist() == [18]
    _, irregular = plotting.plot_observations(ys, info, times=np.cumsum([1.0, 3.0] * (STEPS // 2)))
    assert "not observed" not in irregular.get_legend_handles_labels()[1]


def test_a_rejected_observation_in_view_is_crossed():
    ys, info = innovations(spread=400.0)
    _, ax = plotting.plot_observations(ys, info)
    assert lines(ax)["rejected"].get_marker() == "x"
    assert np.flatnonzero(lines(ax)["rejected"].get_ydata() == 500.0).tolist() == [7]


def test_slow_channels_have_no_gaps_between_their_usual_steps():
    ys = np.full((40, 1), np.nan)
    ys[::4] = 1.0
    ys[12:30] = np.nan
    (ax,) = plotting.plot_observations(ys)
    (gap,) = [path.get_extents() for path in ax.collections[0].get_paths()]
    assert (gap.x0, gap.x1) == (9.5, 32.5)  # after step 9, before step 33
    with pytest.raises(ValueError, match=r"info.innovation has shape \(24, 2\) and ys \(40, 1\)"):
        plotting.plot_observations(ys, innovations()[1])
    with pytest.raises(ValueError, match=r"expected booleans \(40, 1\), as ys"):
        plotting.plot_observations(ys, observed=np.ones(3, bool))


def test_a_wide_band_does_not_flatten_the_curves():
    mean = np.sin(np.arange(60.0))[:, None]
    cov = np.full((60, 1, 1), 0.01)
    cov[0] = 1e6
    (ax,) = plotting.plot_trajectory(mean, cov)
    assert np.abs(ax.get_ylim()).max() < 3
    marks = [line for line in ax.lines if LABEL in line.get_label()]
    assert [line.get_marker() for line in marks] == ["v", "^"]
    assert all(line.get_xdata().tolist() == [1] for line in marks)
    (constant,) = plotting.plot_trajectory(np.ones((60, 1)), np.ones((60, 1, 1)))
    assert LABEL not in lines(constant)
    assert constant.get_ylim()[1] > 3  # the whole band


def test_curves_that_leave_the_axes_are_marked_where_they_do():
    value = np.array([1.0, 1.0, 1e3, 1e4, 1.0, 1e-3])
    ax = plotting.plot_consistency({"KF": Interval(value, 0 * value + 0.5, 0 * value + 2)})
    marks = [line for line in ax.lines if LABEL in line.get_label()]
    assert [(line.get_marker(), line.get_xdata().tolist()) for line in marks] == [
        ("^", [3]),
        ("v", [6]),
    ]
    errors = plotting.plot_errors({"KF": [0.0, 0.0, 90.0, 0.0]}, times=[1.0, 2.0, 4.0, 8.0])
    assert lines(errors)[LABEL].get_xdata().tolist() == [4.0]
    assert errors.get_xlabel() == "time"


def test_paths_and_ratios_have_names_and_times():
    path = plotting.plot_path(np.zeros((4, 3)), components=(2, 0), names=["east [m]", "v", "up"])
    assert (path.get_xlabel(), path.get_ylabel()) == ("up", "east [m]")
    times = walk(None).labels.times[0, :3]
    ax = plotting.plot_nis([1.0, 0.0, 2.0], [1, 0, 1], times=times)
    assert f"{dates.num2date(lines(ax)['filter'].get_xdata()[2]):%H:%M}" == "00:40"
    with pytest.raises(ValueError, match=r"times has shape \(3,\); expected \(2,\)"):
        plotting.plot_nis([1.0, 2.0], [1, 1], times=times)


@pytest.mark.parametrize(
    ("step", "label", "last"),
    [("1ms", "time [s]", 0.023), ("1m", "time [min]", 23.0), ("3h", "time [h]", 69.0)],
)
def test_time_differences_have_the_unit_that_fits(step, label, last):
    times = np.arange(STEPS) * np.timedelta64(int(step[:-2] or step[0]), step.lstrip("0123456789"))
    (ax,) = plotting.plot_trajectory(np.zeros((STEPS, 1)), times=times)
    assert ax.get_xlabel() == label
    assert lines(ax)["estimate"].get_xdata()[-1] == pytest.approx(last)


def walk(zone):
    """One trajectory with names, units and times, of which a part is missing."""
    ys = np.zeros((1, STEPS, 1))
    ys[0, 5:8] = np.nan
    times = START + np.arange(STEPS) * np.timedelta64(5, "m")
    labels = kf.data.Labels(
        ys=["east"],
        xs=["east", "speed"],
        units={"east": "m"},
        times=times[None],
        time="stamp",
        zone=zone,
        series=["park"],
    )
    return kf.Dataset(ys, labels=labels)


@pytest.mark.parametrize(
    ("zone", "label", "shown"),
    [("Europe/Berlin", "stamp (Europe/Berlin)", "01:30"), ("UTC-03:00", None, "21:30")],
)
def test_dates_are_shown_in_the_zone_of_the_data(zone, label, shown):
    estimate = kf.Gaussian(np.zeros((STEPS, 2)), None)
    (figure,) = plotting.plot_record(walk(zone), {"KF": estimate})
    ax = figure.axes[-1]
    assert ax.get_xlabel() == (label or f"stamp ({zone})")
    first = lines(figure.axes[0])["KF"].get_xdata()[0]
    zone_of_axis = ax.xaxis.get_major_locator().tz
    assert f"{dates.num2date(first, zone_of_axis):%H:%M}" == shown
    assert dates.num2date(first, dt.UTC).hour == 0


def test_pages_show_every_state_and_channel_by_name():
    estimates = {"KF": kf.Gaussian(np.zeros((STEPS, 2)), np.tile(np.eye(2), (STEPS, 1, 1)))}
    parts = {"training": 1, "test": 15}
    pages = plotting.plot_record(walk(None), estimates, rows=2, parts=parts, title="track.csv")
    assert [page.get_suptitle() for page in pages] == [
        "track.csv - page 1 of 2",
        "track.csv - page 2 of 2",
    ]
    labels = [ax.get_ylabel() for page in pages for ax in page.axes]
    assert labels == ["east [m]", "speed", "east [m]"]
    first, second = pages[0].axes
    assert np.isfinite(lines(first)["measured"].get_ydata()).sum() == STEPS - 3
    assert "measured" not in lines(second)
    assert [text.get_text().strip() for text in first.texts] == ["training", "test"]
    (chosen,) = plotting.plot_record(walk(None), estimates, states=["speed"])
    assert [ax.get_ylabel() for ax in chosen.axes] == ["speed", "east [m]"]
    with pytest.raises(ValueError, match=r"no state 'sped'; .*Did you mean 'speed'"):
        plotting.plot_record(walk(None), estimates, states=["sped"])
    with pytest.raises(ValueError, match=r"states: got 2; expected indices from 0 to 1"):
        plotting.plot_record(walk(None), estimates, states=[2])


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_nothing_overlaps_and_everything_is_seen_on_its_ground(style):
    names = [f"component {j} of the angular velocity [rad/s]" for j in range(5)]
    labels = kf.data.Labels(ys=["y"], xs=names, times=walk(None).labels.times)
    data = kf.Dataset(walk(None).ys, np.zeros((1, STEPS, 5)), labels=labels)
    estimates = {"a filter": kf.Gaussian(np.zeros((STEPS, 5)), np.tile(np.eye(5), (STEPS, 1, 1)))}
    with matplotlib.style.context(style):
        (figure,) = plotting.plot_record(data, estimates, title="a title " * 30)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        texts = [ax.yaxis.label for ax in figure.axes] + [figure._suptitle]
        texts += [label for label in figure.axes[-1].get_xticklabels() if label.get_text()]
        texts += [figure.axes[-1].xaxis.label, *figure.legends[0].get_texts()]
        boxes = [text.get_window_extent(renderer) for text in texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    ground = np.mean(matplotlib.colors.to_rgb(figure.axes[0].get_facecolor()))
    truth = np.mean(matplotlib.colors.to_rgb(lines(figure.axes[0])["true"].get_color()))
    assert abs(ground - truth) > 0.5


def test_a_comparison_shows_names_of_the_model_and_marks_what_does_not_count():
    model = kf.systems.constant_velocity().replace(names=["position [m]", "speed [m/s]"])
    _, ys = kf.simulate(jax.random.key(0), model, steps=STEPS)
    tuned = jax.tree.map(lambda a: a, model)  # transformations leave the names out
    assert tuned.names is None
    filters = {"tuned": (kf.kalman(), tuned), "as built": (kf.kalman(), model)}
    labels = walk("Europe/Berlin").labels.naming_states(["a", "b"])
    comparison = kf.compare(filters, kf.Dataset(ys[None], labels=labels), skip=14, repeats=1)
    assert comparison.example.labels.xs == ("position", "speed")
    figure = plotting.plot_comparison(comparison, states=["speed"], title="track.csv")
    assert [ax.get_ylabel() for ax in figure.axes[:2]] == ["speed [m/s]", "east [m]"]
    assert figure.get_suptitle().startswith(f"track.csv, {comparison.best}: one trajectory of")
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["not counted", "counted"]
    short = kf.Dataset(ys[None], length=[STEPS - 4], labels=labels)  # as the second of several
    comparison = kf.compare(filters, short, skip=14, repeats=1)
    error, ratio = plotting.plot_comparison(comparison).axes[-2:]
    assert len(lines(error)["tuned"].get_xdata()) == len(lines(ratio)["tuned"].get_xdata()) == 6


def test_names_of_a_model_must_fit():
    model = kf.systems.constant_velocity()
    for names in (["p"], "pv", [1, 2]):
        with pytest.raises(ValueError, match=r"names is .*; expected 2 names"):
            model.replace(names=names)
    assert kf.StateSpaceModel.axes(Q=0).names is None
    doubled = jax.vmap(lambda q: model.replace(Q=q * model.Q, names=["p", "v"]).Q)(jnp.arange(2.0))
    assert doubled.shape == (2, 2, 2)
