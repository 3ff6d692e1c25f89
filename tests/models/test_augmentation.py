"""Noise in the state: the same results as where noise is additive, and those of the textbook where
it is correlated.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.compiling import quick_jit
from support.table import MODELS

import kfjax as kf

close = {"rtol": 1e-9, "atol": 1e-11}
G = np.array([[0.5, 0.1], [1.0, 0.3]])


def moved(theta, x, w, u):
    """A pendulum pushed by noise."""
    return MODELS["pendulum"]().model.f(x, u) + theta @ w


def seen(theta, x, v, u):
    return MODELS["pendulum"]().model.h(x, u) + theta @ v


def augmented(in_f, in_h):
    """The pendulum with its noise outside or inside, and the same with all of it outside."""
    model = MODELS["pendulum"]().model
    W, V = np.array([[0.3, 0.1], [0.1, 0.2]]), np.array([[0.2, 0.05], [0.05, 0.3]])
    plain = model.replace(Q=G @ W @ G.T if in_f else model.Q, R=G @ V @ G.T if in_h else model.R)
    inside = kf.non_additive(
        Partial(moved, jnp.asarray(G)) if in_f else model.f,
        Partial(seen, jnp.asarray(G)) if in_h else model.h,
        W if in_f else model.Q,
        V if in_h else model.R,
        model.prior,
        in_f=in_f,
        in_h=in_h,
    )
    return plain, inside


@pytest.mark.parametrize(
    "where", [(True, False), (False, True), (True, True)], ids=["f", "h", "both"]
)
def test_noise_that_enters_linearly_gives_the_results_of_added_noise(x64, where):
    plain, inside = augmented(*where)
    problem = MODELS["pendulum"]()
    results = [
        kf.run(
            kf.extended(), model, problem.ys, observed=problem.observed, emit=kf.leading(2)
        ).outputs
        for model in (plain, inside)
    ]
    chex.assert_trees_all_close(*results, **close)


def test_noise_that_depends_on_state_and_input_keeps_its_meaning(x64):
    problem = MODELS["driven"]()
    model = problem.model
    inside = kf.non_additive(
        model.f, Partial(_added, model.h), model.Q, [[0.3]], model.prior, in_f=False, in_h=True
    )
    plain = model.replace(R=[[0.3]])
    runs = [
        kf.run(kf.extended(), m, problem.ys, us=problem.us, emit=kf.leading(2)).outputs
        for m in (plain, inside)
    ]
    chex.assert_trees_all_close(*runs, **close)


def _added(h, x, v, u):
    return h(x, u) + v


def _driven_by(f, x, w, u):
    return kf.angles(2).retract(f(x, u), w)


def test_states_on_curved_spaces(x64):
    problem = MODELS["heading"]()
    model = problem.model
    inside = kf.non_additive(
        Partial(_driven_by, model.f),
        model.h,
        model.Q,
        model.R,
        model.prior,
        state_space=model.state_space,
        observation_space=model.observation_space,
    )
    runs = [
        kf.run(kf.extended(), m, problem.ys, us=problem.us, emit=kf.leading(3)).outputs
        for m in (model, inside)
    ]
    chex.assert_trees_all_close(*runs, **close)


def test_noise_inside_matters_beyond_its_linearisation(x64):
    def grow(x, w, u):
        return x * jnp.exp(w)

    model = kf.non_additive(
        grow, lambda x, u: x, [[0.2]], [[0.1]], kf.Gaussian(np.array([2.0]), np.zeros((1, 1)))
    )
    ahead = kf.forecast(kf.gauss_hermite(9), model, kf.gauss_hermite(9).init(model), steps=1).state
    mean, var = 2.0 * np.exp(0.1), 4.0 * (np.exp(0.2) - 1) * np.exp(0.2)  # of a lognormal
    np.testing.assert_allclose(ahead.mean[0, 0], mean, rtol=1e-6)
    np.testing.assert_allclose(ahead.cov[0, 0, 0], var, rtol=1e-5)


def textbook(model, cross, ys, observed):
    """The Kalman filter with correlated noise in numpy: Cov(x, y) = P H' + C, S = H P H' + H C + C'
    H' + R.
    """
    F, H, Q, R = (np.asarray(a) for a in (model.f.A, model.h.A, model.Q, model.R))
    mean, P = (np.asarray(a) for a in model.prior)
    means, covs = [], []
    for y, o in zip(ys, observed, strict=True):
        mean, P = F @ mean, F @ P @ F.T + Q
        H_o, C_o, R_o = H[o], cross[:, o], R[np.ix_(o, o)]
        S = H_o @ P @ H_o.T + H_o @ C_o + C_o.T @ H_o.T + R_o
        K = (P @ H_o.T + C_o) @ np.linalg.inv(S)
        mean, P = mean + K @ (y[o] - H_o @ mean), P - K @ S @ K.T
        means.append(mean)
        covs.append(P)
    return np.stack(means), np.stack(covs)


CROSS = np.array([[0.02, 0.0], [0.01, -0.03], [0.0, 0.05], [0.03, 0.01]])


@pytest.mark.parametrize("filter", [kf.kalman(), kf.unscented()], ids=["kalman", "unscented"])
def test_correlated_noise_gives_the_results_of_the_textbook(x64, filter):
    problem = MODELS["linear"]()
    model = kf.correlated(problem.model, CROSS)
    est = kf.run(filter, model, problem.ys, observed=problem.observed, emit=kf.leading(4)).outputs
    mean, cov = textbook(problem.model, CROSS, problem.ys, problem.observed)
    np.testing.assert_allclose(est.mean, mean, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(est.cov, cov, rtol=1e-8, atol=1e-11)
    plain = kf.run(filter, problem.model, problem.ys, observed=problem.observed).outputs
    assert np.abs(plain.mean - est.mean).max() > 1e-3


def test_correlated_noise_of_a_model_with_inputs_and_of_a_nonlinear_one(x64):
    driven, pendulum = MODELS["driven"](), MODELS["pendulum"]()
    for problem, n, method in ((driven, 2, kf.kalman()), (pendulum, 2, kf.extended())):
        model = problem.model.replace(Q=0.1 * np.eye(2), R=0.3 * np.eye(problem.ys.shape[1]))
        none = kf.correlated(model, np.zeros((2, problem.ys.shape[1])))
        runs = [
            kf.run(method, m, problem.ys, us=problem.us, emit=kf.leading(n)).outputs
            for m in (model, none)
        ]
        chex.assert_trees_all_close(*runs, **close)


def test_correlated_noise_is_simulated_as_it_says(x64):
    model = kf.correlated(
        MODELS["linear"]().model.replace(prior=kf.Gaussian(np.zeros(4), np.zeros((4, 4)))), CROSS
    )
    draw = quick_jit(jax.vmap(lambda key: kf.simulate(key, model, steps=1)))
    zs, ys = draw(jax.random.split(jax.random.key(0), 40_000))
    x = np.asarray(zs[:, 0, :4])
    v = np.asarray(ys[:, 0]) - x[:, :2]
    np.testing.assert_allclose(
        x.T @ v / x.shape[0], CROSS, atol=5 * np.sqrt(0.5 * 0.05 / x.shape[0]) * 3
    )


def test_gradients_reach_the_correlation(x64):
    problem = MODELS["linear"]()

    def total(cross):
        return kf.log_likelihood(kf.kalman(), kf.correlated(problem.model, cross), problem.ys)

    gradient = quick_jit(jax.grad(total))(jnp.asarray(CROSS))
    step = np.zeros_like(CROSS)
    step[1, 1] = 1e-5
    numeric = (total(CROSS + step) - total(CROSS - step)) / 2e-5
    np.testing.assert_allclose(gradient[1, 1], numeric, rtol=1e-6)


def test_errors():
    model = MODELS["linear"]().model
    with pytest.raises(ValueError, match=r"cross has shape \(2, 4\); expected \[n, m\] = \(4, 2\)"):
        kf.correlated(model, CROSS.T)
    with pytest.raises(ValueError, match="indefinite"):
        kf.correlated(model, 10 * CROSS)
    with pytest.raises(ValueError, match="Q is a function"):
        kf.non_additive(moved, model.h, lambda x, u: jnp.eye(2), model.R, model.prior)
    with pytest.raises(ValueError, match=r"model\.Q is a function"):
        kf.correlated(MODELS["driven"]().model, np.zeros((2, 1)))
