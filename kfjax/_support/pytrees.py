"""Dataclasses that are pytrees, and the conversions that their constructors make."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey, Partial

from kfjax._support.modules import split
from kfjax._support.types import PyTree

__all__: list[str] = []


# metadata of a field of a `Pytree` that is hashable and not a child
STATIC = {"static": True}
# metadata of a field that transformations leave out, so that it has its default afterwards
OUTSIDE = {"outside": True}


class _Any:
    """A value of a static field that equals every other, so that axes of a batch fit any model."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


ANY = _Any()


class Pytree:
    """Base class of frozen dataclasses whose fields are the children of a pytree.

    A field with the metadata `STATIC` is kept in the structure. One with `OUTSIDE` is in neither,
    so that nothing is compiled again because of it. The constructor checks and converts its
    arguments. Unflattening bypasses it, since a transformation puts tracers, None or plain objects
    where arrays were.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        kind: Any = cls

        def flatten_with_keys(x: object) -> tuple[list[tuple[GetAttrKey, PyTree]], tuple[Any, ...]]:
            children, fixed = flatten(x)
            keys = map(GetAttrKey, _names_of(kind).children)
            return list(zip(keys, children, strict=True)), fixed

        def flatten(x: object) -> tuple[tuple[PyTree, ...], tuple[Any, ...]]:
            # without keys this is quick: every call of a jitted function comes through here
            children, static = _getters_of(kind)
            return children(x), static(x)

        def unflatten(fixed: tuple[Any, ...], children: Iterable[PyTree]) -> Any:
            names = _names_of(kind)
            values = dict(zip(names.children, children, strict=True))
            return _filled(cls, values | dict(zip(names.static, fixed, strict=True)))

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)

    @classmethod
    def unchecked(cls, *values: PyTree, **outside: Any) -> Any:
        """Build an instance from values in the order of the fields, without checks.

        Fields that are outside of the pytree are given by name, or have their defaults.
        """
        fields = dataclasses.fields(cls)
        names = [field.name for field in fields if not field.metadata.get("outside")]
        return _filled(cls, dict(zip(names, values, strict=True)) | outside)


class _Names(NamedTuple):
    """Names of the fields of a `Pytree`: children and static fields."""

    children: tuple[str, ...]
    static: tuple[str, ...]


@functools.cache
def _names_of(cls: Any) -> _Names:
    fields = [field for field in dataclasses.fields(cls) if not field.metadata.get("outside")]
    fixed = [field.name for field in fields if field.metadata.get("static")]
    return _Names(tuple(f.name for f in fields if f.name not in fixed), tuple(fixed))


@functools.cache
def _getters_of(cls: Any) -> list[Callable[[Any], tuple[Any, ...]]]:
    """Return functions that return the children, and the static fields, of an instance."""
    return [_getter(names) for names in _names_of(cls)]


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that returns these attributes of an object."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda x: tuple([getattr(x, name) for name in names])


def _filled(cls: type[Pytree], values: dict[str, Any]) -> Any:
    """Return an instance with these fields, without calling its constructor.

    A field that is left out has its default, which is an attribute of the class.
    """
    self = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(self, name, value)
    return self


def at(tree: PyTree, index: Any) -> PyTree:
    """Return every leaf at an index of its leading axes."""
    return jax.tree.map(lambda a: a[index], tree)


def prepended(first: PyTree, later: PyTree) -> PyTree:
    """Return leaves with one element before the others on the leading axis."""
    return jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), first, later)


def select(condition: Any, new: PyTree, old: PyTree) -> PyTree:
    """Return the leaves of `new` where the condition holds, and those of `old` elsewhere."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def as_pytree(value: PyTree) -> PyTree:
    """Wrap a function as a pytree whose leaves are arrays.

    A plain function has none. A module, such as one of Equinox, may hold functions as leaves, which
    become static. `Partial`, `Linear`, arrays and None are returned unchanged.
    """
    if isinstance(value, Partial) or not callable(value):
        return value
    if jax.tree_util.all_leaves([value]):
        return Partial(value)
    if not any(map(callable, jax.tree.leaves(value))):
        return value
    skeleton, arrays = split(value, callable)
    return Partial(skeleton, arrays)


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


def _check_real(leaf: object, who: str) -> None:
    """Raise unless a leaf holds real numbers."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)):
        raise ValueError(
            f"{who}: got a leaf of type {dtype}; expected real numbers. Keep masks, indices and"
            " names static: bind them with functools.partial instead of jax.tree_util.Partial."
        )


def as_array(value: PyTree) -> PyTree:
    """Convert nested lists and numbers to arrays; return anything else unchanged."""
    if not isinstance(value, (list, tuple, int, float)):
        return value
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"got a {type(value).__name__} that cannot be made an array ({error}); expected"
            " numbers, in rows of equal length."
        ) from error
