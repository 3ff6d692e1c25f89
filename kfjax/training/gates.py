"""The gates of a recurrent network: all logistic sigmoids in its computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Literal

from kfjax.base import Filter, Params
from kfjax.data import Dataset, first_steps
from kfjax.filters.probing import ProbedStep
from kfjax.training.probing import probe_steps

__all__ = ["Saturation", "gate_saturation"]

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
}  # primitives that call a jaxpr, and the name of its parameter


ACTIVATIONS = {
    "silu",
    "swish",
    "gelu",
    "log_sigmoid",
}  # functions with a sigmoid inside that is not a gate


SATURATED = 0.05  # a gate this close to 0 or 1 passes hardly any gradient


class Saturation(NamedTuple):
    """The share of gates near the ends of their range.

    Attributes:
        closed: the fraction of values below 0.05.
        open: the fraction of values above 0.95.
    """

    closed: float
    open: float


def gate_saturation(filter: Filter, params: Params, data: Dataset) -> Saturation | None:
    """Measure how many gates of a recurrent network are saturated near 0 or 1.

    Every sigmoid that an update computes counts as a gate, in any network, except those inside
    SiLU.

    Args:
        filter: the filter.
        params: its parameters.
        data: trajectories, cut to the shortest.

    Returns:
        `Saturation`, or None for a filter without gates.

    Example:
        >>> data = kf.Dataset(np.zeros((1, 9, 1)))
        >>> kf.training.gate_saturation(kf.kalman(), kf.systems.constant_velocity(), data)
    """
    shortest = first_steps(data, int(data.lengths.min()))
    values = np.asarray(probe_steps(filter, _gates, params, shortest))
    if values.size == 0:
        return None
    low = (values < SATURATED).mean()
    high = (values > 1 - SATURATED).mean()
    return Saturation(float(low), float(high))


def _gates(filter: Filter, params: Params, step: ProbedStep) -> Array:
    return gate_values(filter.update, params, step.predicted, step.y, step.u, step.observed)


def gate_values(fn: Callable, *args: Any) -> Array:
    """Return the outputs of all sigmoids in fn(*args), as one vector [G]."""
    traced = jax.make_jaxpr(fn)(*args)
    found: list[Array] = []
    _interpret(traced.jaxpr, traced.consts, jax.tree.leaves(args), found)
    return jnp.concatenate(found) if found else jnp.zeros(0)


def _interpret(jaxpr: Any, consts: list, inputs: list, found: list[Array]) -> list:
    """Compute the outputs equation by equation, and collect those of sigmoids."""
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
