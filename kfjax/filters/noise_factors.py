"""Products and solves with the factor L of a noise covariance, L L' = cov.

In thousands of dimensions noise is nearly always diagonal, and a factorisation in every step would
be most of the cost of the step. For a diagonal covariance these functions only scale. Its values at
run time show whether it is diagonal, so a model needs no second way to say so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from kfjax import linalg
from kfjax.linalg import sizes

__all__: list[str] = []

OfCovariance: TypeAlias = Callable[..., Array]


def coloured(cov: Array, rows: Array) -> Array:
    """Return L z for the rows z of an array [N, n]; cov may be singular."""

    def by_factor(cov: Array, rows: Array) -> Array:
        return linalg.matmul(rows, linalg.cholesky(cov).T)

    def by_scale(scale: Array, rows: Array) -> Array:
        return rows * scale[None, :]

    return _with_shortcut(by_factor, by_scale, cov, rows)


def whitened(cov: Array, rows: Array) -> Array:
    """Return L^-1 b for the rows b of an array [N, m]."""

    def by_factor(cov: Array, rows: Array) -> Array:
        return linalg.solve_lower(_definite_factor(cov), rows.T).T

    return _with_shortcut(by_factor, _divided, cov, rows)


def unwhitened(cov: Array, rows: Array) -> Array:
    """Return L'^-1 b for the rows b of an array [N, m]."""

    def by_factor(cov: Array, rows: Array) -> Array:
        return linalg.solve_lower(_definite_factor(cov), rows.T, transpose=True).T

    return _with_shortcut(by_factor, _divided, cov, rows)


def log_determinant(cov: Array) -> Array:
    """Return log det cov of cov [m, m]."""

    def by_factor(cov: Array) -> Array:
        return linalg.logdet(_definite_factor(cov))

    def by_scale(scale: Array) -> Array:
        return 2 * jnp.sum(jnp.log(scale))

    return _with_shortcut(by_factor, by_scale, cov)


def _divided(scale: Array, rows: Array) -> Array:
    """Return the rows divided by a scale [m]: L^-1 and L'^-1 are the same for a diagonal L."""
    return rows / scale[None, :]


def _definite_factor(cov: Array) -> Array:
    """Return the factor of a positive definite covariance, which compiles faster than any other."""
    if cov.shape[0] <= sizes.UNROLL:
        return linalg.cholesky(cov)
    return jnp.linalg.cholesky(cov)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _with_shortcut(
    by_factor: OfCovariance, by_scale: OfCovariance, cov: Array, *rows: Array
) -> Array:
    """Return `by_factor(cov, *rows)`, which is `by_scale(scale, *rows)` if cov is diagonal."""

    def scaled(cov: Array, *rows: Array) -> Array:
        return by_scale(jnp.sqrt(jnp.maximum(jnp.diag(cov), 0)), *rows)

    if cov.shape[0] <= sizes.UNROLL:  # fused with what a `cond` would separate
        return by_factor(cov, *rows)
    # Ensembles are used with thousands of channels, whose noise is nearly always diagonal; there a
    # factor costs m^3 and a root costs m. Whether it is diagonal is a value, known only at run
    # time.
    is_diagonal = jnp.all(cov == jnp.diag(jnp.diag(cov)))
    return lax.cond(is_diagonal, scaled, by_factor, cov, *rows)


@_with_shortcut.defjvp
def _with_shortcut_jvp(
    by_factor: OfCovariance,
    by_scale: OfCovariance,
    primals: tuple[Array, ...],
    tangents: tuple[Array, ...],
) -> tuple[Array, Array]:
    """Return the value and the derivative of the general case."""
    # A diagonal covariance may have a tangent that is not diagonal. The derivative of the scaled
    # form would miss the entries off the diagonal.
    value = _with_shortcut(by_factor, by_scale, *primals)
    return value, jax.jvp(by_factor, primals, tangents)[1]
