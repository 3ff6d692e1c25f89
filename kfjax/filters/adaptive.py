"""Noise covariances that are estimated while filtering, from what the update says about the noise that has occurred.

Given y_t, the noises have posterior moments, since v and w are jointly Gaussian with nu and with x_t:

    E[v v'] = v_hat v_hat' + R - G R',   v_hat = G nu,            G = R S^-1  (columns of observed channels)
    E[w w'] = w_hat w_hat' + Q - A D A', w_hat = A (m - m^-),     A = Q (P^-)^-1,  D = P^- - P

and R <- a R + (1 - a) E[v v'] with a forgetting factor a, likewise Q: expectation maximisation, step by step. Both stay
positive semidefinite, as G R' <= R and A D A' <= Q, unlike the differences of covariances of other adaptive filters.
They are carried as R = L U L' with L L' the R of the model, so that U = I is the model's own noise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from kfjax import linalg
from kfjax.base import Filter, Gaussian, Info, constructor
from kfjax.filters.composing import need_filter, single_model, state_space_of
from kfjax.models import StateSpaceModel, with_model

__all__ = ["Adaptive", "adaptive"]


class Adaptive(NamedTuple):
    """The state of a filter with adaptive noise.

    Attributes:
        inner: the state of the filter.
        R_scale: U [m, m] with R = L U L', L L' the R of the model; None if R is not adapted.
        Q_scale: likewise [n, n] for Q.
    """

    inner: Any
    R_scale: Array | None
    Q_scale: Array | None

    @property
    def mean(self) -> Array:
        """The mean of the belief [..., n]."""
        return self.inner.mean

    @property
    def cov(self) -> Array:
        """Its covariance [..., n, n]."""
        return self.inner.cov


@constructor
def adaptive(filter: Filter, *, forgetting_R: float = 0.98, forgetting_Q: float = 1.0) -> Filter:
    """Estimate R, and if asked Q, while filtering, by forgetting expectation maximisation on the innovations.

    R <- a R + (1 - a) E[v_t v_t' | y_1..t], and likewise Q with E[w_t w_t' | y_1..t]; both stay positive semidefinite.
    About 1 / (1 - a) observations are remembered. Unobserved channels and rejected observations teach nothing: an
    unobserved channel changes only as far as its noise is correlated with that of an observed one.

    R is told apart from Q well where several observations see the same state; adapting both needs long memories.
    It costs a few m^3 (n^3 for Q), and covariances that depend on the data, so that under `jax.vmap` every trajectory
    has its own. `rule` is forwarded if only R is adapted: a smoother has to know the Q of every step.

    Args:
        filter: a filter whose Info has `innovation` and `innovation_cov` (for R), whose params hold one model; around
            `sequential` adapt Q only, inside it all sensors share one factor U.
        forgetting_R: a for R, above 0 and at most 1; 1 is not to adapt it. The model's R must be an array.
        forgetting_Q: a for Q, likewise.

    Returns:
        A `Filter` with the params of `filter` and an `Adaptive` state, in which the estimates live: with
        L L' = model.R, R is L R_scale L'.

    Raises:
        ValueError: if a factor is out of range; while tracing, if R is a function, params hold several models, or Info
            has no innovation.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model.replace(R=25 * model.R), steps=500)
        >>> final, est = kf.run(kf.filters.adaptive(kf.kalman()), model, ys)
        >>> bool(15 < final.R_scale[0, 0] < 40)
        True

    References:
        R. K. Mehra, Approaches to adaptive filtering, IEEE Trans. Automat. Contr. 17 (1972); S. Akhlaghi, N. Zhou,
        Z. Huang, Adaptive adjustment of noise covariance in Kalman filter, IEEE PES GM (2017), eq. (14), (15).
    """
    need_filter("adaptive", filter)
    if not 0 < forgetting_R <= 1 or not 0 < forgetting_Q <= 1:
        raise ValueError(f"adaptive: got factors {forgetting_R} and {forgetting_Q}; expected above 0, at most 1.")
    learns_R, learns_Q = forgetting_R < 1, forgetting_Q < 1

    def adapted(params: Any, state: Adaptive) -> Any:
        """Return params with the noise of the moment."""
        model = single_model("adaptive", params)
        changes = {"R": _scaled(model.R, state.R_scale)} if learns_R else {}
        return with_model(params, **changes, **({"Q": _scaled(model.Q, state.Q_scale)} if learns_Q else {}))

    def init(params: Any, key: Array | None = None) -> Adaptive:
        model = single_model("adaptive", params)
        R_scale = jnp.eye(_channels(model), dtype=model.dtype) if learns_R else None
        return Adaptive(filter.init(params, key), R_scale, jnp.eye(model.n, dtype=model.dtype) if learns_Q else None)

    def predict(params: Any, state: Adaptive, u: Any = None) -> Adaptive:
        return state._replace(inner=filter.predict(adapted(params, state), state.inner, u))

    def update(params: Any, state: Adaptive, y: Any, u: Any = None, observed: Any = None) -> tuple[Adaptive, Info]:
        model, (before, R_scale, Q_scale) = single_model("adaptive", params), state
        after, info = filter.update(adapted(params, state), before, y, u, observed)
        if learns_R:
            R_scale = _learn_R(R_scale, model.R, info, 1 - forgetting_R)
        if learns_Q:
            moved = Gaussian(state_space_of(params).difference(after.mean, before.mean), after.cov - before.cov)
            Q_scale = _learn_Q(Q_scale, model.process_noise(before.mean, u), before.cov, moved, 1 - forgetting_Q)
        return Adaptive(after, R_scale, Q_scale), info

    def recentre(params: Any, state: Adaptive, gaussian: Gaussian) -> Adaptive:
        return state._replace(inner=filter.recentre(params, state.inner, gaussian))

    return Filter(init, predict, update, filter.recentre and recentre, None if learns_Q else filter.rule)


def _channels(model: StateSpaceModel) -> int:
    """Return m, or raise: of a function it is not known before there are inputs."""
    if callable(model.R):
        raise ValueError("adaptive: R is a function of (x, u); expected an array to adapt. Or pass forgetting_R=1.0.")
    return model.R.shape[0]


def _scaled(noise: Any, scale: Array) -> Any:
    """Return L U L' with L L' the noise; a function where the noise is one."""
    return Partial(_scaled_at, noise, scale) if callable(noise) else _scaled_now(noise, scale)


def _scaled_at(noise: Any, scale: Array, x: Array, u: Any) -> Array:
    return _scaled_now(noise(x, u), scale)


def _scaled_now(noise: Array, scale: Array) -> Array:
    return linalg.symmetric(linalg.quadratic(linalg.cholesky(noise), scale))


def _learn_R(U: Array, R: Array, info: Info, rate: float) -> Array:
    """Move U towards E[z z' | y] by rate, where v = L z."""
    if info.innovation is None or info.innovation_cov is None:
        raise ValueError("adaptive: the filter reports no innovation with covariance; expected one that does, for R.")
    L_U = linalg.matmul(linalg.cholesky(R), U)
    # rows and columns of unobserved channels are zero in S, and stay out of the solution
    G = linalg.factorise(info.innovation_cov).solve(L_U).T
    z = linalg.matmul(G, info.innovation)
    return linalg.symmetric(U + rate * (jnp.outer(z, z) - linalg.matmul(G, L_U)))


def _learn_Q(U: Array, Q: Array, P: Array, moved: Gaussian, rate: float) -> Array:
    """Move U towards E[z z' | y] by rate, where w = L z, and the update moved the belief of covariance P."""
    A = linalg.factorise(P).solve(linalg.matmul(linalg.cholesky(Q), U)).T
    z = linalg.matmul(A, moved.mean)
    return linalg.symmetric(U + rate * (jnp.outer(z, z) + linalg.quadratic(A, moved.cov)))
