"""Small dense algebra that XLA can fuse over a batch.

A filter multiplies, factors and solves with matrices of a few rows, thousands at a time. Under
`jax.vmap` a LAPACK factorisation is one library call per matrix, and a small `dot_general` is
hardly better. So matrices of up to `UNROLL` rows are written out: products as sums of outer
products, factorisations and solves by scalars, columns and rows, which XLA fuses over the batch.
Larger ones go through `jax.numpy.linalg`. The choice is made at trace time from the static shape.

Every function takes one matrix; batch with `jax.vmap`. All of them accept positive *semidefinite*
matrices: a zero pivot gives a zero column in the factor, and solves with such a factor are right
for right-hand sides in its range. Factorisations read the lower triangle only; products that are
covariances are symmetric to the bit.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Real

from kfjax._support.arguments import check_number
from kfjax._support.dense import cholesky as cholesky_factors
from kfjax._support.dense import orthogonal, products, triangular
from kfjax._support.dense.fallback import with_fallback
from kfjax._support.dense.products import library_product, outer_products, sliced_diagonal
from kfjax._support.naming import described
from kfjax._support.types import AnyArray
from kfjax._support.values import ARRAYS

# The largest size that is written out. With 8 rows a step of a covariance takes 1.03 ms for a
# thousand of them, and 1.57 ms by the library; with 10 rows 3.09 and 3.37 ms, and compiles longer;
# with 16 rows 52 and 9.5 ms (benchmarks/speed/RESULTS.md).
UNROLL = 8
# The largest size that is factored by scalars, which are fewer kernels where there is no batch.
SCALARS = 3

__all__ = [
    "Factored",
    "cholesky",
    "diagonal",
    "factorise",
    "logdet",
    "matmul",
    "quadratic",
    "solve_factored",
    "solve_lower",
    "symmetric",
    "symmetric_product",
    "triangularise",
    "weighted_gram",
]


def _check(who: str, **arrays: tuple[Any, str]) -> None:
    """Raise unless arrays have the axes that letters name, the same letter for the same size.

    Shapes are known while a function is traced, so that this costs nothing when it runs.
    """
    sizes: dict[str, int] = {}
    for name, (array, axes) in arrays.items():
        if not _fits(array, axes, sizes):
            got = described(array)
            expected = [f"{key} [{given}]" for key, (_, given) in arrays.items()]
            raise ValueError(
                f"{who}: {name} is {got}; expected real arrays {' and '.join(expected)}, where one"
                " letter is one size. Convert lists with jnp.asarray."
            )


def _fits(array: Any, axes: str, sizes: dict[str, int]) -> bool:
    """Return whether an array of numbers has these axes, and note their sizes."""
    if not isinstance(array, ARRAYS) or array.dtype.kind in "OSUc":
        return False
    letters = axes.replace("...", "").split()
    if array.ndim < len(letters) or (array.ndim > len(letters) and "..." not in axes):
        return False
    shape = array.shape[-len(letters) :] if axes.startswith("...") else array.shape
    pairs = zip(letters, shape, strict=False)
    return all(sizes.setdefault(letter, size) == size for letter, size in pairs)


def symmetric(A: Real[AnyArray, "*batch n n"]) -> Real[Array, "*batch n n"]:
    """Return the symmetric part (A + A') / 2.

    Example:
        >>> kf.linalg.symmetric(jnp.array([[1.0, 4.0], [2.0, 1.0]])).tolist()
        [[1.0, 3.0], [3.0, 1.0]]
    """
    _check("symmetric", A=(A, "... n n"))
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
        >>> kf.linalg.matmul(jnp.array([[1.0, 2.0], [0.0, 1.0]]), jnp.array([3.0, 4.0])).tolist()
        [11.0, 4.0]
    """
    _check("matmul", A=(A, "n k"), B=(B, "k ..."))
    if 0 < A.shape[-1] <= UNROLL:
        return outer_products(A, B)
    return library_product(A, B)


def quadratic(A: Real[AnyArray, "k n"], P: Real[AnyArray, "n n"]) -> Real[Array, "k k"]:
    """Return A P A' for symmetric P, the covariance of A x where P is that of x."""
    _check("quadratic", A=(A, "k n"), P=(P, "n n"))
    return symmetric_product(matmul(A, P), A)


def symmetric_product(A: Real[AnyArray, "n k"], B: Real[AnyArray, "n k"]) -> Real[Array, "n n"]:
    """Return A B' for A and B whose product is symmetric, symmetric to the bit.

    Entries above the diagonal are those below it, as they were computed.

    Example:
        >>> A, B = jnp.array([[1.0, 2.0], [0.0, 1.0]]), jnp.array([[3.0, 1.0], [2.0, 1.0]])
        >>> kf.linalg.symmetric_product(A, B).tolist()
        [[5.0, 1.0], [1.0, 1.0]]
    """
    _check("symmetric_product", A=(A, "n k"), B=(B, "n k"))
    if 0 < A.shape[-1] <= UNROLL and A.shape[0] <= UNROLL:
        return products.symmetric_product(A, B)
    return symmetric(matmul(A, B.T))


def weighted_gram(
    weights: Real[AnyArray, " p"], X: Real[AnyArray, "p n"], Y: Real[AnyArray, "p m"]
) -> Real[Array, "n m"]:
    """Return sum_i w_i x_i y_i' for the rows x_i of X and y_i of Y."""
    _check("weighted_gram", weights=(weights, "p"), X=(X, "p n"), Y=(Y, "p m"))
    weighted = (weights[:, None] * X).T
    return symmetric_product(weighted, Y.T) if X is Y else matmul(weighted, Y)


def diagonal(A: Real[AnyArray, "n n"]) -> Real[Array, " n"]:
    """Return the diagonal of A."""
    _check("diagonal", A=(A, "n n"))
    if 0 < A.shape[-1] <= UNROLL:
        return sliced_diagonal(A)
    return jnp.diag(A)


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
        >>> kf.linalg.cholesky(jnp.array([[4.0, 2.0], [2.0, 1.0]])).tolist()  # of rank one
        [[2.0, 0.0], [1.0, 0.0]]
    """
    _check("cholesky", A=(A, "n n"))
    return _cholesky(A, cholesky_factors.negligible_pivots(diagonal(A)))


@jax.custom_jvp
def _cholesky(A: AnyArray, negligible: AnyArray) -> Array:
    """Return the factor of A, in which pivots up to `negligible` [n] count as zero."""
    n = A.shape[-1]
    if n <= SCALARS:
        return cholesky_factors.by_scalars(A, negligible)
    if n <= UNROLL:
        return cholesky_factors.by_columns(A, negligible)
    return _large_cholesky(A, negligible)


_large_cholesky = with_fallback(jnp.linalg.cholesky, cholesky_factors.by_loop)


@_cholesky.defjvp
def _cholesky_jvp(
    primals: tuple[AnyArray, AnyArray], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return the factor and its derivative; which pivots are zero has none."""
    A, negligible = primals
    dA, _ = tangents
    L = _cholesky(A, negligible)
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
        >>> kf.linalg.triangularise(jnp.array([[3.0, 4.0], [3.0, 4.0]])).round(3).tolist()
        [[5.0, 0.0], [5.0, 0.0]]
    """
    _check("triangularise", A=(A, "n p"))
    check_number("triangularise: rounding", rounding, least=0)
    return _triangularise(A, rounding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _triangularise(A: AnyArray, rounding: float) -> Array:
    """Return the factor of A A', in which rows that depend on earlier ones have zero columns."""
    negligible = rounding**2 * orthogonal.negligible_squares(A)
    if A.shape[0] <= 2 * UNROLL:
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
    _check("solve_lower", L=(L, "n n"), B=(B, "n ..."))
    return _solve_lower(L, B, transpose)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _solve_lower(L: AnyArray, B: AnyArray, transpose: bool) -> Array:
    """Solve L X = B or L' X = B."""
    if L.shape[-1] > UNROLL:
        return triangular.by_library(L, B, transpose)
    return triangular.by_substitution(L, B, transpose)


@_solve_lower.defjvp
def _solve_lower_jvp(
    transpose: bool, primals: tuple[AnyArray, AnyArray], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return X and its derivative dX = L^-1 (dB - dL X), with transposed L and dL if asked for."""
    # from L X = B, dL X + L dX = dB; the inverse is explicit for the reason in `_factor_tangent`
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
    _check("solve_factored", L=(L, "n n"), B=(B, "n ..."))
    return solve_lower(L, solve_lower(L, B), transpose=True)


def logdet(L: Float[AnyArray, "n n"]) -> Float[Array, ""]:
    """Return log det(L L') from the factor, without zero pivots: the determinant on the range."""
    _check("logdet", L=(L, "n n"))
    pivots = diagonal(L)
    return 2 * jnp.sum(jnp.log(jnp.where(pivots > 0, pivots, 1)))


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

    matrix: Array
    lower: Array
    hidden: Array | None = None

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
    _check("factorise", A=(A, "n n"))
    if hidden is None:
        return Factored(A, cholesky(A))
    _check("factorise", A=(A, "n n"), hidden=(hidden, "n"))
    negligible = jnp.maximum(hidden, cholesky_factors.negligible_pivots(diagonal(A)))
    return Factored(A, _cholesky(A, negligible), negligible)


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
