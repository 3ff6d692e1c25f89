"""The gates of a recurrent network: all logistic sigmoids in its computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import JaxprEqn

from kfjax._support.programs import Value, as_it_is, interpreted
from kfjax.base import Filter, Params
from kfjax.data import Dataset, first_steps
from kfjax.filters.probing import ProbedStep
from kfjax.training.checks import check_run
from kfjax.training.probing import probe_steps

__all__ = ["Saturation", "gate_saturation"]

ACTIVATIONS = {
    "silu",
    "swish",
    "gelu",
    "log_sigmoid",
}  # functions with a sigmoid inside that is not a gate
BRANCHING = {"scan", "while", "cond"}  # not entered: what is computed inside has no single value


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
        >>> kf.training.gate_saturation(
        ...     kf.kalman(), kf.systems.constant_velocity(), data
        ... )
    """
    check_run("gate_saturation", filter, params, data)
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
    found: list[Array] = []

    def noted(equation: JaxprEqn, values: list[Value]) -> list[Value] | None:
        name = equation.primitive.name
        if equation.params.get("name") in ACTIVATIONS or name in BRANCHING:
            return as_it_is(equation, values)
        if name != "logistic":
            return None
        results = as_it_is(equation, values)
        found.append(jnp.ravel(jnp.asarray(results[0])))
        return results

    interpreted(jax.make_jaxpr(fn)(*args), jax.tree.leaves(args), noted)
    return jnp.concatenate(found) if found else jnp.zeros(0)
