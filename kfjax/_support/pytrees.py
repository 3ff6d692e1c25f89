"""Dataclasses that are pytrees, and what their public doors do to the values they are given."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

__all__: list[str] = []


class Pytree:
    """A frozen dataclass whose fields are its children; unflattening bypasses the checks of the public door."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_pytree_with_keys(
            cls,
            lambda x: (
                [
                    (jax.tree_util.GetAttrKey(f.name), getattr(x, f.name))
                    for f in dataclasses.fields(cls)
                ],
                None,
            ),
            lambda _, children: cls.unchecked(*children),
        )

    @classmethod
    def unchecked(cls, *values: Any) -> Any:
        """Build one of values in the order of the fields, without the checks and conversions of the public door."""
        self = object.__new__(cls)
        for field, value in zip(dataclasses.fields(cls), values, strict=True):
            object.__setattr__(self, field.name, value)
        return self


def as_pytree(value: Any) -> Any:
    """Wrap a plain function as a pytree; leave pytrees (`Partial`, `Linear`, arrays, None) as they are."""
    if isinstance(value, Partial) or not callable(value) or not jax.tree_util.all_leaves([value]):
        return value
    return Partial(value)


def promote(tree: Any, who: str) -> Any:
    """Make every leaf an array of one float dtype, the widest among them."""
    leaves, structure = jax.tree.flatten(tree)
    for leaf in leaves:
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)):
            raise ValueError(
                f"{who}: got a leaf of type {dtype}; expected real numbers. Keep masks, indices and"
                " names static:"
                " bind them with functools.partial instead of jax.tree_util.Partial."
            )
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    floats = [a.dtype for a in arrays if jnp.issubdtype(a.dtype, jnp.floating) and not a.weak_type]
    dtype = jnp.result_type(*floats) if floats else jnp.result_type(float)
    return jax.tree.unflatten(structure, [a.astype(dtype) for a in arrays])


def as_array(value: Any) -> Any:
    """Turn nested lists and numbers into arrays, leave the rest."""
    return jnp.asarray(value) if isinstance(value, (list, tuple, int, float)) else value
