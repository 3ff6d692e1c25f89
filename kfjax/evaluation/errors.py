"""Errors of estimates: which of them count, and how large rounding errors are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int, Real

from kfjax._support.arguments import check_function, float_array, is_concrete
from kfjax._support.precision import eps_of
from kfjax._support.values import as_arrays

__all__: list[str] = []

Difference: TypeAlias = Callable[
    [Float[Array, "... n"], Float[Array, "... n"]], Float[Array, "... d"]
]
"""`(x, m) -> [d]`: the difference of two states, in the tangent space of a curved space."""


def estimation_errors(
    who: str,
    truth: Real[ArrayLike, " ..."],
    mean: Real[ArrayLike, " ..."],
    length: Int[ArrayLike, " ..."] | None,
    difference: Difference | None,
) -> tuple[Real[Array, "*batch T d"], Bool[Array, "*batch T d"]]:
    """Return the errors, zero where they do not count, and the mask of those that do."""
    truth = float_array(f"{who}: truth", truth)
    mean = float_array(f"{who}: the estimates", mean)
    if truth.shape != mean.shape or truth.ndim < 2:
        raise ValueError(
            f"{who}: truth has shape {truth.shape} and the estimates {mean.shape}; expected [...,"
            " T, n] for both. If the truth lacks a component of the estimate, set it to NaN."
        )
    subtract: Difference = jnp.subtract
    if difference is not None:
        check_function(f"{who}: difference", difference, "a function (x, m) -> [d], or None")
        subtract = jnp.vectorize(difference, signature="(k),(k)->(n)")
    # Unknown components are found in the tangent space, whose dimension may differ from that of x.
    # An infinite truth counts as known, and is replaced since inf - inf is NaN.
    finite = jnp.where(jnp.isinf(truth), 0, truth)
    known = ~jnp.isnan(subtract(finite, finite))
    within = _within(who, length, truth.shape[:-1])
    known &= within[..., None]
    _check_finite_truth(who, truth, within)
    # fill first, mask after: the gradient of a masked NaN is NaN
    error = subtract(jnp.where(jnp.isnan(truth), mean, truth), mean)
    return jnp.where(known, error, 0), known


def _within(
    who: str, length: Int[ArrayLike, " ..."] | None, shape: tuple[int, ...]
) -> Bool[Array, "*batch T"]:
    """Return which steps [..., T] count; raise unless length is a number of steps."""
    if length is None:
        return jnp.ones(shape, bool)
    count = jnp.asarray(as_arrays(f"{who}: length", length))
    whole = jnp.issubdtype(count.dtype, jnp.integer)
    if not whole or not _broadcasts(count.shape, shape[:-1]):
        raise ValueError(
            f"{who}: length is {count.dtype} of shape {count.shape}; expected whole numbers of"
            f" shape {shape[:-1]}, one for each trajectory, or one number for all."
        )
    if is_concrete(count) and count.size:
        values = np.asarray(count)
        if values.min() < 0 or values.max() > shape[-1]:
            raise ValueError(
                f"{who}: length is between {values.min()} and {values.max()}; expected 0 to"
                f" {shape[-1]}, the number of steps."
            )
    step = jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 1)
    return step < jnp.broadcast_to(count, shape[:-1])[..., None]


def _check_finite_truth(who: str, truth: Array, within: Array) -> None:
    """Raise if a truth that counts is infinite; inside a trace, its error is infinite."""
    infinite = jnp.isinf(truth) & within[..., None]
    if is_concrete(infinite) and bool(infinite.any()):
        at = tuple(int(i) for i in np.argwhere(np.asarray(infinite))[0])
        raise ValueError(
            f"{who}: truth is infinite at {at}; expected finite numbers, or NaN where it is not"
            " known."
        )


def covariance(who: str, cov: Real[ArrayLike, " ..."], error: Array) -> Array:
    """Return the covariances; raise unless they have the shape of the errors."""
    P = float_array(f"{who}: cov", cov)
    d = error.shape[-1]
    if P.shape[-2:] != (d, d) or not _broadcasts(P.shape[:-2], error.shape[:-1]):
        raise ValueError(
            f"{who}: cov has shape {P.shape}; expected {(*error.shape, d)}, a covariance of the"
            " error of every step. On a curved space it has the dimension of the tangent space."
        )
    return P


def resolution(
    truth: Real[ArrayLike, " ..."], mean: Real[ArrayLike, " ..."], error: Array, known: Array
) -> Array:
    """Return the size [..., 1, d] of errors that are rounding: root eps of the largest numbers."""
    eps = eps_of(error)
    size = jnp.maximum(_finite_size(truth), _finite_size(mean))
    if size.shape == error.shape:
        largest = jnp.where(known, size, 0).max(-2, keepdims=True)
    else:  # tangent vectors have another dimension than the points
        largest = size.max((-2, -1), keepdims=True)
    return jnp.broadcast_to(jnp.sqrt(eps) * largest, error.shape)


def _finite_size(x: Real[ArrayLike, " ..."]) -> Array:
    """Return the absolute values of finite entries, 0 for others."""
    x = jnp.asarray(x)
    return jnp.where(jnp.isfinite(x), jnp.abs(x), 0)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Return whether an array of this shape broadcasts to another shape."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(a in (1, b) for a, b in pairs)
