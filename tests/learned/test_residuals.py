"""Learned parts of a model: they start at zero, and nearly correct a wrong model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.compiling import quick_jit
from support.table import drive, heading, look, pendulum, swing

import kfjax as kf
from kfjax.learned.models.regressors import MLP, Polynomial, ridge_regression
from kfjax.learned.models.residual_fitting import fit_residual, refine
from kfjax.learned.models.residuals import learned_weights, residual_model


def swinging(g=3.0, length=1.2):
    """A pendulum that swings widely, with little noise."""
    model = pendulum().model
    return model.replace(
        f=Partial(swing, {"dt": 0.2, "g": g}),
        h=Partial(look, length),
        Q=0.0004 * np.eye(2),
        R=0.01 * np.eye(2),
        prior=kf.Gaussian(np.array([0.5, 0.0]), 0.3 * np.eye(2)),
    )


@functools.cache
def trajectories(count=96, steps=12):
    keys = jax.random.split(jax.random.key(0), count)
    xs, ys = quick_jit(jax.vmap(lambda key: kf.simulate(key, swinging(), steps)))(keys)
    return kf.Dataset(ys, xs).split(64, count - 64)


@quick_jit
def error(model, data):
    """The mean squared error of the extended Kalman filter."""
    return kf.training.state_mse(kf.extended())(model, data, jax.random.key(0))


WRONG = {"f": {"g": 0.5}, "h": {"length": 0.3}}


@pytest.mark.parametrize("on", ["f", "h"])
def test_a_polynomial_repairs_a_wrong_model(on):
    train, test = trajectories()
    wrong = swinging(**WRONG[on])
    start = residual_model(wrong, on, Polynomial(3))
    x = jnp.array([0.3, -0.2])
    np.testing.assert_array_equal(getattr(start, on)(x, None), getattr(wrong, on)(x, None))
    learned = fit_residual(start, train)
    true, before, after = (float(error(model, test)) for model in (swinging(), start, learned))
    assert before > 2 * true
    assert after < 1.05 * true


@pytest.mark.slow
def test_a_network_repairs_it_too_and_can_replace_f():
    train, test = trajectories()
    small = MLP((16,), updates=1500, learning_rate=0.02)
    start = residual_model(swinging(g=0.5), "f", small, full=True, key=jax.random.key(1))
    np.testing.assert_array_equal(start.f(jnp.array([0.3, -0.2]), None), start.prior.mean)
    learned = fit_residual(start, train, key=jax.random.key(2))
    true, wrong, after = (
        float(error(model, test)) for model in (swinging(), swinging(g=0.5), learned)
    )
    assert after < 1.15 * true < wrong


def test_the_regression_is_least_squares_on_what_is_known(x64):
    """A cubic is found exactly from noise-free labels, with gaps."""
    rng = np.random.default_rng(0)
    x, true = rng.normal(size=(200, 2)), rng.normal(size=(2, 10))
    y = np.asarray(jax.vmap(Polynomial(3), (None, 0))(jnp.asarray(true), jnp.asarray(x)))
    seen = rng.random(y.shape) < 0.8
    model = swinging().replace(h=kf.Linear(np.eye(2)))
    state = np.where(rng.random((200, 1)) < 0.1, np.nan, x)
    data = kf.Dataset(np.where(seen, y, np.nan)[None], state[None])
    learned = fit_residual(residual_model(model, "h", Polynomial(3, ridge=0.0)), data)
    np.testing.assert_allclose(jax.vmap(lambda x: learned.h(x, None))(x), y, rtol=1e-8, atol=1e-8)


def test_components_in_small_units_are_learned_beside_large_ones(x64):
    units = np.array([1e6, 1e-6])
    x = np.random.default_rng(0).normal(size=(100, 2)) * units
    model = kf.linear_gaussian(
        np.eye(2),
        np.eye(2),
        np.diag(units**2),
        np.diag(units**2),
        kf.Gaussian(np.zeros(2), np.diag(units**2)),
    )
    data = kf.Dataset(3 * x[None], x[None])
    learned = fit_residual(residual_model(model, "h", Polynomial(1)), data)
    y = jax.vmap(lambda x: learned.h(x, None))(jnp.asarray(x))
    np.testing.assert_allclose(np.asarray(y) / units, 3 * x / units, atol=1e-4)


def test_ridge_regression_shrinks(x64):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    expected = np.linalg.solve(X.T @ X + 0.1 * 50 * np.eye(3), X.T @ y).T
    np.testing.assert_allclose(
        ridge_regression(X, y, np.ones(y.shape, bool), 0.1), expected, rtol=1e-10
    )


def test_inputs_and_angles(x64):
    """A unicycle whose turn is twice what the model thinks, on headings all around the circle."""
    model = heading().model
    rng = np.random.default_rng(2)
    us = rng.uniform(0.05, 0.3, size=(8, 30, 2))
    truth = model.replace(f=lambda x, u: drive(x, jnp.stack([u[0], 2 * u[1]])), Q=1e-6 * np.eye(3))
    xs, ys = jax.vmap(lambda key, u: kf.simulate(key, truth, 30, us=u))(
        jax.random.split(jax.random.key(0), 8), us
    )
    learned = fit_residual(
        residual_model(model, "f", Polynomial(1), inputs=2), kf.Dataset(ys, xs, us)
    )
    x, u = jnp.array([0.0, 0.0, 3.1]), jnp.array([0.1, 0.2])
    error = kf.angles(2).difference(learned.f(x, u), truth.f(x, u))
    assert np.abs(error).max() < 0.002
    assert abs(float(learned.f(x, u)[2])) <= np.pi


@pytest.mark.slow
def test_the_second_stage_moves_weights_and_noise_only():
    train, test = trajectories()
    start = fit_residual(residual_model(swinging(g=0.5), "f", Polynomial(1)), train).replace(
        Q=0.1 * np.eye(2)
    )
    options = {
        "key": jax.random.key(0),
        "updates": 150,
        "optimizer": kf.training.clipped_adam(0.05),
    }
    model = refine(kf.extended(), start, train, **options).params
    loss = quick_jit(kf.training.nll(kf.extended()))
    assert loss(model, test, jax.random.key(0)) < loss(start, test, jax.random.key(0)) - 0.2
    assert 0 < model.Q[0, 0] < 0.05
    before, after = start.f.args[0], model.f.args[0]
    assert np.all(before.weights != after.weights)
    for name in ("unit", "shift", "spread"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_array_equal(model.prior.mean, start.prior.mean)
    assert learned_weights("f/0/0/weights/params/last/bias", None)
    assert not learned_weights("f/0/0/unit", None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: residual_model(swinging(), "g"), "learn is 'g'"),
        (
            lambda: residual_model(swinging(), inputs=-1),
            r"inputs .* is -1; expected a whole number",
        ),
        (lambda: residual_model(swinging(), "f", MLP()), "no random key"),
        (lambda: fit_residual(swinging(), trajectories()[0]), "no learned part"),
        (
            lambda: fit_residual(residual_model(swinging()), kf.Dataset(np.zeros((1, 3, 2)))),
            "no true states",
        ),
        (lambda: Polynomial(-1), "degree is -1"),
        (lambda: MLP([3]), "expected a tuple of sizes"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
