"""JAX programs with calls inlined and the primitives of kfjax replaced by their implementations.

Such a program has only operations that converters to other formats may support.
"""

from __future__ import annotations

import functools

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from kfjax._support.primitives import value_of
from kfjax._support.programs import Value, all_equations, for_platform, interpreted, rewritten

__all__: list[str] = []


def plain(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return the program with calls, custom derivatives and primitives of kfjax resolved.

    This includes the bodies of loops.
    """
    return rewritten(closed, _resolved)


def primitives(jaxpr: Jaxpr) -> set[str]:
    """Return the names of all operations of a plain program, loops and branches included."""
    return {equation.primitive.name for equation in all_equations(jaxpr)}


def _resolved(equation: JaxprEqn, values: list[Value]) -> list[Value] | None:
    """Return the results of an operation that converters do not support."""
    params = equation.params
    value = value_of(equation.primitive)
    if value is not None:
        program = jax.make_jaxpr(functools.partial(value, **params))(*values)
        return interpreted(program, values, _resolved)
    # "any": of a choice by platform, the branch for those that are not named
    return for_platform(equation, values, "any", _resolved)
