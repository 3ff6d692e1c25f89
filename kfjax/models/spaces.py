"""Differences and moves on curved spaces: angles, and anything a user describes with two functions.

A `Space` says how to subtract two points and how to move a point along a tangent vector. The
Euclidean space is the default everywhere; a model with angles gives `difference` for its
observations, `state_difference` and `retract` for its states, and every filter, smoother and metric
uses them wherever a difference or a mean is formed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

__all__ = ["EUCLIDEAN", "Space", "angle_difference", "angle_retract", "wrap_angle"]


class Space(NamedTuple):
    """How to form differences and moves.

    Attributes:
        difference: `(a, b) -> d`, the tangent vector from b to a; Euclidean: a - b.
        retract: `(x, d) -> x'`, the point reached from x along d; Euclidean: x + d. retract(b,
            difference(a, b)) = a.
    """

    difference: Callable[[Array, Array], Array]
    retract: Callable[[Array, Array], Array]


EUCLIDEAN = Space(jnp.subtract, jnp.add)


def wrap_angle(angle: Array) -> Array:
    """Map angles in radians to [-pi, pi], with derivative one everywhere; angles already there are not touched.

    Example:
        >>> float(kf.wrap_angle(2 * jnp.pi + 0.5).round(3))
        0.5
    """
    return angle - 2 * jnp.pi * jnp.round(angle / (2 * jnp.pi))


@dataclasses.dataclass(frozen=True)
class _Wrapped:
    """An operation whose result is wrapped at some indices; a value, so that models built alike trace alike."""

    operation: Callable[[Array, Array], Array]
    indices: tuple[int, ...]

    def __call__(self, a: Array, b: Array) -> Array:
        result = self.operation(a, b)
        n = result.shape[-1]
        if not all(-n <= i < n for i in self.indices):
            raise ValueError(
                f"angle indices are {self.indices}; expected them below {n}, the size of the"
                " vector."
            )
        at = list(self.indices)
        return result.at[..., at].set(wrap_angle(result[..., at]))


def angle_difference(*indices: int) -> Callable[[Array, Array], Array]:
    """Return `difference(a, b)` = a - b with the components at `indices` wrapped to [-pi, pi] radians.

    Args:
        *indices: which components are angles.

    Example:
        >>> d = kf.angle_difference(1)(jnp.array([5.0, 3.0]), jnp.array([1.0, -3.0]))
        >>> [round(float(component), 3) for component in d]
        [4.0, -0.283]
    """
    return _Wrapped(jnp.subtract, indices)


def angle_retract(*indices: int) -> Callable[[Array, Array], Array]:
    """Return `retract(x, d)` = x + d with the components at `indices` wrapped to [-pi, pi] radians.

    Args:
        *indices: which components are angles.
    """
    return _Wrapped(jnp.add, indices)
