"""Masks of what was observed, in the structure of the observations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.values import as_arrays
from kfjax.base import Mask, Observations

__all__ = ["split_missing"]


def split_missing(ys: Observations) -> tuple[Observations, Mask]:
    """Turn NaN into a mask: `observed=~jnp.isnan(ys)` for a pytree of sensors.

    Args:
        ys: observations [..., m] with NaN where missing, or a pytree of such (several sensors).

    Returns:
        (filled, observed): ys with 0 for NaN and booleans of the same shape, for `run(..., filled,
        observed=observed)`.

    Example:
        >>> filled, observed = kf.split_missing(jnp.array([[1.0], [jnp.nan]]))
        >>> observed.tolist()
        [[True], [False]]
    """
    ys = jax.tree.map(jnp.asarray, as_arrays("split_missing: ys", ys))
    observed = jax.tree.map(lambda y: ~jnp.isnan(y), ys)
    return jax.tree.map(lambda y, seen: jnp.where(seen, y, 0), ys, observed), observed


def restrict(seen: Mask, active: Array, ys: Observations) -> Mask:
    """Combine the mask with the active steps, in the structure of ys."""
    if seen is None:
        return jax.tree.map(lambda _: active, ys)

    def one(seen: Array) -> Array:
        steps = (-1,) + (1,) * (seen.ndim - 1)
        return seen & active.reshape(steps)

    return jax.tree.map(one, seen)


def unseen_to_zero(ys: Observations, seen: Mask) -> Observations:
    """Replace entries that do not count by zero."""
    if seen is None:
        return ys

    def one(y: Array, seen: Array) -> Array:
        shape = seen.shape + (1,) * (y.ndim - seen.ndim)
        return jnp.where(seen.reshape(shape), y, 0)

    return jax.tree.map(one, ys, seen)
