"""Hidden Markov models against all their paths, one by one."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit
from support.regimes import CASES, CHAIN, WEIGHTS, enumerated, gaussian, symbols

import kfjax as kf

every_case = pytest.mark.parametrize("name", CASES)
close = {"rtol": 1e-9, "atol": 1e-12}


@quick_jit
def everything(model, ys, us, observed, length=None):
    """The filter, the smoother and the path of a record."""
    given = {"us": us, "observed": observed, "length": length}
    filtered = kf.run(kf.forward(), model, ys, **given).outputs
    return filtered, kf.forward_backward(model, ys, **given), kf.viterbi(model, ys, **given)


@every_case
def test_all_paths_say_the_same(x64, name):
    case = CASES[name]()
    ys = np.where(case.observed, case.ys, np.nan)
    expected = enumerated(case)
    filtered, smoothed, path = everything(case.model, ys, case.us, case.observed)
    np.testing.assert_allclose(filtered.mean, expected.filtered, **close)
    np.testing.assert_allclose(filtered.log_likelihood, expected.log_likelihood, **close)
    np.testing.assert_allclose(smoothed.log_likelihood, expected.log_likelihood, **close)
    np.testing.assert_allclose(smoothed.weights, expected.smoothed, **close)
    np.testing.assert_allclose(smoothed.joint, expected.joint, **close)
    np.testing.assert_array_equal(path.regimes, expected.best[0])
    np.testing.assert_allclose(path.log_probability, expected.best[1], **close)
    if case.model.first == "predict":
        np.testing.assert_allclose(smoothed.initial, expected.joint[0].sum(axis=1), **close)
    else:
        assert smoothed.initial is None


@pytest.mark.parametrize("name", ["counts", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_what_follows_the_length_does_not_count(x64, name):
    case = CASES[name]()
    short = 4
    ys = case.ys.copy()
    ys[short:] = np.nan
    us = None if case.us is None else np.where(np.arange(len(ys))[:, None] < short, case.us, np.nan)
    padded = everything(case.model, ys, us, case.observed, short)
    cut = jax.tree.map(lambda a: a[:short], (case.ys, case.us, case.observed))
    filtered, smoothed, path = everything(case.model, *cut)
    last = lambda a: np.concatenate([a, np.repeat(a[-1:], len(ys) - short, axis=0)])  # noqa: E731
    np.testing.assert_allclose(padded[0].mean, last(filtered.mean), **close)
    np.testing.assert_allclose(padded[1].weights, last(smoothed.weights), **close)
    np.testing.assert_allclose(padded[1].joint[:short], smoothed.joint, **close)
    assert not padded[1].joint[short:].any()
    np.testing.assert_array_equal(padded[2].regimes, last(path.regimes))
    np.testing.assert_allclose(padded[2].log_probability, path.log_probability, **close)


@pytest.mark.slow
def test_a_batch_is_a_loop_and_a_stream_is_a_run(x64):
    case = gaussian()
    batch = np.stack([case.ys, case.ys[::-1]])
    whole = jax.vmap(lambda ys: everything(case.model, ys, case.us, case.observed))(batch)
    alone = [everything(case.model, ys, case.us, case.observed) for ys in batch]
    chex.assert_trees_all_close(whole, jax.tree.map(lambda *a: np.stack(a), *alone), **close)
    state = None
    for t, y in enumerate(case.ys):
        state, info = kf.step(
            kf.forward(), case.model, state, y, u=case.us[t], observed=case.observed[t]
        )
        np.testing.assert_allclose(state.mean, alone[0][0].mean[t], **close)
    assert info.dof == 2


def test_forecasts_approach_the_stationary_distribution(x64):
    case = symbols()
    final, _ = kf.run(kf.forward(), case.model, case.ys)
    ahead = kf.forecast(kf.forward(), case.model, final, steps=60).state.mean
    np.testing.assert_allclose(ahead[0], final.mean @ case.model.transition, **close)
    np.testing.assert_allclose(ahead[-1] @ case.model.transition, ahead[-1], atol=1e-9)


def test_regimes_that_are_far_apart_do_not_underflow():
    """In float32 exp(-103) is zero, and what it belongs to may still turn out to be right."""
    model = kf.HiddenMarkovModel(
        kf.GaussianEmission([[0.0], [30.0]], np.ones((2, 1, 1))), np.eye(2), [0.5, 0.5]
    )
    est = kf.run(kf.forward(), model, jnp.array([[0.0], [30.0], [30.0]])).outputs
    np.testing.assert_allclose(est.mean, [[1, 0], [0.5, 0.5], [0, 1]], rtol=1e-7)
    expected = np.log(0.5) - 3 * 0.5 * np.log(2 * np.pi) - 450
    np.testing.assert_allclose(est.log_likelihood.sum(), expected, rtol=1e-6)


def test_an_impossible_observation_has_no_likelihood_and_leaves_the_belief(x64):
    case = symbols()
    for y in (7.0, -1.0, 1.5):
        ys = case.ys.copy()
        ys[2, 0] = y
        est = kf.run(kf.forward(), case.model, ys).outputs
        assert est.log_likelihood[2] == -np.inf
        predicted = est.mean[1] @ case.model.transition
        np.testing.assert_allclose(est.mean[2], predicted, **close)
        assert np.isfinite(est.log_likelihood[3:]).all()
    poisson = kf.PoissonEmission([[1.0], [3.0]])
    for y in (-1.0, 0.5):
        assert (poisson(jnp.array([y])) == -np.inf).all()


def log_density(theta, y, u, observed):
    """Laplace's density around a line in u, with a slope for each regime."""
    scores = -jnp.abs(y[0] - theta * u) - jnp.log(2.0)
    return jnp.where(observed[0], scores, 0.0)


def test_a_function_as_emission_and_its_gradient(x64):
    rng = np.random.default_rng(3)
    ys, us = rng.normal(size=(5, 1)), rng.normal(size=5)
    ys[2] = np.nan
    seen = ~np.isnan(ys)
    chain, weights = CHAIN[:2, :2] / CHAIN[:2, :2].sum(1, keepdims=True), np.array([0.4, 0.6])

    def model(theta):
        emission = jax.tree_util.Partial(log_density, theta)
        return kf.HiddenMarkovModel(emission, chain, weights)

    def total(theta):
        return kf.log_likelihood(kf.forward(), model(theta), ys, us=us, observed=seen)

    def in_numpy(theta):
        p, result = weights, 0.0
        for t in range(5):
            p = p @ chain if t else p
            if seen[t, 0]:
                p = p * np.exp(-np.abs(ys[t, 0] - theta * us[t])) / 2
                result, p = result + np.log(p.sum()), p / p.sum()
        return result

    theta = np.array([0.5, -1.0])
    value, slope = quick_jit(jax.value_and_grad(total))(theta)
    np.testing.assert_allclose(value, in_numpy(theta), **close)
    steps = 1e-6 * np.eye(2)
    numeric = [(in_numpy(theta + d) - in_numpy(theta - d)) / 2e-6 for d in steps]
    np.testing.assert_allclose(slope, numeric, rtol=1e-7)
    with pytest.raises(ValueError, match="function of densities"):
        kf.simulate(jax.random.key(0), model(theta), steps=3)


def test_derivatives_with_impossible_transitions_are_finite(x64):
    """A chain that goes from left to right, of which the last regime is reached late."""
    case = symbols()
    chain = np.array([[0.7, 0.3, 0.0], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]])

    def total(scale, ys):
        moved = chain * jnp.exp(scale)
        moved = moved / moved.sum(axis=1, keepdims=True)
        model = case.model.replace(transition=moved, weights=jnp.array([1.0, 0.0, 0.0]))
        return kf.forward_backward(model, ys).log_likelihood.sum()

    scale = np.random.default_rng(0).normal(size=(3, 3))
    slope = quick_jit(jax.grad(total))(scale, case.ys)
    d = np.zeros((3, 3))
    d[0, 1] = 1e-5
    numeric = (total(scale + d, case.ys) - total(scale - d, case.ys)) / 2e-5
    np.testing.assert_allclose(slope[0, 1], numeric, rtol=1e-7)
    assert not slope[chain == 0].any()


@pytest.mark.parametrize("first", ["update", pytest.param("predict", marks=pytest.mark.slow)])
def test_draws_have_the_probabilities_of_the_model(first):
    emission = kf.GaussianEmission([[0.0], [30.0], [90.0]], np.ones((3, 1, 1)))
    model = kf.HiddenMarkovModel(emission, CHAIN, WEIGHTS, first)
    draw = jax.vmap(lambda key: kf.simulate(key, model, 3))
    regimes, ys = draw(jax.random.split(jax.random.key(0), 5000))
    share = np.array([np.bincount(column, minlength=3) / 5000 for column in regimes.T])
    start = WEIGHTS if first == "update" else WEIGHTS @ CHAIN
    np.testing.assert_allclose(share, [start, start @ CHAIN, start @ CHAIN @ CHAIN], atol=0.03)
    assert np.abs(ys - emission.mean[regimes]).max() < 6


@pytest.mark.parametrize("name", CASES)
def test_draws_of_an_emission_have_its_moments(name):
    emission = CASES[name]().model.emission
    ys = jax.vmap(lambda key: emission.draw(key, 1))(jax.random.split(jax.random.key(1), 2000))
    if name == "symbols":
        share = [np.bincount(ys[:, i].astype(int), minlength=4) / 2000 for i in range(2)]
        np.testing.assert_allclose(share, emission.probabilities[1], atol=0.05)
    else:
        mean, cov = (part[1] for part in emission.moments())
        np.testing.assert_allclose(ys.mean(axis=0), mean, atol=0.15)
        np.testing.assert_allclose(np.cov(ys.T), cov, atol=0.3)


GAUSSIAN = functools.partial(kf.GaussianEmission, [[0.0], [1.0]])
TWO = np.ones((2, 1, 1))
REFUSED = {
    "sum to one": lambda: kf.HiddenMarkovModel(GAUSSIAN(TWO), [[0.5, 0.6], [0.5, 0.5]], [0.5, 0.5]),
    "weights is": lambda: kf.HiddenMarkovModel(GAUSSIAN(TWO), np.eye(2), [1.5, -0.5]),
    r"expected \(2, 2\)": lambda: kf.HiddenMarkovModel(GAUSSIAN(TWO), np.eye(3), [0.5, 0.5]),
    "has 2 regimes; expected 3": lambda: kf.HiddenMarkovModel(GAUSSIAN(TWO), CHAIN, WEIGHTS),
    "first is": lambda: kf.HiddenMarkovModel(GAUSSIAN(TWO), np.eye(2), [1.0, 0.0], "later"),
    "emission is": lambda: kf.HiddenMarkovModel(TWO, np.eye(2), [1.0, 0.0]),
    "is singular": lambda: GAUSSIAN(0 * TWO),
    "cov has shape": lambda: GAUSSIAN(TWO[:1]),
    "indefinite": lambda: GAUSSIAN(-TWO),
    "rates above": lambda: kf.PoissonEmission([[0.0]]),
    "in each row": lambda: kf.CategoricalEmission([[0.5, 0.6]]),
    r"expected \(2,\), .* ys\[:, None\]": lambda: kf.run(
        kf.forward(), symbols().model, np.zeros(4)
    ),
    "expected a kf.HiddenMarkovModel": lambda: kf.run(
        kf.forward(), kf.systems.constant_velocity(), np.zeros((4, 1))
    ),
    "viterbi: got": lambda: kf.viterbi(kf.systems.constant_velocity(), np.zeros((4, 1))),
    "where it counts as observed": lambda: kf.viterbi(symbols().model, np.full((4, 2), np.nan)),
    "a log-density for each": lambda: kf.run(
        kf.forward(),
        kf.HiddenMarkovModel(lambda y, u, observed: y, np.eye(2), [1.0, 0.0]),
        np.zeros((4, 1)),
    ),
    "Use kf.forward_backward": lambda: kf.smooth(
        kf.forward(), symbols().model, kf.Estimate(np.ones((4, 3)) / 3, None, np.zeros(4))
    ),
    "expected transform": lambda: kf.training.maximum_likelihood(
        kf.forward(), symbols().model, np.zeros((4, 2))
    ),
    "no x0": lambda: kf.simulate(jax.random.key(0), symbols().model, 3, x0=[1.0]),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_said(text):
    with pytest.raises(ValueError, match=text):
        REFUSED[text]()
