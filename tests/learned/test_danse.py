"""DANSE: a network that predicts states without a motion model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.table import drawn, heading

import kfjax as kf
from kfjax import learned

DANSE = learned.danse(2, 2, hidden=8)


def model_of():
    prior = kf.Gaussian([0.5, -1.0], np.diag([4.0, 0.25]))
    return kf.linear_gaussian(
        np.eye(2), [[1.0, 0.5], [0.0, 2.0]], np.eye(2), 0.3 * np.eye(2), prior
    )


def test_untrained_it_forgets_all_but_the_latest_observation(x64):
    model = model_of()
    params = learned.init_params(jax.random.key(0), DANSE, model)
    ys = np.random.default_rng(0).normal(size=(5, 2))
    found = kf.run(DANSE, params, ys).outputs
    posterior, info = jax.vmap(lambda y: kf.kalman().update(model, model.prior, y))(ys)
    np.testing.assert_allclose(found.mean, posterior.mean, atol=1e-12)
    np.testing.assert_allclose(found.cov, posterior.cov, atol=1e-12)
    np.testing.assert_allclose(found.log_likelihood, info.log_likelihood, atol=1e-12)


def test_the_motion_of_the_model_does_not_matter(x64):
    problem = heading()
    method = learned.danse(3, 2, hidden=8)
    params = drawn(method, problem.model)
    other = params._replace(model=problem.model.replace(f=lambda x, u: x + u[0], Q=5.0 * np.eye(3)))
    run = [kf.run(method, p, problem.ys, us=problem.us).outputs for p in (params, other)]
    np.testing.assert_array_equal(run[0].mean, run[1].mean)


def test_units_do_not_matter(x64):
    """States in other units, with the prior and h to match, give the same filter in these units."""
    model = model_of()
    D = np.diag([1e3, 1e-4])
    other = model.replace(
        h=kf.Linear(model.h.A @ np.linalg.inv(D)),
        prior=kf.Gaussian(D @ model.prior.mean, D @ model.prior.cov @ D),
    )
    params = drawn(DANSE, model)
    ys = np.random.default_rng(1).normal(size=(6, 2))
    here = kf.run(DANSE, params, ys).outputs
    there = kf.run(DANSE, params._replace(model=other), ys).outputs
    np.testing.assert_allclose(there.mean, here.mean @ D, rtol=1e-9)
    np.testing.assert_allclose(there.log_likelihood, here.log_likelihood, rtol=1e-9)


def test_it_learns_from_observations_alone():
    """On a rotation that it does not know, it learns most of what the Kalman filter knows."""
    angle = 0.3
    F = 0.98 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    P = kf.stationary_covariance(F, 0.04 * np.eye(2))
    model = kf.linear_gaussian(
        F, np.eye(2), 0.04 * np.eye(2), 0.5 * np.eye(2), kf.Gaussian(np.zeros(2), P)
    )
    keys = jax.random.split(jax.random.key(0), 80)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 40))(keys)
    data = kf.Dataset(ys[:64])
    params = learned.init_params(
        jax.random.key(1), DANSE, model.replace(f=lambda x, u: jnp.full_like(x, jnp.nan))
    )
    fitted = kf.training.fit(
        kf.training.innovation_nll(DANSE),
        params,
        data,
        key=jax.random.key(2),
        updates=300,
        batch_size=16,
        hyperparameters={"learning_rate": 1e-2},
        reports=1,
    )

    def error(method, params):
        means = jax.vmap(lambda y: kf.run(method, params, y).outputs.mean)(ys[64:])
        return float(jnp.mean((means - xs[64:])[:, 10:] ** 2))

    untrained, trained = error(DANSE, params), error(DANSE, fitted.params)
    floor = error(kf.kalman(), model)
    assert floor < trained < floor + 0.5 * (untrained - floor)


def test_bad_input():
    with pytest.raises(ValueError, match="danse: hidden"):
        learned.danse(2, 2, hidden=0)
    with pytest.raises(ValueError, match="n = 2 and m = 2, the network n = 3 and m = 2"):
        learned.init_params(jax.random.key(0), learned.danse(3, 2), model_of())
