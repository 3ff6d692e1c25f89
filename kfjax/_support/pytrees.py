"""Dataclasses that are pytrees, and the conversions that their constructors make."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey, Partial

from kfjax._support.types import PyTree

__all__: list[str] = []


class Pytree:
    """Base class of frozen dataclasses whose fields are the children of a pytree.

    The constructor checks and converts its arguments. Unflattening bypasses it, since a
    transformation puts tracers, None or plain objects where arrays were.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        def flatten(x: Any) -> tuple[list[tuple[GetAttrKey, PyTree]], None]:
            names = [field.name for field in dataclasses.fields(cls)]
            return [(GetAttrKey(name), getattr(x, name)) for name in names], None

        def unflatten(_: None, children: Iterable[PyTree]) -> Any:
            return cls.unchecked(*children)

        jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)

    @classmethod
    def unchecked(cls, *values: PyTree) -> Any:
        """Build an instance from values in the order of the fields, without checks."""
        self = object.__new__(cls)
        for field, value in zip(dataclasses.fields(cls), values, strict=True):
            object.__setattr__(self, field.name, value)
        return self


def as_pytree(value: PyTree) -> PyTree:
    """Wrap a plain function as a pytree; return `Partial`, `Linear`, arrays and None as given."""
    if isinstance(value, Partial) or not callable(value) or not jax.tree_util.all_leaves([value]):
        return value
    return Partial(value)


def promote(tree: PyTree, who: str) -> PyTree:
    """Make every leaf an array of one float dtype, the widest among them.

    Weakly typed leaves, which come from Python numbers, do not count; without any other, the dtype
    is JAX's default. `who` names the caller in errors.
    """
    leaves, structure = jax.tree.flatten(tree)
    for leaf in leaves:
        _check_real(leaf, who)
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    floats = [a.dtype for a in arrays if jnp.issubdtype(a.dtype, jnp.floating) and not a.weak_type]
    dtype = jnp.result_type(*floats) if floats else jnp.result_type(float)
    return jax.tree.unflatten(structure, [a.astype(dtype) for a in arrays])


def _check_real(leaf: Any, who: str) -> None:
    """Raise unless a leaf holds real numbers."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)):
        raise ValueError(
            f"{who}: got a leaf of type {dtype}; expected real numbers. Keep masks, indices and"
            " names static: bind them with functools.partial instead of jax.tree_util.Partial."
        )


def as_array(value: PyTree) -> PyTree:
    """Turn nested lists and numbers into arrays; return anything else as given."""
    if isinstance(value, (list, tuple, int, float)):
        return jnp.asarray(value)
    return value
