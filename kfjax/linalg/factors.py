"""Triangular factors of positive semidefinite matrices, with derivatives at any rank."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_number
from kfjax._support.dense import cholesky as cholesky_factors
from kfjax._support.dense import orthogonal
from kfjax._support.dense.fallback import with_fallback
from kfjax._support.dense.products import library_product
from kfjax._support.types import AnyArray
from kfjax.linalg import sizes
from kfjax.linalg.checks import check
from kfjax.linalg.small_products import diagonal, symmetric
from kfjax.linalg.solves import solve_lower

__all__ = ["cholesky", "triangularise"]


def cholesky(A: Float[AnyArray, "n n"]) -> Float[Array, "n n"]:
    """Return the lower factor L with L L' = A, for symmetric positive *semi*definite A.

    A pivot below n eps A_jj counts as zero and gives a zero column; every |L_ij| is kept below the
    square root of what remains of A_ii. An indefinite A is therefore factored as if its negative
    part were not there. The derivative is right where the rank stays as it is, and 0 in directions
    that would raise it.

    Args:
        A: [n, n], of which the lower triangle is read.

    Returns:
        L [n, n], with zeros above the diagonal and a diagonal of zeros or more.

    Example:
        >>> singular = jnp.array([[4.0, 2.0], [2.0, 1.0]])  # of rank one
        >>> kf.linalg.cholesky(singular).tolist()
        [[2.0, 0.0], [1.0, 0.0]]
    """
    check("cholesky", A=(A, "n n"))
    return semidefinite_factor(A, cholesky_factors.negligible_pivots(diagonal(A)))


@jax.custom_jvp
def semidefinite_factor(A: AnyArray, negligible: AnyArray) -> Array:
    """Return the factor of A, in which pivots up to `negligible` [n] count as zero."""
    n = A.shape[-1]
    if n <= sizes.SCALARS:
        return cholesky_factors.by_scalars(A, negligible)
    if n <= sizes.UNROLL:
        return cholesky_factors.by_columns(A, negligible)
    return _large_cholesky(A, negligible)


_large_cholesky = with_fallback(jnp.linalg.cholesky, cholesky_factors.by_loop)


@semidefinite_factor.defjvp
def _semidefinite_factor_jvp(
    primals: tuple[AnyArray, AnyArray], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return the factor and its derivative; which pivots are zero has none."""
    A, negligible = primals
    dA, _ = tangents
    L = semidefinite_factor(A, negligible)
    return L, _factor_tangent(L, symmetric(dA))


def _factor_tangent(L: Array, dA: Array) -> Array:
    """Return the derivative of the lower factor L of A in the symmetric direction dA."""
    # For regular A, dA = dL L' + L dL'. With X = L^-1 dL this is L^-1 dA L^-T = X + X'; X is lower
    # triangular, so that X = Phi(M) with M = L^-1 dA L^-T, where Phi keeps the lower triangle and
    # half of the diagonal, and dL = L Phi(M).
    #
    # For singular A let D be the identity without the null columns of L, so that L = L D, and
    # W = L + I - D, which is regular and has W D = L. While the rank stays, dL = dL D too, and
    # X = W^-1 dL = X D is again lower triangular with W^-1 dA W^-T = X D + D X' = X + X'. So the
    # same formula with W instead of L is right, also for rows below and beside null pivots. In a
    # direction that would raise the rank the derivative is infinite, since M has entries where both
    # row and column are null; the null columns of dL are set to zero.
    #
    # W^-1 is a solve with the identity, which depends on no tangent: these enter by plain products,
    # and the reverse mode transposes products instead of an unrolled loop, which compiles slowly.
    n = L.shape[-1]
    null = diagonal(L) == 0
    W = L + jnp.diag(null.astype(L.dtype))
    inverse = solve_lower(W, jnp.eye(n, dtype=L.dtype))
    M = library_product(library_product(inverse, dA), inverse.T)
    null_columns = null[None, :]
    phi = jnp.tril(M) - 0.5 * M * jnp.eye(n, dtype=M.dtype)
    return jnp.where(null_columns, 0, library_product(W, phi))


def triangularise(A: Float[AnyArray, "n p"], *, rounding: float = 1.0) -> Float[Array, "n n"]:
    """Return the lower factor L with L L' = A A', for A of any rank.

    Orthogonal reduction, not the Cholesky factor of A A': it keeps twice the digits. Rows that
    depend on earlier ones to rounding give a zero column. The derivative is that of `cholesky`,
    finite at any rank.

    Args:
        A: [n, p], such as two factors beside each other, [L_1, L_2], for L_1 L_1' + L_2 L_2'.
        rounding: how many times n eps the rows of A may be off, relative to their norms.

    Returns:
        L [n, n], with zeros above the diagonal and a diagonal of zeros or more.

    Example:
        >>> A = jnp.array([[3.0, 4.0], [3.0, 4.0]])
        >>> kf.linalg.triangularise(A).round(3).tolist()
        [[5.0, 0.0], [5.0, 0.0]]
    """
    check("triangularise", A=(A, "n p"))
    check_number("triangularise: rounding", rounding, least=0)
    return _triangularise(A, rounding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _triangularise(A: AnyArray, rounding: float) -> Array:
    """Return the factor of A A', in which rows that depend on earlier ones have zero columns."""
    negligible = rounding**2 * orthogonal.negligible_squares(A)
    if A.shape[0] <= 2 * sizes.UNROLL:
        return orthogonal.gram_schmidt(A, negligible)
    return _large_triangularise(A, negligible)


_large_triangularise = with_fallback(orthogonal.householder, orthogonal.gram_schmidt)


@_triangularise.defjvp
def _triangularise_jvp(
    rounding: float, primals: tuple[AnyArray], tangents: tuple[Array]
) -> tuple[Array, Array]:
    """Return the factor and its derivative, in the direction d(A A') = dA A' + A dA'."""
    (A,) = primals
    (dA,) = tangents
    L = _triangularise(A, rounding)
    half = library_product(dA, A.T)
    return L, _factor_tangent(L, half + half.T)
