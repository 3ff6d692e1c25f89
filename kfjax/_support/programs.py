"""Interpret JAX programs equation by equation, with calls inlined and operations replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import jax
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.typing import ArrayLike

__all__: list[str] = []

Value: TypeAlias = ArrayLike | None
"""The value of a variable; None for one that nothing reads, such as a platform index."""

Instead: TypeAlias = Callable[[JaxprEqn, list[Value]], "list[Value] | None"]
"""`(equation, values) -> results`: its results, or None to compute the equation as it is."""

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


def rewritten(closed: ClosedJaxpr, instead: Instead) -> ClosedJaxpr:
    """Return a program with calls and custom derivatives inlined, and operations replaced.

    The bodies of loops and branches are rewritten as well.
    """

    def program(*values: Array) -> list[Value]:
        return interpreted(closed, values, instead)

    return jax.make_jaxpr(program)(*closed.in_avals)


def interpreted(closed: ClosedJaxpr, arguments: Sequence[Value], instead: Instead) -> list[Value]:
    """Return what a program returns, computed equation by equation.

    Args:
        closed: the program.
        arguments: its arguments.
        instead: returns the results of the equations that are replaced, and None for others.
    """
    jaxpr = closed.jaxpr
    variables = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(variables, [*closed.consts, *arguments], strict=True))

    def read(atom: Var | Literal) -> Value:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _one(equation, [read(atom) for atom in equation.invars], instead)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def for_platform(
    equation: JaxprEqn, values: list[Value], platform: str, instead: Instead
) -> list[Value] | None:
    """Return the results of a choice by platform, made for this one; None for anything else.

    Such a choice is an index and a conditional that takes it. A branch that names no platforms is
    for all that others do not name.
    """
    if equation.primitive.name == "platform_index":
        return [np.int32(_branch_for(platform, equation.params["platforms"]))]
    platforms = equation.params.get("branches_platforms")
    if equation.primitive.name != "cond" or not platforms:
        return None
    branch = equation.params["branches"][_branch_for(platform, platforms)]
    return interpreted(branch, values[1:], instead)


def _branch_for(platform: str, platforms: Sequence[Sequence[str] | None]) -> int:
    """Return which of the branches for these platforms is for this one; the last if none is."""
    fitting = [k for k, names in enumerate(platforms) if names is None or platform in names]
    return fitting[0] if fitting else len(platforms) - 1


def as_it_is(equation: JaxprEqn, values: list[Value], **changed: Any) -> list[Value]:
    """Return the results of one equation, with some of its parameters changed."""
    results = equation.primitive.bind(*values, **{**equation.params, **changed})
    return list(results) if equation.primitive.multiple_results else [results]


def all_equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """Yield the equations of a program, including those in loops and branches."""
    for equation in jaxpr.eqns:
        yield equation
        for program in programs_in(equation):
            yield from all_equations(program.jaxpr)


def programs_in(equation: JaxprEqn) -> list[ClosedJaxpr]:
    """Return the programs among the parameters of an equation, such as the body of a loop."""
    leaves = jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, ClosedJaxpr))
    return [leaf for leaf in leaves if isinstance(leaf, ClosedJaxpr)]


Of = TypeVar("Of")


def loop_parts(args: Sequence[Of], params: dict[str, Any]) -> tuple[tuple[Of, ...], ...]:
    """Return the constants, the carry and the inputs among the arguments of a scan."""
    if "ft_in" in params:  # since JAX 0.11
        consts, carry, xs = params["ft_in"].update(args).unpack()
        return tuple(consts), tuple(carry), tuple(xs)
    consts, carries = params["num_consts"], params["num_carry"]
    return (
        tuple(args[:consts]),
        tuple(args[consts : consts + carries]),
        tuple(args[consts + carries :]),
    )


def _one(equation: JaxprEqn, values: list[Value], instead: Instead) -> list[Value]:
    """Return the results of one equation."""
    replaced = instead(equation, values)
    if replaced is not None:
        return replaced
    called = CALLS.get(equation.primitive.name)
    if called is not None:
        return interpreted(_closed(equation.params[called]), values, instead)
    changed = {key: _rewritten_in(param, instead) for key, param in equation.params.items()}
    return as_it_is(equation, values, **changed)


def _closed(jaxpr: ClosedJaxpr | Jaxpr) -> ClosedJaxpr:
    """Return a program with its constants; an open one has none."""
    return ClosedJaxpr(jaxpr, ()) if isinstance(jaxpr, Jaxpr) else jaxpr


def _rewritten_in(param: Any, instead: Instead) -> Any:
    """Rewrite the programs of loops and branches; leave other parameters as they are."""
    if isinstance(param, ClosedJaxpr):
        return rewritten(param, instead)
    if type(param) is tuple:
        return tuple(_rewritten_in(part, instead) for part in param)
    return param
