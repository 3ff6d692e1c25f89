"""Lower triangular factors of A A' by orthogonal reduction, for A [n, p].

A = L Q with orthonormal rows of Q gives A A' = L Q Q' L' = L L'. Factoring the product A A' instead
would lose half of the digits, since its condition number is the square of that of A.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from kfjax._support.types import AnyArray

__all__: list[str] = []

UNROLLED = 4  # rows; written out, more take longer to compile than they save


def negligible_squares(A: AnyArray) -> Array:
    """Return the squares [n] of pivots up to which they count as zero in the factor of A A'."""
    # What rounds is the subtraction of up to n multiples of other rows. The length p of a row does
    # not come in, since the second pass of Gram-Schmidt corrects the products of the first.
    rounding = A.shape[0] * jnp.finfo(A.dtype).eps
    return rounding**2 * jnp.sum(A**2, axis=1)


def gram_schmidt(A: AnyArray, negligible: AnyArray) -> Array:
    """Return L [n, n] by Gram-Schmidt on the rows of A, guarded where the rank is deficient."""
    # Row i of L holds the products of row i of A with the orthonormal rows q_1 .. q_i-1 of the
    # basis, and the norm of what these leave of it. After one pass the basis is orthogonal only to
    # the condition number of A times rounding; a second pass over what is left makes it orthogonal
    # to rounding, as accurate as Householder reflections. `jnp.linalg.qr` has NaN gradients and no
    # zero columns where the rank is deficient; here a row that depends on earlier ones gets none.
    n, tiny = A.shape[0], jnp.finfo(A.dtype).tiny

    def add_row(basis: Array, row_of: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        row, place, zero_up_to = row_of
        first = jnp.sum(basis * row[None, :], axis=1)
        left = row - jnp.sum(first[:, None] * basis, axis=0)
        second = jnp.sum(basis * left[None, :], axis=1)
        left = left - jnp.sum(second[:, None] * basis, axis=0)
        square = jnp.sum(left**2)
        positive = square > zero_up_to
        # at least what counts as zero, since XLA may round `square` differently in the comparison
        norm = jnp.sqrt(jnp.maximum(jnp.maximum(square, zero_up_to), tiny))
        direction = left / norm
        basis = basis + jnp.where(positive, place[:, None] * direction[None, :], 0)
        pivot = jnp.where(positive, norm, 0)
        return basis, first + second + place * pivot

    rows = (A, jnp.eye(n, dtype=A.dtype), negligible)
    _, L = lax.scan(add_row, jnp.zeros_like(A), rows, unroll=n <= UNROLLED)
    return L


def householder(A: AnyArray) -> Array:
    """Return L [n, n] by a QR factorisation of A', which leaves no zero columns."""
    n, p = A.shape
    R = jnp.linalg.qr(A.T, mode="r")
    R = jnp.concatenate([R, jnp.zeros((max(n - p, 0), n), A.dtype)])
    signs = jnp.where(jnp.diag(R) < 0, -1, 1).astype(A.dtype)
    return (signs[:, None] * R).T
