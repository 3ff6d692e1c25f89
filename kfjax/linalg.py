"""Small dense algebra that XLA can fuse over a batch.

A filter multiplies, factors and solves with matrices of a few rows, thousands at a time. Under `jax.vmap` a
LAPACK factorisation is one library call per matrix, and a small `dot_general` is hardly better, so that sizes up
to `UNROLL` are written as sums of outer products and unrolled columns, which XLA fuses over the batch. Larger
sizes go through `jax.numpy.linalg`. The choice is made at trace time from the static shape.

Every function takes one matrix; batch with `jax.vmap`. Everything here accepts *semidefinite* matrices: a zero
pivot gives a zero column in the factor, and solves with such a factor are right for right-hand sides in its range.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

UNROLL = 8  # largest size that is unrolled

__all__ = ["cholesky", "logdet", "matmul", "quadratic", "solve_factored", "solve_lower", "symmetric", "weighted_gram"]


def symmetric(A: Array) -> Array:
    """Return the symmetric part (A + A') / 2."""
    return 0.5 * (A + A.swapaxes(-1, -2))


def matmul(A: Array, B: Array) -> Array:
    """Return A B for A [n, k] and B [k, m] or B [k], at full precision on every device."""
    if A.shape[-1] != B.shape[0]:
        raise ValueError(f"matmul: got shapes {A.shape} and {B.shape}; expected [n, k] and [k, m] or [k].")
    if A.shape[-1] > UNROLL or A.shape[-1] == 0:
        return jnp.matmul(A, B, precision=lax.Precision.HIGHEST)
    if B.ndim == 1:
        return sum(A[:, k] * B[k] for k in range(A.shape[-1]))
    return sum(A[:, k, None] * B[None, k, :] for k in range(A.shape[-1]))


def quadratic(A: Array, P: Array) -> Array:
    """Return A P A' for A [k, n] and symmetric P [n, n]."""
    return symmetric(matmul(matmul(A, P), A.T))


def weighted_gram(weights: Array, X: Array, Y: Array) -> Array:
    """Return sum_i w_i x_i y_i' for rows x_i of X [p, n] and y_i of Y [p, m]."""
    return matmul((weights[:, None] * X).T, Y)


@jax.custom_jvp
def cholesky(A: Array) -> Array:
    """Lower factor L [n, n] with L L' = A, for symmetric positive *semi*definite A [n, n].

    A pivot below n eps A_jj counts as zero and gives a zero column; every |L_ij| is kept below the square root of
    what remains of A_ii. An indefinite A is therefore factored as if its negative part were not there.
    The derivative is that of the positive definite case, and 0 in null directions.
    """
    if A.shape[-1] <= UNROLL:
        return _cholesky_columns(A)
    L = jnp.linalg.cholesky(A)
    return lax.cond(jnp.isfinite(L).all(), lambda: L, lambda: _cholesky_loop(A))


@cholesky.defjvp
def _cholesky_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """dL = L Phi(L^-1 dA L^-T), where Phi keeps the lower triangle and half of the diagonal."""
    L = cholesky(primals[0])
    M = solve_lower(L, solve_lower(L, symmetric(tangents[0])).T)
    return L, matmul(L, jnp.tril(M) - 0.5 * jnp.diag(jnp.diag(M)))


def _factor_column(column: Array, remaining: Array, tiny: Array, j: int | Array) -> Array:
    """Column j of the factor from the column of what remains to be factored; zero where its pivot is."""
    pivot = remaining[j]
    positive = pivot > tiny[j]
    limit = jnp.sqrt(jnp.maximum(remaining, 0))
    scaled = jnp.clip(column / jnp.sqrt(jnp.where(positive, pivot, 1)), -limit, limit)
    return jnp.where(positive & (jnp.arange(column.shape[0]) >= j), scaled, 0)


def _cholesky_columns(A: Array) -> Array:
    """Left-looking factorisation, one unrolled column at a time."""
    n = A.shape[-1]
    remaining = jnp.diag(A)
    tiny = n * jnp.finfo(A.dtype).eps * remaining
    columns: list[Array] = []
    for j in range(n):
        column = A[:, j] - sum(c * c[j] for c in columns)
        columns.append(_factor_column(column, remaining, tiny, j))
        remaining = remaining - columns[-1] ** 2
    return jnp.stack(columns, axis=-1)


def _cholesky_loop(A: Array) -> Array:
    """Right-looking factorisation as a loop: for singular matrices too large to unroll."""
    n = A.shape[-1]
    tiny = n * jnp.finfo(A.dtype).eps * jnp.diag(A)

    def body(S: Array, j: Array) -> tuple[Array, Array]:
        column = _factor_column(S[:, j], jnp.diag(S), tiny, j)
        return S - jnp.outer(column, column), column

    return lax.scan(body, A, jnp.arange(n))[1].T


def solve_lower(L: Array, B: Array, *, transpose: bool = False) -> Array:
    """Solve L X = B (or L' X = B) for lower triangular L [n, n] and B [n] or [n, r]; X is 0 where L_jj is."""
    regular = jnp.diag(L) > 0
    if L.shape[-1] > UNROLL:
        L = jnp.where(regular[:, None] & regular[None, :], L, 0) + jnp.diag((~regular).astype(L.dtype))
        X = jax.scipy.linalg.solve_triangular(L, B, lower=True, trans=1 if transpose else 0)
        return jnp.where(regular if B.ndim == 1 else regular[:, None], X, 0)
    n = L.shape[-1]
    inverse = jnp.where(regular, 1 / jnp.where(regular, jnp.diag(L), 1), 0)
    rows: list[Array] = [B[i] for i in range(n)]
    for i in reversed(range(n)) if transpose else range(n):
        rows[i] = rows[i] * inverse[i]
        for j in range(i) if transpose else range(i + 1, n):
            rows[j] = rows[j] - (L[i, j] if transpose else L[j, i]) * rows[i]
    return jnp.stack(rows)


def solve_factored(L: Array, B: Array) -> Array:
    """Solve L L' X = B for B [n] or [n, r]; for singular L L', right where B lies in its range."""
    return solve_lower(L, solve_lower(L, B), transpose=True)


def logdet(L: Array) -> Array:
    """Return log det(L L') from the factor; zero pivots are left out (the determinant on the range)."""
    d = jnp.diag(L)
    return 2 * jnp.sum(jnp.where(d > 0, jnp.log(jnp.where(d > 0, d, 1)), 0))
