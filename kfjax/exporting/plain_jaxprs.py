"""JAX programs with calls inlined and the primitives of kfjax replaced by their implementations.

Such a program has only operations that converters to other formats may know.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.typing import ArrayLike

from kfjax._support.primitives import value_of

__all__: list[str] = []

Value: TypeAlias = ArrayLike | None
"""The value of a variable; None for a platform index, which nothing reads."""

# Primitives that call a program, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}


def plain(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return the program with calls, custom derivatives and primitives of kfjax resolved.

    This includes the bodies of loops.
    """

    def program(*values: Array) -> list[Value]:
        return _evaluated(closed, values)

    return jax.make_jaxpr(program)(*closed.in_avals)


def primitives(jaxpr: Jaxpr) -> set[str]:
    """Return the names of all operations of a plain program, loops and branches included."""
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        for program in _programs(equation):
            names |= primitives(program.jaxpr)
    return names


def _programs(equation: JaxprEqn) -> list[ClosedJaxpr]:
    """Return the programs among the parameters of an operation, such as the body of a loop."""
    leaves = jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, ClosedJaxpr))
    return [leaf for leaf in leaves if isinstance(leaf, ClosedJaxpr)]


def _evaluated(closed: ClosedJaxpr, arguments: Sequence[Value]) -> list[Value]:
    """Interpret a program, equation by equation."""
    jaxpr = closed.jaxpr
    variables = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(variables, [*closed.consts, *arguments], strict=True))

    def read(atom: Var | Literal) -> Value:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _one(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _one(equation: JaxprEqn, values: list[Value]) -> list[Value]:
    """Interpret one equation."""
    primitive = equation.primitive
    params = equation.params
    value = value_of(primitive)
    if value is not None:
        program = jax.make_jaxpr(functools.partial(value, **params))(*values)
        return _evaluated(program, values)
    if primitive.name in CALLS:
        return _evaluated(_closed(params[CALLS[primitive.name]]), values)
    # A choice by platform is an index and a conditional that takes it. Its last branch is for
    # platforms that are not named, and needs no index.
    if primitive.name == "platform_index":
        return [None]
    if primitive.name == "cond" and params.get("branches_platforms"):
        return _evaluated(params["branches"][-1], values[1:])
    resolved = {key: _resolved(param) for key, param in params.items()}
    results = primitive.bind(*values, **resolved)
    return results if primitive.multiple_results else [results]


def _closed(jaxpr: ClosedJaxpr | Jaxpr) -> ClosedJaxpr:
    """Return a program with its constants; an open program has none."""
    return ClosedJaxpr(jaxpr, ()) if isinstance(jaxpr, Jaxpr) else jaxpr


def _resolved(param: Any) -> Any:
    """Resolve the programs of loops and branches; leave other parameters as they are."""
    if isinstance(param, ClosedJaxpr):
        return plain(param)
    if type(param) is tuple:
        return tuple(map(_resolved, param))
    return param
