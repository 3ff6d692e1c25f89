"""Products of small matrices."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Real

from kfjax._support.dense import products
from kfjax._support.dense.products import library_product, outer_products, sliced_diagonal
from kfjax._support.types import AnyArray
from kfjax.linalg import sizes
from kfjax.linalg.checks import check

__all__ = ["diagonal", "matmul", "quadratic", "symmetric", "symmetric_product", "weighted_gram"]


def symmetric(A: Real[AnyArray, "*batch n n"]) -> Real[Array, "*batch n n"]:
    """Return the symmetric part (A + A') / 2.

    Example:
        >>> kf.linalg.symmetric(jnp.array([[1.0, 4.0], [2.0, 1.0]])).tolist()
        [[1.0, 3.0], [3.0, 1.0]]
    """
    check("symmetric", A=(A, "... n n"))
    return jnp.asarray(0.5 * (A + A.swapaxes(-1, -2)))


def matmul(A: Real[AnyArray, "n k"], B: Real[AnyArray, "_ ..."]) -> Real[Array, "n ..."]:
    """Return A B, at full precision on every device.

    Args:
        A: [n, k].
        B: [k, m] or [k].

    Returns:
        A B [n, m], or [n].

    Raises:
        ValueError: if A has another number of columns than B has rows.

    Example:
        >>> A = jnp.array([[1.0, 2.0], [0.0, 1.0]])
        >>> kf.linalg.matmul(A, jnp.array([3.0, 4.0])).tolist()
        [11.0, 4.0]
    """
    check("matmul", A=(A, "n k"), B=(B, "k ..."))
    if 0 < A.shape[-1] <= sizes.UNROLL:
        return outer_products(A, B)
    return library_product(A, B)


def quadratic(A: Real[AnyArray, "k n"], P: Real[AnyArray, "n n"]) -> Real[Array, "k k"]:
    """Return A P A' for symmetric P, the covariance of A x where P is that of x."""
    check("quadratic", A=(A, "k n"), P=(P, "n n"))
    return symmetric_product(matmul(A, P), A)


def symmetric_product(A: Real[AnyArray, "n k"], B: Real[AnyArray, "n k"]) -> Real[Array, "n n"]:
    """Return A B' for A and B whose product is symmetric, symmetric to the bit.

    Entries above the diagonal are those below it, as they were computed.

    Example:
        >>> A = jnp.array([[1.0, 2.0], [0.0, 1.0]])
        >>> B = jnp.array([[3.0, 1.0], [2.0, 1.0]])
        >>> kf.linalg.symmetric_product(A, B).tolist()
        [[5.0, 1.0], [1.0, 1.0]]
    """
    check("symmetric_product", A=(A, "n k"), B=(B, "n k"))
    if 0 < A.shape[-1] <= sizes.UNROLL and A.shape[0] <= sizes.UNROLL:
        return products.symmetric_product(A, B)
    return symmetric(matmul(A, B.T))


def weighted_gram(
    weights: Real[AnyArray, " p"], X: Real[AnyArray, "p n"], Y: Real[AnyArray, "p m"]
) -> Real[Array, "n m"]:
    """Return sum_i w_i x_i y_i' for the rows x_i of X and y_i of Y."""
    check("weighted_gram", weights=(weights, "p"), X=(X, "p n"), Y=(Y, "p m"))
    weighted = (weights[:, None] * X).T
    return symmetric_product(weighted, Y.T) if X is Y else matmul(weighted, Y)


def diagonal(A: Real[AnyArray, "n n"]) -> Real[Array, " n"]:
    """Return the diagonal of A."""
    check("diagonal", A=(A, "n n"))
    if 0 < A.shape[-1] <= sizes.UNROLL:
        return sliced_diagonal(A)
    return jnp.diag(A)
