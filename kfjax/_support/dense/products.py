"""Products and diagonals, by the library and written out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kfjax._support.memory_layout import batch_innermost
from kfjax._support.types import AnyArray

__all__: list[str] = []


def library_product(A: AnyArray, B: AnyArray) -> Array:
    """Return A B by the library, at full precision on every device."""
    return jnp.matmul(A, B, precision=lax.Precision.HIGHEST)


@jax.custom_jvp
def outer_products(A: AnyArray, B: AnyArray) -> Array:
    """Return A B as a sum of outer products, for B [k, m] or [k]."""
    # A B = sum_k a_k b_k', with the columns a_k of A and the rows b_k' of B. Each term is a
    # broadcast multiplication, so that XLA fuses the sum over the batch with what stands beside it,
    # where a small `dot_general` would be a loop over single products: 0.034 ms against 0.20 ms for
    # a thousand products of four rows (benchmarks/speed/RESULTS.md).
    inner = A.shape[-1]
    if B.ndim == 1:  # from the last term to the first: see `kfjax.Linear`
        products: Any = sum(A[:, k] * B[k] for k in reversed(range(inner)))
    else:
        terms = [A[:, k, None] * B[None, k, :] for k in range(inner)]
        products = sum(terms, _unproven_zero(terms[0]))
    return batch_innermost(products)


def _unproven_zero(like: Array) -> Array:
    """Return zeros that the compiler cannot recognise as zeros."""
    # A compiler contracts a product and a sum to one operation with one rounding. Of a sum of two
    # products it contracts either one, and where a fusion computes the same entry twice, not
    # always the same one: as a row and as a column of a covariance it would be rounded
    # differently. In z + a_1 b_1 + a_2 b_2 + ... there is one way to contract.
    return jnp.minimum(lax.broadcasted_iota(jnp.int32, like.shape, 0), 0).astype(like.dtype)


@outer_products.defjvp
def _outer_products_jvp(
    primals: tuple[AnyArray, AnyArray], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return A B and its derivative d(A B) = dA B + A dB, as plain products."""
    A, B = primals
    dA, dB = tangents
    return outer_products(A, B), library_product(dA, B) + library_product(A, dB)


@jax.custom_jvp
def symmetric_product(A: AnyArray, B: AnyArray) -> Array:
    """Return A B' [n, n], which is known to be symmetric, symmetric to the bit."""
    # Entry (i, j) above the diagonal is computed by the expression of entry (j, i), from rows that
    # are selected before they are multiplied. Averaging the product with its transpose instead ends
    # a fusion, which is slower.
    n, inner = A.shape
    below = np.tri(n, dtype=bool)
    products: Any = sum(
        jnp.where(below, A[:, k, None], A[None, :, k])
        * jnp.where(below, B[None, :, k], B[:, k, None])
        for k in range(inner)
    )
    return batch_innermost(products)


@symmetric_product.defjvp
def _symmetric_product_jvp(
    primals: tuple[AnyArray, AnyArray], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return A B' and its derivative d(A B') = dA B' + A dB', as plain products."""
    A, B = primals
    dA, dB = tangents
    return symmetric_product(A, B), library_product(dA, B.T) + library_product(A, dB.T)


def sliced_diagonal(A: AnyArray) -> Array:
    """Return the diagonal [n] of A [n, n], by slices."""
    # `jnp.diag` is a gather, which is slow in a step of a filter
    return jnp.stack([A[i, i] for i in range(A.shape[-1])])
