"""The fixed-lag smoother is the Rauch-Tung-Striebel smoother of the data so far, and a filter like
any other.
"""

import functools

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit
from support.table import MODELS, STEPS, case

import kfjax as kf
from kfjax.base import lagged
from kfjax.filters.combinators.lags import fixed_lag

PAIRS = [
    ("extended", "driven"),
    ("extended", "heading"),
    ("square_root_unscented", "pendulum"),
    ("own_rule", "pendulum"),
]


def late(c, lag):
    """Beliefs about x_t-lag [T], and the filter's own estimates."""

    @quick_jit
    def both(params, ys, us, observed):
        keep = lambda state, info: (lagged(state, info), kf.estimate(state, info))  # noqa: E731
        return kf.run(
            fixed_lag(c.filter, lag), params, ys, us=us, observed=observed, emit=keep
        ).outputs

    return both(c.params, c.ys, c.us, c.observed)


def smoothed_so_far(c):
    """For every t, the smoothed beliefs given y_1..t: means [T][t + 1, n] and covariances, x_0
    first.
    """

    @quick_jit
    def smooth(params, ys, us, observed, length):
        est = kf.run(c.filter, params, ys, us=us, observed=observed, length=length).outputs
        s = kf.smooth(c.filter, params, est, us=us, length=length)
        return (
            jnp.concatenate([s.initial.mean[None], s.mean]),
            jnp.concatenate([s.initial.cov[None], s.cov]),
            est,
        )

    return [smooth(c.params, c.ys, c.us, c.observed, t) for t in range(1, STEPS + 1)]


@pytest.mark.parametrize(("name", "model"), PAIRS)
def test_it_is_the_smoother_of_the_data_so_far(x64, name, model):
    c = case(name, model)
    expected = smoothed_so_far(c)
    for lag in (1, 3) if model == "driven" else (3,):
        est, filtered = late(c, lag)
        for t, (mean, cov, _) in enumerate(expected, 1):
            at = max(t - lag, 0)
            np.testing.assert_allclose(
                est.mean[t - 1], mean[at], rtol=1e-9, atol=1e-10, err_msg=f"{lag=} {t=}"
            )
            np.testing.assert_allclose(
                est.cov[t - 1], cov[at], rtol=1e-9, atol=1e-10, err_msg=f"{lag=} {t=}"
            )
        chex.assert_trees_all_close(
            filtered, expected[-1][2], rtol=1e-12
        )  # its own belief is the filter's


def test_a_gate_inside_or_outside_is_the_same_and_changes_nothing_when_it_rejects(x64):
    problem = MODELS["linear"]()
    ys = np.array(problem.ys)
    ys[3] = 1e3
    seen = np.ones((STEPS, 2), bool)

    @functools.partial(quick_jit, static_argnums=0)
    def runs(smoother, seen):
        return kf.run(smoother, problem.model, ys, observed=seen, emit=lagged).outputs

    inside, outside = (
        runs(fixed_lag(kf.gated(kf.kalman()), 2), seen),
        runs(kf.gated(fixed_lag(kf.kalman(), 2)), seen),
    )
    chex.assert_trees_all_close(inside, outside, rtol=1e-12)
    without = seen.copy()
    without[3] = False
    expected = runs(fixed_lag(kf.kalman(), 2), without)
    beliefs = lambda est: (est.mean, est.cov)  # noqa: E731
    chex.assert_trees_all_close(beliefs(inside), beliefs(expected), rtol=1e-12)
    scored = np.asarray(inside.log_likelihood - expected.log_likelihood)
    assert scored[3] < -1e3  # what is rejected is scored
    np.testing.assert_allclose(np.delete(scored, 3), 0, atol=1e-10)


def test_a_written_belief_moves_the_states_before_along(x64):
    c = case("extended", "linear")
    smoother = fixed_lag(c.filter, 2)
    state = kf.run(smoother, c.params, c.ys).final
    seen = kf.linear_gaussian(np.eye(4), np.eye(1, 4), c.params.Q, [[0.3]], c.params.prior)
    y = jnp.array([2.0])
    updated, _ = smoother.update(seen, state, y)
    plain, _ = kf.extended().update(seen, state.inner, y)
    chex.assert_trees_all_close(smoother.recentre(c.params, state, plain), updated, rtol=1e-10)
    assert not np.allclose(updated.lagged.mean, state.lagged.mean)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_lag(kf.kalman(), 0), r"lag is 0; expected a whole number from 1"),
        (
            lambda: fixed_lag(kf.fading(kf.kalman(), 1.1), 2),
            r"no moment rule; expected a Gaussian filter",
        ),
        (lambda: fixed_lag(kf.kalman, 2), r"filter is kalman; expected a kfjax\.Filter"),
        (
            lambda: fixed_lag(kf.kalman(), 2).init(kf.Gaussian(np.zeros(1), np.eye(1))),
            r"expected a StateSpaceModel",
        ),
    ],
)
def test_bad_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()
