"""Figures show the given numbers in the given axes, without a display."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest

import kfjax as kf
from kfjax import plotting
from kfjax.evaluation import Interval


@functools.cache
def tracked():
    """One trajectory in the plane, filtered: model, xs, ys, estimate, info."""
    model = kf.systems.constant_velocity(2)
    xs, ys = kf.simulate(jax.random.key(0), model, steps=40)
    return model, xs, ys, *kf.run(kf.kalman(), model, ys, emit=kf.estimate_and_info).outputs


def saved(ax, tmp_path):
    """Draw for real: much of matplotlib fails only then."""
    path = tmp_path / "picture.png"
    ax.figure.savefig(path, dpi=40)
    return path.read_bytes().startswith(b"\x89PNG")


def test_ellipses_hold_the_probability_they_claim():
    rng = np.random.default_rng(0)
    cov = np.array([[3.0, 1.2], [1.2, 1.0]])
    vertices = (
        plotting.plot_ellipses([1.0, -2.0], cov, probability=0.9)
        .collections[0]
        .get_paths()[0]
        .vertices
    )
    offsets = vertices - [1.0, -2.0]
    q = np.einsum("pi,ij,pj->p", offsets, np.linalg.inv(cov), offsets)
    np.testing.assert_allclose(q, q[0], rtol=1e-9)  # all on one contour
    drawn = rng.multivariate_normal([0, 0], cov, size=20_000)
    assert (
        abs(np.mean(np.einsum("pi,ij,pj->p", drawn, np.linalg.inv(cov), drawn) <= q[0]) - 0.9)
        < 0.01
    )


def test_ellipsoids_and_flat_ones(tmp_path):
    covs = np.stack([np.diag([4.0, 1.0, 0.0]), np.eye(3)])  # the first is a disc
    ax = plotting.plot_ellipses(np.zeros((2, 3)), covs)
    assert saved(ax, tmp_path)
    with pytest.raises(ValueError, match="axes of projection 'rectilinear' for 3 dimensions"):
        plotting.plot_ellipses(
            np.zeros(3), np.eye(3), ax=plotting.plot_ellipses(np.zeros(2), np.eye(2))
        )
    with pytest.raises(ValueError, match="expected \\[K, 2\\] and \\[K, 2, 2\\]"):
        plotting.plot_ellipses(np.zeros(4), np.eye(4))


@pytest.mark.parametrize(("components", "projection"), [((0, 2), "rectilinear"), ((0, 2, 1), "3d")])
def test_paths(components, projection, tmp_path):
    _, xs, _, estimate, _ = tracked()
    ax = plotting.plot_path(estimate.mean, estimate.cov, xs, components=components, every=10)
    assert ax.name == projection
    line = {line.get_label(): line for line in ax.lines}["estimate"]
    np.testing.assert_array_equal(line.get_xdata(), estimate.mean[:, 0])
    np.testing.assert_array_equal(line.get_ydata(), estimate.mean[:, 2])
    if projection == "rectilinear":
        assert len(ax.collections[0].get_paths()) == 4
    assert plotting.plot_path(xs, label="another", components=components, ax=ax) is ax
    assert saved(ax, tmp_path)


def test_bad_paths_are_refused():
    _, xs, ys, estimate, _ = tracked()
    with pytest.raises(ValueError, match="components is 4; expected a whole number from 0 to 3"):
        plotting.plot_path(xs, components=(0, 4))
    with pytest.raises(
        ValueError, match="observations have shape \\(40, 2\\); expected \\[K, 3\\]"
    ):
        plotting.plot_path(xs, observations=ys, components=(0, 2, 1))
    with pytest.raises(ValueError, match="cov has shape \\(4, 4\\); expected \\(40, 4, 4\\)"):
        plotting.plot_path(xs, estimate.cov[0])


def test_errors_against_their_bounds(tmp_path):
    _, xs, _, estimate, _ = tracked()
    axes = plotting.plot_error_bounds(xs, estimate.mean, estimate.cov, sigmas=3, components=[1, 2])
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), (xs - estimate.mean)[:, 1])
    bound = axes[1].collections[0].get_paths()[0].vertices[:, 1].max()
    np.testing.assert_allclose(bound, 3 * np.sqrt(estimate.cov[:, 2, 2]).max(), rtol=1e-6)
    assert saved(axes[0], tmp_path)
    wrapped = plotting.plot_error_bounds(
        np.full((3, 1), 3.1),
        np.full((3, 1), -3.1),
        np.ones((3, 1, 1)),
        difference=kf.angles(0).difference,
    )
    np.testing.assert_allclose(wrapped[0].lines[0].get_ydata(), 6.2 - 2 * np.pi, rtol=1e-5)
    truth, mean = np.zeros((4, 1)), np.zeros((4, 1))
    truth[0], mean[1] = np.nan, np.nan  # the first is not known, in the second the filter broke
    partly = plotting.plot_error_bounds(truth, mean, np.ones((4, 1, 1)))
    assert partly[0].lines[0].get_label() == "error, 67 % within"


def test_normalised_errors_are_those_of_the_metrics():
    _, xs, _, estimate, info = tracked()
    total, count = kf.evaluation.nees(xs, estimate.mean, estimate.cov)
    ax = plotting.plot_nees(xs, estimate.mean, estimate.cov, label="KF")
    line = {line.get_label(): line for line in ax.lines}["KF"]
    np.testing.assert_allclose(line.get_ydata(), total / count, rtol=1e-6)
    low, high = kf.evaluation.chi_square_interval(4)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [low, high])
    many = plotting.plot_nis(np.tile(info.nis, (5, 1)), np.tile(info.dof, (5, 1)))
    np.testing.assert_allclose(many.lines[1].get_ydata(), info.nis / 2, rtol=1e-6)
    band = many.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], kf.evaluation.chi_square_interval(10))
    with pytest.raises(ValueError, match="nis has shape \\(40,\\) and dof \\(\\)"):
        plotting.plot_nis(info.nis, 2)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_steps_at_which_a_filter_broke_are_marked(broken, tmp_path):
    nis = np.array([[1.5, 0.0, broken, 3.0], [1.0, 0.0, 1.0, 1.0]])
    dof = np.array([[2, 0, 2, 2], [2, 0, 2, 2]])
    ax = plotting.plot_nis(nis, dof, label="KF")
    crosses, curve = ax.lines[1:]
    assert crosses.get_xdata().tolist() == [3]
    assert curve.get_label() == "KF (infinite in 1 of 4 steps)"
    np.testing.assert_allclose(curve.get_ydata()[[0, 3]], [2.5 / 4, 1.0])
    assert np.isnan(curve.get_ydata()[1])  # nothing was observed, nothing broke
    assert saved(ax, tmp_path)


def test_normalised_errors_of_a_filter_that_broke_are_marked():
    _, xs, _, estimate, _ = tracked()
    ax = plotting.plot_nees(xs, estimate.mean.at[7].set(np.nan), estimate.cov)
    assert ax.lines[1].get_xdata().tolist() == [8]
    assert "infinite in 1 of 40 steps" in ax.lines[2].get_label()


def test_autocorrelation_of_white_and_of_coloured_innovations(tmp_path):
    rng = np.random.default_rng(0)
    white = rng.normal(size=(4, 200, 1))
    cov = np.ones((4, 200, 1, 1))
    ax = plotting.plot_autocorrelation(white + np.roll(white, 1, axis=1), 2 * cov, lags=5)
    values = ax.lines[1].get_ydata()
    assert 0.4 < values[0] < 0.6  # r_1 of a moving average of two
    bound = ax.collections[0].get_paths()[0].vertices[:, 1].max()
    assert (
        values[0]
        > bound
        > np.abs(plotting.plot_autocorrelation(white, cov, lags=5).lines[1].get_ydata()).mean()
    )
    assert saved(ax, tmp_path)
    with pytest.raises(ValueError, match="gives no innovations or no covariance"):
        plotting.plot_autocorrelation(white, None)


def test_noise_sweeps():
    curves = {
        "EKF": Interval(*np.array([[0.0, -9.0], [-0.5, -9.4], [0.5, np.nan]])),
        "UKF": [-0.2, -9.1],
    }
    ax = plotting.plot_noise_sweep([0, 10], curves, floor=-10.0)
    containers = {container.get_label(): container for container in ax.containers}
    np.testing.assert_array_equal(containers["EKF"][0].get_ydata(), [0.0, -9.0])
    bars = containers["EKF"][2][0].get_segments()
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[-0.5, 0.5], [-9.4, -9.0]])
    with pytest.raises(ValueError, match="UKF has 2 values and noise the shape \\(3,\\)"):
        plotting.plot_noise_sweep([0, 10, 20], {"UKF": [1, 2]})


def test_gains_are_those_of_the_filter(tmp_path):
    model, _, ys, _, info = tracked()
    observed = np.ones((40, 2), bool)
    observed[3, 1] = False
    K = kf.evaluation.gains(kf.kalman(), model, ys, observed=observed)
    assert K.shape == (40, 4, 2)
    assert not K[3, :, 1].any()
    predicted = np.asarray(model.f.A) @ model.prior.mean
    moved = tracked()[3].mean[0] - predicted
    np.testing.assert_allclose(moved, np.asarray(K[0]) @ info.innovation[0], rtol=1e-4, atol=1e-5)
    axes = plotting.plot_gain({"KF": K, "half": K / 2}, entries=[(0, 0), (2, 1)])
    np.testing.assert_array_equal(axes[1].lines[1].get_ydata(), K[:, 2, 1] / 2)
    assert saved(axes[0], tmp_path)
    with pytest.raises(ValueError, match="expected at least one, all \\[T, n, m\\]"):
        plotting.plot_gain({"KF": K[0]})


def test_no_window_can_be_opened():
    """Only pyplot knows of windows and of a current figure."""
    for path in Path(plotting.__file__).parent.glob("*.py"):
        assert "pyplot" not in path.read_text(), path.name


def test_bands_of_a_tangent_space_of_another_dimension_are_refused():
    unit_vectors = np.tile([[1.0, 0.0]], (5, 1))
    for draw in (plotting.plot_trajectory, plotting.plot_path):
        with pytest.raises(ValueError, match="A covariance in a tangent space"):
            draw(unit_vectors, np.ones((5, 1, 1)))


def test_a_decomposition_has_a_panel_for_each_part():
    """With the mean and the standard deviation of the chosen channel."""
    rng = np.random.default_rng(0)
    parts = {
        name: kf.Gaussian(rng.normal(size=(9, 2)), np.tile(np.diag([4.0, 9.0]), (9, 1, 1)))
        for name in ("level", "season")
    }
    times = np.arange(2000, 2009)
    axes = plotting.plot_decomposition(parts, channel=1, times=times)
    assert [ax.get_ylabel() for ax in axes] == ["level", "season"]
    for ax, part in zip(axes, parts.values(), strict=True):
        (curve,) = ax.get_lines()
        np.testing.assert_array_equal(curve.get_xdata(), times)
        np.testing.assert_array_equal(curve.get_ydata(), part.mean[:, 1])
        edges = ax.collections[0].get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose(edges.max(), part.mean[:, 1].max() + 6.0)
    with pytest.raises(ValueError, match="channel is 2; expected"):
        plotting.plot_decomposition(parts, channel=2)
    with pytest.raises(ValueError, match="expected Gaussians by name"):
        plotting.plot_decomposition({})
