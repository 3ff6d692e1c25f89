"""The gates of a recurrent network, found in what it computes: every logistic sigmoid, whoever wrote the cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Literal

__all__ = ["gate_values"]

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
}  # what calls, and the name of the called
ACTIVATIONS = {
    "silu",
    "swish",
    "gelu",
    "log_sigmoid",
}  # functions with a sigmoid inside that gates nothing


def gate_values(fn: Callable, *args: Any) -> Array:
    """Return the outputs of all sigmoids that fn(*args) computes, in one vector [G]; empty if there are none."""
    traced = jax.make_jaxpr(fn)(*args)
    found: list[Array] = []
    _interpret(traced.jaxpr, traced.consts, jax.tree.leaves(args), found)
    return jnp.concatenate(found) if found else jnp.zeros(0)


def _interpret(jaxpr: Any, consts: list, inputs: list, found: list[Array]) -> list:
    """Compute the outputs equation by equation, and keep those of sigmoids."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))
    for equation in jaxpr.eqns:
        arguments = [v.val if isinstance(v, Literal) else values[v] for v in equation.invars]
        inner = equation.params.get(CALLS.get(equation.primitive.name))
        if inner is not None and equation.params.get("name") not in ACTIVATIONS:
            results = _interpret(inner.jaxpr, inner.consts, arguments, found)
        else:
            results = _bind(equation, arguments)
        if equation.primitive.name == "logistic":
            found.append(jnp.ravel(results[0]))
        values |= dict(zip(equation.outvars, results, strict=True))
    return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def _bind(equation: Any, arguments: list) -> list:
    """Compute one equation."""
    results = equation.primitive.bind(
        *arguments, **equation.primitive.get_bind_params(equation.params)
    )
    return list(results) if equation.primitive.multiple_results else [results]
