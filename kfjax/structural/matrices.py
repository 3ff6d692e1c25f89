"""The matrices of a sum, from those of its components: block-diagonal, side by side, or added."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.types import AnyArray
from kfjax.base import Inputs
from kfjax.linalg.sparse import Pattern
from kfjax.structural.components import Component, covariance
from kfjax.structural.telling_apart import check_inputs, check_states

__all__: list[str] = []

Components = tuple[Component, ...]


def blocks(components: Components, parts: list[Any]) -> Array:
    """Return square matrices along a diagonal."""
    check_states(components)
    n = sum(component.size for component in components)
    rows = []
    start = 0
    for part in map(jnp.asarray, parts):
        size = part.shape[0]
        rows.append(jnp.pad(part, ((0, 0), (start, n - start - size))))
        start += size
    return jnp.concatenate(rows).astype(dtype_of(components))


def dtype_of(components: Components) -> Any:
    """Return the float dtype of the parameters."""
    leaves = jax.tree.leaves(components)
    return leaves[0].dtype if leaves else jnp.result_type(float)


def transition(components: Components, u: Inputs) -> Array:
    """Return F [n, n]."""
    return blocks(components, [c.transition(u) for c in components if c.width])


def noise(components: Components, x: AnyArray | None, u: Inputs) -> Array:
    """Return Q [n, n], the same for every x."""
    del x
    return blocks(components, [c.noise(u) for c in components if c.width])


def observed(components: Components, u: Inputs) -> Array:
    """Return H [m, n]."""
    check_states(components)
    check_inputs(components, u)
    parts = [c.observed(u) for c in components if c.width]
    return jnp.concatenate(parts, axis=1).astype(dtype_of(components))


def pattern_of_transition(components: Components) -> Pattern:
    """Return the entries of F that are known."""
    parts = [c.pattern_of_transition() for c in components if c.width]
    n = sum(len(part) for part in parts)
    known = np.zeros((n, n))
    start = 0
    for part in parts:
        end = start + len(part)
        known[start:end, start:end] = part
        start = end
    return Pattern(known)


def pattern_of_observed(components: Components) -> Pattern:
    """Return the entries of H that are known."""
    return Pattern(np.hstack([c.pattern_of_observed() for c in components if c.width]))


def total_noise(components: Components, m: int) -> Array:
    """Return R [m, m], the covariance of the components without states."""
    total = jnp.zeros((m, m))
    for component in components:
        if not component.width:
            total = total + covariance(component.std)  # type: ignore[attr-defined]
    return total
