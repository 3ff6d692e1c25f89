"""Covariances learned by gradient: round trips, and the maximum of the likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import optimize
from support.compiling import quick_jit

import kfjax as kf
from kfjax.data import Dataset
from kfjax.training import (
    constrain,
    fit_noise,
    free_noise,
    innovation_nll,
    noise_of,
    state_mse,
    unconstrain,
)


def random_covariance(n, floor=0.0):
    A = np.random.default_rng(n).normal(size=(n, n))
    return A @ A.T + floor * np.eye(n)


@pytest.mark.parametrize(("n", "floor"), [(1, 0.0), (3, 0.0), (4, 0.01)])
def test_covariances_make_the_round_trip(x64, n, floor):
    cov = random_covariance(n, floor)
    theta = unconstrain(cov, floor)
    assert theta.shape == (n * (n + 1) // 2,)
    np.testing.assert_allclose(constrain(theta, floor), cov, rtol=1e-8, atol=1e-10)
    other = constrain(theta + np.random.default_rng(0).normal(size=theta.shape), floor)
    assert np.linalg.eigvalsh(other).min() > floor


def test_singular_covariances_are_raised_a_little(x64):
    cov = np.ones((3, 3))
    found = constrain(unconstrain(cov))
    np.testing.assert_allclose(found, cov, atol=1e-5)
    assert np.linalg.eigvalsh(found).min() > 1e-7
    np.testing.assert_allclose(
        constrain(unconstrain(np.zeros((2, 2)), 0.5), 0.5), 0.5 * np.eye(2), rtol=1e-5
    )
    with pytest.raises(ValueError, match="cov is zero"):
        unconstrain(np.zeros((2, 2)))


def draw(rng, F, Q, R, trajectories, steps):
    x, xs = np.zeros((trajectories, 2)), []
    for _ in range(steps):
        x = x @ F.T + rng.multivariate_normal(np.zeros(2), Q, trajectories)
        xs.append(x)
    xs = np.stack(xs, axis=1)
    return Dataset(xs + rng.multivariate_normal(np.zeros(2), R, (trajectories, steps)), xs)


@pytest.fixture(scope="module")
def problem():
    F = np.array([[1.0, 0.5], [-0.2, 0.9]])
    Q, R = np.array([[0.3, 0.1], [0.1, 0.2]]), np.array([[0.5, -0.2], [-0.2, 0.3]])
    with jax.enable_x64(True):
        data = draw(np.random.default_rng(0), F, Q, R, 40, 20)
        prior = kf.Gaussian(jnp.zeros(2), 0.1 * jnp.eye(2))
        return (
            kf.linear_gaussian(F, jnp.eye(2), jnp.eye(2), jnp.eye(2), prior),
            data[:24],
            data[24:],
        )


def test_gradient_descent_ends_at_the_maximum_of_the_likelihood(x64, problem):
    model, train, held_out = problem
    loss, key, kalman = innovation_nll(kf.kalman()), jax.random.key(0), kf.kalman()
    fitted = fit_noise(
        kalman, model, train, key=key, updates=250, batch_size=24, learning_rate=0.1, reports=2
    )
    free = free_noise(model)
    start, unravel = jax.flatten_util.ravel_pytree(free.factors)

    @quick_jit
    def objective(theta):
        return jax.value_and_grad(
            lambda v: loss(noise_of(free._replace(factors=unravel(v))), train, key)
        )(theta)

    best = optimize.minimize(
        lambda v: [np.asarray(a, np.float64) for a in objective(v)], start, jac=True, tol=1e-10
    )
    top = noise_of(free._replace(factors=unravel(jnp.asarray(best.x))))
    value, reached, before, after = (
        quick_jit(loss)(m, d, key)
        for m, d in (
            (top, train),
            (fitted.params, train),
            (model, held_out),
            (fitted.params, held_out),
        )
    )
    assert value <= reached < value + 1e-4
    np.testing.assert_allclose(fitted.params.R, top.R, atol=0.02)
    np.testing.assert_allclose(fitted.params.Q, top.Q, atol=0.02)
    assert after < before - 0.1


def test_supervised_error_and_the_prior(x64, problem):
    model, train, held_out = problem
    guess = model.replace(Q=10 * model.Q)
    options = {
        "key": jax.random.key(0),
        "updates": 100,
        "learning_rate": 0.1,
        "batch_size": 24,
        "reports": 2,
    }
    loss = state_mse(kf.kalman())
    fitted = fit_noise(
        kf.kalman(), guess, train, loss=loss, validation=held_out, learn=("Q", "R", "P0"), **options
    )
    assert fitted.validation < fitted.history.validation[0] * 0.97
    assert not np.allclose(fitted.params.prior.cov, guess.prior.cov)
    np.testing.assert_array_equal(fitted.params.f.A, guess.f.A)
    np.testing.assert_allclose(
        quick_jit(loss)(fitted.params, held_out, options["key"]), fitted.validation, rtol=1e-9
    )


def held(theta, x, u):
    del x, u
    return theta * jnp.eye(2)


@pytest.mark.parametrize(
    ("changes", "learn", "text"),
    [
        ({"Q": Partial(held, 1.0)}, ("Q",), "Q is a function; expected a matrix"),
        ({}, ("S",), "expected .* of .*P0"),
        ({}, (), "expected .* of .*P0"),
    ],
)
def test_bad_input(x64, problem, changes, learn, text):
    with pytest.raises(ValueError, match=text):
        free_noise(problem[0].replace(**changes), learn)
    with pytest.raises(ValueError, match=r"params is float; expected a StateSpaceModel"):
        free_noise(1.0)


def test_a_small_variance_beside_a_large_one_is_kept(x64):
    """Position in kilometres beside a bias in radians: each has its own unit."""
    cov = np.array([[1.0, 3e-5], [3e-5, 1e-8]])
    np.testing.assert_allclose(constrain(unconstrain(cov)), cov, rtol=1e-8)
    model = kf.systems.constant_velocity().replace(Q=np.diag([1.0, 1e-8]))
    found = noise_of(free_noise(model)).Q
    np.testing.assert_allclose(np.diag(found), [1.0, 1e-8], rtol=1e-5)
