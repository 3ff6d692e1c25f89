"""Arrays of params as free numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax.base import Params
from kfjax.training.links import FACTORS, FREE, Bounds, link, unlink
from kfjax.training.partitioning import merge

__all__: list[str] = []

SHARE = 0.5  # by how much other starts differ, of numbers without bounds


@dataclasses.dataclass(frozen=True)
class Leaf:
    """An array of params as free numbers.

    Attributes:
        name: its path.
        shape: its shape.
        bounds: between which ends its entries lie.
        units: powers of ten near the start of its entries, by which those without ends are divided,
            so that a step means about as much in each.
    """

    name: str
    shape: tuple[int, ...]
    bounds: Bounds
    units: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its entries."""
        if not self.shape:
            return (self.name,)
        places = np.ndindex(self.shape)
        return tuple(f"{self.name}[{','.join(map(str, place))}]" for place in places)

    def start(self, who: str, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the free numbers of given entries, and the spread of other starts."""
        low, high = self.bounds
        entries = value.ravel()
        if not ((entries > low) & (entries < high)).all():
            raise ValueError(
                f"{who}: {self.name} starts at {value.tolist()}; expected numbers"
                f" between {low:g} and {high:g}, without the ends. Start elsewhere, or give other"
                " bounds."
            )
        if self.bounds == FREE:
            free = entries / np.array(self.units)
            return free, SHARE * np.maximum(np.abs(free), 1.0)
        return link(entries, *self.bounds), np.full(entries.shape, FACTORS)

    def natural(self, theta: Array) -> Array:
        """Return its entries."""
        if self.bounds == FREE:
            return theta * jnp.asarray(self.units, theta.dtype)
        return unlink(theta, *self.bounds)


@dataclasses.dataclass(frozen=True)
class LeafLayout:
    """Arrays of params as free numbers; `fixed` are the trained and the frozen part."""

    leaves: tuple[Leaf, ...]
    transform: Callable[[Any], Params] | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the entries."""
        return sum((leaf.names for leaf in self.leaves), ())

    @property
    def bounds(self) -> tuple[Bounds, ...]:
        """Between which ends they lie."""
        return sum(((leaf.bounds,) * len(leaf.names) for leaf in self.leaves), ())

    def natural(self, theta: Array) -> Array:
        """Return the entries."""
        return jnp.concatenate([leaf.natural(own) for leaf, own in self._split(theta)])

    def values(self, theta: Array, fixed: Any) -> Any:
        """Return what `transform` takes."""
        trained, frozen = fixed
        given, structure = jax.tree.flatten(trained)
        arrays = [
            leaf.natural(own).reshape(leaf.shape).astype(value.dtype)
            for (leaf, own), value in zip(self._split(theta), given, strict=True)
        ]
        return merge(jax.tree.unflatten(structure, arrays), frozen)

    def params(self, theta: Array, fixed: Any) -> Params:
        """Return the params of the filter."""
        values = self.values(theta, fixed)
        return values if self.transform is None else self.transform(values)

    def _split(self, theta: Array) -> list[tuple[Leaf, Array]]:
        sizes = [len(leaf.names) for leaf in self.leaves]
        return list(zip(self.leaves, jnp.split(theta, np.cumsum(sizes)[:-1]), strict=True))
