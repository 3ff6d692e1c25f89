"""A diffuse prior leaves the least squares of the observations alone."""

import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf

STEPS, R_VAR = 12, 0.04
RNG = np.random.default_rng(0)
TIMES = np.arange(1.0, STEPS + 1)
YS = 3.0 - 0.7 * TIMES + np.sqrt(R_VAR) * RNG.normal(size=STEPS)


def line(variance, components=None):
    """A straight line observed with noise: position and velocity without process noise."""
    prior = kf.Gaussian(np.array([5.0, 1.0]), np.diag([2.0, 0.5]))
    model = kf.linear_gaussian(
        [[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]], np.zeros((2, 2)), [[R_VAR]], prior
    )
    return kf.diffuse(model, components, variance=variance)


def least_squares():
    """The line through the observations, as (position, velocity) at the last step, and its
    covariance.
    """
    design = np.stack([np.ones(STEPS), TIMES - STEPS], axis=1)
    cov = R_VAR * np.linalg.inv(design.T @ design)
    return cov @ design.T @ YS / R_VAR, cov


@pytest.mark.parametrize(
    ("filter", "variance", "tolerance"),
    [(kf.kalman(), 4e3, 5e-4), (kf.square_root(kf.moments.Taylor()), 4e10, 1e-4)],
    ids=["kalman", "square_root"],
)
def test_estimates_in_float32_are_those_of_least_squares(filter, variance, tolerance):
    final = kf.run(filter, line(variance), jnp.asarray(YS, jnp.float32)[:, None]).final
    mean, cov = least_squares()
    np.testing.assert_allclose((final.mean - mean) / np.sqrt(np.diag(cov)), 0, atol=tolerance)
    np.testing.assert_allclose(final.cov, cov, rtol=tolerance)


def test_the_corrected_likelihood_does_not_depend_on_the_variance(x64):
    totals = [
        kf.log_likelihood(kf.kalman(), line(v), YS[:, None]) + 2 / 2 * np.log(v) for v in (1e7, 1e9)
    ]
    np.testing.assert_allclose(totals[0], totals[1], atol=1e-3)


def test_other_components_keep_their_prior(x64):
    np.testing.assert_array_equal(line(1e6, [0]).prior.cov, np.diag([1e6, 0.5]))
    np.testing.assert_array_equal(line(1e6, [-1]).prior.cov, np.diag([2.0, 1e6]))


def test_errors():
    with pytest.raises(ValueError, match=r"components are \[2\]; expected indices"):
        line(1e6, [2])
    with pytest.raises(ValueError, match="expected a finite number above 0"):
        line(0.0)
