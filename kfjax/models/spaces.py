"""Differences and moves on curved spaces: angles, and any space described by two functions.

A `Space` says how to subtract two points and how to move a point along a tangent vector. The
Euclidean space is the default everywhere; a model with angles has a `state_space` or an
`observation_space`, and every filter, smoother and metric uses them wherever a difference or a mean
is formed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from kfjax._support.naming import described
from kfjax._support.pytrees import as_pytree
from kfjax._support.values import real_array

__all__ = ["Space", "angles", "wrap_angle"]


class Space(NamedTuple):
    """Differences between points and moves along tangent vectors; retract(b, difference(a, b)) = a.

    Both are plain functions, or `jax.tree_util.Partial(fn, theta)` if they have parameters.

    Attributes:
        difference: `(a, b) -> d`, the tangent vector from b to a; Euclidean: a - b.
        retract: `(x, d) -> x'`, the point reached from x along d; Euclidean: x + d.
    """

    difference: Callable[[Float[Array, "... n"], Float[Array, "... n"]], Float[Array, "... d"]]
    retract: Callable[[Float[Array, "... n"], Float[Array, "... d"]], Float[Array, "... n"]]

    @property
    def is_euclidean(self) -> bool:
        """Whether points are subtracted and moved as vectors are."""
        # by structure, not by identity: a model that went through a transformation holds a copy
        structure: Any = jax.tree.structure(self)
        return structure == jax.tree.structure(EUCLIDEAN)


# functions of our own, since those of jax.numpy cannot be pickled
def _subtract(a: Array, b: Array) -> Array:
    return jnp.subtract(a, b)


def _add(a: Array, b: Array) -> Array:
    return jnp.add(a, b)


EUCLIDEAN = Space(Partial(_subtract), Partial(_add))


def as_space(name: str, value: object) -> Space:
    """Return a `Space` whose functions are pytrees; None stands for the Euclidean space."""
    if value is None:
        return EUCLIDEAN
    if not isinstance(value, Space) or not all(map(callable, value)):
        raise ValueError(
            f"{name} is {value!r}; expected kf.Space(difference, retract) of two functions, such as"
            " kf.angles(2), or None."
        )
    return Space(*map(as_pytree, value))


def as_observation_space(name: str, value: object) -> Space:
    """Return the `Space` of observations, which adds offsets as vectors.

    A predicted observation is an average of offsets from one of h, so that it keeps the convention
    of h: an azimuth in [0, 2 pi) is not wrapped to [-pi, pi].
    """
    return Space(as_space(name, value).difference, EUCLIDEAN.retract)


def wrap_angle(angle: Real[ArrayLike, " *shape"]) -> Float[Array, " *shape"]:
    """Map angles in radians to [-pi, pi], with derivative one everywhere.

    Example:
        >>> float(kf.wrap_angle(2 * jnp.pi + 0.5).round(3))
        0.5
    """
    angle = jnp.asarray(real_array("wrap_angle: angle", angle, finite=False))
    # `round` has derivative zero, so that the derivative is one everywhere, also at the jump.
    return angle - 2 * jnp.pi * jnp.round(angle / (2 * jnp.pi))


@dataclasses.dataclass(frozen=True)
class _Wrapped:
    """An operation whose result is wrapped at some indices; two are equal if built alike."""

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


def angles(*indices: int) -> Space:
    """Return the space of vectors whose components at `indices` are angles in radians.

    Its difference is a - b and its retraction x + d, both with these components wrapped to
    [-pi, pi].

    Args:
        *indices: which components are angles, at least one; negative ones count from the end.

    Returns:
        A `Space`, for `state_space` and `observation_space` of a model. Spaces of the same indices
        are equal.

    Raises:
        ValueError: if there are no indices, or one is not a whole number; where the space is used,
            if the vectors are shorter.

    Example:
        >>> space = kf.angles(1)
        >>> d = space.difference(jnp.array([5.0, 3.0]), jnp.array([1.0, -3.0]))
        >>> [round(float(component), 3) for component in d]
        [4.0, -0.283]
    """
    if not indices:
        raise ValueError(
            "angles: got no indices; expected those of the angles, as in kf.angles(2)."
        )
    for index in indices:
        whole = isinstance(index, (int, np.integer)) and not isinstance(index, bool)
        if not whole:
            raise ValueError(
                f"angles: got {described(index)}; expected whole numbers, the indices of the"
                " angles, as in kf.angles(0, 2)."
            )
    at = tuple(map(int, indices))
    return Space(_Wrapped(_subtract, at), _Wrapped(_add, at))
