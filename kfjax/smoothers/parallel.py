"""Filtering and smoothing of linear models in logarithmic depth.

It pays off on accelerators, for long records.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Real

from kfjax import linalg
from kfjax._support.compiling import jit
from kfjax.base import Estimate, Gaussian, Inputs, Mask
from kfjax.filters.square_root_form import SquareRootGaussian, covariance_factor
from kfjax.models.observing import bind, observe
from kfjax.models.records import Record
from kfjax.models.shapes import check_shapes
from kfjax.models.spaces import EUCLIDEAN
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import Affine, Taylor
from kfjax.smoothers.filter_elements import Step, filter_steps
from kfjax.smoothers.rauch_tung_striebel import Smoothed, started
from kfjax.smoothers.records import whole_record
from kfjax.smoothers.smoother_elements import smooth_steps

__all__ = ["parallel_filter", "parallel_smooth"]


def parallel_filter(
    model: StateSpaceModel, ys: Real[ArrayLike, "T m"], *, us: Inputs = None, observed: Mask = None
) -> Estimate:
    """Filter a linear Gaussian model with an associative scan, in O(log T) depth.

    The results are those of `run(kalman(), ...)`.

    It does several times the work of the sequential filter, and pays off on an accelerator for one
    long record. If a noise-free channel observes what no process noise of that step reaches (H Q H'
    + R is singular), the record is filtered step by step instead, in O(T). The program of a model
    with `noise_free` (also where R is a function or traced) has both ways, and computes both under
    `jax.vmap` over models or masks.

    Args:
        model: a `StateSpaceModel` with `Linear` f and h; Q and R may depend on u, not on x.
        ys: observations [T, m].
        us: inputs [T, ...], or None.
        observed: booleans [T] or [T, m], or None.

    Returns:
        `Estimate(mean [T, n], cov [T, n, n], log_likelihood [T])`.

    Raises:
        ValueError: if the model is not linear, lives on a curved space, or shapes do not fit.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> parallel = kf.parallel_filter(model, ys)
        >>> serial = kf.run(kf.kalman(), model, ys).outputs
        >>> bool(jnp.allclose(parallel.mean, serial.mean, atol=1e-3))
        True

    References:
        F. Yaghoobi, A. Corenflos, S. Hassan, S. Sarkka, Parallel square-root statistical linear
        regression for inference in nonlinear state space models (2022), section 3; S. Sarkka, A. F.
        Garcia-Fernandez, Temporal parallelization of Bayesian smoothers, IEEE TAC 66 (2021).
    """
    record = whole_record("parallel_filter", model, ys, us, observed, linear=True)
    return _parallel_filter(model, record)


def parallel_smooth(
    model: StateSpaceModel, ys: Real[ArrayLike, "T m"], *, us: Inputs = None, observed: Mask = None
) -> Smoothed:
    """Smooth a linear Gaussian model with two associative scans.

    The results are those of `smooth(kalman(), ...)`. Noise-free channels are filtered step by step,
    as in `parallel_filter`.

    Args:
        model: as in `parallel_filter`.
        ys: observations [T, m].
        us: inputs [T, ...], or None.
        observed: booleans [T] or [T, m], or None.

    Returns:
        `Smoothed(mean [T, n], cov [T, n, n], initial, cross [T, n, n])`.

    Raises:
        ValueError: as in `parallel_filter`.
    """
    record = whole_record("parallel_smooth", model, ys, us, observed, linear=True)
    return _parallel_smooth(model, record)


@jit
def _parallel_filter(model: StateSpaceModel, record: Record) -> Estimate:
    path = _constant(model.prior, check_shapes("parallel_filter", model, record))
    steps = linearise(Taylor(), model, path, record)
    filtered, log_likelihoods = filter_steps(
        first_belief(model), steps, noise_free=bool(model.noise_free)
    )
    return Estimate(filtered.mean, _cov(filtered.cholesky), log_likelihoods)


@jit
def _parallel_smooth(model: StateSpaceModel, record: Record) -> Smoothed:
    path = _constant(model.prior, check_shapes("parallel_smooth", model, record))
    steps = linearise(Taylor(), model, path, record)
    noise_free = bool(model.noise_free)
    return as_smoothed(model, *smooth_steps(first_belief(model), steps, noise_free=noise_free))


def _constant(prior: Gaussian, steps: int) -> SquareRootGaussian:
    """Return the prior held over t = 0..T: where to linearise a linear model."""
    means = jnp.broadcast_to(prior.mean, (steps + 1, *prior.mean.shape))
    factors = jnp.zeros((steps + 1, *prior.cov.shape), prior.mean.dtype)
    return SquareRootGaussian(means, factors)


def linearise(rule: Any, model: StateSpaceModel, path: SquareRootGaussian, record: Record) -> Step:
    """Return affine models of every step, about the path x_0..x_T.

    If the first step has no prediction, x_0 stands for x_1.
    """
    noise_free = bool(model.noise_free)

    def one(
        before: SquareRootGaussian, at: SquareRootGaussian, y: Array, u: Inputs, seen_t: Mask
    ) -> Step:
        f: Affine = rule.affine(bind(model.f, u), *before)
        seen = observe(model, at.mean, y, u, seen_t)
        h: Affine = rule.affine(seen.fn, *at, EUCLIDEAN, seen.space)
        Q = covariance_factor(model.process_noise(before.mean, u), noise_free=noise_free)
        # h.offset is E[h] - H m: differences are taken before anything is subtracted, since y may
        # be an angle
        y_d = seen.innovation(h.mean) + linalg.matmul(h.matrix, at.mean)
        return Step(
            f.matrix,
            f.mean - linalg.matmul(f.matrix, before.mean),
            _joint_factor(Q, f.residual),
            h.matrix,
            y_d,
            _joint_factor(covariance_factor(seen.R, noise_free=noise_free), h.residual),
            seen.mask,
        )

    before = jax.tree.map(lambda a: a[:-1], path)
    at = jax.tree.map(lambda a: a[1:], path)
    steps = jax.vmap(one)(before, at, record.ys, record.us, record.observed)
    if model.first == "predict":
        return steps
    F, c, Q = (a.at[0].set(0) for a in (steps.F, steps.c, steps.Q))
    identity = jnp.eye(model.n, dtype=F.dtype)
    return steps._replace(F=F.at[0].set(identity), c=c, Q=Q)


def _joint_factor(noise: Array, residual: Array) -> Array:
    """Return the lower factor of the sum of two covariances; the rule of Taylor has no residual."""
    if residual.shape[1] == 0:
        return noise
    return linalg.triangularise(jnp.concatenate([noise, residual], axis=1))


def first_belief(model: StateSpaceModel) -> SquareRootGaussian:
    """Return the prior with a factor of its covariance."""
    factor = covariance_factor(model.prior.cov, noise_free=bool(model.noise_free))
    return SquareRootGaussian(model.prior.mean, factor)


def _cov(cholesky: Array) -> Array:
    return jax.vmap(lambda L: linalg.matmul(L, L.T))(cholesky)


def as_smoothed(model: StateSpaceModel, path: SquareRootGaussian, gains: Array) -> Smoothed:
    """Split x_0 off the path; the gains are those of x_t-1 on x_t."""
    cov = _cov(path.cholesky)
    cross = jax.vmap(lambda P, G: linalg.matmul(P, G.T))(cov[1:], gains)
    initial = Gaussian(path.mean[0], cov[0])
    return started(model, Smoothed(path.mean[1:], cov[1:], initial, cross))
