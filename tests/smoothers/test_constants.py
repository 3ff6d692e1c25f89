"""Constants that are observed for long: nothing is lost where no noise enters."""

import jax
import numpy as np
from jax.tree_util import Partial
from support.compiling import quick_jit

import kfjax as kf

N = 6


def row(u):
    """The row of H is the input."""
    return u


def regression(dtype):
    """The coefficients of a polynomial, of which each step sees one value."""
    prior = kf.Gaussian(np.zeros(N, dtype), 10 * np.eye(N, dtype=dtype))
    return kf.StateSpaceModel(
        kf.Linear(np.eye(N)), kf.Linear(Partial(row)), np.zeros((N, N)), [[0.01]], prior
    )


def powers(times):
    return np.stack([times**i for i in range(N)], axis=-1)[:, None, :]


@quick_jit
def smoothed(model, ys, rows, observed):
    """Filtered and smoothed beliefs."""
    est = kf.run(kf.kalman(), model, ys, us=rows, observed=observed).outputs
    return est, kf.smooth(kf.kalman(), model, est, us=rows)


@quick_jit
def drawn(model, est, rows):
    """Trajectories from the posterior."""
    key = jax.random.key(0)
    return kf.sample_posterior(key, kf.kalman(), model, est, us=rows, trajectories=2).states


def test_a_regression_in_float32_is_smoothed_to_its_last_estimate():
    rows = powers(np.linspace(0, 1, 1000)).astype(np.float32)
    rng = np.random.default_rng(0)
    ys = rows[:, 0] @ rng.normal(size=(N, 1)) + 0.1 * rng.normal(size=(1000, 1))
    seen = np.ones((1000, 1), bool)
    model = regression(np.float32)
    est, after = jax.tree.map(np.asarray, smoothed(model, ys.astype(np.float32), rows, seen))
    for cov in (est.cov, after.cov, after.initial.cov):
        np.testing.assert_array_equal(cov, cov.swapaxes(1, 2) if cov.ndim == 3 else cov.T)
    exact = np.linalg.inv(0.1 * np.eye(N) + 100 * np.einsum("tij,tik->jk", rows, rows, dtype=float))
    np.testing.assert_allclose(np.trace(exact), 9.76, atol=0.01)
    np.testing.assert_allclose(np.trace(after.cov, axis1=1, axis2=2), np.trace(exact), rtol=2e-3)
    spread = np.sqrt(np.diagonal(exact))
    assert np.abs((after.mean - est.mean[-1]) / spread).max() < 0.02
    draws = np.asarray(drawn(model, est, rows))
    assert (np.abs((draws - est.mean[-1]) / spread) < 5).all()


def test_nothing_grows_over_steps_without_observations(x64):
    """Where the gain of the smoother should be the identity, products of it must not explode."""
    rows = powers(np.r_[np.linspace(0, 0.85, N), np.zeros(500)])
    observed = np.arange(len(rows))[:, None] < N
    est, after = smoothed(regression(float), np.zeros((len(rows), 1)), rows, observed)
    expected = np.broadcast_to(est.cov[-1], after.cov.shape)
    np.testing.assert_allclose(after.cov, expected, rtol=1e-6, atol=1e-9)
