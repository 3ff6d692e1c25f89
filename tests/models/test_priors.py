"""With a diffuse prior, estimates are the least squares of the observations alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit

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


# the default variance

NILE = np.array([1120.0, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994])
SEASONS = 4


def local_level(unit=1.0):
    prior = kf.Gaussian(np.zeros(1), np.eye(1))
    return kf.linear_gaussian([[1.0]], [[1.0]], [[1469.1 * unit**2]], [[15099.0 * unit**2]], prior)


def trend_with_season():
    """Level, slope and seasons."""
    n = 1 + SEASONS
    F = np.diag(np.ones(n - 1), -1)
    F[:2] = 0
    F[0, :2], F[1, 1], F[2, 2:] = 1, 1, -1
    F[2, 1] = 0
    H = np.eye(n)[:1] + np.eye(n)[2:3]
    Q = np.diag([0.1, 0.001, 0.05] + [0.0] * (n - 3))
    return kf.linear_gaussian(F, H, Q, [[0.5]], kf.Gaussian(np.zeros(n), np.eye(n)))


def corrected(model, ys):
    """The log-likelihood without what grows with the variances."""
    total = kf.log_likelihood(kf.kalman(), model, ys)
    return float(total) + 0.5 * float(np.log(np.diag(model.prior.cov)).sum())


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_default_fits_the_nile_in_float32(unit):
    diffuse, ys = kf.diffuse(local_level(unit)), (unit * NILE).astype(np.float32)[:, None]
    first = kf.run(kf.kalman(), diffuse, ys[:1]).final
    np.testing.assert_allclose(first.mean / unit, [1120.0], atol=0.01)
    np.testing.assert_allclose(first.cov / unit**2, [[15099.0]], rtol=1e-5)
    # without the first observation, about which nothing was known
    d = NILE[0]
    P, total = 15099.0, -0.5 * np.log(2 * np.pi)
    for y in NILE[1:]:
        S = P + 1469.1 + 15099.0
        total -= 0.5 * (np.log(2 * np.pi * S) + (y - d) ** 2 / S)
        K = (P + 1469.1) / S
        d, P = d + K * (y - d), K * 15099.0
    expected = total - (NILE.size - 1) * np.log(unit)
    np.testing.assert_allclose(corrected(diffuse, ys), expected, atol=2e-3)


def test_the_default_fits_a_trend_with_season_in_float32():
    steps = np.arange(30.0)
    ys = (50 + 0.3 * steps + np.array([5.0, -2.0, 1.0, -4.0])[np.arange(30) % 4])[:, None]
    ys = ys + np.random.default_rng(0).normal(size=ys.shape)
    single = kf.run(kf.kalman(), kf.diffuse(trend_with_season()), ys.astype(np.float32)).outputs
    with jax.enable_x64(True):
        exact = kf.diffuse(trend_with_season(), variance=1e12)
        double = kf.run(kf.square_root(kf.moments.Taylor()), exact, ys).outputs
    spread = np.sqrt(np.diagonal(double.cov, axis1=1, axis2=2))[6:]
    assert np.abs((np.asarray(single.mean) - np.asarray(double.mean))[6:] / spread).max() < 0.05


def test_the_default_is_the_same_inside_a_trace():
    traced = quick_jit(kf.diffuse)(trend_with_season())
    np.testing.assert_allclose(
        traced.prior.cov, kf.diffuse(trend_with_season()).prior.cov, rtol=1e-4
    )


def test_the_default_needs_observations_that_tell_of_the_components():
    model = kf.linear_gaussian(
        np.eye(2), [[1.0, 0.0]], np.eye(2), [[1.0]], kf.Gaussian(np.zeros(2), np.eye(2))
    )
    with pytest.raises(
        ValueError, match=r"do not determine components \[0, 1\].*expected variance="
    ):
        kf.diffuse(model)
    assert kf.diffuse(model, [0]).prior.cov[0, 0] > 1e4
    with pytest.raises(ValueError, match=r"do not determine.*or have no noise"):
        kf.diffuse(model.replace(Q=np.zeros((2, 2)), R=[[0.0]]), [0])
    driven = model.replace(f=kf.Linear(np.eye(2), np.ones((2, 1))))
    with pytest.raises(ValueError, match=r"without inputs, and got ValueError.*expected variance="):
        kf.diffuse(driven)


def test_errors():
    with pytest.raises(ValueError, match=r"components are \[2\]; expected indices"):
        line(1e6, [2])
    with pytest.raises(ValueError, match="expected a finite number above 0"):
        line(0.0)
