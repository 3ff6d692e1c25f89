"""Small dense algebra that XLA can fuse over a batch.

A filter multiplies, factors and solves with matrices of a few rows, thousands at a time. Under
`jax.vmap` a LAPACK factorisation is one library call per matrix, and a small `dot_general` is
hardly better, so that sizes up to `UNROLL` are written out: products as sums of outer products,
factorisations and solves by scalars, columns and rows, which XLA fuses over the batch. Larger sizes
go through `jax.numpy.linalg`. The choice is made at trace time from the static shape. Derivatives
are written out too (`custom_jvp`), with plain products: a transposed unrolled loop compiles slowly.

Every function takes one matrix; batch with `jax.vmap`. Everything here accepts *semidefinite*
matrices: a zero pivot gives a zero column in the factor, and solves with such a factor are right
for right-hand sides in its range. Covariances are symmetric to rounding, and only their lower
triangle is factored: making them exactly symmetric in every step would cost a transposition that
breaks the fusion, half of the time of a Kalman step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from kfjax._support.memory_layout import batch_innermost

UNROLL = 8  # largest size that is unrolled
SCALARS = (
    3  # largest size that is factored by scalars, which are fewer kernels where there is no batch
)
Factoriser = Callable[[Array], Array]

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
    "triangularise",
    "weighted_gram",
]


def symmetric(A: Array) -> Array:
    """Return the symmetric part (A + A') / 2."""
    return 0.5 * (A + A.swapaxes(-1, -2))


def _dot(A: Array, B: Array) -> Array:
    """The library's product, at full precision on every device."""
    return jnp.matmul(A, B, precision=lax.Precision.HIGHEST)


@jax.custom_jvp
def _outer_products(A: Array, B: Array) -> Array:
    """A B as a sum of outer products."""
    if B.ndim == 1:  # the last first: see `kfjax.Linear`
        return batch_innermost(sum(A[:, k] * B[k] for k in reversed(range(A.shape[-1]))))
    return batch_innermost(sum(A[:, k, None] * B[None, k, :] for k in range(A.shape[-1])))


@_outer_products.defjvp
def _outer_products_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (A, B), (dA, dB) = primals, tangents
    return _outer_products(A, B), _dot(dA, B) + _dot(A, dB)


def matmul(A: Array, B: Array) -> Array:
    """Return A B for A [n, k] and B [k, m] or B [k], at full precision on every device."""
    if A.shape[-1] != B.shape[0]:
        raise ValueError(
            f"matmul: got shapes {A.shape} and {B.shape}; expected [n, k] and [k, m] or [k]."
        )
    return _outer_products(A, B) if 0 < A.shape[-1] <= UNROLL else _dot(A, B)


def quadratic(A: Array, P: Array) -> Array:
    """Return A P A' for A [k, n] and symmetric P [n, n]."""
    return matmul(matmul(A, P), A.T)


def weighted_gram(weights: Array, X: Array, Y: Array) -> Array:
    """Return sum_i w_i x_i y_i' for rows x_i of X [p, n] and y_i of Y [p, m]."""
    return matmul((weights[:, None] * X).T, Y)


def diagonal(A: Array) -> Array:
    """Return the diagonal [n] of A [n, n]; by slices where it is small, since `jnp.diag` is a gather, which is slow."""
    n = A.shape[-1]
    return jnp.stack([A[i, i] for i in range(n)]) if 0 < n <= UNROLL else jnp.diag(A)


@jax.custom_jvp
def cholesky(A: Array) -> Array:
    """Lower factor L [n, n] with L L' = A, for symmetric positive *semi*definite A [n, n]; reads the lower triangle.

    A pivot below n eps A_jj counts as zero and gives a zero column; every |L_ij| is kept below the
    square root of what remains of A_ii. An indefinite A is therefore factored as if its negative
    part were not there. The derivative is right where the rank stays as it is, and 0 in directions
    that would raise it.
    """
    n = A.shape[-1]
    if n <= SCALARS:
        return _cholesky_scalars(A)
    return _cholesky_columns(A) if n <= UNROLL else _cholesky_large(A)


@cholesky.defjvp
def _cholesky_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """dL = L Phi(L^-1 dA L^-T), where Phi keeps the lower triangle and half of the diagonal."""
    L = cholesky(primals[0])
    return L, _factor_tangent(L, symmetric(tangents[0]))


def _factor_tangent(L: Array, dA: Array) -> Array:
    """Return the derivative of the lower factor L of A in the symmetric direction dA."""
    null = diagonal(L) == 0
    # with ones for null pivots, rows below and beside them still turn; what would fill the null
    # columns is cut off
    whole = L + jnp.diag(null.astype(L.dtype))
    inverse = solve_lower(whole, jnp.eye(L.shape[-1], dtype=L.dtype))
    M = _dot(_dot(inverse, dA), inverse.T)
    return jnp.where(
        null[None, :], 0, _dot(whole, jnp.tril(M) - 0.5 * M * jnp.eye(M.shape[-1], dtype=M.dtype))
    )


def _tiny(A: Array) -> Array:
    """The pivots [n] up to which they count as zero in the factor of A."""
    return A.shape[-1] * jnp.finfo(A.dtype).eps * diagonal(A)


def _cholesky_scalars(A: Array) -> Array:
    """Factor by scalars, column by column."""
    n, tiny = A.shape[-1], _tiny(A)
    L = [[jnp.zeros_like(A[0, 0])] * n for _ in range(n)]
    remaining = [A[i, i] for i in range(n)]
    for j in range(n):
        positive = remaining[j] > tiny[j]
        L[j][j] = jnp.where(positive, jnp.sqrt(jnp.where(positive, remaining[j], 1)), 0)
        inverse = jnp.where(positive, 1 / jnp.where(positive, L[j][j], 1), 0)
        for i in range(j + 1, n):
            entry = (A[i, j] - sum(L[i][k] * L[j][k] for k in range(j))) * inverse
            limit = jnp.sqrt(jnp.maximum(remaining[i], 0))
            L[i][j] = jnp.clip(entry, -limit, limit)
            remaining[i] = remaining[i] - L[i][j] ** 2
    return batch_innermost(jnp.stack([jnp.stack(row) for row in L]))


def _cholesky_columns(A: Array) -> Array:
    """Factor by columns.

    Each is laid out by itself and ends with a division, which keeps XLA from computing it again
    wherever it is used: that would be slower, and rounded otherwise than the factor that is
    returned.
    """
    n, tiny = A.shape[-1], _tiny(A)
    place, remaining = jnp.arange(n), diagonal(A)
    columns: list[Array] = []
    for j in range(n):
        positive = remaining[j] > tiny[j]
        pivot = jnp.sqrt(jnp.where(positive, remaining[j], 1))
        limit = jnp.sqrt(jnp.maximum(remaining, 0))
        below = jnp.clip(
            (A[:, j] - sum(column * column[j] for column in columns)) / pivot, -limit, limit
        )
        column = jnp.where(place > j, below, jnp.where(place == j, pivot, 0))
        columns.append(batch_innermost(jnp.where(positive, column, 0 * column)))  # NaN stays NaN
        remaining = remaining - columns[j] ** 2
    return batch_innermost(jnp.stack(columns, axis=1))


def _cholesky_loop(A: Array) -> Array:
    """Factor by a loop over columns: for singular matrices too large to unroll, where LAPACK gives NaN."""
    n, tiny = A.shape[-1], _tiny(A)

    def body(S: Array, j: Array) -> tuple[Array, Array]:
        remaining = jnp.diag(S)
        positive = remaining[j] > tiny[j]
        limit = jnp.sqrt(jnp.maximum(remaining, 0))
        column = jnp.clip(S[:, j] / jnp.sqrt(jnp.where(positive, remaining[j], 1)), -limit, limit)
        column = jnp.where(positive & (jnp.arange(n) >= j), column, 0)
        return S - jnp.outer(column, column), column

    return lax.scan(body, A, jnp.arange(n))[1].T


def _with_fallback(
    quick: Factoriser, careful: Factoriser, tiny: Callable[[Array], Array]
) -> Factoriser:
    """Return the factor by `quick`, or by `careful` where a pivot counts as zero.

    The latter runs only if some matrix of the batch needs it, which a `lax.cond` under `jax.vmap`
    does not achieve.
    """

    @jax.custom_batching.custom_vmap
    def factor(A: Array) -> Array:
        L = jnp.vectorize(quick, signature="(n,p)->(n,n)")(A)
        pivots = jnp.diagonal(L, axis1=-2, axis2=-1) ** 2
        regular = (pivots > jnp.vectorize(tiny, signature="(n,p)->(n)")(A)).all(-1)[..., None, None]
        mended = jnp.vectorize(careful, signature="(n,p)->(n,n)")
        broken = jnp.isnan(A).any((-2, -1), keepdims=True)  # and not singular: it stays NaN
        return lax.cond(regular.all(), lambda: L, lambda: jnp.where(regular | broken, L, mended(A)))

    @factor.def_vmap
    def _(size: int, batched: list[bool], A: Array) -> tuple[Array, bool]:
        del size, batched
        return factor(A), True

    return factor


_cholesky_large = _with_fallback(jnp.linalg.cholesky, _cholesky_loop, _tiny)


@jax.custom_jvp
def triangularise(A: Array) -> Array:
    """Lower factor L [n, n] with L L' = A A' and a diagonal of zeros or more, for A [n, p] of any rank.

    Orthogonal reduction, not the Cholesky factor of A A': it keeps twice the digits. Rows that
    depend on earlier ones to rounding give a zero column. The derivative is that of `cholesky`,
    finite at any rank.
    """
    return _gram_schmidt(A) if A.shape[0] <= 2 * UNROLL else _triangularise_large(A)


@triangularise.defjvp
def _triangularise_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """The derivative of the factor of A A'."""
    (A,), (dA,) = primals, tangents
    L = triangularise(A)
    half = _dot(dA, A.T)
    return L, _factor_tangent(L, half + half.T)


def _tiny_squares(A: Array) -> Array:
    """The squares [n] of pivots up to which they count as zero in the triangularisation of A.

    What rounds is the subtraction of up to n multiples of other rows; the length of a row does not
    come in, since the second pass of Gram-Schmidt mends its products.
    """
    return (A.shape[0] * jnp.finfo(A.dtype).eps) ** 2 * jnp.sum(A**2, axis=1)


def _gram_schmidt(A: Array) -> Array:
    """Gram-Schmidt on the rows of A, each twice (which is as accurate as Householder), guarded at rank deficiency.

    Unrolled for very small sizes only: written out, more rows take longer to compile than they
    save.
    """
    n, tiny = A.shape[0], _tiny_squares(A)

    def add_row(basis: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        row, place, tiny = at
        first = jnp.sum(basis * row[None, :], axis=1)
        rest = row - jnp.sum(first[:, None] * basis, axis=0)
        second = jnp.sum(basis * rest[None, :], axis=1)
        rest = rest - jnp.sum(second[:, None] * basis, axis=0)
        square = jnp.sum(rest**2)
        positive = square > tiny
        norm = jnp.sqrt(jnp.where(positive, square, 1))
        basis = basis + jnp.where(positive, place[:, None] * (rest / norm)[None, :], 0)
        return basis, first + second + place * jnp.where(positive, norm, 0)

    rows = (A, jnp.eye(n, dtype=A.dtype), tiny)
    return lax.scan(add_row, jnp.zeros_like(A), rows, unroll=n <= UNROLL // 2)[1]


def _householder(A: Array) -> Array:
    """Triangularise by a QR factorisation, which leaves no zero columns."""
    n, p = A.shape
    R = jnp.linalg.qr(A.T, mode="r")
    R = jnp.concatenate([R, jnp.zeros((max(n - p, 0), n), A.dtype)])
    return (jnp.where(jnp.diag(R) < 0, -1, 1).astype(A.dtype)[:, None] * R).T


_triangularise_large = _with_fallback(_householder, _gram_schmidt, _tiny_squares)


def solve_lower(L: Array, B: Array, *, transpose: bool = False) -> Array:
    """Solve L X = B (or L' X = B) for lower triangular L [n, n] and B [n] or [n, r]; X is 0 where L_jj is."""
    return _solve_lower(L, B, transpose)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _solve_lower(L: Array, B: Array, transpose: bool) -> Array:
    pivots = diagonal(L)
    regular = pivots > 0
    if L.shape[-1] > UNROLL:
        L = jnp.where(regular[:, None] & regular[None, :], L, 0) + jnp.diag(
            (~regular).astype(L.dtype)
        )
        X = jax.scipy.linalg.solve_triangular(L, B, lower=True, trans=1 if transpose else 0)
        rest = jnp.where(jnp.isnan(pivots), jnp.nan, 0)  # what is NaN is not taken for singular
        return (
            jnp.where(regular, X, rest)
            if B.ndim == 1
            else jnp.where(regular[:, None], X, rest[:, None])
        )
    n = L.shape[-1]
    inverse = jnp.where(regular, 1 / jnp.where(regular, pivots, 1), 0)
    rows: list[Array] = [B[i] for i in range(n)]
    for i in reversed(range(n)) if transpose else range(n):
        rows[i] = batch_innermost(rows[i] * inverse[i])
        for j in range(i) if transpose else range(i + 1, n):
            rows[j] = rows[j] - (L[i, j] if transpose else L[j, i]) * rows[i]
    return batch_innermost(jnp.stack(rows))


@_solve_lower.defjvp
def _solve_lower_jvp(
    transpose: bool, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """dX = L^-1 (dB - dL X)."""
    (L, B), (dL, dB) = primals, tangents
    X = _solve_lower(L, B, transpose)
    inverse = _solve_lower(L, jnp.eye(L.shape[-1], dtype=L.dtype), transpose)
    slope = jnp.tril(dL)
    return X, _dot(inverse, dB - _dot(slope.T if transpose else slope, X))


def solve_factored(L: Array, B: Array) -> Array:
    """Solve L L' X = B for B [n] or [n, r]; for singular L L', right where B lies in its range."""
    return solve_lower(L, solve_lower(L, B), transpose=True)


def logdet(L: Array) -> Array:
    """Return log det(L L') from the factor; zero pivots are left out (the determinant on the range)."""
    d = diagonal(L)
    return 2 * jnp.sum(jnp.where(d > 0, jnp.log(jnp.where(d > 0, d, 1)), 0))


class Factored(NamedTuple):
    """A symmetric positive semidefinite matrix with its Cholesky factor, for solves and the determinant.

    Attributes:
        matrix: A [n, n].
        lower: L [n, n] with L L' = A.
    """

    matrix: Array
    lower: Array

    def solve(self, B: Array) -> Array:
        """Return A^-1 B for B [n] or [n, r]; for singular A, right where B lies in its range."""
        return _solve(self.matrix, self.lower, B)

    def logdet(self) -> Array:
        """Return log det A; zero pivots are left out (the determinant on the range)."""
        return _logdet(self.matrix, self.lower)


def factorise(A: Array) -> Factored:
    """Factor a symmetric positive semidefinite A [n, n] for several uses."""
    return Factored(A, cholesky(A))


@jax.custom_jvp
def _solve(A: Array, L: Array, B: Array) -> Array:
    """A^-1 B, with L = cholesky(A)."""
    del A
    return solve_factored(L, B)


@_solve.defjvp
def _solve_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """dX = A^-1 (dB - dA X); the factor's own derivative is in dA already."""
    (A, L, B), (dA, _, dB) = primals, tangents
    X = _solve(A, L, B)
    return X, _dot(_inverse(A, L), dB - _dot(symmetric(dA), X))


@jax.custom_jvp
def _logdet(A: Array, L: Array) -> Array:
    """Log det A, with L = cholesky(A)."""
    del A
    return logdet(L)


@_logdet.defjvp
def _logdet_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """d log det A = tr(A^-1 dA)."""
    (A, L), (dA, _) = primals, tangents
    return _logdet(A, L), jnp.sum(_inverse(A, L) * dA)


def _inverse(A: Array, L: Array) -> Array:
    """A^-1, for derivatives only."""
    return _solve(A, L, jnp.eye(A.shape[-1], dtype=A.dtype))
