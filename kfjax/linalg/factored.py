"""A matrix with its factor, for several solves and its determinant."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support.dense import cholesky as cholesky_factors
from kfjax._support.dense.products import library_product
from kfjax._support.types import AnyArray
from kfjax.linalg.checks import check
from kfjax.linalg.factors import cholesky, semidefinite_factor
from kfjax.linalg.small_products import diagonal, symmetric
from kfjax.linalg.solves import logdet, solve_factored

__all__ = ["Factored", "factorise"]


class Factored(NamedTuple):
    """A symmetric positive semidefinite matrix, with its factor for solves and the determinant.

    Attributes:
        matrix: A [n, n].
        lower: L [n, n] with L L' = A.
        hidden: the variances [n] that the rounding of A may hide, or None if A is exact.

    Example:
        >>> A = kf.linalg.factorise(jnp.array([[4.0, 2.0], [2.0, 2.0]]))
        >>> A.solve(jnp.array([8.0, 6.0])).tolist()
        [1.0, 2.0]
    """

    matrix: Float[AnyArray, "... n n"]
    lower: Float[Array, "... n n"]
    hidden: Float[Array, "... n"] | None = None

    def solve(self, B: Float[AnyArray, "n ..."]) -> Float[Array, "n ..."]:
        """Return A^-1 B for B [n] or [n, r]; for singular A, right where B lies in its range."""
        return _solve(self.matrix, self.lower, B)

    def logdet(self) -> Float[Array, ""]:
        """Return log det A, without zero pivots: the determinant on the range."""
        return _logdet(self.matrix, self.lower)


def factorise(A: Float[AnyArray, "n n"], hidden: Float[AnyArray, " n"] | None = None) -> Factored:
    """Factor a symmetric positive semidefinite A for several uses.

    Args:
        A: [n, n].
        hidden: [n], pivots up to which they count as zero where A is a difference of larger
            numbers; None if it is not.

    Returns:
        The matrix with its factor.
    """
    check("factorise", A=(A, "n n"))
    if hidden is None:
        return Factored(A, cholesky(A))
    check("factorise", A=(A, "n n"), hidden=(hidden, "n"))
    negligible = jnp.maximum(hidden, cholesky_factors.negligible_pivots(diagonal(A)))
    return Factored(A, semidefinite_factor(A, negligible), negligible)


# The derivatives of A^-1 B and log det A are simpler than those of the factor that computes them,
# from A X = B and from Jacobi's formula: the tangent of L is not used, since that of A holds all.


@jax.custom_jvp
def _solve(A: AnyArray, L: AnyArray, B: AnyArray) -> Array:
    """Return A^-1 B, with L = cholesky(A)."""
    del A
    return solve_factored(L, B)


@_solve.defjvp
def _solve_jvp(
    primals: tuple[AnyArray, AnyArray, AnyArray], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """Return X = A^-1 B and its derivative dX = A^-1 (dB - dA X)."""
    A, L, B = primals
    dA, _, dB = tangents
    X = _solve(A, L, B)
    return X, library_product(_inverse(A, L), dB - library_product(symmetric(dA), X))


@jax.custom_jvp
def _logdet(A: AnyArray, L: AnyArray) -> Array:
    """Return log det A, with L = cholesky(A)."""
    del A
    return logdet(L)


@_logdet.defjvp
def _logdet_jvp(
    primals: tuple[AnyArray, AnyArray], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return log det A and its derivative d log det A = tr(A^-1 dA)."""
    A, L = primals
    dA, _ = tangents
    return _logdet(A, L), jnp.sum(_inverse(A, L) * dA)


def _inverse(A: AnyArray, L: AnyArray) -> Array:
    """Return A^-1, for derivatives only."""
    return _solve(A, L, jnp.eye(A.shape[-1], dtype=A.dtype))
