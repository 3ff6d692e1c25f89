"""Implementations of the primitives that kfjax adds to those of JAX."""

from __future__ import annotations

from collections.abc import Callable

from jax import Array
from jax.extend.core import Primitive

__all__: list[str] = []

_values: dict[Primitive, Callable[..., Array]] = {}


def define_value(primitive: Primitive, value: Callable[..., Array]) -> None:
    """Set the function of JAX operations that a primitive of kfjax computes.

    It runs when nothing is compiled. Exporting puts it in place of the primitive, which is unknown
    outside kfjax. Hence this record, since JAX does not say who defined a primitive.
    """
    primitive.def_impl(value)
    _values[primitive] = value


def value_of(primitive: Primitive) -> Callable[..., Array] | None:
    """Return the implementation of a primitive of kfjax; None for other primitives."""
    return _values.get(primitive)
