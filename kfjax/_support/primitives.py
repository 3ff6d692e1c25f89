"""The values of the primitives that kfjax adds to those of JAX."""

from __future__ import annotations

from collections.abc import Callable

from jax import Array
from jax.extend.core import Primitive

__all__: list[str] = []

_values: dict[Primitive, Callable[..., Array]] = {}


def define_value(primitive: Primitive, value: Callable[..., Array]) -> None:
    """Set the function of JAX operations that a primitive of kfjax computes.

    It runs where nothing is compiled. Exporting puts it in place of the primitive, which nothing
    outside of kfjax knows: hence the record of them, since JAX does not say whose a primitive is.
    """
    primitive.def_impl(value)
    _values[primitive] = value


def value_of(primitive: Primitive) -> Callable[..., Array] | None:
    """Return the value of a primitive of kfjax, None for those of others."""
    return _values.get(primitive)
