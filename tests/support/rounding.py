"""Comparisons with the true results of a random record, up to rounding."""

import numpy as np
from support.compiling import UNOPTIMISED
from support.random_models import Case

# The allowed error of a result, in units of the rounding of the numbers subtracted for it.
ROUNDINGS = 200.0


def tolerance(case: Case) -> float:
    """The relative error that rounding may cause."""
    return ROUNDINGS * float(np.finfo(case.shape.dtype).eps) * case.condition


def assert_close(case: Case, what: str, got, expected, scale: float = 1.0):
    """Raise unless two arrays agree to the rounding of numbers of this size."""
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    allowed = tolerance(case) * scale
    same = (got == expected) | (np.abs(got - expected) <= allowed)
    if got.shape == expected.shape and same.all():
        return
    raise AssertionError(f"{what}: got {got}, expected {expected} within {allowed:.1e}")


def sizes(case: Case):
    """The largest mean and the largest variance among the numbers that a filter handles."""
    prior = case.truth.joints[0]
    var = float(np.diag(prior.cov).astype(float).max())
    means = [np.abs(joint.mean.astype(float)).max() for joint in case.truth.joints]
    return max(1.0, *means, np.abs(case.exact_ys.astype(float)).max()), max(1.0, var)


def assert_close_belief(case: Case, what: str, got, expected):
    """Raise unless a mean and a covariance agree, and the covariance is symmetric to the bit."""
    mean_size, cov_size = sizes(case)
    mean, cov = expected
    assert_close(case, f"{what}.mean", got.mean, mean, mean_size * np.sqrt(cov_size))
    assert_close(case, f"{what}.cov", got.cov, cov, cov_size)
    assert_symmetric(f"{what}.cov", np.asarray(got.cov), cov_size)


def assert_symmetric(what: str, cov: np.ndarray, size: float):
    """Raise unless a covariance is symmetric: to the bit, if it is compiled as users compile."""
    # Without optimisation a loop that is one function computes entries twice, and not always alike:
    # they differ by the rounding of the numbers of this size that were subtracted for them.
    rounding = 8 * np.finfo(cov.dtype).eps if UNOPTIMISED else 0.0
    transposed = np.swapaxes(cov, -1, -2)
    np.testing.assert_allclose(cov, transposed, rtol=rounding, atol=rounding * size, err_msg=what)


def assert_close_moments(case: Case, what: str, draws, expected):
    """Raise unless the moments of draws are those expected, to seven standard errors."""
    draws = np.asarray(draws, float)
    mean, cov = expected
    mean_size, cov_size = sizes(case)
    rounding = tolerance(case)
    variance = np.diag(cov) + rounding * cov_size  # a variance is known to rounding
    error = np.abs(draws.mean(0) - mean)
    allowed = 7 * np.sqrt(variance / len(draws)) + rounding * mean_size * np.sqrt(cov_size)
    assert (error <= allowed).all(), f"{what}: means are off by {error}, {allowed} allowed"
    error = np.abs(np.cov(draws.T, bias=True).reshape(cov.shape) - cov)
    spread = np.sqrt((np.multiply.outer(variance, variance) + cov**2) / len(draws))
    allowed = 7 * spread + (rounding * mean_size) ** 2 + rounding * cov_size
    assert (error <= allowed).all(), f"{what}: covariances are off by {error}, {allowed} allowed"
