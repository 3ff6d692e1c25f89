"""Updates that outliers cannot spoil: the noise of suspicious channels is inflated, R = L diag(1 / w) L', L L' = R.

The weights w come from the residual of the whitened observation L^-1 y *after* the update, which
depends on them in turn: a few fixed-point iterations, all of them on m x m matrices from one Info.
With nu, S the innovation and its covariance, both whitened by L (L L' = R), and S_w = S - I +
diag(1 / w):

    residual e = diag(1 / w) S_w^-1 nu,  its posterior variances v = diag(diag(1 / w) S_w^-1 (S -
    I)).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax.base import Filter, Info, constructor
from kfjax.filters.checks import check_filter
from kfjax.filters.combinators.composing import reported, single_model
from kfjax.models.lens import with_model

__all__ = ["huber", "student_t"]


@constructor
def student_t(filter: Filter, dof: float = 4.0, *, iterations: int = 5) -> Filter:
    """Student-t observation noise: outliers count the less the larger they are. One weight for the whole observation.

    y | x, w ~ N(h(x), R / w),  w ~ Gamma(dof / 2, dof / 2), solved by variational Bayes: with m
    observed channels

        w = (dof + m) / (dof + E[(y - h(x))' R^-1 (y - h(x))]),

    the expectation under the posterior with noise R / w, iterated from w = 1. The log-likelihood is
    the variational lower bound of log p(y_t | y_1..t-1), tight for large dof.

    It costs two updates of `filter` for one (of the first only the innovation), and covariances
    that depend on the data. `rule` is forwarded. For a weight per sensor:
    `sequential(student_t(filter))`.

    Args:
        filter: a filter whose Info has `innovation` and `innovation_cov`, whose params hold one
            model.
        dof: degrees of freedom, positive: 3 to 10 for outliers, infinity would be the filter
            itself.
        iterations: of the weight, at least 1.

    Returns:
        A `Filter` with the params and state of `filter`; its Info is that of the update with R / w,
        with `weights` [m] in `extra`: 1 is an ordinary observation, 0 an infinite outlier; 0 too in
        unobserved channels.

    Raises:
        ValueError: if an argument is out of range; while tracing, if params hold several models, or
            Info no innovation.

    Example:
        >>> robust, model = kf.student_t(kf.kalman(), 4.0), kf.systems.constant_velocity()
        >>> state, info = kf.step(robust, model, robust.init(model), jnp.array([1e3]))
        >>> bool(info.extra["weights"][0] < 1e-3)
        True

    References:
        G. Agamennoni, J. Nieto, E. Nebot, Approximate inference in state-space models with
        heavy-tailed noise, IEEE Trans. Signal Process. 60 (2012), section III.
    """
    check_filter("student_t", filter)
    if not 0 < dof < math.inf:
        raise ValueError(
            f"student_t: dof is {dof}; expected a positive number. Without outliers, leave it out."
        )
    return _reweighted("student_t", filter, _StudentT(dof), iterations)


@constructor
def huber(filter: Filter, threshold: float = 1.345, *, iterations: int = 5) -> Filter:
    """Huber's cost for the observations: quadratic up to `threshold` sigmas, linear beyond. One weight per channel.

    The mean minimises (x - m)' P^-1 (x - m) / 2 + sum_i rho(e_i) with e = L^-1 (y - h(x)), L L' =
    R, rho Huber's cost, h linearised as the filter does it, by iterated reweighting

        w_i = min(1, threshold / |e_i|).

    Channels are those of the whitened observation: with a diagonal R the channels themselves. The
    log-likelihood is a lower bound of log p(y_t | y_1..t-1) for noise of density proportional to
    exp(-rho).

    It costs two updates of `filter` for one (of the first only the innovation), and covariances
    that depend on the data. `rule` is forwarded. Unlike `student_t` its cost is convex: no
    observation is ever dropped, and none can pull the mean by more than `threshold` sigmas would.

    Args:
        filter: a filter whose Info has `innovation` and `innovation_cov`, whose params hold one
            model.
        threshold: in standard deviations, positive; 1.345 loses 5 % of efficiency on Gaussian
            noise.
        iterations: of the weights, at least 1.

    Returns:
        A `Filter` with the params and state of `filter`; its Info is that of the reweighted update,
        with `weights` [m] in `extra`: 1 is an ordinary channel; 0 an unobserved one.

    Raises:
        ValueError: if an argument is out of range; while tracing, if params hold several models, or
            Info no innovation.

    References:
        C. D. Karlgaard, H. Schaub, Huber-based divided difference filtering, J. Guid. Control Dyn.
        30 (2007), section III.
    """
    check_filter("huber", filter)
    if not 0 < threshold < math.inf:
        raise ValueError(
            f"huber: threshold is {threshold}; expected a positive number. Without outliers, leave"
            " it out."
        )
    return _reweighted("huber", filter, _Huber(threshold), iterations)


class _StudentT(NamedTuple):
    """Weights of Student-t noise."""

    dof: float

    def __call__(self, e: Array, v: Array, noisy: Array) -> tuple[Array, Array]:
        """Return 1 / w [m], and what makes log N(nu; 0, S_w) a bound of the log-likelihood."""
        largest = (
            float(jnp.finfo(e.dtype).max) ** 0.4
        )  # its weight is zero to rounding; its square, times R, a number
        m, dof = jnp.sum(noisy), self.dof
        square = jnp.sum(jnp.clip(e, -largest, largest) ** 2 + v)
        inverse = (dof + square) / (dof + m)
        # in terms of the square, not of the weight: with many degrees of freedom the terms would
        # cancel
        correction = self._constants(e.shape[0], e.dtype)[m] + 0.5 * (
            square / inverse - dof * jnp.log1p(square / dof)
        )
        return jnp.full_like(e, inverse), correction

    def _constants(self, channels: int, dtype: Any) -> Array:
        """Return log Gamma((dof + m) / 2) - log Gamma(dof / 2) - m / 2 log((dof + m) / 2) for m = 0, 1, ..."""
        from scipy.special import gammaln  # slow to import

        m = np.arange(channels + 1)
        a = 0.5 * (self.dof + m)
        return jnp.asarray(gammaln(a) - gammaln(a[0]) - 0.5 * m * np.log(a), dtype)


class _Huber(NamedTuple):
    """Weights of Huber's cost."""

    threshold: float

    def __call__(self, e: Array, v: Array, noisy: Array) -> tuple[Array, Array]:
        """Return 1 / w [m], and what makes log N(nu; 0, S_w) a bound of the log-likelihood."""
        del v
        k = self.threshold
        inverse = jnp.maximum(jnp.abs(e), k) / k
        normaliser = math.log(
            math.erf(k / math.sqrt(2)) + math.sqrt(2 / math.pi) * math.exp(-0.5 * k**2) / k
        )
        terms = 0.5 * jnp.log(inverse) - 0.5 * k**2 * (inverse - 1) - normaliser
        return inverse, jnp.sum(jnp.where(noisy, terms, 0))


def _reweighted(who: str, filter: Filter, law: Any, iterations: int) -> Filter:
    """Return the filter with an update whose R is reweighted by a law of the whitened residuals."""
    if iterations < 1:
        raise ValueError(f"{who}: iterations is {iterations}; expected at least 1.")

    def update(
        params: Any, state: Any, y: Array, u: Any = None, observed: Any = None
    ) -> tuple[Any, Info]:
        model = single_model(who, params)
        nominal = filter.update(params, state, y, u, observed)[1]
        if nominal.innovation is None or nominal.innovation_cov is None:
            raise ValueError(
                f"{who}: the filter reports no innovation with covariance; expected one that does."
                " For several sensors,"
                f" put {who} inside: sequential({who}(filter))."
            )
        R, seen = model.observation_noise(state.mean, u), jnp.diag(nominal.innovation_cov) > 0
        used, unused = seen[:, None] & seen[None, :], ~seen[:, None] & ~seen[None, :]
        L = linalg.cholesky(jnp.where(used, R, 0))
        inverse, correction = _weigh(law, nominal, L, iterations)
        R = linalg.symmetric(linalg.weighted_gram(inverse, L.T, L.T)) + jnp.where(unused, R, 0)
        new, info = filter.update(with_model(params, R=R), state, y, u, observed)
        if info.log_likelihood is not None:
            info = info._replace(log_likelihood=info.log_likelihood + correction)
        return new, reported(info, weights=jnp.where(jnp.diag(L) > 0, 1 / inverse, 0))

    return filter._replace(update=update)


def _weigh(law: Any, info: Any, L: Array, iterations: int) -> tuple[Array, Array]:
    """Return 1 / w [m] after some iterations from 1, and the correction; L L' is R, zero in unobserved channels."""
    noisy = jnp.diag(L) > 0
    whitened = linalg.solve_lower(L, info.innovation)
    S = linalg.solve_lower(L, linalg.solve_lower(L, info.innovation_cov).T)
    C = S - jnp.diag(noisy.astype(S.dtype))

    def improve(inverse: Array) -> tuple[Array, Array]:
        noise = jnp.where(noisy, inverse, 0)
        S_w = linalg.factorise(C + jnp.diag(noise))
        return law(noise * S_w.solve(whitened), noise * jnp.diag(S_w.solve(C)), noisy)

    return improve(
        jax.lax.fori_loop(0, iterations - 1, lambda _, w: improve(w)[0], jnp.ones_like(whitened))
    )
