"""Shared parts of the tests of filters that draw: independent runs, and tests of their averages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from support.compiling import quick_jit

import kfjax as kf

KEY = jax.random.key(20)


def log_likelihood_of(state, info):
    """Keep only the log-likelihood: an `emit`."""
    return info.log_likelihood


@functools.partial(quick_jit, static_argnums=(0, 1, 2))
def _many(filter, count, emit, model, ys, us, observed):
    def run(key):
        return kf.run(filter, model, ys, us=us, observed=observed, key=key, emit=emit).outputs

    return jax.vmap(run)(jax.random.split(KEY, count))


def many(filter, problem, count, emit=kf.estimate):
    """The outputs [R, T, ...] of independent runs of a problem of the law table."""
    outputs = _many(filter, count, emit, problem.model, problem.ys, problem.us, problem.observed)
    return jax.tree.map(lambda a: np.asarray(a, np.float64), outputs)


def log_likelihoods(filter, problem, count):
    """The log-likelihoods [R] of independent runs."""
    return many(filter, problem, count, log_likelihood_of).sum(1)


def exact(problem):
    """The Kalman filter's estimates [T, ...] of a linear problem."""
    est = kf.run(
        kf.kalman(), problem.model, problem.ys, us=problem.us, observed=problem.observed
    ).outputs
    return jax.tree.map(lambda a: np.asarray(a, np.float64), est)


def standard_errors(samples, expected):
    """The error of the mean of independent samples [R, ...] in standard errors."""
    return np.abs(samples.mean(0) - expected) / (samples.std(0, ddof=1) / np.sqrt(len(samples)))


def likelihood_ratios(filter, problem, count=2000):
    """Zhat / Z [R] of independent runs, Z from the Kalman filter."""
    return np.exp(log_likelihoods(filter, problem, count) - exact(problem).log_likelihood.sum())


def errors(filter, problem, count=64):
    """Root mean squared errors of mean and covariance of independent runs, against the Kalman
    filter.
    """
    estimates, expected = many(filter, problem, count), exact(problem)
    return [
        np.sqrt(np.mean((got - want) ** 2))
        for got, want in zip(estimates[:2], expected[:2], strict=True)
    ]


def assert_convergence(few, many, problem, factor):
    """Check that errors fall by the root of the ratio of the numbers of samples."""
    np.testing.assert_allclose(
        np.divide(errors(few, problem), errors(many, problem)), factor, rtol=0.35
    )


def drift(x, u):
    """A constant turn."""
    return kf.angles(0).retract(x, jnp.array([0.4, 0.3], x.dtype))


def angles_across_the_cut():
    """A turning angle and a position, both observed: a model that wraps, and one of unwrapped
    angles.
    """
    ys = np.array([[2.7, 0.4], [3.0, 0.5], [3.5, 1.1], [3.8, 1.2]])
    prior = kf.Gaussian(np.array([2.4, 0.1]), np.array([[0.05, 0.02], [0.02, 0.1]]))
    noise = np.array([[0.04, 0.01], [0.01, 0.05]])
    flat = kf.StateSpaceModel(
        kf.Linear(np.eye(2), None, [0.4, 0.3]), kf.Linear(np.eye(2)), noise, noise, prior
    )
    curved = flat.replace(
        f=drift,
        state_space=kf.angles(0),
        observation_space=kf.angles(0),
    )
    wrapped = ys - 2 * np.pi * np.round(ys / (2 * np.pi)) * np.array([1, 0])
    return curved, wrapped, flat, ys


def assert_angles(filter, tolerance):
    """Check that estimates of angles across the cut are the Kalman filter's
    without a cut, wrapped."""
    curved, wrapped, flat, ys = angles_across_the_cut()
    expected = kf.run(kf.kalman(), flat, ys).outputs
    est = kf.run(filter, curved, wrapped, key=KEY).outputs
    assert np.abs(expected.mean[:, 0]).max() > 3.3  # else there was no cut
    assert np.abs(est.mean[:, 0]).max() <= np.float32(np.pi)
    std = np.sqrt(np.diagonal(expected.cov, axis1=1, axis2=2))
    assert np.abs(curved.state_space.difference(est.mean, expected.mean) / std).max() < tolerance
    np.testing.assert_allclose(est.cov, expected.cov, atol=tolerance * expected.cov.max())
    np.testing.assert_allclose(est.log_likelihood, expected.log_likelihood, atol=4 * tolerance)
