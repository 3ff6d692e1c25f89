"""Models from labelled data: least squares by hand, unbiased noise, turned sensors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import table
from support.compiling import quick_jit

import kfjax as kf
from kfjax.learned import calibrate_sensors, fit_labelled


@functools.cache
def trajectories(precision):
    """A linear truth, 60 trajectories of 8 steps."""
    keys = jax.random.split(jax.random.key(0), 60)
    return quick_jit(jax.vmap(lambda key: kf.simulate(key, table.linear().model, 8)))(keys)


def simulated():
    return (np.asarray(a) for a in trajectories(str(jnp.result_type(float))))


def least_squares(X, Y):
    W = np.linalg.solve(X.T @ X, X.T @ Y).T
    e = Y - X @ W.T
    return W, e.T @ e / (len(X) - X.shape[1])


def test_it_is_the_least_squares_with_unbiased_covariances(x64):
    xs, ys = simulated()
    fitted = fit_labelled(table.linear().model, kf.Dataset(ys, xs))
    for found, expected in zip(
        (fitted.f.A, fitted.Q, fitted.h.A, fitted.R),
        (
            *least_squares(xs[:, :-1].reshape(-1, 4), xs[:, 1:].reshape(-1, 4)),
            *least_squares(xs.reshape(-1, 4), ys.reshape(-1, 2)),
        ),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_what_is_not_asked_for_stays_and_noise_is_measured_with_any_functions(x64):
    xs, ys = simulated()
    truth = table.linear().model
    model = truth.replace(f=lambda x, u: jnp.tanh(x), Q=np.eye(4), R=np.eye(2))
    fitted = fit_labelled(model, kf.Dataset(ys, xs), learn=("Q", "R"))
    assert fitted.f.func is model.f.func
    e = (xs[:, 1:] - np.tanh(xs[:, :-1])).reshape(-1, 4)
    np.testing.assert_allclose(fitted.Q, e.T @ e / len(e), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(
        fit_labelled(model, kf.Dataset(ys, xs), learn=("f",)).R, np.eye(2)
    )


def test_lengths_unknown_states_and_missing_channels_are_left_out(x64):
    xs, ys = simulated()
    rng = np.random.default_rng(0)
    seen, known = rng.random(ys.shape) < 0.8, rng.random(xs.shape[:2]) < 0.9
    length = rng.integers(3, 9, size=len(xs))
    known &= np.arange(8) < length[:, None]
    data = kf.Dataset(
        np.where(seen, ys, np.nan), np.where(known[..., None], xs, np.nan), length=length
    )
    fitted = fit_labelled(table.linear().model, data)
    pairs = known[:, 1:] & known[:, :-1]
    F, Q = least_squares(xs[:, :-1][pairs], xs[:, 1:][pairs])
    np.testing.assert_allclose(fitted.f.A, F, rtol=1e-9)
    np.testing.assert_allclose(fitted.Q, Q, rtol=1e-9)
    for channel in range(2):
        rows = known & seen[..., channel]
        H, R = least_squares(xs[rows], ys[rows][:, [channel]])
        np.testing.assert_allclose(fitted.h.A[channel], H[0], rtol=1e-9)
        np.testing.assert_allclose(fitted.R[channel, channel], R[0, 0], rtol=1e-9)


def test_inputs_and_offsets_are_found_without_noise(x64):
    rng = np.random.default_rng(1)
    F, B, b = rng.normal(size=(2, 2)) / 2, rng.normal(size=(2, 3)), rng.normal(size=2)
    us = rng.normal(size=(4, 20, 3))
    xs = np.zeros((4, 20, 2))
    for t in range(20):
        xs[:, t] = xs[:, t - 1] @ F.T + us[:, t] @ B.T + b
    model = kf.linear_gaussian(
        np.eye(2), np.eye(1, 2), np.eye(2), np.eye(1), (np.zeros(2), np.eye(2))
    )
    fitted = fit_labelled(model, kf.Dataset(xs[..., :1] + 5, xs, us), inputs=True, offsets=True)
    for found, expected in (
        (fitted.f.A, F),
        (fitted.f.B, B),
        (fitted.f.b, b),
        (fitted.h.A, np.eye(1, 2)),
        (fitted.h.b, [5.0]),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    assert fitted.h.B is None
    np.testing.assert_allclose(fitted.Q, 0, atol=1e-20)


def test_float32_models_stay_float32():
    xs, ys = simulated()
    fitted = fit_labelled(table.linear().model, kf.Dataset(ys, xs))
    assert {leaf.dtype for leaf in jax.tree.leaves(fitted)} == {np.dtype("float32")}


def turn(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


@pytest.mark.parametrize("nonlinear", [False, True])
def test_a_turned_and_scaled_sensor_is_found(x64, nonlinear):
    model = table.linear().model
    if nonlinear:
        model = model.replace(h=lambda x, u: jnp.tanh(x[:2]))
    rng = np.random.default_rng(2)
    xs = rng.normal(size=(3, 30, 4))
    right = np.asarray(jax.vmap(jax.vmap(lambda x: model.h(x, None)))(xs))
    ys = 1.7 * right @ turn(20.0).T + np.array([3.0, -4.0])
    found = calibrate_sensors(model, kf.Dataset(ys, xs), learn=("scale", "rotation", "offset"))
    np.testing.assert_allclose(found.rotation, turn(20.0), rtol=1e-9)
    np.testing.assert_allclose(found.scale, 1.7, rtol=1e-9)
    np.testing.assert_allclose(found.offset, [3.0, -4.0], rtol=1e-9)
    np.testing.assert_allclose(jax.vmap(lambda x: found.model.h(x, None))(xs[0]), ys[0], rtol=1e-9)
    assert isinstance(found.model.h, kf.Linear) != nonlinear
    only = calibrate_sensors(model, kf.Dataset(1.7 * right, xs), learn=("scale",))
    np.testing.assert_allclose(
        (only.scale, *np.diag(only.rotation), *only.offset), (1.7, 1, 1, 0, 0), rtol=1e-9
    )


def test_no_other_rotation_does_better(x64):
    xs, ys = simulated()
    ys = ys @ turn(35.0).T
    found = calibrate_sensors(table.linear().model, kf.Dataset(ys, xs))
    error = lambda s, U: np.sum((ys - s * xs[..., :2] @ U.T) ** 2)  # noqa: E731
    best = error(float(found.scale), np.asarray(found.rotation))
    for degrees, factor in ((0.5, 1.0), (-0.5, 1.0), (0.0, 1.01), (0.0, 0.99)):
        assert best < error(factor * float(found.scale), turn(degrees) @ found.rotation)


def flat(n, T):
    x = np.random.default_rng(3).normal(size=(2, T, n))
    x[..., 1:] = 2 * x[..., :1]
    return x


def fit(xs, ys=None, model=None, **options):
    model = table.linear().model if model is None else model
    return fit_labelled(model, kf.Dataset(xs[..., :2] if ys is None else ys, xs), **options)


def turned(ys, xs, model=None, **options):
    return calibrate_sensors(
        table.linear().model if model is None else model, kf.Dataset(ys, xs), **options
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit(flat(4, 30), learn=("A",)), "learn is"),
        (lambda: fit(flat(4, 30)), "have rank 1; expected 4"),
        (lambda: fit(flat(4, 30), learn=("f",), inputs=True), "us is not an array"),
        (lambda: fit(np.ones((2, 1, 4))), "no step with two known states"),
        (
            lambda: fit_labelled(table.linear().model, kf.Dataset(np.ones((1, 3, 2)))),
            "no true states",
        ),
        (lambda: fit(flat(3, 9), model=table.heading().model), "such as angles"),
        (lambda: turned(flat(2, 9), flat(4, 9), learn=()), "learn is"),
        (lambda: turned(-flat(2, 9), flat(4, 9), learn=("scale",)), "the data do not|scale is"),
        (lambda: turned(np.ones((1, 5, 1)), np.ones((1, 5, 1)), scalar()), "got one channel"),
        (
            lambda: turned(np.full((1, 3, 2), [[1.0, np.nan]]), np.ones((1, 3, 4))),
            "no row has all",
        ),
        (
            lambda: turned(np.zeros((1, 3, 2)), np.ones((1, 3, 4))),
            "vary in at least 1 of 2 directions",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def scalar():
    return kf.linear_gaussian([[1.0]], [[1.0]], [[1.0]], [[1.0]], (np.zeros(1), np.eye(1)))
