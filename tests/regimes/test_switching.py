"""The smoother of switching models: one member, members alike, and cases that are exact."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit
from support.table import MODELS

import kfjax as kf

close = {"rtol": 1e-9, "atol": 1e-11}
CHAIN = np.array([[0.85, 0.15], [0.3, 0.7]])


def smoothed_run(filters, params, ys, **given):
    """The states of an IMM, and its smoothed beliefs."""
    states = kf.run(kf.imm(filters), params, ys, emit=kf.whole_state, **given).outputs
    given.pop("observed", None)
    return states, kf.imm_smooth(filters, params, states, **given)


@pytest.mark.parametrize(
    ("count", "form"),
    [
        (2, "square root"),
        pytest.param(1, "covariance", marks=pytest.mark.slow),
        pytest.param(2, "covariance", marks=pytest.mark.slow),
    ],
)
def test_members_alike_are_smoothed_like_one(x64, count, form):
    problem = MODELS["driven"]()
    one = kf.kalman() if form == "covariance" else kf.square_root(kf.moments.Taylor())
    params = kf.IMMParams(
        (problem.model,) * count, np.full((count, count), 1 / count), np.full(count, 1 / count)
    )
    given = {"us": problem.us, "observed": problem.observed}
    filtered = kf.run(one, problem.model, problem.ys, emit=kf.whole_state, **given).outputs
    expected = kf.smooth(one, problem.model, filtered, us=problem.us)
    _, found = quick_jit(lambda ys: smoothed_run((one,) * count, params, ys, **given))(problem.ys)
    chex.assert_trees_all_close((found.mean, found.cov), (expected.mean, expected.cov), **close)
    chex.assert_trees_all_close(found.members.cov[:, 0], expected.cov, **close)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-12)


def walks(r):
    """A random walk whose steps are small or large, seen with a noise of variance r."""
    small = kf.linear_gaussian(
        np.eye(1), np.eye(1), [[0.1]], [[r]], kf.Gaussian(np.zeros(1), np.zeros((1, 1)))
    )
    return kf.IMMParams((small, small.replace(Q=[[4.0]])), CHAIN, [0.6, 0.4])


def test_where_the_state_is_seen_the_regimes_are_those_of_a_hidden_markov_model(x64):
    """Then nothing is merged that differs, and Kim's recursion is exact."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(12, 1)) * np.where(np.arange(12) // 4 == 1, 2.0, 0.3)[:, None]
    members = (kf.kalman(), kf.kalman())
    states, found = smoothed_run(members, walks(0.0), np.cumsum(steps, axis=0))
    emission = kf.GaussianEmission(np.zeros((2, 1)), [[[0.1]], [[4.0]]])
    hidden = kf.HiddenMarkovModel(emission, CHAIN, [0.6, 0.4], first="predict")
    expected = kf.forward_backward(hidden, steps)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-8)
    np.testing.assert_allclose(found.mean, np.cumsum(steps, axis=0), rtol=1e-9)
    assert np.abs(found.weights - states.weights).max() > 0.05


def paths_of(params, ys):
    """The smoothed weights and means by all paths of regimes, each with its own Kalman smoother."""
    T = len(ys)
    paths = np.array(list(np.ndindex((2,) * T)))
    before = params.members[0]

    def one(path):
        Q = jnp.where(path == 0, 0.1, 4.0)[:, None, None]
        model = before.replace(Q=jax.tree_util.Partial(lambda x, u: u), noise_free=False)
        est = kf.run(kf.kalman(), model, ys, us=Q).outputs
        return est.log_likelihood.sum(), kf.smooth(kf.kalman(), model, est, us=Q).mean

    likelihoods, means = jax.jit(jax.vmap(one))(paths)
    chain = np.log(np.array([0.6, 0.4]) @ CHAIN)[paths[:, 0]]
    chain = chain + np.log(CHAIN)[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    p = np.exp(likelihoods + chain - np.max(likelihoods + chain))
    p = p / p.sum()
    weights = np.stack([[p[paths[:, t] == k].sum() for k in range(2)] for t in range(T)])
    return weights, np.tensordot(p, means, 1)


def test_smoothing_is_near_the_sum_over_all_paths_and_nearer_than_filtering(x64):
    rng = np.random.default_rng(2)
    T = 7
    steps = rng.normal(size=(T, 1)) * np.where(np.arange(T) // 3 == 1, 2.0, 0.3)[:, None]
    ys = np.cumsum(steps, axis=0) + 0.5 * rng.normal(size=(T, 1))
    states, found = smoothed_run((kf.kalman(), kf.kalman()), walks(0.25), ys)
    weights, means = paths_of(walks(0.25), ys)
    assert np.abs(found.weights - weights).max() < 0.1
    assert np.abs(found.mean - means).max() < 0.1
    for name, exact, factor in (("weights", weights, 0.4), ("mean", means, 0.2)):
        smoothed, filtered = (
            np.abs(getattr(mixture, name) - exact).mean() for mixture in (found, states)
        )
        assert smoothed < factor * filtered


@quick_jit
def padded(ys, length):
    """The smoothed beliefs of walks with two kinds of members."""
    return smoothed_run((kf.kalman(), kf.extended()), walks(0.25), ys, length=length)[1]


@pytest.mark.slow
def test_what_follows_the_length_repeats_the_last_belief(x64):
    ys = np.random.default_rng(1).normal(size=(6, 1))
    ys[4:] = np.nan
    found = padded(ys, 4)
    expected = padded(ys[:4], None)
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[:4], found), expected, **close)
    last = jax.tree.map(lambda a: np.repeat(a[3:4], 2, axis=0), found)
    chex.assert_trees_all_equal(jax.tree.map(lambda a: a[4:], found), last)


@pytest.mark.slow
def test_gradients_are_finite_with_weights_of_zero(x64):
    ys = np.random.default_rng(1).normal(size=(4, 1))
    members = (kf.kalman(), kf.extended())
    params = walks(0.25)

    @quick_jit
    @jax.grad
    def slopes(params):
        smoothed = smoothed_run(members, params, ys)[1]
        return jnp.sum(smoothed.mean**2) + smoothed.weights[0, 0]

    for chain in (CHAIN, np.array([[1.0, 0.0], [0.2, 0.8]])):
        slope = slopes(kf.IMMParams(params.members, chain, [1.0, 0.0]))
        chex.assert_tree_all_finite(slope)
        assert slope.members[0].Q != 0


def test_what_is_wrong_is_said(x64):
    params, ys = walks(0.25), np.zeros((3, 1))
    members = (kf.kalman(), kf.kalman())
    states = kf.run(kf.imm(members), params, ys, emit=kf.whole_state).outputs
    estimate = kf.run(kf.imm(members), params, ys).outputs
    wrong = {
        "has no moment rule": ((kf.kalman(), kf.particle(8)), params, states),
        "got 1 filters": (members[:1], params, states),
        "emit=kf.whole_state": (members, params, estimate),
        "expected kf.IMMParams": (members, params.members[0], states),
        "expected a tuple": (kf.kalman(), params, states),
        r"expected \[T, n\]": (members, params, jax.tree.map(lambda a: a[0], states)),
    }
    for text, arguments in wrong.items():
        with pytest.raises(ValueError, match=text):
            kf.imm_smooth(*arguments)
