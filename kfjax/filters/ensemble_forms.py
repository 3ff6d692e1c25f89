"""How an ensemble uses an observation: perturbed observations, or a deterministic transform.

With anomalies X [N, n] of the members and Y [N, m] of what they predict, both divided by sqrt(N - 1),
Cov[x] = X' X, Cov[x, y] = X' Y and S = Y' Y + R. Nothing of size [n, n] is formed, and of size [m, m] only if m <= N or
with localisation. A form is a hashable value, called as `form(key, X, Y, innovation, R, S, localisation)`; it
returns the shift of the mean [n] and the anomalies [N, n] after the update.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.filters.localisation import GaspariCohn
from kfjax.filters.noise_factors import coloured, log_determinant, unwhitened, whitened

__all__ = ["Perturbed", "Transform", "innovation_covariance"]


class LowRank(NamedTuple):
    """S = Y' Y + R by the N x N matrix I + Z Z', Z = Y R^-1/2'; it answers like `linalg.Factored`."""

    Y: Array
    R: Array
    Z: Array
    inner: linalg.Factored

    @property
    def matrix(self) -> Array:
        """S [m, m]."""
        return linalg.matmul(self.Y.T, self.Y) + self.R

    def solve(self, b: Array) -> Array:
        """Return S^-1 b for b [m]."""
        white = whitened(self.R, b[None])
        rest = white - linalg.matmul(self.inner.solve(linalg.matmul(self.Z, white.T)).T, self.Z)
        return unwhitened(self.R, rest)[0]

    def logdet(self) -> Array:
        """Return log det S."""
        return self.inner.logdet() + log_determinant(self.R)


def innovation_covariance(Y: Array, R: Array, localisation: GaspariCohn | None) -> linalg.Factored | LowRank:
    """Return S = Y' Y + R, by the smaller of [m, m] and [N, N]; tapered with localisation."""
    N, m = Y.shape
    if localisation is not None:
        taper = jnp.asarray(localisation.observation_observation, Y.dtype)
        return linalg.factorise(taper * linalg.matmul(Y.T, Y) + R)
    if m <= N:
        return linalg.factorise(linalg.matmul(Y.T, Y) + R)
    # floored at rounding, since a sensor without noise cannot be divided by
    R = R + jnp.diag(jnp.finfo(R.dtype).eps * jnp.sum(Y**2, axis=0))
    Z = whitened(R, Y)
    return LowRank(Y, R, Z, linalg.factorise(jnp.eye(N, dtype=Y.dtype) + linalg.matmul(Z, Z.T)))


def _member_weights(Y: Array, S: linalg.Factored | LowRank, rows: Array) -> Array:
    """Return b S^-1 Y' [k, N] for rows b [k, m]: how much of each anomaly goes into the shift."""
    if isinstance(S, LowRank):
        return S.inner.solve(linalg.matmul(S.Z, whitened(S.R, rows).T)).T
    return linalg.matmul(S.solve(rows.T).T, Y.T)


@dataclasses.dataclass(frozen=True)
class Perturbed:
    """Every member is updated with its own perturbed observation: the stochastic ensemble Kalman filter.

    x_i + K (y + v_i - h(x_i)),  K = X' Y S^-1,  v_i ~ N(0, R), centred so that the mean is moved by K (y - E[h]).
    With localisation the covariances in K are tapered.

    References:
        G. Burgers, P. J. van Leeuwen, G. Evensen, Analysis scheme in the ensemble Kalman filter, MWR 126 (1998).
    """

    def __call__(
        self, key: Array, X: Array, Y: Array, innovation: Array, R: Array, S: Any, localisation: GaspariCohn | None
    ) -> tuple[Array, Array]:
        """Return the shift of the mean and the new anomalies."""
        N = X.shape[0]
        noise = coloured(R, jax.random.normal(key, Y.shape, Y.dtype))
        noise = (noise - noise.mean(axis=0, keepdims=True)) / jnp.sqrt(N - 1).astype(Y.dtype)
        rows = jnp.concatenate([innovation[None], noise - Y])
        if localisation is None:
            moves = linalg.matmul(_member_weights(Y, S, rows), X)
        else:
            taper = jnp.asarray(localisation.state_observation, Y.dtype)
            moves = linalg.matmul(taper * linalg.matmul(X.T, Y), S.solve(rows.T)).T
        return moves[0], X + moves[1:]


@dataclasses.dataclass(frozen=True)
class Transform:
    """The mean is updated with the observation, the anomalies by a transform, T' X with T T' = I - Y S^-1 Y'.

    Nothing is drawn, so that small ensembles do better than with perturbations. With m <= N, T = I - Y S^-1/2' (S^1/2 +
    R^1/2)^-1 Y' by Cholesky factors; else it is the symmetric square root. With localisation every component of the
    state has an analysis of its own, with the precision of each observation tapered by its distance: n times the cost.

    References:
        C. H. Bishop, B. J. Etherton, S. J. Majumdar, Adaptive sampling with the ensemble transform Kalman filter, MWR
        129 (2001); B. R. Hunt, E. J. Kostelich, I. Szunyogh, Efficient data assimilation for spatiotemporal chaos: a
        local ensemble transform Kalman filter, Physica D 230 (2007); A. Andrews, A square root formulation of the
        Kalman covariance equations, AIAA J. 6 (1968).
    """

    def __call__(
        self, key: Array, X: Array, Y: Array, innovation: Array, R: Array, S: Any, localisation: GaspariCohn | None
    ) -> tuple[Array, Array]:
        """Return the shift of the mean and the new anomalies."""
        del key
        if localisation is None:
            return _transformed(X, Y, innovation, R, S)

        def local(column: Array, taper: Array) -> tuple[Array, Array]:
            near, d = Y * taper[None, :], innovation * taper
            shift, anomalies = _transformed(column[:, None], near, d, R, innovation_covariance(near, R, None))
            return shift[0], anomalies[:, 0]

        roots = jnp.sqrt(jnp.asarray(localisation.state_observation, Y.dtype))
        shift, anomalies = jax.vmap(local)(X.T, roots)
        return shift, anomalies.T


def _transformed(X: Array, Y: Array, innovation: Array, R: Array, S: linalg.Factored | LowRank) -> tuple[Array, Array]:
    """Return the shift of the mean and the transformed anomalies."""
    shift = linalg.matmul(_member_weights(Y, S, innovation[None]), X)[0]
    if isinstance(S, LowRank):
        return shift, linalg.matmul(inverse_root(S.inner.matrix), X)
    factor = S.lower + linalg.cholesky(R)
    moves = linalg.solve_lower(factor, linalg.solve_lower(S.lower, linalg.matmul(Y.T, X)), transpose=True)
    return shift, X - linalg.matmul(Y, moves)


@jax.custom_jvp
def inverse_root(A: Array) -> Array:
    """Return A^-1/2, symmetric, of a positive definite A [N, N]."""
    V, s = _spectrum(A)
    return linalg.matmul(V / s[None, :], V.T)


@inverse_root.defjvp
def _inverse_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """By divided differences, which for this function have no poles where eigenvalues coincide."""
    V, s = _spectrum(primals[0])
    inner = linalg.matmul(V.T, linalg.matmul(linalg.symmetric(tangents[0]), V))
    product = s[:, None] * s[None, :]
    inner = -inner / (product * (s[:, None] + s[None, :]))
    return linalg.matmul(V / s[None, :], V.T), linalg.matmul(V, linalg.matmul(inner, V.T))


def _spectrum(A: Array) -> tuple[Array, Array]:
    """Return eigenvectors, and the roots of the eigenvalues."""
    values, V = jnp.linalg.eigh(A)
    return V, jnp.sqrt(values)
