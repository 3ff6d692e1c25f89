"""Forms of the ensemble update: perturbed observations, or a deterministic transform.

With anomalies X [N, n] of the members and Y [N, m] of their predicted observations, both divided by
sqrt(N - 1), Cov[x] = X' X, Cov[x, y] = X' Y and S = Y' Y + R. No [n, n] matrix is formed, and an
[m, m] matrix only if m <= N or with localisation. A form is a hashable value, called as `form(key,
X, Y, innovation, R, S, localisation)`; it returns the shift of the mean [n] and the anomalies [N,
n] after the update.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.precision import eps_of
from kfjax._support.types import Key
from kfjax.filters.ensembles.localisation import GaspariCohn
from kfjax.filters.noise_factors import coloured, log_determinant, unwhitened, whitened

__all__ = ["Perturbed", "Transform"]


class LowRank(NamedTuple):
    """S = Y' Y + R through I + Z Z' [N, N], Z = Y R^-1/2', with the interface of `Factored`.

    Attributes:
        Y: [N, m].
        R: [m, m], positive definite.
        Z: [N, m].
        root: (I + Z Z')^-1/2, [N, N].
        log_scale: log det (I + Z Z').
    """

    Y: Array
    R: Array
    Z: Array
    root: Array
    log_scale: Array

    @property
    def matrix(self) -> Array:
        """S [m, m]."""
        return linalg.matmul(self.Y.T, self.Y) + self.R

    def solve(self, b: Array) -> Array:
        """Return S^-1 b for b [m]."""
        # The matrix inversion lemma: S^-1 = R^-1/2' (I - Z' (I + Z Z')^-1 Z) R^-1/2 with Y' = R^1/2
        # Z', so that nothing larger than N x N is factored.
        white = whitened(self.R, b[None])
        weights = _member_weights(self.Z, self.root, white)
        left = white - linalg.matmul(weights, self.Z)
        return unwhitened(self.R, left)[0]

    def logdet(self) -> Array:
        """Return log det S."""
        return self.log_scale + log_determinant(self.R)


def divisible_noise(Y: Array, R: Array) -> Array:
    """Return R with rounding errors added to its diagonal, since it may be singular."""
    squares = jnp.sum(Y**2, axis=0)
    scale = squares + 2 * R.shape[0] * jnp.diag(R)
    return R + jnp.diag(eps_of(R) * scale)


def innovation_covariance(
    Y: Array, R: Array, localisation: GaspariCohn | None, hidden: Array | None = None
) -> linalg.Factored | LowRank:
    """Return S = Y' Y + R, factored as the smaller of [m, m] and [N, N]; tapered if localised.

    Variances up to `hidden` [m], if given, count as rounding errors.
    """
    N, m = Y.shape
    if localisation is not None:
        taper = jnp.asarray(localisation.observation_observation, Y.dtype)
        tapered = taper * linalg.matmul(Y.T, Y)
        return linalg.factorise(tapered + R, hidden)
    if m <= N:
        return linalg.factorise(linalg.matmul(Y.T, Y) + R, hidden)
    R = divisible_noise(Y, R)
    Z = whitened(R, Y)
    return LowRank(Y, R, Z, *inverse_root(linalg.matmul(Z, Z.T)))


def _member_weights(Z: Array, root: Array, white: Array) -> Array:
    """Return b Z' (I + Z Z')^-1 [k, N], the weights of anomalies for whitened rows b [k, m]."""
    weights = linalg.matmul(white, Z.T)
    return linalg.matmul(linalg.matmul(weights, root), root)


def _moves(X: Array, Y: Array, S: linalg.Factored | LowRank, rows: Array) -> Array:
    """Return the gain times each row, X' Y S^-1 b, for rows b [k, m]."""
    if isinstance(S, LowRank):
        weights = _member_weights(S.Z, S.root, whitened(S.R, rows))
    else:
        weights = linalg.matmul(S.solve(rows.T).T, Y.T)
    return linalg.matmul(weights, X)


@dataclasses.dataclass(frozen=True)
class Perturbed:
    """Update every member with its own perturbed observation (stochastic form).

    x_i + K (y + v_i - h(x_i)),  K = X' Y S^-1,  v_i ~ N(0, R),

    with the v_i centred, so that the mean moves by K (y - E[h]). With localisation the covariances
    in K are tapered.

    References:
        G. Burgers, P. J. van Leeuwen, G. Evensen, Analysis scheme in the ensemble Kalman filter,
        MWR 126 (1998).
    """

    def __call__(
        self,
        key: Key,
        X: Float[Array, "N d"],
        Y: Float[Array, "N m"],
        innovation: Float[Array, " m"],
        R: Float[Array, "m m"],
        S: Any,
        localisation: GaspariCohn | None,
    ) -> tuple[Float[Array, " d"], Float[Array, "N d"]]:
        """Return the shift of the mean and the new anomalies."""
        N = X.shape[0]
        noise = coloured(R, jax.random.normal(key, Y.shape, Y.dtype))
        # Every member moves by K (y + v_i - y_i) with its own v_i ~ N(0, R), without which the
        # spread would be too small (Burgers, van Leeuwen and Evensen, 1998). Centred draws leave
        # the mean to y alone: it moves by K (y - E[h]), without sampling error of the noise.
        centred = noise - noise.mean(axis=0, keepdims=True)
        noise = centred / jnp.sqrt(N - 1).astype(Y.dtype)
        rows = jnp.concatenate([innovation[None], noise - Y])
        if localisation is None:
            moves = _moves(X, Y, S, rows)
        else:
            taper = jnp.asarray(localisation.state_observation, Y.dtype)
            cross = taper * linalg.matmul(X.T, Y)
            moves = linalg.matmul(cross, S.solve(rows.T)).T
        return moves[0], X + moves[1:]


@dataclasses.dataclass(frozen=True)
class Transform:
    """Update the mean with y and the anomalies by a transform: T' X, T T' = I - Y S^-1 Y'.

    Nothing is drawn, so small ensembles do better than with perturbations. With m <= N, T = I - Y
    S^-1/2' (S^1/2 + R^1/2)^-1 Y' by Cholesky factors; otherwise it is the symmetric square root.
    With localisation, every component of the state has its own analysis with the channels in reach,
    whose precision is tapered by distance, at a cost of N^3 n. An R that is not diagonal is
    whitened first, which mixes each channel with those before it.

    References:
        C. H. Bishop, B. J. Etherton, S. J. Majumdar, Adaptive sampling with the ensemble transform
        Kalman filter, MWR 129 (2001); B. R. Hunt, E. J. Kostelich, I. Szunyogh, Efficient data
        assimilation for spatiotemporal chaos: a local ensemble transform Kalman filter, Physica D
        230 (2007); A. Andrews, A square root formulation of the Kalman covariance equations, AIAA
        J. 6 (1968).
    """

    def __call__(
        self,
        key: Key,
        X: Float[Array, "N d"],
        Y: Float[Array, "N m"],
        innovation: Float[Array, " m"],
        R: Float[Array, "m m"],
        S: Any,
        localisation: GaspariCohn | None,
    ) -> tuple[Float[Array, " d"], Float[Array, "N d"]]:
        """Return the shift of the mean and the new anomalies."""
        del key
        if localisation is None:
            return _transformed(X, Y, innovation, R, S)

        R = divisible_noise(Y, R)
        Z = whitened(R, Y)
        d = whitened(R, innovation[None])[0]

        def local(column: Array, near: Any, weight: Array) -> tuple[Array, Array]:
            Z_near = Z[:, near] * weight[None, :]
            root, _ = inverse_root(linalg.matmul(Z_near, Z_near.T))
            weights = _member_weights(Z_near, root, (d[near] * weight)[None])[0]
            return jnp.sum(weights * column), linalg.matmul(root, column)

        # The weights go into R^-1/2, which lets the noise of far channels grow instead of tapering
        # a covariance: each component has its own small problem (Hunt, Kostelich and Szunyogh,
        # 2007).
        near, taper = localisation.neighbours
        root = jnp.sqrt(jnp.asarray(taper, Z.dtype))
        shift, anomalies = jax.vmap(local)(X.T, near, root)
        return shift, anomalies.T


def _transformed(
    X: Array, Y: Array, innovation: Array, R: Array, S: linalg.Factored | LowRank
) -> tuple[Array, Array]:
    """Return the shift of the mean and the transformed anomalies."""
    shift = _moves(X, Y, S, innovation[None])[0]
    if isinstance(S, LowRank):
        # The symmetric root, not any T with T T' = (I + Z Z')^-1: since anomalies sum to zero, Z' 1
        # = 0 and T 1 = 1, so that the new ones also sum to zero (Wang, Bishop and Julier, 2004).
        return shift, linalg.matmul(S.root, X)
    # The anomalies (in columns) move by the reduced gain P H' S^-1/2' (S^1/2 + R^1/2)^-1 instead of
    # the gain (Andrews, 1968; Whitaker and Hamill, 2002), which gives the covariance of the Kalman
    # filter exactly, without drawn noise.
    factor = S.lower + linalg.cholesky(R)
    white = linalg.solve_lower(S.lower, linalg.matmul(Y.T, X))
    moves = linalg.solve_lower(factor, white, transpose=True)
    return shift, X - linalg.matmul(Y, moves)


@jax.custom_jvp
def inverse_root(A: Array) -> tuple[Array, Array]:
    """Return (I + A)^-1/2, symmetric, and log det (I + A) for a positive semidefinite A [N, N]."""
    V, s = _spectrum(A)
    root = linalg.matmul(V / s[None, :], V.T)
    return root, 2 * jnp.sum(jnp.log(s))


@inverse_root.defjvp
def _inverse_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    """Use divided differences, which stay finite where eigenvalues coincide."""
    V, s = _spectrum(primals[0])
    dA = linalg.symmetric(tangents[0])
    inner = linalg.matmul(V.T, linalg.matmul(dA, V))
    log_det = jnp.sum(jnp.diag(inner) / s**2)
    # df(A) = V (D * (V' dA V)) V' with the divided differences D of f (Daleckii and Krein). For
    # f(s^2) = 1 / s they are
    #
    #     (1 / s_i - 1 / s_j) / (s_i^2 - s_j^2) = -1 / (s_i s_j (s_i + s_j)),
    #
    # which is finite also where i = j. The derivative of `eigh` divides by s_i^2 - s_j^2 itself,
    # and is NaN for equal eigenvalues, of which an ensemble with N > m has at least N - m.
    s_i = s[:, None]
    s_j = s[None, :]
    inner = -inner / (s_i * s_j * (s_i + s_j))
    tangent = linalg.matmul(V, linalg.matmul(inner, V.T))
    return inverse_root(*primals), (tangent, log_det)


def _spectrum(A: Array) -> tuple[Array, Array]:
    """Return the eigenvectors of I + A, and the roots of its eigenvalues."""
    values, V = jnp.linalg.eigh(A)
    # with precise sensors, rounding makes some eigenvalues negative
    return V, jnp.sqrt(1 + jnp.maximum(values, 0))
