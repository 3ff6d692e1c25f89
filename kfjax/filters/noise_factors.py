"""Square roots of noise covariances at work, for no more than a scaling where the covariance is diagonal.

In thousands of dimensions noise is nearly always diagonal, and a factorisation in every step would
be most of its cost. L is the lower factor, L L' = cov. Derivatives are those of the general case.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from kfjax import linalg

__all__: list[str] = []


def _with_shortcut(
    general: Callable[..., Array],
    diagonal: Callable[..., Array],
    doc: str,
    factor: Callable[[Array], Array],
) -> Callable[..., Array]:
    """Return `general(factor(cov), *rows)`, computed as `diagonal(scale, *rows)` where cov is diagonal."""

    def by_factor(cov: Array, *rows: Array) -> Array:
        return general(factor(cov), *rows)

    def by_scale(cov: Array, *rows: Array) -> Array:
        return diagonal(jnp.sqrt(jnp.maximum(jnp.diag(cov), 0)), *rows)

    @jax.custom_jvp
    def fn(cov: Array, *rows: Array) -> Array:
        if cov.shape[0] <= linalg.UNROLL:
            return by_factor(cov, *rows)
        is_diagonal = jnp.all(cov == jnp.diag(jnp.diag(cov)))
        return lax.cond(is_diagonal, by_scale, by_factor, cov, *rows)

    fn.defjvp(lambda primals, tangents: (fn(*primals), jax.jvp(by_factor, primals, tangents)[1]))
    fn.__doc__ = doc
    return fn


def _definite(cov: Array) -> Array:
    """The factor of a positive definite covariance, which costs less to compile than that of any."""
    return linalg.cholesky(cov) if cov.shape[0] <= linalg.UNROLL else jnp.linalg.cholesky(cov)


coloured = _with_shortcut(
    lambda L, rows: linalg.matmul(rows, L.T),
    lambda scale, rows: rows * scale[None, :],
    "Return L z for the rows z of an array [N, n]; cov may be singular.",
    linalg.cholesky,
)
whitened = _with_shortcut(
    lambda L, rows: linalg.solve_lower(L, rows.T).T,
    lambda scale, rows: rows / scale[None, :],
    "Return L^-1 b for the rows b of an array [N, m].",
    _definite,
)
unwhitened = _with_shortcut(
    lambda L, rows: linalg.solve_lower(L, rows.T, transpose=True).T,
    lambda scale, rows: rows / scale[None, :],
    "Return L'^-1 b for the rows b of an array [N, m].",
    _definite,
)
log_determinant = _with_shortcut(
    linalg.logdet,
    lambda scale: 2 * jnp.sum(jnp.log(scale)),
    "Return log det cov of cov [m, m].",
    _definite,
)
