"""Expectation maximisation against textbook steps on a dense joint Gaussian, and against the
maximum itself.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from support.dense import Step, posterior
from support.table import driven, linear

import kfjax as kf
from kfjax.training.expectation_maximisation import LEARNABLE, em

pytestmark = pytest.mark.slow


def problem(seed=0, N=2, T=6):
    """A model with inputs and offsets, and data of two lengths with rows and channels missing."""
    rng = np.random.default_rng(seed)
    f = kf.Linear([[0.9, 0.3], [-0.2, 0.8]], [[0.5], [-0.3]], [0.1, -0.2])
    h = kf.Linear([[1.0, 0.2], [0.3, 1.0], [0.5, -0.5]], [[0.1], [0.2], [-0.1]], [0.3, 0.0, -0.1])
    R = 0.1 * np.eye(3) + 0.05
    prior = kf.Gaussian(np.array([0.5, -0.5]), np.array([[0.6, 0.1], [0.1, 0.4]]))
    model = kf.StateSpaceModel(f, h, [[0.2, 0.05], [0.05, 0.3]], R, prior)
    observed = rng.random((N, T, 3)) < 0.7
    observed[:, 2] = False
    lengths = np.linspace(T, T - 2, N).astype(int)
    return model, kf.Dataset(
        rng.normal(size=(N, T, 3)), us=rng.normal(size=(N, T, 1)), observed=observed, length=lengths
    )


class Moments(NamedTuple):
    """Sums over time and trajectories of E[target target'], E[target z'], E[z z'], and how many
    terms.
    """

    target: Any
    cross: Any
    z: Any
    count: int

    def regress(self):
        """The coefficients, and the mean square of the residuals."""
        coefficients = self.cross @ np.linalg.inv(self.z)
        return coefficients, (self.target - coefficients @ self.cross.T) / self.count


def textbook_step(model, data):
    """One iteration in which everything is learned, with the missing y inside the
    joint Gaussian."""
    F, B, b, H, D, d, Q, R, m0, P0 = map(
        np.asarray,
        (
            model.f.A,
            model.f.B,
            model.f.b,
            model.h.A,
            model.h.B,
            model.h.b,
            model.Q,
            model.R,
            *model.prior,
        ),
    )
    n, m = len(F), len(H)
    O = np.zeros  # noqa: E741
    noise = np.block([[Q, Q @ H.T], [H @ Q, H @ Q @ H.T + R]])
    sums, starts, log_likelihood = {"x": [], "y": []}, [], 0.0
    for i in range(data.size):
        T = data.lengths[i]
        us = data.us[i, :T]
        # the state is (x_t, y_t), and y_t is seen without noise
        both = np.block([[F, O((n, m))], [H @ F, O((m, m))]])
        steps = [
            Step(
                both,
                np.concatenate([B @ u + b, H @ (B @ u + b) + D @ u + d]),
                noise,
                np.eye(m, n + m, k=n),
                O(m),
                O((m, m)),
            )
            for u in us
        ]
        if model.first == "update":  # y_1 is seen of the state that the prior is about
            still = np.block([[np.eye(n), O((n, m))], [H, O((m, m))]])
            known = np.concatenate([O(n), D @ us[0] + d])
            alone = scipy.linalg.block_diag(O((n, n)), R)
            steps[0] = steps[0]._replace(F=still, c=known, Q=alone)
        cov0 = np.zeros((n + m, n + m))
        cov0[:n, :n] = P0
        after = posterior(
            steps, np.concatenate([m0, O(m)]), cov0, data.ys[i, :T], data.observed[i, :T]
        )
        log_likelihood += after.log_likelihood
        second = after.cov + after.mean[:, :, None, None] * after.mean[None, None]
        starts.append((after.mean[0, :n], after.cov[0, :n, 0, :n]))
        for t in range(1, T + 1):
            known, at, x, y = np.append(us[t - 1], 1), after.mean[t], slice(0, n), slice(n, None)
            for name, target, index, when in (("x", x, x, t - 1), ("y", y, x, t)):
                moved = t > 1 or model.first == "predict"
                if not (moved if name == "x" else data.observed[i, t - 1].any()):
                    continue
                z = np.concatenate([after.mean[when, index], known])
                zz = np.outer(z, z)
                zz[:n, :n] = second[when, index, when, index]
                tz = np.outer(at[target], z)
                tz[:, :n] = second[t, target, when, index]
                sums[name].append((second[t, target, t, target], tz, zz))
    x, y = (
        Moments(*(sum(parts) for parts in zip(*terms, strict=True)), len(terms))
        for terms in sums.values()
    )
    mean = np.mean([start for start, _ in starts], axis=0)
    cov = np.mean([P + np.outer(start - mean, start - mean) for start, P in starts], axis=0)
    return x.regress(), y.regress(), (mean, cov), log_likelihood


@pytest.mark.parametrize("first", ["predict", "update"])
def test_one_iteration_is_the_textbook_one(x64, first):
    model, data = problem()
    model = model.replace(first=first)
    fitted = em(model, data, learn=LEARNABLE, iterations=1)
    (FBb, Q), (HDd, R), (mean, cov), log_likelihood = textbook_step(model, data)
    new = fitted.model
    close = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-10)
    close(fitted.log_likelihood[0], log_likelihood)
    close(np.concatenate([new.f.A, new.f.B, new.f.b[:, None]], axis=1), FBb)
    close(np.concatenate([new.h.A, new.h.B, new.h.b[:, None]], axis=1), HDd)
    close(new.Q, Q)
    close(new.R, R)
    close(new.prior.mean, mean)
    close(new.prior.cov, cov)
    assert fitted.log_likelihood.shape == (2,)


def total(model, data):
    """The log-likelihood of all the data, by the filter."""

    def one(trajectory):
        return kf.data.run_trajectory(kf.kalman(), model, trajectory).outputs.log_likelihood.sum()

    return jax.vmap(one)(data).sum()


@pytest.mark.parametrize("learn", [LEARNABLE, ("Q", "R"), ("F", "d", "prior_mean")])
def test_likelihood_never_falls_and_is_that_of_the_filter(x64, learn):
    model, data = problem(N=6, T=8)
    fitted = em(model, data, learn=learn, iterations=25)
    history = np.asarray(fitted.log_likelihood)
    assert (np.diff(history) > -1e-9).all()
    assert history[-1] > history[0] + 1
    np.testing.assert_allclose(history[-1], total(fitted.model, data), rtol=1e-10)
    before, after = ({"Q": m.Q, "R": m.R, "F": m.f.A, "H": m.h.A} for m in (model, fitted.model))
    for name, value in after.items():
        assert bool((value == before[name]).all()) == (name not in learn)


def autoregression(a, q, r):
    return kf.linear_gaussian(
        jnp.reshape(a, (1, 1)),
        [[1.0]],
        jnp.reshape(q, (1, 1)),
        jnp.reshape(r, (1, 1)),
        kf.Gaussian(np.zeros(1), np.eye(1)),
    )


def test_it_converges_to_the_maximum_that_gradients_find(x64):
    _, ys = jax.vmap(lambda key: kf.simulate(key, autoregression(0.8, 0.5, 0.3), 60))(
        jax.random.split(jax.random.key(0), 4)
    )
    observed = np.random.default_rng(0).random((4, 60)) < 0.8
    data = kf.Dataset(ys, observed=observed, length=[60, 50, 40, 60])
    start = np.array([0.5, 0.0, 0.0])

    @jax.jit
    @jax.value_and_grad
    def cost(theta):
        return -total(autoregression(theta[0], jnp.exp(theta[1]), jnp.exp(theta[2])), data)

    best = scipy.optimize.minimize(
        lambda theta: tuple(map(np.asarray, cost(theta))), start, jac=True, tol=1e-10
    )
    fitted = em(autoregression(0.5, 1.0, 1.0), data, learn=("F", "Q", "R"), iterations=600)
    found = [fitted.model.f.A[0, 0], jnp.log(fitted.model.Q[0, 0]), jnp.log(fitted.model.R[0, 0])]
    np.testing.assert_allclose(fitted.log_likelihood[-1], -best.fun, atol=1e-6)
    np.testing.assert_allclose(found, best.x, atol=1e-3)


def test_what_is_noise_free_or_known_stays_so():
    problem = linear()
    Q = np.zeros((4, 4))
    Q[2:, 2:] = np.array([[0.3, 0.1], [0.1, 0.2]])
    prior = kf.Gaussian(problem.model.prior.mean, np.diag([0.0, 1.0, 0.5, 0.0]))
    model = problem.model.replace(Q=Q, prior=prior)
    data = kf.Dataset(problem.ys[None], observed=problem.observed[None])
    fitted = em(model, data, learn=("F", "Q", "R", "prior_mean", "prior_cov"), iterations=5)
    assert fitted.model.Q.dtype == jnp.float32
    np.testing.assert_array_equal(fitted.model.Q[:2], 0)
    np.testing.assert_array_equal(fitted.model.f.A[:2], model.f.A[:2])
    np.testing.assert_array_equal(
        fitted.model.prior.mean[jnp.array([0, 3])], prior.mean[np.array([0, 3])]
    )
    np.testing.assert_array_equal(fitted.model.prior.cov[0], 0)
    assert (np.asarray(fitted.model.f.A[2:]) != np.asarray(model.f.A[2:])).all()
    assert (np.diff(fitted.log_likelihood) > -1e-3).all()
    still = em(model.replace(Q=np.zeros((4, 4))), data, learn=("F", "Q"), iterations=2).model
    np.testing.assert_array_equal(still.Q, 0)
    np.testing.assert_array_equal(still.f.A, model.f.A)


def test_functions_of_inputs_that_are_not_learned_may_stand_beside(x64):
    problem = driven()
    model = problem.model.replace(Q=[[0.3, 0.0], [0.0, 0.1]], R=[[0.8]])
    data = kf.Dataset(
        problem.ys[None],
        us=problem.us[None],
        observed=problem.observed[None],
        prior_mean=np.array([[0.1, 0.2]]),
    )
    fitted = em(model, data, learn=("Q", "R", "b", "H"), iterations=10)
    assert (np.diff(fitted.log_likelihood) > -1e-9).all()
    np.testing.assert_allclose(fitted.log_likelihood[-1], total(fitted.model, data), rtol=1e-10)
    assert fitted.model.f.b.shape == (2,)  # there was none


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learn": ("G",)}, r"got 'G' in learn; expected one of"),
        ({"learn": ()}, r"learn is empty; expected some of"),
        ({"iterations": 0}, r"iterations is 0; expected a whole number of at least 1"),
        ({"model": kf.systems.lorenz()}, r"not linear; expected a StateSpaceModel with kf\.Linear"),
        ({"data": np.zeros((5, 3))}, r"data is a ndarray; expected a Dataset"),
        ({"learn": ("F",), "model": driven().model}, r"F is a function, but must be an array"),
        ({"learn": ("b",), "model": driven().model}, r"Q is a function, but must be an array"),
        (
            {"learn": ("B",), "data": kf.Dataset(np.zeros((1, 4, 3)))},
            r"expected data with us \[N, T, p\]",
        ),
        (
            {
                "learn": ("prior_mean",),
                "data": kf.Dataset(np.zeros((1, 4, 3)), prior_mean=np.zeros((1, 2))),
            },
            r"the data give prior means",
        ),
    ],
)
def test_bad_arguments_are_explained(change, message):
    model, data = problem()
    arguments = {"model": model, "data": data} | change
    with pytest.raises(ValueError, match=message):
        em(**arguments)
