"""The discrete Lyapunov equation against scipy, and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg as dense

import kfjax as kf


def test_the_lyapunov_equation_and_its_derivative(x64):
    rng = np.random.default_rng(4)
    F = rng.normal(size=(4, 4))
    F *= 0.98 / np.abs(np.linalg.eigvals(F)).max()
    G = rng.normal(size=(4, 4))
    Q = G @ G.T
    P = kf.stationary_covariance(F, Q)
    np.testing.assert_allclose(P, dense.solve_discrete_lyapunov(F, Q), rtol=1e-9)
    with pytest.raises(ValueError, match="modulus 1"):
        kf.stationary_covariance(np.eye(2), np.eye(2))
    weights = rng.normal(size=(4, 4))
    value = lambda F, Q: jnp.sum(weights * kf.stationary_covariance(F, Q))  # noqa: E731
    slopes = jax.grad(value, (0, 1))(F, Q)
    for which, point in enumerate((F, Q)):
        step = rng.normal(size=(4, 4))
        step = step + step.T if which else step

        def moved(h, which=which, step=step):
            point = [F, Q]
            point[which] = point[which] + h * step
            return value(*point)

        numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6
        np.testing.assert_allclose(np.vdot(slopes[which], step), numeric, rtol=1e-6)
