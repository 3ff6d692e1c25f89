"""Beliefs of which some directions are exactly diffuse: N(m, P + k A A') for k to infinity.

An observation y = H x + v sees the diffuse part through E = H A. Channels whose rows of E are
linearly independent determine as many diffuse directions; of every other channel, a combination
with these has no diffuse part and is an ordinary observation. With the lower triangular C of
E = C W, W W' = I on the rows of the former channels (the columns of C with a zero pivot are zero),
and with zero in place of the inverse of a zero pivot in C^-1,

    K_0 = A W' C^-1,    T = I - C C^-1,    A <- A (I - W' W),

where K_0 determines the diffuse directions, and T y are the ordinary observations. Of all gains K =
K_0 + K_1 T, with K_1 from the covariances of x - K_0 y and T y, the posterior covariance is the
usual (I - K H) P (I - K H)' + K R K', and the diffuse part of the likelihood is -log det(C C') / 2
over the channels with a pivot. Without a diffuse part K_0 = 0 and T = I, which is
the ordinary update.

References: J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
chapter 5, whose recursions for one channel these are; C. F. Ansley, R. Kohn, Estimation, filtering
and smoothing in state space models with incompletely specified initial conditions, Ann. Statist. 13
(1985).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.precision import eps_of
from kfjax.base import Gaussian
from kfjax.filters.square_root_form import (
    SquareRootGaussian,
    conditional_factors,
    covariance_factor,
    hidden_variances_of,
)
from kfjax.linalg.sparse import Sparse, full, product
from kfjax.moments.linearisation import affine_moments
from kfjax.moments.results import Moments
from kfjax.moments.rounding import summed_variances, without_rounding

__all__ = ["DiffuseState"]

# how many times n eps, relative to its terms, what is zero may be off after some steps
ROUNDING = 16.0


class DiffuseState(NamedTuple):
    """A belief with a diffuse part, N(mean, cov + k A A') for k to infinity.

    Attributes:
        belief: the belief without its diffuse part, a `Gaussian` or a `SquareRootGaussian`.
        loading: how d diffuse directions at the start load on the states now, [..., n, d].
        undetermined: the projection [..., d, d] onto the directions that observations have not yet
            determined.
    """

    belief: Any
    loading: Float[Array, "... n d"]
    undetermined: Float[Array, "... d d"]

    @property
    def diffuse(self) -> Float[Array, "... n d"]:
        """A [..., n, d]; zero once the observations have determined every direction."""
        of_one = jnp.vectorize(_still_open, signature="(n,d),(d,d)->(n,d)")
        return of_one(self.loading, self.undetermined)

    @property
    def mean(self) -> Float[Array, "... n"]:
        """The mean [..., n]; it says nothing along the columns of A."""
        return self.belief.mean

    @property
    def cov(self) -> Float[Array, "... n n"]:
        """The covariance [..., n, n] without its diffuse part."""
        return self.belief.cov


def proper(belief: Any) -> Any:
    """Return a belief without its diffuse part."""
    return belief.belief if isinstance(belief, DiffuseState) else belief


def belief_with_start(state: Any) -> Gaussian | DiffuseState:
    """Return the Gaussian belief of a state, with the diffuse part if it has one."""
    belief = Gaussian(state.mean, state.cov)
    return state._replace(belief=belief) if isinstance(state, DiffuseState) else belief


class Determined(NamedTuple):
    """The diffuse directions that an observation determines.

    Attributes:
        gain: K_0 [n, m].
        ordinary: T [m, m]; a row of zeros for a channel that determines a direction.
        used: which channels determine a direction, [m] booleans.
        rest: the projection [d, d] onto the directions that are still not determined.
        logdet: log det(C C') of the channels used.
    """

    gain: Array
    ordinary: Array
    used: Array
    rest: Array
    logdet: Array


class Conditional(NamedTuple):
    """The distribution of x given y = H x + v, for x ~ N(m, P + k A A').

    Attributes:
        gain: K [n, m].
        covariance: of x - K y [n, n], or its factor in square-root form.
        determined: what y says about the diffuse directions.
        S: the covariance of T y, factored; an identity in the channels used.
        noise: the covariance of T v, with an identity in the channels used.
        size: the size [m] of the terms of the ordinary observations that are predicted.
    """

    gain: Array
    covariance: Array
    determined: Determined
    S: linalg.Factored
    noise: Array
    size: Array


def determine(H: Any, loading: Array, undetermined: Array) -> Determined:
    """Return what channels with the rows H [m, n] say about the diffuse directions."""
    # The loading is moved by the model alone, and only the projection knows of observations:
    # taken off the loading itself, directions would leave rounding errors that later steps could
    # not tell from directions that are nearly determined.
    m = H.shape[0]
    E = _open_rows(H, loading, undetermined)
    identity = jnp.eye(m, dtype=E.dtype)
    C = linalg.triangularise(E, rounding=ROUNDING)
    inverse = linalg.solve_lower(C, identity)
    # E = C W with orthonormal rows W: the directions that y determines, in the coordinates of A's
    # columns.
    W = linalg.matmul(inverse, E)
    if m > 1:  # a second pass makes the rows of W orthonormal to rounding
        again = linalg.triangularise(W, rounding=ROUNDING)
        inverse = linalg.solve_lower(again, identity)
        W = linalg.matmul(inverse, W)
        C = linalg.matmul(C, again)
        inverse = linalg.solve_lower(C, identity)
    used = linalg.diagonal(C) > 0
    ordinary = identity - linalg.matmul(C, inverse)
    ordinary = jnp.where(used[:, None], 0, ordinary)
    rest = undetermined - linalg.matmul(W.T, W)
    rest = linalg.symmetric(rest)
    on_directions = linalg.matmul(loading, W.T)
    gain = linalg.matmul(on_directions, inverse)
    logdet = linalg.logdet(C)
    return Determined(gain, ordinary, used, rest, logdet)


def _open_rows(H: Any, loading: Array, undetermined: Array) -> Array:
    """Return H A, with zero for rows that are rounding errors of terms that cancelled."""
    seen = product(H, loading)
    seen = linalg.matmul(seen, undetermined)
    # The second projection makes what is left orthogonal, to rounding of itself, to what is
    # determined.
    seen = linalg.matmul(seen, undetermined)
    terms = product(abs(H), _norms(loading))
    rounding = ROUNDING * H.shape[-1] * eps_of(seen)
    # Whole rows decide, not entries, since the basis of the directions is arbitrary.
    is_rounding = _norms(seen) < rounding * terms
    return jnp.where(is_rounding[:, None], 0, seen)


def _still_open(loading: Array, undetermined: Array) -> Array:
    """Return A [n, d]."""
    identity = jnp.eye(loading.shape[0], dtype=loading.dtype)
    return _open_rows(identity, loading, undetermined)


def _norms(A: Array) -> Array:
    """Return the lengths of the rows."""
    A = jax.lax.stop_gradient(A)
    squares = jnp.sum(A**2, axis=1)
    return jnp.sqrt(squares)


def condition(
    state: DiffuseState, y_hat: Array, H: Any, R: Array, *, noise_free: bool
) -> Conditional:
    """Return the distribution of x given y = y_hat + H (x - m) + v, v ~ N(0, R).

    H may be `Sparse`.
    """
    belief = state.belief
    determined = determine(H, state.loading, state.undetermined)
    if isinstance(belief, SquareRootGaussian):
        return _in_factors(belief, determined, y_hat, full(H), R, noise_free)
    K_0 = determined.gain
    T = determined.ordinary
    identity = jnp.diag(determined.used.astype(R.dtype))
    # The limit k to infinity splits the update in two. Of y, the channels `used` determine as many
    # diffuse directions by K_0 y, whatever P is; T y, with T H A = 0, has no diffuse part, and
    # updates x - K_0 y by ordinary regression:
    #
    #     S = T (H P H' + R) T',   K_1 = (P H' - K_0 (H P H' + R)) T' S^-1,   K = K_0 + K_1 T.
    #
    # Channels used have zero rows in T; the identity added to S keeps it regular there. The
    # covariance is the Joseph form for K, which is right for any gain. This is the exact initial
    # Kalman filter (Koopman, 1997; Durbin and Koopman, 2012, section 5.2), for any rank of H A.
    plain = affine_moments(y_hat, H, belief)
    Ty = linalg.matmul(T, y_hat)
    TH = _weighted(T, H)
    ordinary = affine_moments(Ty, TH, belief)
    noise = linalg.quadratic(T, R) + identity
    cov_of_y = plain.cov + R
    S = _factorised(ordinary, cov_of_y, noise, determined, noise_free)
    of_K_0 = linalg.matmul(K_0, cov_of_y)
    shared = linalg.matmul(of_K_0, T.T)
    cross = ordinary.cross - shared
    K_1 = S.solve(cross.T).T
    K = K_0 + linalg.matmul(K_1, T)
    cov = plain.posterior_cov(belief.cov, K, R, noise_free=noise_free, given=K_0)
    return Conditional(K, cov, determined, S, noise, ordinary.size())


def _weighted(T: Array, H: Any) -> Any:
    """Return T H; sparse if it has the pattern of H."""
    if isinstance(H, Sparse) and len(T) == 1:
        return Sparse(T * H.matrix, H.pattern.unknown())
    return linalg.matmul(T, full(H))


def _factorised(
    ordinary: Moments, S: Array, noise: Array, determined: Determined, noise_free: bool
) -> linalg.Factored:
    """Return the covariance of T y, factored; S is that of y."""
    factored = ordinary.factorised(noise, noise_free=noise_free)
    m = S.shape[0]
    if m == 1:  # nothing was subtracted
        return factored
    # a variance is zero up to the rounding of what was subtracted
    T = determined.ordinary
    terms = summed_variances(T, linalg.diagonal(S))
    weights = jnp.sum(jnp.abs(T), axis=1)
    mixed = ~determined.used & (weights > 1)
    rounding = 8 * m * eps_of(S) * terms
    hidden = jnp.where(mixed, rounding, 0)
    if factored.hidden is not None:
        return linalg.factorise(factored.matrix, jnp.maximum(hidden, factored.hidden))
    return linalg.factorise(factored.matrix, hidden)._replace(hidden=None)


def _in_factors(
    belief: SquareRootGaussian,
    determined: Determined,
    y_hat: Array,
    H: Array,
    R: Array,
    noise_free: bool,
) -> Conditional:
    """Return the same, computed from a factor of P and returned as factors."""
    L = belief.cholesky
    T = determined.ordinary
    K_0 = determined.gain
    identity = jnp.diag(determined.used.astype(R.dtype))
    root = covariance_factor(R, noise_free=noise_free)
    # deviations of (T y, x - K_0 y) by x, by the noise, and by the channels used
    rest = jnp.eye(L.shape[0], dtype=L.dtype) - linalg.matmul(K_0, H)
    seen = without_rounding(H, L)
    of_y = [
        without_rounding(T, seen),
        without_rounding(T, root),
        identity,
    ]
    of_x = [
        linalg.matmul(rest, L),
        -linalg.matmul(K_0, root),
        jnp.zeros_like(K_0),
    ]
    dy = jnp.concatenate(of_y, axis=1)
    dx = jnp.concatenate(of_x, axis=1)
    S_root, G, factor = conditional_factors(dx, dy, dy[:, :0], noise_free=noise_free)
    K = linalg.solve_lower(S_root, G.T, transpose=True).T
    S_cov = linalg.symmetric(linalg.matmul(S_root, S_root.T))
    hidden = hidden_variances_of(S_cov, L.shape[0]) if noise_free else None
    noise = linalg.quadratic(T, R) + identity
    Ty = linalg.matmul(T, y_hat)
    TH = linalg.matmul(T, H)
    of_mean = linalg.matmul(jnp.abs(TH), jnp.abs(belief.mean))
    size = jnp.abs(Ty) + of_mean
    return Conditional(
        K_0 + linalg.matmul(K, T),
        factor,
        determined,
        linalg.Factored(S_cov, S_root, hidden),
        noise,
        jax.lax.stop_gradient(size),
    )
