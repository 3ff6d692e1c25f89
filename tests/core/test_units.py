"""Results do not depend on the units of states and observations.

With x' = X x and y' = Y y for diagonal X and Y, means are X m, covariances X P X, and the
log-likelihood is smaller by log det Y for each observation.
"""

import functools

import jax
import numpy as np
import pytest
from support.compiling import quick_jit

import kfjax as kf
from kfjax.filters import Transform

F, H = np.array([[1.0, 0.5], [0.0, 0.9]]), np.array([[1.0, 0.0], [1.0, 1.0]])
Q, R = np.array([[1 / 24, 1 / 8], [1 / 8, 1 / 2]]), np.diag([0.3, 0.7])
PRIOR = kf.Gaussian(np.array([1.0, -1.0]), np.array([[2.0, 0.3], [0.3, 1.0]]))
YS = np.array([[1.0, 0.3], [2.0, 0.1], [1.5, -2.0], [9.0, 4.0], [2.0, 1.0], [3.0, 0.0]])
TAYLOR = kf.moments.Taylor()
UNITS = {
    "small": (np.array([1e-6, 1e-6]), np.array([1e-6, 1e-6])),
    "large": (np.array([1e6, 1e6]), np.array([1e6, 1e6])),
    "mixed": (np.array([1e6, 1e-6]), np.array([1e-6, 1.0])),
}
FILTERS = {
    "kalman": kf.kalman(),
    "iterated": kf.extended(3),
    "unscented": kf.unscented(),
    "square_root": kf.square_root(TAYLOR),
    "gated": kf.gated(kf.extended(), 0.95),
    "student_t": kf.student_t(kf.extended(), 4.0),
    "huber": kf.huber(kf.extended(), 1.5),
    "adaptive": kf.adaptive(kf.extended()),
    "ensemble": kf.ensemble(6),
    "transform": kf.ensemble(6, form=Transform()),
}


def in_units(x, y):
    X, Y = np.diag(x), np.diag(y)
    return kf.linear_gaussian(
        X @ F @ np.diag(1 / x),
        Y @ H @ np.diag(1 / x),
        X @ Q @ X,
        Y @ R @ Y,
        kf.Gaussian(X @ PRIOR.mean, X @ PRIOR.cov @ X),
    )


@quick_jit
def smoothers(model, ys):
    filtered = kf.run(kf.kalman(), model, ys).outputs
    return (
        kf.smooth(kf.kalman(), model, filtered),
        kf.parallel_smooth(model, ys),
        kf.smoothers.two_filter.two_filter_smooth(model, ys),
        kf.parallel_iterated_smooth(model, ys, iterations=2),
    )


@functools.partial(quick_jit, static_argnums=0)
def estimates(filter, model, ys):
    return kf.run(filter, model, ys, key=jax.random.key(0)).outputs


def beliefs(results, x):
    """Means and covariances in the plain unit."""
    return [(np.asarray(r.mean) / x, np.asarray(r.cov) / np.outer(x, x)) for r in results]


def assert_same(ours, plain, tolerance):
    for (mean, cov), (mean_1, cov_1) in zip(ours, plain, strict=True):
        np.testing.assert_allclose(mean, mean_1, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(cov, cov_1, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", FILTERS)
def test_filters(name, unit, double):
    x, y = UNITS[unit]
    one = np.ones(2)
    with jax.enable_x64(double):
        dtype = in_units(one, one).dtype
        plain = estimates(FILTERS[name], in_units(one, one), YS.astype(dtype))
        ours = estimates(FILTERS[name], in_units(x, y), (YS * y).astype(dtype))
    tolerance = 1e-9 if double else 2e-4
    assert_same(beliefs([ours], x), beliefs([plain], one), tolerance)
    shifted = np.asarray(ours.log_likelihood, np.float64) + np.log(y).sum()
    np.testing.assert_allclose(shifted, plain.log_likelihood, rtol=tolerance, atol=tolerance)


@pytest.mark.xdist_group("smoothers in other units")
@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("unit", UNITS)
def test_smoothers(unit, double):
    x, y = UNITS[unit]
    one = np.ones(2)
    with jax.enable_x64(double):
        dtype = in_units(one, one).dtype
        plain = smoothers(in_units(one, one), YS.astype(dtype))
        ours = smoothers(in_units(x, y), (YS * y).astype(dtype))
    assert_same(beliefs(ours, x), beliefs(plain, one), 1e-9 if double else 2e-4)


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("unit", UNITS)
def test_tools_of_linear_models(unit, double):
    x, y = UNITS[unit]
    one = np.ones(2)
    with jax.enable_x64(double):
        plain, ours = in_units(one, one), in_units(x, y)
        limits = [kf.steady_state(model) for model in (plain, ours)]
        priors = [kf.diffuse(model).prior for model in (plain, ours)]
        assert kf.observability(ours).rank == kf.controllability(ours).rank == 2
        hidden = ours.replace(h=kf.Linear(np.diag(y) @ [[0.0, 1.0], [0.0, 2.0]] @ np.diag(1 / x)))
        assert kf.observability(hidden).rank == 1
    covs, gains = ([np.asarray(getattr(r, f)) for r in limits] for f in ("cov", "gain"))
    variances = [np.diag(prior.cov) for prior in priors]
    np.testing.assert_allclose(covs[1] / np.outer(x, x), covs[0], rtol=1e-5)
    np.testing.assert_allclose(gains[1] / np.outer(x, 1 / y), gains[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variances[1] / x**2, variances[0], rtol=1e-5)
