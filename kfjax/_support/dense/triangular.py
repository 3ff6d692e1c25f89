"""Solutions of L X = B and L' X = B for lower triangular L [n, n] and B [n] or [n, r].

Where a pivot L_jj is zero, row j of X is zero. For a factor with zero columns that is a solution
wherever B lies in the range of L.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.dense.products import sliced_diagonal
from kfjax._support.memory_layout import batch_innermost
from kfjax._support.types import AnyArray

__all__: list[str] = []


def by_substitution(L: AnyArray, B: AnyArray, transpose: bool) -> Array:
    """Solve by rows, written out."""
    inverse = _inverse_pivots(L)
    rows = [B[i] for i in range(L.shape[-1])]
    substitute = _backward if transpose else _forward
    return batch_innermost(jnp.stack(substitute(L, rows, inverse)))


def _inverse_pivots(L: AnyArray) -> Array:
    """Return 1 / L_jj [n], and 0 where L_jj is; a double `where` keeps gradients finite."""
    pivots = sliced_diagonal(L)
    regular = pivots > 0
    return jnp.where(regular, 1 / jnp.where(regular, pivots, 1), 0)


def _forward(L: AnyArray, rows: list[Array], inverse: Array) -> list[Array]:
    """Solve L X = B from the first row to the last, subtracting each from those below."""
    for i in range(len(rows)):
        rows[i] = batch_innermost(rows[i] * inverse[i])
        for j in range(i + 1, len(rows)):
            rows[j] = rows[j] - L[j, i] * rows[i]
    return rows


def _backward(L: AnyArray, rows: list[Array], inverse: Array) -> list[Array]:
    """Solve L' X = B from the last row to the first, subtracting each from those above."""
    for i in reversed(range(len(rows))):
        rows[i] = batch_innermost(rows[i] * inverse[i])
        for j in range(i):
            rows[j] = rows[j] - L[i, j] * rows[i]
    return rows


def by_library(L: AnyArray, B: AnyArray, transpose: bool) -> Array:
    """Solve by the library, with an identity in place of rows and columns of zero pivots."""
    pivots = jnp.diag(L)
    regular = pivots > 0
    kept = jnp.where(regular[:, None] & regular[None, :], L, 0)
    whole = kept + jnp.diag((~regular).astype(L.dtype))
    X = jax.scipy.linalg.solve_triangular(whole, B, lower=True, trans=int(transpose))
    # NaN pivots stay NaN instead of being treated as zero
    missing = jnp.where(jnp.isnan(pivots), jnp.nan, 0)
    if B.ndim == 1:
        return jnp.where(regular, X, missing)
    return jnp.where(regular[:, None], X, missing[:, None])
