"""Recorded outputs of a filter, and predictions of any network: diagnosis and distillation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf
from kfjax.data import first_steps
from kfjax.training import (
    clipped_adam,
    diagnose,
    distil,
    finite_memory_floor,
    fit_recursion,
    last_tenth,
)

A = np.array([[0.9, 0.2], [-0.1, 0.8]])
B = np.array([[0.5], [0.2]])
N, T = 12, 60


def recorded(key=0, shift=0.0, size=N):
    """Readings, and what a linear filter of constant gain made of them."""
    rng = np.random.default_rng(key)
    ys = rng.normal(size=(size, T, 1)) + shift
    x = np.zeros((size, 2))
    xs = []
    for y in ys.swapaxes(0, 1):
        x = x @ A.T + y @ B.T
        xs.append(x)
    return ys, np.stack(xs, axis=1)


@pytest.fixture(scope="module")
def series():
    return recorded(0), recorded(1)


def about(found):
    return {verdict.about: verdict for verdict in found.verdicts}


def diagnosed(series, predictions, **options):
    (ys, xs), (new_ys, new_xs) = series
    train = kf.Dataset(ys, xs, dtype=np.float64)
    return diagnose(train=train, inputs=new_ys, targets=new_xs, predictions=predictions, **options)


def test_the_recursion_of_the_recording_is_found(series):
    (ys, xs), (new_ys, new_xs) = series
    found = fit_recursion(kf.Dataset(ys, xs, dtype=np.float64))
    np.testing.assert_allclose(found.A, A, atol=1e-9)
    np.testing.assert_allclose(found.B, np.concatenate([B, np.zeros((2, 1))], axis=1), atol=1e-9)
    new = kf.Dataset(new_ys, prior_mean=np.zeros((N, 2)), dtype=np.float64)
    np.testing.assert_allclose(found.run(new), new_xs, atol=1e-8)
    scale = np.array([2.0, 1.0])
    norms = [
        np.linalg.norm(np.linalg.matrix_power(A, k) * scale / scale[:, None], 2)
        for k in range(1, 99)
    ]
    assert found.memory(scale) == 1 + np.argmax(np.array(norms) < 0.01)
    assert found._replace(A=np.eye(2)).memory(scale) is None


def test_errors_are_those_of_the_arrays(series):
    (_, xs), (_, new_xs) = series
    predictions = new_xs + np.array([0.3, 0.0])
    found = diagnosed(series, predictions, memories=(1, 8))
    spread = xs.reshape(-1, 2).std(axis=0)
    np.testing.assert_allclose(found.scale, spread, rtol=1e-5)
    np.testing.assert_allclose(found.error, [0.3 / spread[0], 0], atol=1e-5)
    compared = found.figures.compared
    late = new_xs[:, 7:]
    constant = np.sqrt(np.mean((late - xs.reshape(-1, 2).mean(0)) ** 2, (0, 1))) / spread
    np.testing.assert_allclose(compared["constant"], constant, rtol=1e-5)
    step = np.sqrt(np.mean((late - new_xs[:, 6:-1]) ** 2, (0, 1))) / spread
    np.testing.assert_allclose(compared["last target"], step, rtol=1e-5)
    assert compared["linear recursion"].max() < 0.2  # its start alone is not known
    np.testing.assert_array_equal(compared["last 8 inputs"], found.floors[8])
    assert found.forgetting is found.teacher_gradients is found.student_gradients is None


def test_gaps_and_lengths_do_not_count(series):
    """What was not recorded, or lies after the end of a record, may hold anything."""
    (ys, xs), (new_ys, new_xs) = series
    predictions = 0.9 * new_xs
    unknown = np.zeros((N, T, 1), bool)
    unknown[::2, 20:25] = True
    lengths = np.where(np.arange(N) < 3, 40, T)
    ended = (np.arange(T) >= lengths[:, None])[..., None]
    train = kf.Dataset(ys, np.where(unknown, np.nan, xs))
    found = [
        diagnose(
            train=train,
            inputs=np.where(ended, filler, new_ys),
            targets=np.where(unknown, np.nan, np.where(ended, filler, new_xs)),
            predictions=np.where(unknown | ended, filler, predictions),
            length=lengths,
            memories=(1, 4),
        )
        for filler in (0.0, 1e3)
    ]
    assert str(found[0]) == str(found[1])
    counted = ~(unknown | ended)[..., 0]
    expected = np.sqrt(np.mean((0.1 * new_xs[counted]) ** 2, 0)) / found[0].scale
    np.testing.assert_allclose(found[0].error, expected, rtol=1e-5)


def test_missing_readings_are_filled_from_the_window(series):
    """With gaps in one part alone, too; a map from few readings stays good."""
    (ys, xs), (new_ys, new_xs) = series
    level = 50.0  # where zeros in gaps would be far off
    gaps = np.random.default_rng(2).random(ys.shape) < 0.1
    whole = kf.Dataset(new_ys + level, new_xs)
    holes = kf.Dataset(np.where(gaps, np.nan, ys + level), xs)
    spread = xs.reshape(-1, 2).std(0)
    for train, test in ((holes, whole), (whole, holes)):
        assert finite_memory_floor(train, test, 8, scale=spread).max() < 0.75


VERDICTS = {
    # predictions from targets, and what is said of them
    "baselines": (np.zeros_like, "do not follow the changes"),
    "rows": (lambda xs: np.roll(xs, 1, axis=1), "one row before"),
    "horizon": (lambda xs: xs * (1 - np.linspace(0, 0.5, T))[:, None], "third of the records"),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_a_fault_is_named(series, name):
    spoil, words = VERDICTS[name]
    xs = series[1][1]
    good = about(diagnosed(series, xs))
    bad = about(diagnosed(series, spoil(xs)))
    assert name not in good or good[name].remedy is None
    assert words in bad[name].finding
    assert bad[name].remedy


def test_a_test_that_leaves_the_training_is_named(series):
    (_, xs), _ = series
    new_ys, new_xs = recorded(4, shift=2.0)
    predictions = np.clip(new_xs, xs.min((0, 1)), xs.max((0, 1)))
    found = diagnosed((series[0], (new_ys, new_xs)), predictions)
    outside = (new_xs < xs.min((0, 1))) | (new_xs > xs.max((0, 1)))
    np.testing.assert_allclose(found.figures.targets_outside, outside.mean((0, 1)), atol=1e-3)
    assert found.figures.error_outside > found.figures.error_inside
    assert about(found)["range"].remedy.startswith("Train on data that cover")


def test_a_short_window_is_named(series):
    xs = series[1][1]
    short, long = (about(diagnosed(series, xs, window=window)) for window in (2, 40))
    assert "windows have 2" in short["window"].finding
    assert short["window"].remedy
    assert long["window"].remedy is None


def test_the_last_tenth_of_a_training():
    falling = np.linspace(2, 1, 101)
    assert last_tenth(falling) == pytest.approx(0.1, abs=0.02)
    assert last_tenth(np.concatenate([falling, np.ones(900)])) == 0
    assert last_tenth([1.0, 0.5]) is None
    two_runs = np.stack([falling, falling])
    assert last_tenth(two_runs) == last_tenth(falling)
    update = np.array([0, 1, 2, *range(2, 22)])
    stages = np.array([9.0, 8, 7, *np.linspace(2, 1, 20)])
    history = kf.training.History(update, stages, stages, stages, 0 * update)
    assert last_tenth(history) == last_tenth(stages[3:])


def test_undertraining_is_named(series):
    xs = series[1][1]
    found = about(diagnosed(series, xs, history=np.linspace(2, 1, 50)))
    assert found["training"].remedy == "Train longer."
    found = about(diagnosed(series, xs, history=np.r_[np.linspace(2, 1, 50), np.ones(50)]))
    assert found["training"].remedy is None


def test_without_training_data_the_first_half_takes_their_place(series):
    ys, xs = series[0]
    found = diagnose(inputs=ys, targets=xs, predictions=0.9 * xs, memories=(1,))
    spread = xs[: N // 2].reshape(-1, 2).std(0)
    np.testing.assert_allclose(found.scale, spread, rtol=1e-5)
    error = np.sqrt(np.mean((0.1 * xs[N // 2 :]) ** 2, (0, 1)))
    np.testing.assert_allclose(found.error, error / spread, rtol=1e-5)
    one = diagnose(inputs=ys[:1], targets=xs[:1], predictions=0.9 * xs[:1], memories=(1,))
    error = np.sqrt(np.mean((0.1 * xs[0, T // 2 :]) ** 2, 0))
    np.testing.assert_allclose(one.error * one.scale, error, rtol=1e-5)


BAD = [
    ({}, "neither or both of validation"),
    ({"inputs": np.zeros((3, 5, 1))}, "neither or both of validation"),
    ({"inputs": np.zeros((3, 5, 1)), "targets": np.zeros((3, 5, 1))}, "student and predictions"),
    (
        {
            "inputs": np.zeros((3, 5, 1)),
            "targets": np.zeros((3, 5, 1)),
            "predictions": np.zeros((3, 1)),
        },
        r"shape \(3, 1\); expected \(3, 5, 1\)",
    ),
    ({"validation": kf.Dataset(np.zeros((3, 5, 1))), "predictions": 0}, "validation has no xs"),
]


@pytest.mark.parametrize(("arguments", "text"), BAD)
def test_mistakes_are_clear(arguments, text):
    with pytest.raises(ValueError, match=text):
        diagnose(**arguments)


@pytest.mark.slow
def test_a_recording_is_distilled_without_a_model():
    ys, xs = recorded(5, size=40)
    us = {"b": np.zeros((40, T)), "a": ys[..., 0]}  # the network sees entries of a dict
    data = kf.Dataset(ys, xs, us)
    train, validation = data.split(30, 10)
    student, params = kf.learned.imitator(jax.random.key(0), train, (16,), cell="gru")
    found = distil(
        None,
        (student, params),
        train,
        validation=validation,
        key=jax.random.key(1),
        updates=200,
        batch_size=30,
        optimizer=clipped_adam(0.01),
        memories=(1, 2),
    )
    assert found.diagnosis.error.max() < found.diagnosis.floors[1].max()
    assert found.diagnosis.student_gradients.shape == (T,)
    assert found.diagnosis.teacher_gradients is None
    assert {"baselines", "training", "overfitting"} <= about(found.diagnosis).keys()
    with pytest.raises(ValueError, match="smoothing without a teacher"):
        distil(
            None,
            (student, params),
            train,
            validation=validation,
            key=jax.random.key(1),
            updates=1,
            smoothing=True,
        )
    with pytest.raises(ValueError, match="u has 1 entries; expected inputs=2"):
        kf.run(student, params, ys[0], us=jnp.zeros((T, 1)))
    short = first_steps(validation, 20)
    assert kf.run(
        student, params, short.ys[0], us=jax.tree.map(lambda u: u[0], short.us)
    ).outputs.mean.shape == (20, 2)


@pytest.mark.parametrize("with_gaps", [False, True])
def test_an_untrained_imitator_is_the_linear_recursion(x64, with_gaps):
    """In units of its own, with inputs, gaps and a constant."""
    rng = np.random.default_rng(4)
    ys = 30.0 + 5.0 * rng.normal(size=(6, 40, 1))
    us = {"b": rng.normal(size=(6, 40, 1)) - 2.0, "a": 0.1 * rng.normal(size=(6, 40))}
    observed = rng.random(ys.shape) < (0.7 if with_gaps else 2.0)
    observed[:, 0] = True
    noise = 0.1 * rng.normal(size=(6, 40, 2))
    xs = 100.0 * recorded(4, size=6)[1][:, :40] + np.cumsum(us["b"], axis=1) + noise
    mask = observed if with_gaps else None
    data = kf.Dataset(ys, xs, us=us, observed=mask, dtype=np.float64)
    student, params = kf.learned.imitator(jax.random.key(0), data, (4,), output="recursion")
    found = jax.vmap(lambda one: kf.data.run_trajectory(student, params, one).outputs.mean)(data)
    np.testing.assert_allclose(found, fit_recursion(data).run(data), rtol=1e-8)


def test_an_imitator_of_what_no_recursion_explains_learns_increments():
    rng = np.random.default_rng(5)
    few = kf.Dataset(rng.normal(size=(1, 2, 1)), rng.normal(size=(1, 2, 1)))
    _, params = kf.learned.imitator(jax.random.key(0), few, (4,))
    assert "recursion" not in params.constants
    with pytest.raises(ValueError, match="no linear recursion on its own estimates"):
        kf.learned.imitator(jax.random.key(0), few, (4,), output="recursion")
