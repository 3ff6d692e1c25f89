"""Known x_0, singular noise and precise sensors: values and gradients are finite and right."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support import oracles
from support.table import BELIEFS, case, quick_jit, run, score_and_gradient

import kfjax as kf


def changes(n, m):
    """Changes that make a model singular, by name."""
    rank_one = np.outer(np.arange(1.0, n + 1), np.arange(1.0, n + 1)) / 50
    known, precise = {"cov": np.zeros((n, n))}, {"R": 1e-14 * np.eye(m)}
    return {
        "x_0 known": known,
        "Q of rank one": {"Q": rank_one},
        "R near zero": precise,
        "all of it": known | precise | {"Q": rank_one},
        "nothing moves": known | {"Q": np.zeros((n, n))},
    }


def singular(name, kind):
    """A case of the table with a singular model of the same structure, so that nothing compiles
    again.
    """
    c = case(name)
    model = c.params
    change = dict(changes(model.n, model.R.shape[0])[kind])
    prior = kf.Gaussian(model.prior.mean, change.pop("cov", model.prior.cov))
    return c._replace(params=kf.with_model(c.params, prior=prior, **change))


every_filter = pytest.mark.parametrize("name", BELIEFS)
every_kind = pytest.mark.parametrize("kind", list(changes(2, 2)))


@every_filter
@every_kind
def test_values_and_gradients_are_finite_in_filter_and_smoother(x64, name, kind):
    c = singular(name, kind)
    value, gradient = score_and_gradient(c.filter, c.params, c.ys, c.us, c.observed)
    chex.assert_tree_all_finite((value, gradient))


@every_filter
@every_kind
def test_float32_is_finite_and_its_covariances_are_semidefinite_to_the_rounding_of_predicted_ones(
    name, kind
):
    c = singular(name, kind)
    final, (est, info) = run(c)
    chex.assert_tree_all_finite((final, est, info))
    predicted = max(float(np.abs(M).max()) for M in (c.params.Q, c.params.prior.cov, est.cov))
    assert np.linalg.eigvalsh((est.cov + est.cov.swapaxes(1, 2)) / 2).min() >= -1e-6 * predicted


@pytest.mark.parametrize("name", ["extended", "unscented"])
def test_a_known_start_and_noise_of_rank_one_agree_with_the_oracle(x64, name):
    """The oracle inverts matrices, and therefore gets just enough noise to make them regular."""
    c, tiny = case(name), 1e-12 * np.eye(2)
    Q = changes(2, 2)["Q of rank one"]["Q"]
    prior = kf.Gaussian(c.params.prior.mean, jnp.zeros((2, 2)))
    _, (est, _) = run(c._replace(params=c.params.replace(Q=Q, prior=prior)))
    model = oracles.Model(
        lambda x, u: np.stack([x[0] + 0.2 * x[1], x[1] - 0.6 * np.sin(x[0])]),
        lambda x, u: np.stack([1.2 * np.sin(x[0]), x[1]]),
        lambda x, u: Q + tiny,
        lambda x, u: np.asarray(c.params.R),
        np.asarray(prior.mean),
        tiny,
    )
    transform = oracles.linearised if name == "extended" else oracles.unscented
    expected = oracles.estimate(transform, model, c.ys, [None] * len(c.ys), c.observed)
    np.testing.assert_allclose(est.mean, expected.mean, rtol=1e-8)
    np.testing.assert_allclose(est.cov, expected.cov, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(est.log_likelihood, expected.log_likelihood, rtol=1e-8)


def slope_and_difference(function_and_gradient, params, direction, step=1e-4):
    """The slope along a direction, from the gradient and by fourth-order central differences."""
    gradient = function_and_gradient(params)[1]
    slope = sum(
        np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    )

    def at(s):
        return function_and_gradient(jax.tree.map(lambda a, d: a + s * d, params, direction))[0]

    return slope, (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)


@pytest.mark.parametrize("kind", ["x_0 known", "Q of rank one", "all of it"])
@pytest.mark.parametrize("name", ["extended", "unscented"])
def test_gradients_are_exact(x64, name, kind):
    """The extended filter's in every direction, where a state is uncertain or moves in every
    direction.

    Otherwise where the rank stays: the model's parameters, the mean, and noise that grows as it is.
    """
    c = singular(name, kind)._replace(observed=np.ones((6, 2), bool))
    c = c._replace(params=c.params.replace(R=case(name).params.R))
    rng = np.random.default_rng(3)
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), c.params)
    direction = jax.tree.map(lambda a: (a + a.T) / 50 if a.ndim == 2 else a, direction)
    if name != "extended" or kind == "all of it":
        kept = (c.params.Q, c.params.prior.cov)
        direction = jax.tree.map(
            lambda d, a: a if any(a is k for k in kept) else d, direction, c.params
        )
    call = lambda p: score_and_gradient(c.filter, p, c.ys, c.us, c.observed)  # noqa: E731
    slope, numeric = slope_and_difference(call, c.params, direction)
    np.testing.assert_allclose(slope, numeric, rtol=1e-7)


# a stiff model: covariances over ten orders of magnitude, in float32


def hidden_product(A, x, u):
    """A x, in a form that filters do not recognise as linear."""
    return A @ x


def constant_acceleration(P0, R, dt=0.01, q=1e-4):
    """Position, velocity and acceleration driven by white jerk; a precise sensor
    of the position."""
    F = np.array([[1, dt, dt**2 / 2], [0, 1, dt], [0, 0, 1]])
    Q = q * np.array(
        [
            [dt**5 / 20, dt**4 / 8, dt**3 / 6],
            [dt**4 / 8, dt**3 / 3, dt**2 / 2],
            [dt**3 / 6, dt**2 / 2, dt],
        ]
    )
    return F, np.eye(1, 3), Q, np.array([[R]]), (np.zeros(3), P0 * np.eye(3))


def record(F, H, Q, R, prior, steps=5000):
    """Observations, rounded to float32, of a path that starts at rest."""
    rng = np.random.default_rng(0)
    e = rng.normal(size=(steps, 3)) @ np.linalg.cholesky(Q).T
    v = rng.normal(size=(steps, 1)) * np.sqrt(R)
    x, ys = np.zeros(3), []
    for t in range(steps):
        x = F @ x + e[t]
        ys.append(H @ x + v[t])
    return np.array(ys, np.float32)


@pytest.mark.parametrize(("P0", "R", "size"), [(1e2, 1e-4, 15820.8), (1e4, 1e-6, 27216.8)])
@pytest.mark.parametrize("filter", [kf.kalman(), kf.unscented()], ids=["kalman", "unscented"])
def test_float32_keeps_covariances_definite_and_the_likelihood_on_a_stiff_model(
    filter, P0, R, size
):
    matrices = constant_acceleration(P0, R)
    ys = record(*matrices)

    def estimates():
        model = kf.linear_gaussian(*matrices)
        if filter is kf.unscented():  # sigma points, not the exact path
            model = model.replace(
                f=Partial(hidden_product, model.f.A), h=Partial(hidden_product, model.h.A)
            )
        est = quick_jit(lambda model: kf.run(filter, model, ys).outputs)(model)
        return np.asarray(est.cov, np.float64), np.asarray(est.log_likelihood, np.float64).sum()

    with jax.enable_x64(True):
        wide, expected = estimates()
    narrow, log_likelihood = estimates()
    assert abs(expected - size) < 4 * np.sqrt(len(ys) / 2)  # the reference had other noise
    assert abs(log_likelihood - expected) < 2
    scale = np.sqrt(np.diagonal(narrow, axis1=1, axis2=2))
    correlation = narrow / scale[:, :, None] / scale[:, None, :]
    assert np.linalg.eigvalsh(correlation).min() > 0
    if (
        filter is kf.kalman()
    ):  # deviations of sigma points are differences of numbers as large as the mean
        np.testing.assert_allclose(narrow[-1], wide[-1], rtol=1e-5)
