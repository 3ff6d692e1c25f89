"""Monte Carlo evaluation: statistical and exact properties, for every size of chunk."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from support.programs import forget_programs

import kfjax as kf
from kfjax.evaluation import chunks, monte_carlo, trials

MODEL = kf.linear_gaussian(
    F=[[1.0, 0.5], [0.0, 0.9]],
    H=[[1.0, 0.0]],
    Q=[[0.05, 0.01], [0.01, 0.1]],
    R=[[0.5]],
    prior=kf.Gaussian(jnp.array([1.0, -1.0]), jnp.diag(jnp.array([2.0, 0.5]))),
)
KEY = jax.random.key(7)
TRIALS, STEPS = 200, 25


@functools.cache
def matched():
    return monte_carlo(KEY, MODEL, kf.kalman(), MODEL, trials=TRIALS, steps=STEPS)


class Walk(NamedTuple):
    """The state of `jittered`, which holds its key."""

    mean: Array
    cov: None
    key: Array


@functools.cache
def jittered(scale: float) -> kf.Filter:
    """A filter that draws, without a covariance, an innovation or a likelihood."""

    def init(params, key=None):
        return Walk(params.prior.mean, None, key)

    def predict(params, state, u=None):
        return state._replace(mean=params.f(state.mean, u))

    def update(params, state, y, u=None, observed=None):
        key, draw = jax.random.split(state.key)
        jitter = scale * jax.random.normal(draw, state.mean.shape, state.mean.dtype)
        return Walk(state.mean.at[0].set(y[0]) + jitter, None, key), kf.Info()

    return kf.Filter(init, predict, update)


def test_a_filter_that_has_the_true_model_is_consistent():
    result = matched()
    assert (result.trajectories, result.failed) == (TRIALS, 0)
    for value, low, high in (result.anees(), result.anis()):
        assert low < value < high
    value, low, high = result.coverage()
    assert low < 0.95 < high
    assert abs(value - 0.95) < 4 * np.sqrt(
        0.95 * 0.05 / TRIALS
    )  # binomial, were all steps of a trajectory the same
    white = result.whiteness()
    assert white.p_value > 0.01
    assert np.mean(np.abs(white.autocorrelation) < white.bound) >= 0.8
    per_step = result.nees_over_time()
    assert np.mean((per_step.low < per_step.value) & (per_step.value < per_step.high)) >= 0.8


def test_the_error_is_what_the_riccati_recursion_says():
    result, P = matched(), np.asarray(MODEL.prior.cov, np.float64)
    F, H, Q, R = (np.asarray(a, np.float64) for a in (MODEL.f.A, MODEL.h.A, MODEL.Q, MODEL.R))
    expected = []
    for _ in range(STEPS):
        P = F @ P @ F.T + Q
        K = P @ H.T / (H @ P @ H.T + R)
        P = P - K @ H @ P
        expected.append(np.trace(P) / 2)
    value, low, high = result.mse_db()
    assert low < 10 * np.log10(np.mean(expected)) < high
    root = result.rmse()
    assert root.low < np.sqrt(np.mean(expected)) < root.high
    assert value == pytest.approx(20 * np.log10(root.value))
    np.testing.assert_allclose(result.error_over_time(), 10 * np.log10(expected), atol=1.5)


def test_a_wrong_noise_is_found_out():
    wrong = monte_carlo(
        KEY, MODEL, kf.kalman(), MODEL.replace(R=0.1 * MODEL.R), trials=TRIALS, steps=STEPS
    )
    assert wrong.anees().value > wrong.anees().high
    assert wrong.anis().value > wrong.anis().high
    assert wrong.coverage().high < 0.95
    assert wrong.whiteness().p_value < 1e-3
    assert wrong.paired_db(matched()).low > 0
    assert wrong.log_likelihood().high < matched().log_likelihood().value


def test_chunks_change_nothing_and_compile_once():
    forget_programs(trials._trials)
    chunked = monte_carlo(
        KEY, MODEL, kf.kalman(), MODEL, trials=TRIALS, steps=STEPS, chunk=60, skip=5
    )
    assert len(trials._trials.programs.present) == 1
    for a, b in zip(
        jax.tree.leaves(chunked.curves), jax.tree.leaves(matched().curves), strict=True
    ):
        np.testing.assert_allclose(a, b[5:], rtol=1e-4)
    assert (
        chunked.statistics.steps.tolist() == [STEPS - 5] * TRIALS
    )  # the first steps were left out
    everything = matched().statistics.squared_error.total.sum()
    left_out = matched().curves.squared_error.total[:5].sum()
    np.testing.assert_allclose(
        chunked.statistics.squared_error.total.sum(), everything - left_out, rtol=1e-5
    )


def test_the_memory_budget_sets_the_chunk(monkeypatch):
    one = jax.eval_shape(functools.partial(trials._draw, STEPS), MODEL, None, KEY)
    size = functools.partial(chunks.chunk_size, kf.kalman(), MODEL, one, KEY)
    assert size(1000) == 1000
    monkeypatch.setattr(chunks, "MEMORY", 2**20)
    assert 10 < size(1000) < 1000
    assert size(7) == 7
    covered = [index[:count].tolist() for index, count in chunks.all_chunks(10, 4)]
    assert covered == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("platform", "each", "size"),
    [
        ("cpu", 2**14, 1024),
        ("cpu", 2**23, 8),  # fewer would take longer
        ("cpu", 2**28, 2),  # what fits in memory
        ("gpu", 2**14, 2**15),
    ],
)
def test_on_cpus_a_chunk_stays_in_caches(monkeypatch, platform, each, size):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(chunks.sharding, "local_devices", lambda: [None])
    assert chunks._fitting(each) == size


def test_two_cpus_take_twice_as_many(monkeypatch):
    monkeypatch.setattr(chunks.sharding, "local_devices", lambda: [None, None])
    assert chunks._fitting(2**14) == 2048


def test_a_filter_that_draws_and_tells_nothing():
    run = functools.partial(monte_carlo, KEY, MODEL, jittered(0.1), MODEL, trials=6, steps=STEPS)
    first = run()
    np.testing.assert_array_equal(first.mses, run().mses)
    assert np.unique(first.mses).size == 6
    assert first.mse_db() is not None
    for metric in (
        "anees",
        "anis",
        "coverage",
        "log_likelihood",
        "prediction_db",
        "whiteness",
        "nees_over_time",
    ):
        assert getattr(first, metric)() is None
    assert "mse_db" in repr(first)
    assert "anees" not in repr(first)


def turn(u):
    return jnp.array([[1.0, 0.0], [0.0, 0.9]]) + u["dt"] * jnp.array([[0.0, 1.0], [0.0, 0.0]])


def test_shared_inputs_reach_the_truth_and_the_filter():
    model = MODEL.replace(f=kf.Linear(turn))
    us = {"dt": np.linspace(0.0, 1.0, STEPS)}
    result = monte_carlo(KEY, model, kf.kalman(), model, trials=100, us=us)
    assert result.anees().low < result.anees().value < result.anees().high
    constant = monte_carlo(
        KEY, model, kf.kalman(), model, trials=100, us={"dt": np.full(STEPS, 0.5)}
    )
    np.testing.assert_allclose(constant.mses, matched().mses[:100], rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials is 0; expected a whole number"),
        ({"trials": 2.5}, "trials is 2.5"),
        ({"chunk": 0}, "chunk is 0"),
        ({"skip": STEPS}, f"skip is {STEPS}; expected a whole number from 0 to {STEPS - 1}"),
        ({"steps": None}, "got steps=None and us of lengths"),
        ({"us": jnp.zeros((3, 1))}, f"got steps={STEPS} and us of lengths"),
        ({"us": jnp.full((STEPS, 1), jnp.nan)}, "us has NaN at"),
        ({"truth": "lorenz"}, "truth is str; expected a StateSpaceModel"),
        (
            {"truth": MODEL.replace(f=kf.Linear(1e30 * jnp.eye(2))), "trials": TRIALS},
            "200 of 200 true trajectories are not",
        ),
        ({"params": kf.systems.constant_velocity(dimensions=2)}, "ys has shape"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    arguments = {
        "truth": MODEL,
        "filter": kf.kalman(),
        "params": MODEL,
        "trials": 5,
        "steps": STEPS,
    } | changes
    with pytest.raises(ValueError, match=message):
        monte_carlo(KEY, **arguments)
