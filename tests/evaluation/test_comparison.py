"""Filters side by side: rows, table, file, picture, and what happens when a filter fails."""

import functools
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from rich.console import Console

import kfjax as kf
from kfjax import plotting
from kfjax._support.files import write_file
from kfjax._support.progress import progress_bar
from kfjax.data import Dataset
from kfjax.evaluation import compare

STEPS, SIZE = 12, 30
MODEL = kf.linear_gaussian(
    F=[[1.0, 0.5], [0.0, 0.9]],
    H=[[1.0, 0.0]],
    Q=[[0.05, 0.01], [0.01, 0.1]],
    R=[[0.5]],
    prior=kf.Gaussian(jnp.array([1.0, -1.0]), jnp.diag(jnp.array([2.0, 0.5]))),
)
SLOW = MODEL.replace(R=10.0 * MODEL.R)
HOPELESS = MODEL.replace(f=kf.Linear(1e30 * jnp.eye(2)))  # overflows in float32
FILTERS = {"tuned": (kf.kalman(), MODEL), "R too large": (kf.kalman(), SLOW)}


@functools.cache
def simulated() -> tuple[np.ndarray, np.ndarray]:
    keys = jax.random.split(jax.random.key(1), SIZE)
    return tuple(np.asarray(a) for a in jax.vmap(lambda key: kf.simulate(key, MODEL, STEPS))(keys))


@functools.cache
def with_truth():
    xs, ys = simulated()
    return compare(FILTERS | {"hopeless": (kf.kalman(), HOPELESS)}, Dataset(ys, xs), repeats=2)


@functools.cache
def without_truth():
    return compare(FILTERS, Dataset(simulated()[1]), repeats=1, skip=2)


@functools.cache
def ragged() -> Dataset:
    """Gaps in the observations and in the truth, and different lengths."""
    rng = np.random.default_rng(2)
    xs, ys = (a.copy() for a in simulated())
    ys[rng.random(ys.shape) < 0.2] = np.nan
    xs[0, 3], xs[4, :, 1] = np.nan, np.nan
    return Dataset(
        ys, xs, length=rng.integers(4, STEPS + 1, SIZE), prior_mean=rng.normal(size=(SIZE, 2))
    )


def test_rows_say_which_filter_is_better_by_how_much():
    tuned, slow, _ = with_truth().rows
    assert with_truth().best == "tuned"
    assert tuned.difference_db == (0.0, 0.0, 0.0)
    assert slow.difference_db.value == pytest.approx(slow.mse_db.value - tuned.mse_db.value)
    assert slow.difference_db.low > 0
    assert tuned.anees.low < tuned.anees.value < tuned.anees.high
    assert slow.anis.value < slow.anis.low
    assert slow.autocorrelation.value > slow.autocorrelation.high
    assert slow.log_likelihood.value < tuned.log_likelihood.value
    assert (tuned.trajectories, tuned.failed) == (SIZE, 0)
    assert tuned.microseconds > 0
    xs, ys = simulated()
    estimate = jax.vmap(lambda y: kf.run(kf.kalman(), MODEL, y).outputs)(ys)
    assert tuned.mse_db.value == pytest.approx(
        10 * np.log10(np.mean((xs - estimate.mean) ** 2)), abs=1e-4
    )
    np.testing.assert_allclose(
        with_truth().estimates["tuned"].mean, estimate.mean[0], rtol=1e-4, atol=1e-5
    )


def test_a_filter_that_fails_is_shown_and_not_dropped():
    row = with_truth().rows[2]
    assert row.failed == SIZE
    assert row.mse_db.value == row.median_db == np.inf
    assert np.isnan(row.difference_db.value)
    assert row.anees.value == row.anis.value == np.inf
    assert row.log_likelihood.value == -np.inf
    assert row.coverage.value < 0.5
    assert {"anees", "anis"} <= set(row.outside)
    assert f"failed {SIZE}/{SIZE}" in str(with_truth())
    alone = compare(
        {"hopeless": (kf.kalman(), HOPELESS)}, Dataset(simulated()[1], simulated()[0]), repeats=1
    )
    assert alone.best is None
    assert alone.rows[0].difference_db is None
    assert plotting.plot_comparison(alone) is not None


def test_one_failed_trajectory_is_counted_and_moves_the_median_only():
    ys = simulated()[1].copy()
    ys[5] = 1e38  # its square overflows
    row = compare({"tuned": (kf.kalman(), MODEL)}, Dataset(ys, simulated()[0]), repeats=1).rows[0]
    assert row.failed == 1
    assert row.mse_db.value == np.inf
    assert row.median_db == pytest.approx(with_truth().rows[0].median_db, abs=1.0)


@functools.cache
def gates():
    """The exact filter beside gates, with and without the truth."""
    filters = {
        "exact": (kf.kalman(), MODEL),
        "narrow": (kf.gated(kf.kalman(), 0.05), MODEL),
        "several": (kf.fallback(kf.gated(kf.kalman(), 0.5), patience=50), MODEL),
    }
    xs, ys = simulated()
    return [compare(filters, data, repeats=1) for data in (Dataset(ys, xs), Dataset(ys))]


@pytest.mark.parametrize("truth", [True, False])
def test_a_gate_is_never_better_than_the_exact_filter_on_data_of_its_model(truth):
    comparison = gates()[0 if truth else 1]
    exact, narrow, several = comparison.rows
    assert comparison.best == "exact"
    for row in (narrow, several):
        assert row.difference_db.low > 0
        assert row.log_likelihood.value < exact.log_likelihood.value
        assert row.prediction_db.value > exact.prediction_db.value
    assert exact.rejected is None
    assert 0.9 < narrow.rejected < 1
    assert 0.4 < several.rejected < narrow.rejected
    for evaluation in comparison.evaluations.values():  # the same observations are scored
        np.testing.assert_array_equal(evaluation.statistics.nis.count, STEPS)
    narrow = comparison.evaluations["narrow"]
    assert 1 - narrow.rejected() == pytest.approx(1 - gates()[0].rows[1].rejected)
    assert f"rejected={narrow.rejected():.4g}" in repr(narrow)


def test_the_table_flags_what_is_outside_and_counts_what_was_rejected():
    text = str(gates()[1])
    assert "rej. %" in text
    assert f"{100 * gates()[1].rows[1].rejected:.1f}" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.split()}
    for row in gates()[1].rows:
        assert ("!" in lines[row.name]) == bool(row.outside)
    assert gates()[1].rows[1].outside
    assert "rej. %" not in str(without_truth())
    slow = with_truth().rows[1]
    assert set(slow.outside) == {"anees", "anis", "autocorrelation"}
    evaluation = with_truth().evaluations["R too large"]
    assert f"not in [{slow.anis.low:.4g}, {slow.anis.high:.4g}]" in repr(evaluation)
    saved = gates()[0].to_dict()["rows"]
    assert [row["rejected"] is None for row in saved] == [True, False, False]


def test_a_filter_that_scores_fewer_observations_is_not_compared():
    gate = kf.gated(kf.kalman(), 0.05)

    def update(params, state, y, u=None, observed=None):  # silent on what it rejects
        new, info = gate.update(params, state, y, u, observed)
        used = info.extra["accepted"] > 0
        numbers = info._replace(extra=None)
        return new, jax.tree.map(lambda a: jnp.where(used, a, 0), numbers)

    filters = {"exact": (kf.kalman(), MODEL), "silent": (gate._replace(update=update), MODEL)}
    comparison = compare(filters, Dataset(simulated()[1]), repeats=1)
    exact, silent = comparison.rows
    assert silent.prediction_db.value < exact.prediction_db.value
    assert comparison.best == "exact"
    assert silent.difference_db is None
    xs, ys = simulated()
    assert compare(filters, Dataset(ys, xs), repeats=1).rows[1].difference_db.low > 0


def around_a_circle(a, b):
    return jnp.arctan2(b[0] * a[1] - b[1] * a[0], a @ b)[None]


def along_a_circle(x, d):
    c, s = jnp.cos(d[0]), jnp.sin(d[0])
    return jnp.stack([c * x[0] - s * x[1], s * x[0] + c * x[1]])


def itself(x, u):
    return x


def third_of_a_radian(x, u):
    return along_a_circle(x, jnp.array([0.3]))


def test_errors_in_a_tangent_space_are_not_compared_with_those_of_vectors():
    prior = kf.Gaussian(jnp.array([1.0, 0.0]), jnp.array([[0.1]]))
    circle = kf.StateSpaceModel(
        third_of_a_radian,
        itself,
        Q=[[0.01]],
        R=0.05 * jnp.eye(2),
        prior=prior,
        state_space=kf.Space(around_a_circle, along_a_circle),
    )
    keys = jax.random.split(jax.random.key(3), 10)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, circle, STEPS))(keys)
    plane = kf.linear_gaussian(
        jnp.eye(2), jnp.eye(2), 0.1 * jnp.eye(2), circle.R, prior._replace(cov=0.1 * jnp.eye(2))
    )
    models = {"circle": (kf.extended(), circle), "plane": (kf.kalman(), plane)}
    comparison = compare(models, Dataset(ys, xs), repeats=1)
    on_circle, on_plane = comparison.evaluations.values()
    assert on_circle.statistics.squared_error.count.tolist() == [STEPS] * 10
    assert on_plane.statistics.squared_error.count.tolist() == [2 * STEPS] * 10
    assert comparison.best is None
    assert all(row.difference_db is None for row in comparison.rows)
    drawn = plotting.plot_comparison(comparison)  # without a band: the covariance is of the tangent
    assert "± 2 sigma" not in drawn.axes[0].get_legend_handles_labels()[1]


def test_a_gate_that_rejects_an_absurd_reading_has_not_failed():
    xs, ys = (a.copy() for a in simulated())
    ys[3, 5] = 1e38  # its square overflows
    filters = {"plain": (kf.kalman(), MODEL), "gated": (kf.gated(kf.kalman()), MODEL)}
    plain, gated = compare(filters, Dataset(ys, xs), repeats=1).rows
    assert (plain.failed, gated.failed) == (1, 0)
    assert gated.mse_db.value < with_truth().rows[0].mse_db.value + 1
    assert gated.log_likelihood.value == -np.inf  # of what it says is impossible
    assert gated.anis.value == np.inf
    assert gated.rejected == pytest.approx(1 / (SIZE * STEPS), rel=3)


def heading(difference):
    """A heading that turns at a constant rate, far around, and is observed between -pi and pi."""
    angle = kf.angles(0)
    space = None if difference is None else kf.Space(difference, angle.retract)
    return kf.StateSpaceModel(
        kf.Linear(jnp.eye(1), b=jnp.array([0.7])),
        kf.Linear(jnp.eye(1)),
        Q=[[0.01]],
        R=[[0.1]],
        prior=kf.Gaussian(jnp.zeros(1), jnp.array([[0.1]])),
        state_space=space,
        observation_space=angle,
    )


def turned(a, b):
    return kf.angles(0).difference(a, b)


def test_errors_of_all_filters_are_measured_in_the_space_of_the_state():
    wrapped, raw = heading(kf.angles(0).difference), heading(None)
    keys = jax.random.split(jax.random.key(3), 10)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, wrapped, STEPS))(keys)
    data = Dataset(ys, xs)
    both = {"wrapped": (kf.kalman(), wrapped), "unwrapped": (kf.kalman(), raw)}
    around = jax.vmap(lambda y: kf.run(kf.kalman(), raw, y).outputs.mean)(ys)
    assert np.abs(around - xs).max() > 2 * np.pi
    first, second = compare(both, data, repeats=1).rows
    assert second.mse_db.value == pytest.approx(first.mse_db.value)  # a full turn is no error
    assert second.anees.value == pytest.approx(first.anees.value, rel=1e-3)
    study = kf.monte_carlo(keys[0], wrapped, kf.kalman(), raw, trials=10, steps=STEPS)
    assert study.mse_db().value < -10
    other = {"other": (kf.kalman(), heading(turned))}
    comparison = compare(both | other, data, repeats=1)
    assert comparison.best is None
    assert "in different ways" in str(comparison)
    assert compare(both | other, Dataset(ys), repeats=1).best is not None


def test_without_truth_the_prediction_of_y_decides():
    comparison = without_truth()
    tuned, slow = comparison.rows
    assert tuned.mse_db is tuned.median_db is tuned.anees is tuned.coverage is None
    assert comparison.best == "tuned"
    assert slow.difference_db.low > 0
    assert slow.difference_db.value == pytest.approx(
        slow.prediction_db.value - tuned.prediction_db.value
    )
    assert 0 < tuned.whiteness < 1
    text = str(comparison)
    assert "y ahead" in text
    assert "ANEES" not in text
    assert comparison.evaluations["tuned"].prediction_over_time().shape == (STEPS - 2,)


def test_gaps_and_lengths_give_what_each_trajectory_alone_gives():
    data = ragged()
    evaluation = compare({"tuned": (kf.kalman(), MODEL)}, data, repeats=1).evaluations["tuned"]
    mses, nees, likelihoods, predictions = [], [], [], []
    for i, length in enumerate(data.lengths):
        model = MODEL.replace(prior=kf.Gaussian(data.prior_mean[i], MODEL.prior.cov))
        ys, observed = data.ys[i], data.observed[i]
        estimate, info = kf.run(
            kf.kalman(), model, ys, observed=observed, length=length, emit=kf.estimate_and_info
        ).outputs
        error = np.asarray(data.xs[i] - estimate.mean, np.float64)[:length]
        mses.append(np.nanmean(error**2))
        normalised = 0.0
        for e, P in zip(error, np.asarray(estimate.cov, np.float64), strict=False):
            known = np.isfinite(e)
            normalised += (
                e[known] @ np.linalg.solve(P[np.ix_(known, known)], e[known])
                if known.any()
                else 0.0
            )
        nees.append(normalised)
        likelihoods.append(estimate.log_likelihood.sum() / length)
        predictions.append((info.innovation[:length] ** 2).sum() / observed[:length].sum())
    np.testing.assert_allclose(evaluation.mses, mses, rtol=1e-4)
    np.testing.assert_allclose(evaluation.statistics.nees.total, nees, rtol=1e-3)
    np.testing.assert_allclose(evaluation.log_likelihood().value, np.mean(likelihoods), rtol=1e-4)
    np.testing.assert_allclose(evaluation.prediction_mses, predictions, rtol=1e-4)
    known = np.isfinite(data.xs).all(-1) & (np.arange(STEPS) < data.lengths[:, None])
    assert evaluation.statistics.nees_steps.sum() == known.sum() + data.lengths[4]
    assert (
        evaluation.statistics.nis.count.sum()
        == data.observed[np.arange(STEPS) < data.lengths[:, None]].sum()
    )


def test_one_step_is_enough():
    xs, ys = simulated()
    row = compare({"tuned": (kf.kalman(), MODEL)}, Dataset(ys[:, :1], xs[:, :1]), repeats=1).rows[0]
    assert row.anis.low < row.anis.value < row.anis.high
    assert row.autocorrelation is row.whiteness is None


def test_chunks_change_nothing():
    xs, ys = simulated()
    chunked = compare(FILTERS, Dataset(ys, xs), chunk=7, repeats=1)
    for a, b in zip(chunked.rows, with_truth().rows[:2], strict=True):
        for name in (
            "mse_db",
            "median_db",
            "difference_db",
            "anees",
            "anis",
            "log_likelihood",
            "whiteness",
        ):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-4)
    for a, b in zip(
        *(jax.tree.leaves(c.evaluations["tuned"].curves) for c in (chunked, with_truth())),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_json_holds_settings_rows_and_curves(tmp_path):
    path = tmp_path / "compare.json"
    with_truth().save_json(path)
    loaded = json.loads(path.read_text(), parse_constant=pytest.fail)  # strict JSON has no NaN
    assert loaded == with_truth().to_dict()
    assert [row["name"] for row in loaded["rows"]] == ["tuned", "R too large", "hopeless"]
    value, low, high = with_truth().rows[0].mse_db
    assert loaded["rows"][0]["mse_db"] == {"value": value, "low": low, "high": high}
    assert loaded["rows"][2]["mse_db"]["value"] is None
    assert (
        len(loaded["curves"]["tuned"]["mse_db"])
        == len(loaded["curves"]["tuned"]["anees"]["high"])
        == STEPS
    )
    assert loaded["settings"]["versions"]["kfjax"] == kf.__version__
    assert loaded["settings"]["dtype"] == "float32"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_file(path, "not bytes")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_file(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o600 == 0o600


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("comparison", [with_truth, without_truth])
def test_the_table_fits_the_terminal(comparison, width):
    text = io.StringIO()
    Console(file=text, width=width).print(comparison())
    assert max(map(len, text.getvalue().splitlines())) <= width
    assert "…" not in text.getvalue()
    for word in ("tuned", "R too", "best", "NIS", "loglik", "µs/step", "comp. s", "95 %"):
        assert word in text.getvalue()


def test_the_trajectory_that_is_drawn_can_be_chosen():
    data = ragged()
    found = compare({"KF": (kf.kalman(), MODEL)}, data, repeats=1, example=7, chunk=4)
    first = compare({"KF": (kf.kalman(), MODEL)}, data, repeats=1, chunk=4)
    np.testing.assert_array_equal(found.example.ys[0], data.ys[7])
    own = kf.data.run_trajectory(kf.kalman(), MODEL, jax.tree.map(lambda a: a[7], data)).outputs
    np.testing.assert_allclose(found.estimates["KF"].mean, own.mean, rtol=1e-5, atol=1e-6)
    assert (found.settings["example"], first.settings["example"]) == (7, 0)
    assert found.rows[0].mse_db == first.rows[0].mse_db
    figure = plotting.plot_comparison(found)
    assert figure.axes[0].get_title(loc="left") == "Trajectory 8: KF"
    with pytest.raises(ValueError, match="example"):
        compare({"KF": (kf.kalman(), MODEL)}, data, example=SIZE)


def test_the_picture_is_a_png_with_three_panels(tmp_path):
    path = tmp_path / "compare.png"
    figure = plotting.plot_comparison(with_truth(), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    left, right = ["First trajectory: tuned", "", ""], ["Error over time", "Consistency over time"]
    assert titles == left + right
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[3].lines}
    np.testing.assert_array_equal(
        lines["tuned"], with_truth().evaluations["tuned"].error_over_time()
    )
    assert f"hopeless (failed {SIZE})" in "".join(lines)
    truth = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines}["true"]
    np.testing.assert_array_equal(truth, simulated()[0][0, :, 1])
    unlabelled = plotting.plot_comparison(without_truth())
    labels = [line.get_label() for line in unlabelled.axes[0].lines]
    assert [label for label in labels if not label.startswith("_")] == ["tuned"]
    assert unlabelled.axes[4].get_ylabel() == "NIS per channel"


def test_plots_of_arrays():
    xs, _ = simulated()
    estimate = with_truth().estimates["tuned"]
    axes = plotting.plot_trajectory(estimate.mean, estimate.cov, xs[0], components=[1])
    assert len(axes) == 1
    band = axes[0].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(
        band[:, 1].max(), (estimate.mean + 2 * np.sqrt(estimate.cov[:, [0, 1], [0, 1]]))[:, 1].max()
    )
    curve = with_truth().evaluations["tuned"].error_over_time()
    ax = plotting.plot_errors({"good": curve, "awful": curve + 100}, floor=-3.0)
    labels = ["good", "awful (off scale)", "floor", "beyond the axis"]
    assert [line.get_label() for line in ax.lines] == labels
    assert ax.get_ylim()[1] < curve.max() + 60
    with pytest.raises(ValueError, match=r"truth \(3, 2\); expected one trajectory"):
        plotting.plot_trajectory(estimate.mean, truth=xs[0, :3])
    with pytest.raises(ValueError, match="got 1 axes; expected 2"):
        plotting.plot_trajectory(estimate.mean, axes=axes)


def test_progress_is_shown_to_people_only(capsys):
    for show, seen in ((None, False), (True, True)):
        with progress_bar("filters", 2, show) as advance:
            advance(2)
        assert ("filters" in capsys.readouterr().err) == seen


def drift(x, u):
    return jnp.sin(x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((3, 4, 1))}, "data is ndarray; expected a Dataset"),
        ({"filters": {}}, r"filters is \{\}; expected \{name: \(filter, params\)\}"),
        (
            {"filters": {"kalman": kf.kalman()}},
            r"filters\['kalman'\] is Filter; expected \(filter, params\)",
        ),
        ({"repeats": 0}, "repeats is 0"),
        ({"chunk": 0}, "chunk is 0"),
        ({"level": 95}, "level is 95"),
        ({"skip": STEPS}, "skip is 12; expected a whole number from 0 to 11"),
        (
            {"filters": {"lorenz": (kf.extended(), kf.systems.lorenz())}},
            "filter 'lorenz': run: ys has shape",
        ),
        (
            {"filters": {"kalman": (kf.kalman(), MODEL.replace(f=Partial(drift)))}},
            "filter 'kalman': kalman: the model has a nonlinear",
        ),
        (
            {"filters": {"wide": (kf.kalman(), kf.systems.constant_acceleration())}},
            r"filter 'wide': .*truth has shape .* the estimates .*set it to NaN",
        ),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    xs, ys = simulated()
    with pytest.raises(ValueError, match=message):
        compare(**({"filters": FILTERS, "data": Dataset(ys, xs)} | changes))
