"""Cholesky factors of positive semidefinite matrices, by scalars, by columns and in a loop.

The three routines compute the same recursion. With S = A at the start, column j of the factor and
what remains of the matrix after it are

    L_jj = sqrt(S_jj),  L_ij = S_ij / L_jj for i > j,  S <- S - l_j l_j'.

Two guards make it right for singular matrices:

* A pivot S_jj is the difference of A_jj and the squares of row j. It carries their rounding, some
  n eps A_jj, or more if A is itself a difference of larger numbers, and counts as zero up to that
  (`negligible`). Then the whole row j of S is zero too, and so is the column l_j.
* What remains is positive semidefinite, so that S_ij^2 <= S_ii S_jj and |L_ij| <= sqrt(S_ii).
  Rounding violates this where S_jj is small; entries are clipped to the bound. Without the clip,
  errors in float32 reach 5 %.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from kfjax._support.dense.products import sliced_diagonal
from kfjax._support.memory_layout import batch_innermost
from kfjax._support.types import AnyArray

__all__: list[str] = []


def negligible_pivots(variances: AnyArray) -> Array:
    """Return the pivots [n] up to which they count as zero, from the diagonal [n] of A."""
    return variances.shape[-1] * jnp.finfo(variances.dtype).eps * variances


def _root(pivot: Array, negligible: AnyArray) -> Array:
    """Return the square root of a pivot, which is used where the pivot is not negligible."""
    # XLA may compute a pivot twice, for the root and for the comparison, and round differently.
    # Where A is all rounding error, one of them can be negligible, or negative, and the other not:
    # the root has to be of the order of rounding then, and not a number that is never used.
    tiny = jnp.finfo(pivot.dtype).tiny
    return jnp.sqrt(jnp.maximum(jnp.maximum(jnp.abs(pivot), negligible), tiny))


def _bound(remaining: Array) -> Array:
    """Return the bound sqrt(S_ii) of |L_ij|."""
    return jnp.sqrt(jnp.maximum(remaining, 0))


def by_scalars(A: AnyArray, negligible: AnyArray) -> Array:
    """Factor A [n, n] by scalars, which are the fewest kernels where there is no batch."""
    n = A.shape[-1]
    L = [[jnp.zeros_like(A[0, 0])] * n for _ in range(n)]
    remaining = [A[i, i] for i in range(n)]
    for j in range(n):
        positive = remaining[j] > negligible[j]
        root = _root(remaining[j], negligible[j])
        L[j][j] = jnp.where(positive, root, 0)
        inverse = jnp.where(positive, 1 / root, 0)
        for i in range(j + 1, n):
            left = A[i, j] - sum(L[i][k] * L[j][k] for k in range(j))
            entry = left * inverse
            bound = _bound(remaining[i])
            L[i][j] = jnp.clip(entry, -bound, bound)
            remaining[i] = remaining[i] - L[i][j] ** 2
    rows = [jnp.stack(row) for row in L]
    return batch_innermost(jnp.stack(rows))


def by_columns(A: AnyArray, negligible: AnyArray) -> Array:
    """Factor A [n, n] by columns, each of which is computed once."""
    # Each column is laid out by itself and ends with a division, which keeps XLA from computing it
    # again wherever it is used: that would be slower, and rounded differently from the factor that
    # is returned. Beside scalars, batches of 16 states took a quarter less time, and compiling
    # half (CHANGELOG.md).
    n = A.shape[-1]
    index = jnp.arange(n)
    remaining = sliced_diagonal(A)
    columns: list[Array] = []
    for j in range(n):
        positive = remaining[j] > negligible[j]
        pivot = _root(remaining[j], negligible[j])
        bound = _bound(remaining)
        left = A[:, j] - sum(column * column[j] for column in columns)
        below = jnp.clip(left / pivot, -bound, bound)
        column = jnp.where(index > j, below, jnp.where(index == j, pivot, 0))
        # 0 * column is NaN where column is: NaN is not taken for a zero pivot
        column = jnp.where(positive, column, 0 * column)
        columns.append(batch_innermost(column))
        remaining = remaining - columns[j] ** 2
    return batch_innermost(jnp.stack(columns, axis=1))


def by_loop(A: AnyArray, negligible: AnyArray) -> Array:
    """Factor A [n, n] by a loop over its columns: for singular matrices too large to unroll."""
    n = A.shape[-1]

    def add_column(S: Array, j: Array) -> tuple[Array, Array]:
        remaining = jnp.diag(S)
        positive = remaining[j] > negligible[j]
        bound = _bound(remaining)
        column = S[:, j]
        pivot = _root(remaining[j], negligible[j])
        column = jnp.clip(column / pivot, -bound, bound)
        column = jnp.where(positive & (jnp.arange(n) >= j), column, 0)
        return S - jnp.outer(column, column), column

    _, columns = lax.scan(add_column, A, jnp.arange(n))
    return columns.T
