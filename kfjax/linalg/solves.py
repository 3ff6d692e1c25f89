"""Solves with a triangular factor, and its determinant."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support.dense import triangular
from kfjax._support.dense.products import library_product
from kfjax._support.types import AnyArray
from kfjax.linalg import sizes
from kfjax.linalg.checks import check
from kfjax.linalg.small_products import diagonal

__all__ = ["logdet", "solve_factored", "solve_lower"]


def solve_lower(
    L: Float[AnyArray, "n n"], B: Float[AnyArray, "n ..."], *, transpose: bool = False
) -> Float[Array, "n ..."]:
    """Solve L X = B, or L' X = B, for lower triangular L.

    Args:
        L: [n, n], whose diagonal may have zeros if their columns are zero.
        B: [n] or [n, r].
        transpose: solve with L' instead of L.

    Returns:
        X, of the shape of B; its row j is 0 where L_jj is.

    Example:
        >>> L = jnp.array([[2.0, 0.0], [1.0, 1.0]])
        >>> kf.linalg.solve_lower(L, jnp.array([4.0, 5.0])).tolist()
        [2.0, 3.0]
    """
    check("solve_lower", L=(L, "n n"), B=(B, "n ..."))
    return _solve_lower(L, B, transpose)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _solve_lower(L: AnyArray, B: AnyArray, transpose: bool) -> Array:
    """Solve L X = B or L' X = B."""
    if L.shape[-1] > sizes.UNROLL:
        return triangular.by_library(L, B, transpose)
    return triangular.by_substitution(L, B, transpose)


@_solve_lower.defjvp
def _solve_lower_jvp(
    transpose: bool, primals: tuple[AnyArray, AnyArray], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return X and its derivative dX = L^-1 (dB - dL X), with transposed L and dL if asked for."""
    # from L X = B, dL X + L dX = dB; the inverse is explicit for the reason in `factors.py`
    L, B = primals
    dL, dB = tangents
    X = _solve_lower(L, B, transpose)
    inverse = _solve_lower(L, jnp.eye(L.shape[-1], dtype=L.dtype), transpose)
    dL = jnp.tril(dL)
    if transpose:
        dL = dL.T
    return X, library_product(inverse, dB - library_product(dL, X))


def solve_factored(L: Float[AnyArray, "n n"], B: Float[AnyArray, "n ..."]) -> Float[Array, "n ..."]:
    """Solve L L' X = B for B [n] or [n, r]; for singular L L', right where B lies in its range."""
    check("solve_factored", L=(L, "n n"), B=(B, "n ..."))
    return solve_lower(L, solve_lower(L, B), transpose=True)


def logdet(L: Float[AnyArray, "n n"]) -> Float[Array, ""]:
    """Return log det(L L') from the factor, without zero pivots: the determinant on the range."""
    check("logdet", L=(L, "n n"))
    pivots = diagonal(L)
    return 2 * jnp.sum(jnp.log(jnp.where(pivots > 0, pivots, 1)))
