"""Covariances of large states: of linear functions of them, and after an observation.

    (I - K A) P (I - K A)' + K R K' = B - (B A' - K R) K',   B = P - K (A P),

takes 2 n^2 m multiplications instead of 2 n^3, and rounds like the product of three matrices: the
errors of B, too, are multiplied by (I - K A)'. With the optimal gain, K (A P A' + R) = P A', its
derivative by K is zero, so that

    d = (I - K A) dP (I - K A)' + K dR K' - W K' - K W',   W = (P - K A P) dA',

without the derivative of K: a third of the operations. If K = K_0 + K_1 T is the best gain for a
given K_0, only K_1 drops out, and - C dK_0' - dK_0 C' with C = P A' - K (A P A' + R) is added.
Derivatives of d are again right, since d is the derivative wherever the gain is optimal, and there
K is a function.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from kfjax import linalg
from kfjax.linalg.sparse import Pattern, Sparse, product

__all__: list[str] = []


def sparse_quadratic(A: Sparse, P: Array) -> Array:
    """Return A P A' [k, k] for symmetric P, symmetric to the bit."""
    return _quadratic(A.pattern, A.matrix, P)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _quadratic(pattern: Pattern, A: Array, P: Array) -> Array:
    sparse = Sparse(A, pattern)
    return linalg.symmetric(product(sparse, product(sparse, P).T))


def _quadratic_jvp(pattern: Pattern, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Return the product with its derivative, which is symmetric only to rounding."""
    A, P = primals
    dA, dP = tangents
    sparse = Sparse(A, pattern)
    change = jnp.zeros((A.shape[0], A.shape[0]), A.dtype)
    if not isinstance(dP, SymbolicZero):
        change = product(sparse, product(sparse, dP).T)
    if not isinstance(dA, SymbolicZero):
        half = product(sparse, linalg.matmul(P, dA.T))
        change = change + half + half.T
    return _quadratic(pattern, A, P), change


_quadratic.defjvp(_quadratic_jvp, symbolic_zeros=True)


def residual_cov(P: Array, K: Array, A: Any, R: Array | None = None) -> Array:
    """Return (I - K A) P (I - K A)' + K R K' [n, n]; A [m, n] may be `Sparse`, no R is zero."""
    before = P - _products(K, product(A, P).T)
    seen = product(A, before.T).T
    if R is not None:
        seen = seen - linalg.matmul(K, R)
    return linalg.symmetric(before - _products(seen, K))


def optimal_cov(P: Array, K: Array, A: Any, R: Array, given: Array) -> Array:
    """Return (I - K A) P (I - K A)' + K R K' [n, n] for the gain K [n, m].

    K is the optimal gain, or the best one of those whose part `given` [n, m] is not free.
    """
    if isinstance(A, Sparse):
        return _optimal_cov(A.pattern, P, K, A.matrix, R, given)
    return _optimal_cov(None, P, K, A, R, given)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _optimal_cov(
    pattern: Pattern | None, P: Array, K: Array, A: Array, R: Array, given: Array
) -> Array:
    del given
    return residual_cov(P, K, _with(pattern, A), R)


def _optimal_cov_jvp(pattern: Pattern | None, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Return the covariance and its derivative, without that of the optimal part of the gain."""
    P, K, A, R, given = primals
    dP, _, dA, dR, d_given = tangents
    sparse = _with(pattern, A)
    # d = dP - W K' - K W', where W holds half of what is between K and K'
    W = jnp.zeros_like(K)
    between = jnp.zeros_like(R)
    if not isinstance(dP, SymbolicZero):
        seen = product(sparse, dP).T
        W = W + seen
        between = between + product(sparse, seen)
    if not isinstance(dA, SymbolicZero):
        before = P - _products(K, product(sparse, P).T)
        W = W + linalg.matmul(before, dA.T)
    if not isinstance(dR, SymbolicZero):
        between = between + dR
    moved: Any = 0.0
    if not isinstance(d_given, SymbolicZero):
        seen = product(sparse, P).T
        before = seen - linalg.matmul(K, product(sparse, seen) + R)
        moved = _products(before, d_given) + _products(d_given, before)
    W = W - 0.5 * linalg.matmul(K, between)
    change = -_products(W, K) - _products(K, W) - moved
    if not isinstance(dP, SymbolicZero):
        change = dP + change
    return _optimal_cov(pattern, P, K, A, R, given), change


_optimal_cov.defjvp(_optimal_cov_jvp, symbolic_zeros=True)


def _with(pattern: Pattern | None, A: Array) -> Any:
    return A if pattern is None else Sparse(A, pattern)


def _products(A: Array, B: Array) -> Array:
    """Return A B' for A and B of few columns."""
    if A.shape[1] == 1:
        return A * B.T
    return linalg.matmul(A, B.T)
