"""Normalised errors of single steps, with covariances that may be singular or invalid."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.precision import eps_of

__all__: list[str] = []

# The covariance carries the rounding of the filter that computed it. A pivot of its factorisation
# counts as zero if it is below this multiple of n eps of the variance from which it remains.
ROUNDING = 100
# In a direction without variance, an error counts as rounding up to this many standard deviations
# of the smallest pivot.
SIGMAS = 10


@jax.jit
@functools.partial(jnp.vectorize, signature="(n),(n),(n),(n,n)->(),(),()")
def normalised(
    error: Array, known: Array, resolution: Array, P: Array
) -> tuple[Array, Array, Array]:
    """Return e' P^-1 e on the range of the known part of P, its rank, and if P is a covariance.

    A Cholesky factorisation with diagonal pivoting of P, scaled to unit variances, is applied to
    the error along the way: z = L^-1 e, and e' P^-1 e = z' z. Taking the largest remaining variance
    first leaves directions without variance to the end, where pivots of zero are left out. What
    remains of P and of the error there must be zero up to rounding.
    """
    both_known = known[:, None] & known[None, :]
    P = jnp.where(both_known, P, 0)
    finite = jnp.isfinite(P).all()
    valid = jnp.isfinite(error).all()
    P = jnp.where(finite, P, 0)
    error = jnp.where(valid, error, 0)
    variance = jnp.diag(P)
    varies = variance > 0
    # double `where`: the root of a pivot that is left out must not give NaN in the gradient
    divisor = jnp.where(varies, variance, 1)
    scale = jnp.where(varies, jax.lax.rsqrt(divisor), 0)
    n = error.shape[0]
    tiny = ROUNDING * n * eps_of(P)

    def eliminate(
        carry: tuple[Array, Array], _: None
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        S, r = carry
        remaining = jnp.diag(S)
        j = jnp.argmax(remaining)
        regular = remaining[j] > tiny
        square = jnp.where(regular, remaining[j], 1)
        column = jnp.where(regular, S[:, j] / jnp.sqrt(square), 0)
        divisor = jnp.where(regular, column[j], 1)
        z = jnp.where(regular, r[j] / divisor, 0)
        S = S - column[:, None] * column[None, :]
        r = r - column * z
        return (S, r), (z, regular)

    correlations = P * scale[:, None] * scale[None, :]
    start = (correlations, error * scale)
    (S, r), (z, regular) = jax.lax.scan(eliminate, start, length=n)
    slack = SIGMAS * tiny**0.5 + resolution * scale
    too_far = jnp.abs(r) > slack
    not_still = jnp.abs(error) > resolution
    missed = jnp.where(varies, too_far, not_still)
    remains = jnp.abs(S) > SIGMAS * tiny
    indefinite = remains.any() | _correlates_without_varying(P, resolution)
    semidefinite = finite & ~indefinite
    sound = semidefinite & valid & ~missed.any()
    value = jnp.where(sound, jnp.sum(z**2), jnp.inf)
    rank = jnp.where(sound, jnp.sum(regular), jnp.sum(known))
    return value, rank, semidefinite


def _correlates_without_varying(P: Array, resolution: Array) -> Array:
    """Return whether a variance is negative, or one of zero has covariances beyond rounding."""
    variance = jnp.diag(P)
    still = variance <= 0
    std = jnp.sqrt(jnp.maximum(variance, 0)) + resolution
    either = still[:, None] | still[None, :]
    largest = std[:, None] * std[None, :]
    bound = jnp.where(either, largest, jnp.inf)
    beyond = jnp.abs(P) > bound
    is_negative = variance < 0
    return is_negative.any() | beyond.any()
