"""Variances that are zero up to the rounding of the numbers that were subtracted.

A noise-free observation leaves a variance of zero. In floating point it leaves the rounding error
of the terms that cancelled, which later steps would mistake for remaining uncertainty: a constant
that is observed twice without noise would have a likelihood of order 1 / eps. Whether a variance is
zero is therefore decided by the size of the terms, not by that of their difference. Where noise
enters, a variance is never zero, and nothing is changed.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.precision import eps_of
from kfjax._support.types import AnyArray
from kfjax.linalg.sparse import Sparse, product

__all__: list[str] = []


def summed_variances(A: Any, variances: Array) -> Array:
    """Return sum_j A_ij^2 var_j [k], the variance of A x if its terms were independent."""
    squares = A.squared() if isinstance(A, Sparse) else A**2
    return jax.lax.stop_gradient(product(squares, variances))


def summed_sizes(A: Any, x: AnyArray) -> Array:
    """Return sum_j |A_ij x_j| [k], or 0 on a space of more coordinates than dimensions."""
    if x.shape[-1] != A.shape[-1]:
        return jnp.zeros(A.shape[0], x.dtype)
    return jax.lax.stop_gradient(product(abs(A), jnp.abs(x)))


def hidden_variances(terms: Array, noise: Array, count: int) -> Array:
    """Return the thresholds [k] up to which a variance is rounding error.

    Args:
        terms: [k], the sum of the variances of the terms of each component.
        noise: [k], the variance of the noise that enters each component.
        count: the number of terms.
    """
    eps = eps_of(terms)
    noise_free = noise <= (64 * eps) ** 2 * terms
    return jnp.where(noise_free, 8 * count * eps * terms, 0)


def settled(cov: AnyArray, hidden: Array) -> Array:
    """Return the covariance with zeros for components whose variance is rounding error.

    The derivative is that of the covariance as given: more noise would raise a variance of zero.
    """
    return _with_zeros(cov, linalg.diagonal(cov) < hidden)


@jax.custom_jvp
def _with_zeros(cov: AnyArray, known: Array) -> Array:
    """Return the covariance with zeros in the rows and columns that are known."""
    return jnp.where(known[:, None] | known[None, :], 0, cov)


@_with_zeros.defjvp
def _with_zeros_jvp(
    primals: tuple[AnyArray, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return the covariance with zeros, and the derivative of the covariance as given."""
    return _with_zeros(*primals), tangents[0]


@jax.custom_jvp
def without_negative_variances(cov: AnyArray) -> Array:
    """Return the covariance with zero for variances that rounding made negative.

    The derivative is that of the covariance as given.
    """
    negative = np.eye(cov.shape[-1], dtype=bool) & (cov < 0)
    return jnp.where(negative, 0, cov)


@without_negative_variances.defjvp
def _without_negative_variances_jvp(
    primals: tuple[AnyArray], tangents: tuple[Array]
) -> tuple[Array, Array]:
    return without_negative_variances(*primals), tangents[0]


def without_rounding(A: AnyArray, B: AnyArray) -> Array:
    """Return A B, with zeros for entries that are rounding errors of terms that cancelled."""
    product = linalg.matmul(A, B)
    terms = linalg.matmul(jnp.abs(A), jnp.abs(B))
    eps = eps_of(product)
    rounding = 8 * A.shape[-1] * eps * jax.lax.stop_gradient(terms)
    return jnp.where(jnp.abs(product) < rounding, 0, product)
