"""Tuning: factors on Q and R that are right for data not used in the tuning."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.nile import NILE, local_level

import kfjax as kf
from kfjax.data import Dataset, run_trajectory
from kfjax.training import Scales, scale_noise, tune

F, PRIOR = jnp.array([[1.0, 0.5], [-0.2, 0.9]]), kf.Gaussian(jnp.zeros(2), jnp.zeros((2, 2)))
KEY = jax.random.key(0)
TRUTH = kf.linear_gaussian(
    F, jnp.eye(2), jnp.diag(jnp.array([0.02, 0.3])), jnp.diag(jnp.array([0.5, 0.05])), PRIOR
)


def draw(rng, model, trajectories, steps, Q=None):
    """Trajectories of a linear model from x_0 = 0, in numpy; Q [T, n, n] if it varies."""
    A, H, R = np.asarray(model.f.A), np.asarray(model.h.A), np.asarray(model.R)
    Q = np.broadcast_to(np.asarray(model.Q) if Q is None else Q, (steps, 2, 2))
    x, xs = np.zeros((trajectories, 2)), []
    for t in range(steps):
        x = x @ A.T + rng.multivariate_normal(np.zeros(2), Q[t], trajectories)
        xs.append(x)
    xs = np.stack(xs, axis=1)
    return xs, xs @ H.T + rng.multivariate_normal(np.zeros(2), R, (trajectories, steps))


def scores(filter, model, data):
    """Mean squared error in dB and log-likelihood per step."""
    est = jax.vmap(lambda one: run_trajectory(filter, model, one).outputs)(data)
    return 10 * np.log10(np.mean((data.xs - est.mean) ** 2)), float(est.log_likelihood.mean())


@pytest.fixture(scope="module")
def parts():
    xs, ys = draw(np.random.default_rng(0), TRUTH, 120, 40)
    return Dataset(ys, xs).split(30, 30, 60)


@pytest.mark.parametrize(
    ("structure", "objective"),
    [("scalar", "likelihood"), ("diagonal", "mse")],
)
def test_a_mismatched_model_gets_near_the_true_one_on_data_not_seen(parts, structure, objective):
    train, validation, test = parts
    guess = TRUTH.replace(Q=0.3 * TRUTH.Q, R=20 * TRUTH.R)
    if structure == "diagonal":
        guess = TRUTH.replace(Q=jnp.eye(2), R=jnp.eye(2))
    tuned = tune(
        kf.kalman(),
        guess,
        train,
        validation=validation,
        key=KEY,
        structure=structure,
        objective=objective,
    )
    assert tuned.refused == 0
    assert tuned.train[1] < tuned.train[0]
    assert tuned.validation[1] < tuned.validation[0]
    (best, likeliest), (before, unlikely), (after, likely) = (
        scores(kf.kalman(), model, test) for model in (TRUTH, guess, tuned.params)
    )
    assert before > best + 0.5  # there is something to gain
    assert after < best + 0.05
    if objective == "likelihood":
        assert likely > unlikely
        assert likely > likeliest - 0.01
        np.testing.assert_allclose([tuned.scales.Q, tuned.scales.R], [1 / 0.3, 1 / 20], rtol=0.15)
    else:  # the means depend on Q R^-1 alone, and R's factors have the geometric mean one
        np.testing.assert_allclose(np.log(tuned.scales.R).mean(), 0, atol=1e-5)


def test_one_series_is_tuned_to_the_end_from_starts_that_are_far_off(x64):
    """The maximum of the likelihood of the Nile's level, -641.5856 (Durbin and Koopman, 2012)."""
    data = Dataset(NILE[None])
    for stds in ((1.0, 1.0), (1e3, 0.1), (0.01, 1e4)):
        start = local_level(*stds)
        tuned = tune(kf.kalman(), start, data, validation=data, key=KEY)
        assert kf.log_likelihood(kf.kalman(), tuned.params, NILE) > -641.5857
        np.testing.assert_allclose(tuned.params.R, [[15099.7]], rtol=1e-2)
        assert tuned.refused == 0
        assert tuned.update > 0


def held_noise(theta, x, u):
    """Process noise of a random walk that is held over dt."""
    del x
    return theta * u["dt"] * jnp.eye(2)


@pytest.mark.parametrize(
    ("method", "most"),
    [
        (kf.gated(kf.extended()), 5),
        (kf.gated(kf.extended(), 0.5), np.inf),  # with more noise, more observations pass the gate
        (kf.fallback(kf.extended(), patience=3), 5),
    ],
)
def test_a_filter_that_rejects_is_not_tuned_to_reject(method, most):
    model = kf.systems.constant_velocity()
    keys = jax.random.split(KEY, 40)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 30))(keys)
    train, validation = Dataset(ys, xs).split(20, 20)
    settings = {"validation": validation, "key": KEY, "updates": 40}
    tuned = tune(method, model, train, **settings)
    exact = tune(kf.extended(), model, train, **settings)
    # of a proper density, that of the exact filter is the best to be had
    assert tuned.validation[1] > exact.validation[1] - 0.02
    assert 0.2 < tuned.scales.Q < most
    assert 0.2 < tuned.scales.R < 5


def test_callable_noise_gaps_lengths_and_initial_states(x64):
    steps, N, rng = 40, 60, np.random.default_rng(0)
    dt = rng.choice([0.2, 1.0, 3.0], steps)
    truth = kf.linear_gaussian(
        jnp.eye(2), jnp.eye(2), Partial(held_noise, 0.5), 0.2 * jnp.eye(2), PRIOR
    )
    xs, ys = draw(rng, truth, N, steps, Q=0.5 * dt[:, None, None] * np.eye(2))
    shift = 50 * rng.normal(size=(N, 2))  # x_0 is known, and another one every time
    ys[rng.random(ys.shape) < 0.2] = np.nan
    length = np.arange(N) % 20 + 21
    data = Dataset(
        ys + shift[:, None],
        xs + shift[:, None],
        {"dt": np.tile(dt, (N, 1))},
        length=length,
        prior_mean=shift,
    )
    train, validation = data.split(40, 20)
    guess = truth.replace(Q=Partial(held_noise, 50.0), R=2.0 * jnp.eye(2))
    tuned = tune(
        kf.kalman(), guess, train, validation=validation, key=KEY, batch_size=20, skip=(5, 5)
    )
    assert abs(np.log(tuned.scales.Q * 100)) < 0.2
    assert abs(np.log(tuned.scales.R * 10)) < 0.2
    x, u = jnp.zeros(2), {"dt": 3.0}
    np.testing.assert_allclose(tuned.params.Q(x, u), tuned.scales.Q * 150 * np.eye(2), rtol=1e-12)


def test_noise_is_scaled_between_roots():
    model = TRUTH.replace(Q=jnp.array([[2.0, 1.0], [1.0, 3.0]]), R=Partial(held_noise, 2.0))
    scaled = scale_noise(model, Scales(jnp.array([4.0, 9.0]), jnp.array([1.0, 16.0])))
    np.testing.assert_allclose(scaled.Q, [[8.0, 6.0], [6.0, 27.0]], rtol=1e-6)
    np.testing.assert_allclose(scaled.R(None, {"dt": 0.5}), [[1.0, 0.0], [0.0, 16.0]], rtol=1e-6)
    np.testing.assert_allclose(scale_noise(model, Scales(5.0, 1.0)).Q, 5 * model.Q, rtol=1e-6)


def no_slope(theta, x, u):
    """A covariance whose value is finite and whose gradient is not."""
    del u
    return theta * jnp.eye(2) * (1 + jnp.sqrt(0 * x[0]))


def test_updates_that_are_not_finite_are_refused_and_counted(parts):
    train, validation, _ = parts
    model = TRUTH.replace(Q=Partial(no_slope, 0.1))
    tuned = tune(kf.kalman(), model, train, validation=validation, key=KEY, updates=20)
    assert tuned.refused == 20
    assert tuned.update in (-1, 0)
    assert np.isfinite(tuned.validation).all()
    assert tuned.validation[1] <= tuned.validation[0]


def test_the_factors_given_are_kept_if_nothing_is_better(parts):
    train, validation, _ = parts
    tuned = tune(
        kf.kalman(), TRUTH, train, validation=validation, key=KEY, updates=20, learning_rate=1.0
    )
    assert tuned.validation[1] <= tuned.validation[0]
    again = tune(
        kf.kalman(), TRUTH, train, validation=validation, key=KEY, updates=20, learning_rate=1.0
    )
    np.testing.assert_array_equal(
        np.asarray(again.scales), np.asarray(tuned.scales)
    )  # the same key, the same result


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"structure": "scaler"},
            "got structure 'scaler'; expected one of diagonal, scalar. Did you mean 'scalar'?",
        ),
        (
            {"objective": "rmse"},
            "got objective 'rmse'; expected one of likelihood, mse. Did you mean 'mse'?",
        ),
        (
            {"updates": 0},
            "updates is 0; expected a whole number of at least 1",
        ),
        ({"params": 3.0}, "params is float; expected a StateSpaceModel"),
        (
            {"data": Dataset(np.zeros((2, 5, 2))), "objective": "mse"},
            "training part has no true states",
        ),
        ({"skip": (0, 40)}, "skip of the validation part is 40; expected 0 to 39"),
        (
            {"params": TRUTH.replace(f=kf.Linear(F * 1e30))},
            "no factors on Q and R give a finite objective",
        ),
    ],
)
def test_bad_input(parts, changes, text):
    given = {
        "filter": kf.kalman(),
        "params": TRUTH,
        "data": parts[0],
        "validation": parts[1],
        "key": KEY,
        "updates": 1,
    } | changes
    with pytest.raises(ValueError, match=re.escape(text)):
        tune(
            given.pop("filter"),
            given.pop("params"),
            given.pop("data"),
            **given,
        )
