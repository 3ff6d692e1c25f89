"""Noise covariances estimated from innovations while filtering, which stay semidefinite.

R is estimated by expectation maximisation. The noise v_t is jointly Gaussian with the innovation
nu, so that with a forgetting factor a, in observed channels,

    R <- a R + (1 - a) E[v v' | y],   E[v v' | y] = G nu nu' G' + R - G R',   G = R S^-1.

Q is estimated from the correction that the update makes, whose covariance is P^- - P if the filter
is consistent:

    Q <- L_Q (I + (1 - a) (z z' - Z)) L_Q',   z = L_P^-1 (m - m^-),   Z = L_P^-1 (P^- - P) L_P^-T,

with L_Q L_Q' = Q and L_P L_P' = P^-. Both stay positive semidefinite, since G R' <= R and Z <= I;
the usual estimate Q + z z' - Z without the factors does not. The state carries U in R = L U L',
where L L' is the R of the model, so that U = I stands for the model's own R.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_number
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
from kfjax.filters.combinators.composing import (
    acceptance,
    single_model,
    state_space_of,
    used_innovation,
)
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.lens import with_model
from kfjax.models.state_space import StateSpaceModel

__all__ = ["AdaptiveState", "adaptive"]

Noise = Array | Callable


class AdaptiveState(NamedTuple):
    """The state of a filter with adaptive noise.

    Attributes:
        inner: state of the filter.
        R_scale: U [m, m] in R = L U L', where L L' is the R of the model; None if R is not adapted.
        Q_scale: the same for Q, [n, n].
    """

    inner: State
    R_scale: Any
    Q_scale: Any

    @property
    def mean(self) -> Float[Array, "... n"]:
        """Mean of the belief [..., n]."""
        return self.inner.mean

    @property
    def cov(self) -> Float[Array, "... d d"]:
        """Covariance of the belief [..., n, n]."""
        return self.inner.cov


@constructor
def adaptive(filter: Filter, *, forgetting_R: float = 0.98, forgetting_Q: float = 1.0) -> Filter:
    """Estimate R or Q from the innovations while filtering, with exponential forgetting.

    R <- a R + (1 - a) E[v_t v_t' | y_1..t]. Q is scaled until corrections are as large as the
    filter expects. Both stay positive semidefinite, and remember about 1 / (1 - a) observations.
    Unobserved channels, rejected observations, and readings that are off by more than 5e7 standard
    deviations (in float32; 1e61 in float64) do not update the estimates: the noise of an unobserved
    channel changes only as far as it is correlated with that of an observed one, and Q only in
    directions that the data correct.

    Adapt only one of the two. The covariance of the innovations alone cannot distinguish an R that
    is too small from a Q that is too small; with both, the discrepancy is shared between them. The
    cost is a few m^3 operations (n^3 for Q), and covariances that depend on the data, so that under
    `jax.vmap` every trajectory computes its own. `rule` is forwarded if only R is adapted: with an
    adapted Q, a smoother would need the Q of every step.

    Args:
        filter: filter whose params hold one model and whose Info (for R) has `innovation` and
            `innovation_cov`. Around `sequential`, adapt Q only; inside it, all sensors share one
            factor U.
        forgetting_R: forgetting factor a of R, above 0 and at most 1; 1 leaves R as it is. The
            model's R must be an array.
        forgetting_Q: forgetting factor of Q, likewise.

    Returns:
        A `Filter` with the params of `filter` and an `AdaptiveState`, which holds the estimates:
        with L L' = model.R, the estimate of R is L R_scale L'.

    Raises:
        ValueError: if a factor is out of range; while tracing, if R is a function, params hold
            several models, the model has that noise in its state, or Info has no innovation.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(
        ...     jax.random.key(0), model.replace(R=25 * model.R), steps=500
        ... )
        >>> final, est = kf.run(kf.adaptive(kf.kalman()), model, ys)
        >>> bool(15 < final.R_scale[0, 0] < 40)
        True

    References:
        R. K. Mehra, Approaches to adaptive filtering, IEEE Trans. Automat. Contr. 17 (1972); S.
        Akhlaghi, N. Zhou, Z. Huang, Adaptive adjustment of noise covariance in Kalman filter, IEEE
        PES GM (2017), section III.
    """
    check_filter("adaptive", filter)
    check_number("adaptive: forgetting_R", forgetting_R, above=0, most=1)
    check_number("adaptive: forgetting_Q", forgetting_Q, above=0, most=1)
    learns_R = forgetting_R < 1
    learns_Q = forgetting_Q < 1

    def adapted(params: Params, state: AdaptiveState) -> Params:
        """Return params with the current noise estimates."""
        model = single_model("adaptive", params)
        changes = {}
        if learns_R:
            changes["R"] = _scaled(model.R, state.R_scale)
        if learns_Q:
            changes["Q"] = _scaled(model.Q, state.Q_scale)
        return with_model(params, **changes)

    def init(params: Params, key: Array | None = None) -> AdaptiveState:
        model = single_model("adaptive", params)
        check_added_noise("adaptive", model, "Q" * learns_Q + "R" * learns_R)
        R_scale = jnp.eye(_channels(model), dtype=model.dtype) if learns_R else None
        Q_scale = jnp.eye(model.n, dtype=model.dtype) if learns_Q else None
        return AdaptiveState(filter.init(params, key), R_scale, Q_scale)

    def predict(params: Params, state: AdaptiveState, u: Inputs = None) -> AdaptiveState:
        return state._replace(inner=filter.predict(adapted(params, state), state.inner, u))

    def update(
        params: Params,
        state: AdaptiveState,
        y: Observations,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[AdaptiveState, Info]:
        model = single_model("adaptive", params)
        before, R_scale, Q_scale = state
        after, info = filter.update(adapted(params, state), before, y, u, observed)
        if learns_R:
            R_scale = _learn_R(R_scale, model.R, _innovation(info), 1 - forgetting_R)
        if learns_Q:
            move = state_space_of(params).difference(after.mean, before.mean)
            correction = Gaussian(move, before.cov - after.cov)
            Q = model.process_noise(before.mean, u)
            learned = _learn_Q(Q_scale, Q, before.cov, correction, 1 - forgetting_Q)
            # a reset moves the belief too, but no observation was used
            Q_scale = jnp.where(acceptance(info) > 0, learned, Q_scale)
        return AdaptiveState(after, R_scale, Q_scale), info

    def recentre(params: Params, state: AdaptiveState, gaussian: Gaussian) -> AdaptiveState:
        return state._replace(inner=filter.recentre(params, state.inner, gaussian))

    rule = None if learns_Q else filter.rule
    return Filter(init, predict, update, filter.recentre and recentre, rule)


def _channels(model: StateSpaceModel) -> int:
    """Return m; raise if R is a function, whose size is unknown before there are inputs."""
    if model.R is None:
        raise ValueError(
            "adaptive: params have several sensors; expected one R to adapt. Adapt the R of each"
            " sensor by sequential(adaptive(filter)), or pass forgetting_R=1.0."
        )
    if callable(model.R):
        raise ValueError(
            "adaptive: R is a function of (x, u); expected an array. Pass one, or forgetting_R=1.0."
        )
    return model.R.shape[0]


def _scaled(noise: Noise, scale: Array) -> Noise:
    """Return L U L' where L L' is the noise; a function where the noise is one."""
    if callable(noise):
        return Partial(_scaled_at, noise, scale)
    return _scaled_now(noise, scale)


def _scaled_at(noise: Callable, scale: Array, x: Array, u: Inputs) -> Array:
    return _scaled_now(noise(x, u), scale)


def _scaled_now(noise: Array, scale: Array) -> Array:
    return linalg.symmetric(linalg.quadratic(linalg.cholesky(noise), scale))


def _innovation(info: Info) -> Gaussian:
    """Return the innovation as the update used it, or raise."""
    innovation = used_innovation(info)
    if innovation is None:
        raise ValueError(
            "adaptive: the filter reports no innovation with covariance; expected one that does,"
            " to adapt R."
        )
    return innovation


def _learn_R(U: Array, R: Array, innovation: Gaussian, rate: float | Array) -> Array:
    """Move U towards E[z z' | y] by rate, where v = L z."""
    L_U = linalg.matmul(linalg.cholesky(R), U)
    # rows and columns of unused channels are zero in S, and stay out of the solution
    G = linalg.factorise(innovation.cov).solve(L_U).T
    z, rate = _usable(linalg.matmul(G, innovation.mean), rate)
    change = jnp.outer(z, z) - linalg.matmul(G, L_U)
    return linalg.symmetric(U + rate * change)


def _usable(z: Array, rate: float | Array) -> tuple[Array, Array]:
    """Return z and the rate, or zeros where products that contain z z' overflow.

    Otherwise one absurd reading would stay in the estimate forever.
    """
    largest = float(jnp.finfo(z.dtype).max)
    usable = jnp.sum(z * z) < largest**0.4
    return jnp.where(usable, z, 0), jnp.where(usable, rate, 0).astype(z.dtype)


def _learn_Q(U: Array, Q: Array, P: Array, correction: Gaussian, rate: float | Array) -> Array:
    """Move U by rate towards the observed size of the corrections relative to the expected one."""
    L_P = linalg.cholesky(P)
    noisy = jnp.diag(linalg.cholesky(Q)) > 0
    z, rate = _usable(jnp.where(noisy, linalg.solve_lower(L_P, correction.mean), 0), rate)
    Z = linalg.solve_lower(L_P, linalg.solve_lower(L_P, correction.cov).T)
    surprise = jnp.outer(z, z) - jnp.where(noisy[:, None] & noisy[None, :], Z, 0)
    return linalg.symmetric(U + rate * linalg.quadratic(linalg.cholesky(U), surprise))
