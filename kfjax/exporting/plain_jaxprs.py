"""Programs without what only a compiler of JAX understands.

Calls inlined, own operations resolved.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

__all__: list[str] = []

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
}
CALLS |= {"custom_vjp_call": "call_jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr"}


def plain(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return the program with function calls, custom derivatives and own operations resolved.

    This includes the bodies of loops.
    """
    return jax.make_jaxpr(lambda *values: _evaluated(closed, values))(*closed.in_avals)


def primitives(jaxpr: Jaxpr) -> set[str]:
    """Return the names of all operations of a plain program, loops and branches included."""
    names = {equation.primitive.name for equation in jaxpr.eqns}
    for equation in jaxpr.eqns:
        for leaf in jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, ClosedJaxpr)):
            names |= primitives(leaf.jaxpr) if isinstance(leaf, ClosedJaxpr) else set()
    return names


def _evaluated(closed: ClosedJaxpr, arguments: Any) -> list[Any]:
    """Interpret a program, equation by equation."""
    jaxpr = closed.jaxpr
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *arguments], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _one(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _one(equation: JaxprEqn, values: list[Any]) -> list[Any]:
    """Interpret one equation."""
    name, params = equation.primitive.name, equation.params
    if equation.primitive.impl.__module__.startswith(
        "kfjax."
    ):  # an own operation is what its function does
        return _evaluated(
            jax.make_jaxpr(functools.partial(equation.primitive.impl, **params))(*values), values
        )
    if name in CALLS:
        return _evaluated(_closed(params[CALLS[name]]), values)
    if name == "platform_index":
        return [None]  # the branches that it chooses between are taken care of below
    if name == "cond" and params.get("branches_platforms"):
        return _evaluated(
            params["branches"][-1], values[1:]
        )  # the last is that of platforms that are not named
    results = equation.primitive.bind(
        *values, **{key: _resolved(value) for key, value in params.items()}
    )
    return results if equation.primitive.multiple_results else [results]


def _closed(jaxpr: Any) -> ClosedJaxpr:
    return ClosedJaxpr(jaxpr, ()) if isinstance(jaxpr, Jaxpr) else jaxpr


def _resolved(param: Any) -> Any:
    """Resolve the programs of loops and branches."""
    if isinstance(param, ClosedJaxpr):
        return plain(param)
    return tuple(map(_resolved, param)) if type(param) is tuple else param
