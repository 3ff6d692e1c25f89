"""Robust updates: the noise of suspicious channels is inflated to R_w = L diag(1 / w) L', L L' = R.

The weights w depend on the residual of the whitened observation L^-1 y *after* the update, which
in turn depends on the weights. A few fixed-point iterations solve for both; all of them work on
m x m matrices from a single Info. With nu and S the innovation and its covariance, both whitened by
L, and S_w = S - I + diag(1 / w):

    residual              e = diag(1 / w) S_w^-1 nu
    posterior variances   v = diag(diag(1 / w) S_w^-1 (S - I))
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from kfjax import linalg
from kfjax._support.arguments import LARGEST_LOOP, check_count, check_number
from kfjax.base import (
    Filter,
    Gaussian,
    Info,
    Inputs,
    Mask,
    Observations,
    Params,
    State,
    constructor,
)
from kfjax.filters.checks import check_filter
from kfjax.filters.combinators.composing import reported, single_model
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.lens import with_model

__all__ = ["huber", "student_t"]


@constructor
def student_t(filter: Filter, dof: float = 4.0, *, iterations: int = 5) -> Filter:
    """Model the observation noise as Student-t, so that outliers count less the larger they are.

    The whole observation has one weight w:

        y | x, w ~ N(h(x), R / w),   w ~ Gamma(dof / 2, dof / 2).

    Variational Bayes gives, with m observed channels,

        w = (dof + m) / (dof + E[(y - h(x))' R^-1 (y - h(x))]),

    where the expectation is under the posterior with noise R / w, iterated from w = 1. The
    log-likelihood is the variational lower bound of log p(y_t | y_1..t-1), tight for large dof.

    An update costs two updates of `filter` (only the innovation of the first is used), and
    covariances depend on the data. `rule` is forwarded. For a weight per sensor, use
    `sequential(student_t(filter))`.

    Args:
        filter: filter whose Info has `innovation` and `innovation_cov`, and whose params hold one
            model.
        dof: degrees of freedom, positive; 3 to 10 for outliers, while infinity would give the
            filter itself.
        iterations: number of fixed-point iterations for the weight, at least 1.

    Returns:
        A `Filter` with the params and state of `filter`. Info is that of `filter`, except for the
        log-likelihood. In `extra`, `weights` [m] are 1 for an ordinary observation, 0 for an
        infinite outlier and in unobserved channels; `used_cov` [m, m] is the innovation covariance
        with R / w, from which the gain came.

    Raises:
        ValueError: if an argument is out of range; while tracing, if params hold several models,
            the model has its observation noise in the state, or Info has no innovation.

    Example:
        >>> robust = kf.student_t(kf.kalman(), 4.0)
        >>> model = kf.systems.constant_velocity()
        >>> state = robust.init(model)
        >>> state, info = kf.step(robust, model, state, jnp.array([1e3]))
        >>> bool(info.extra["weights"][0] < 1e-3)
        True

    References:
        G. Agamennoni, J. Nieto, E. Nebot, Approximate inference in state-space models with
        heavy-tailed noise, IEEE Trans. Signal Process. 60 (2012), section III.
    """
    check_filter("student_t", filter)
    # outside these bounds, terms of the likelihood cancel (above) or overflow in float32 (below)
    check_number("student_t: dof", dof, least=1e-3, most=1e8)
    return _reweighted("student_t", filter, _StudentT(dof), iterations)


@constructor
def huber(filter: Filter, threshold: float = 1.345, *, iterations: int = 5) -> Filter:
    """Use Huber's cost for observations: quadratic up to `threshold` sigmas, linear beyond.

    The mean minimises (x - m)' P^-1 (x - m) / 2 + sum_i rho(e_i), where e = L^-1 (y - h(x)),
    L L' = R, rho is Huber's cost, and h is linearised as the filter does. The minimum is found by
    iterated reweighting, with one weight per channel:

        w_i = min(1, threshold / |e_i|).

    Channels are those of the whitened observation; with a diagonal R they are the channels
    themselves. The log-likelihood is a lower bound of log p(y_t | y_1..t-1) for noise with a
    density proportional to exp(-rho).

    An update costs two updates of `filter` (only the innovation of the first is used), and
    covariances depend on the data. `rule` is forwarded. Unlike that of `student_t`, the cost is
    convex: no observation is ever dropped, and none can pull the mean by more than one of
    `threshold` sigmas would.

    Args:
        filter: filter whose Info has `innovation` and `innovation_cov`, and whose params hold one
            model.
        threshold: threshold in standard deviations, positive; 1.345 loses 5 % of efficiency on
            Gaussian noise.
        iterations: number of iterations of the weights, at least 1.

    Returns:
        A `Filter` with the params and state of `filter`. Info is that of `filter`, except for the
        log-likelihood. In `extra`, `weights` [m] are 1 for an ordinary channel, 0 for an unobserved
        one; `used_cov` [m, m] is the innovation covariance with R_w, from which the gain came.

    Raises:
        ValueError: if an argument is out of range; while tracing, if params hold several models,
            the model has its observation noise in the state, or Info has no innovation.

    References:
        C. D. Karlgaard, H. Schaub, Huber-based divided difference filtering, J. Guid. Control Dyn.
        30 (2007), section III.
    """
    check_filter("huber", filter)
    # outside these bounds, residuals in units of the threshold overflow in float32, or none exceeds
    # it
    check_number("huber: threshold", threshold, least=1e-6, most=1e12)
    return _reweighted("huber", filter, _Huber(threshold), iterations)


class _StudentT(NamedTuple):
    """Weights of Student-t noise."""

    dof: float

    def __call__(self, e: Array, v: Array, noisy: Array) -> tuple[Array, Array]:
        """Return 1 / w [m], and the term that makes log N(nu; 0, S_w) a lower bound."""
        # a residual of this size has weight zero to rounding, while its square times R is still
        # finite
        largest = float(jnp.finfo(e.dtype).max) ** 0.4
        m = jnp.sum(noisy, dtype=jnp.int32)
        dof = self.dof
        square = jnp.sum(jnp.clip(e, -largest, largest) ** 2 + v)
        inverse = (dof + square) / (dof + m.astype(e.dtype))
        # in terms of the square, since the terms of the weight cancel when dof is large
        quadratic = 0.5 * (square / inverse - dof * jnp.log1p(square / dof))
        correction = self._constants(e.shape[0], e.dtype)[m] + quadratic
        return jnp.full_like(e, inverse), correction

    def _constants(self, channels: int, dtype: DTypeLike) -> Array:
        """Return the normalising constants for m = 0, 1, ... observed channels.

        log Gamma((dof + m) / 2) - log Gamma(dof / 2) - m / 2 log((dof + m) / 2)
        """
        from scipy.special import gammaln  # slow to import

        m = np.arange(channels + 1)
        a = 0.5 * (self.dof + m)
        gammas = gammaln(a) - gammaln(a[0])
        return jnp.asarray(gammas - 0.5 * m * np.log(a), dtype)


class _Huber(NamedTuple):
    """Weights of Huber's cost."""

    threshold: float

    def __call__(self, e: Array, v: Array, noisy: Array) -> tuple[Array, Array]:
        """Return 1 / w [m], and the term that makes log N(nu; 0, S_w) a lower bound."""
        del v
        k = self.threshold
        inverse = jnp.maximum(jnp.abs(e), k) / k
        centre = math.erf(k / math.sqrt(2))
        tails = math.sqrt(2 / math.pi) * math.exp(-0.5 * k**2) / k
        normaliser = math.log(centre + tails)
        terms = 0.5 * jnp.log(inverse) - 0.5 * k**2 * (inverse - 1) - normaliser
        return inverse, jnp.sum(jnp.where(noisy, terms, 0))


Law: TypeAlias = _StudentT | _Huber


def _reweighted(who: str, filter: Filter, law: Law, iterations: int) -> Filter:
    """Return the filter with an update whose R is reweighted by a law of the whitened residuals."""
    check_count(f"{who}: iterations", iterations, most=LARGEST_LOOP)

    def update(
        params: Params, state: State, y: Observations, u: Inputs = None, observed: Mask = None
    ) -> tuple[State, Info]:
        model = single_model(who, params)
        check_added_noise(who, model, "R")
        _, nominal = filter.update(params, state, y, u, observed)
        if nominal.innovation is None or nominal.innovation_cov is None:
            raise ValueError(
                f"{who}: the filter reports no innovation with covariance; expected one that does."
                f" For several sensors, put {who} inside: sequential({who}(filter))."
            )
        R = model.observation_noise(state.mean, u)
        seen = jnp.diag(nominal.innovation_cov) > 0
        used = seen[:, None] & seen[None, :]
        unused = ~seen[:, None] & ~seen[None, :]
        L = linalg.cholesky(jnp.where(used, R, 0))
        belief = Gaussian(nominal.innovation, nominal.innovation_cov)
        inverse, correction = _weigh(law, belief, L, iterations)
        inflated = linalg.symmetric(linalg.weighted_gram(inverse, L.T, L.T))
        R = inflated + jnp.where(unused, R, 0)
        new, reweighted = filter.update(with_model(params, R=R), state, y, u, observed)
        weights = jnp.where(jnp.diag(L) > 0, 1 / inverse, 0)
        # scored as predicted by the plain filter, since the weights depend on y
        info = nominal._replace(extra=reweighted.extra)
        if reweighted.log_likelihood is not None:
            info = info._replace(log_likelihood=reweighted.log_likelihood + correction)
        return new, reported(info, weights=weights, used_cov=reweighted.innovation_cov)

    return filter._replace(update=update)


def _weigh(law: Law, innovation: Gaussian, L: Array, iterations: int) -> tuple[Array, Array]:
    """Return 1 / w [m] after iterating from 1, and the correction of the log-likelihood.

    L L' is R, with zeros in unobserved channels.
    """
    noisy = jnp.diag(L) > 0
    whitened = linalg.solve_lower(L, innovation.mean)
    S = linalg.solve_lower(L, linalg.solve_lower(L, innovation.cov).T)
    C = S - jnp.diag(noisy.astype(S.dtype))

    def improve(inverse: Array) -> tuple[Array, Array]:
        noise = jnp.where(noisy, inverse, 0)
        S_w = linalg.factorise(C + jnp.diag(noise))
        residual = noise * S_w.solve(whitened)
        variances = noise * jnp.diag(S_w.solve(C))
        return law(residual, variances, noisy)

    def iterate(_: Array, inverse: Array) -> Array:
        return improve(inverse)[0]

    start = jnp.ones_like(whitened)
    return improve(jax.lax.fori_loop(0, iterations - 1, iterate, start))
