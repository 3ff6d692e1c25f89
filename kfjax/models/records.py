"""A record of observations with all that belongs to it, and its checks before a filter runs.

What would otherwise fail with an unreadable error inside a scan, or give NaN silently, raises a
ValueError here. Values are checked by `checked_record` where they are known, outside of a trace;
shapes once, while tracing, by `check_shapes`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_count, is_concrete
from kfjax._support.naming import described
from kfjax._support.precision import eps_of
from kfjax._support.types import Numbers
from kfjax._support.values import as_arrays, check_finite
from kfjax.base import Inputs, Mask, Observations
from kfjax.models.values import check_observed

__all__: list[str] = []

USUAL = 1e30  # a length that single precision holds
FILL = " Fill the gaps, or cut with length."  # what to do about inputs that are not finite


class Record(NamedTuple):
    """One observed trajectory.

    Attributes:
        ys: observations [T, m], or a pytree of such.
        us: inputs u_1..u_T, any pytree with a leading time axis, or None.
        observed: what was seen, booleans [T] or [T, m] in the structure of ys, or None for
            everything.
        length: the number of leading steps that count, or None for all.
    """

    ys: Observations
    us: Inputs = None
    observed: Mask = None
    length: Any = None


def checked_record(
    who: str,
    ys: Observations,
    us: Inputs = None,
    observed: Mask = None,
    length: Any = None,
) -> Record:
    """Return a `Record`; raise a ValueError if its values, as far as they are known, are wrong.

    Args:
        who: the function whose arguments these are, for error texts.
        ys: observations; lists and numbers become arrays.
        us: inputs.
        observed: the mask; lists and booleans become arrays.
        length: the number of steps.
    """
    ys = as_arrays(f"{who}: ys", ys)
    us = as_arrays(f"{who}: us", us)
    observed = as_arrays(f"{who}: observed", observed)
    _check_mask_dtype(who, observed)
    check_length(who, ys, length)
    check_observed(who, "ys", ys, observed, length)
    check_finite(f"{who}: us", us, length=length, remedy=FILL)
    return Record(ys, us, observed, length)


def checked_step(who: str, y: Observations, u: Inputs, observed: Mask) -> Record:
    """Return the arguments of one step as arrays; raise a ValueError if they are wrong."""
    if u is None and observed is None and is_usual(y):
        return Record(y)
    y = as_arrays(f"{who}: y", y)
    u = as_arrays(f"{who}: u", u)
    observed = as_arrays(f"{who}: observed", observed)
    _check_mask_dtype(who, observed)
    check_observed(who, "y", y, observed, None)
    check_finite(f"{who}: u", u)
    return Record(y, u, observed)


def is_usual(y: Observations) -> bool:
    """Return whether y is one vector of known numbers that are far from the largest: most are.

    The other checks of an observation take about as long as a step; this takes one function.
    """
    if not (isinstance(y, np.ndarray | jax.Array) and is_concrete(y)):
        return False
    array = np.asarray(y)
    if array.ndim != 1 or array.dtype.char not in "fd" or isinstance(y, np.ma.MaskedArray):
        return False
    return math.hypot(*array.tolist()) < USUAL  # false for NaN, too


def checked_inputs(who: str, us: Inputs) -> Inputs:
    """Return inputs as arrays; raise a ValueError if they are wrong, as far as is known."""
    us = as_arrays(f"{who}: us", us)
    check_finite(f"{who}: us", us, remedy=FILL)
    return us


def _check_mask_dtype(who: str, observed: Mask) -> None:
    """Raise unless a mask is made of booleans or integers."""
    if observed is None:
        return
    for leaf in jax.tree.leaves(observed):
        dtype = jnp.result_type(leaf)
        if not (jnp.issubdtype(dtype, jnp.bool_) or jnp.issubdtype(dtype, jnp.integer)):
            raise ValueError(
                f"{who}: observed has dtype {dtype}; expected booleans. For NaN pass"
                " observed=~jnp.isnan(ys)."
            )


def check_length(who: str, ys: Observations, length: Any) -> None:
    """Raise if a number of steps lies outside the data, where its value is known."""
    if length is None:
        return
    is_number = isinstance(length, (int, np.integer, np.ndarray, jax.Array))
    if not is_number or np.ndim(length) or not jnp.issubdtype(jnp.result_type(length), jnp.integer):
        got = length if is_number else described(length)
        raise ValueError(
            f"{who}: length is {got}; expected one integer. A batch goes through jax.vmap."
        )
    if not is_concrete(length):
        return
    steps = min((np.shape(leaf)[0] for leaf in jax.tree.leaves(ys) if np.ndim(leaf)), default=0)
    if not 0 <= int(length) <= steps:
        raise ValueError(
            f"{who}: length is {length}; expected 0 to {steps}, the number of steps in ys."
        )


def is_singular(cov: Numbers) -> bool:
    """Return whether a covariance is singular up to rounding, as far as its values are known."""
    if callable(cov) or not is_concrete(cov):
        return False
    C = np.asarray(cov, np.float64)
    scale = np.sqrt(np.diag(C))
    if not (scale > 0).all():
        return True
    # the rank of the correlations, since units may differ by many orders of magnitude
    lowest = np.linalg.eigvalsh(C / np.outer(scale, scale)).min()
    rounding = C.shape[0] * eps_of(cov)
    return bool(lowest <= rounding)


def count_steps(who: str, steps: int | None, us: Inputs) -> int:
    """Return the number of steps, given directly or by inputs with a leading time axis."""
    if steps is not None:
        check_count(f"{who}: steps", steps)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(us)]
    if not all(shapes):
        raise ValueError(f"{who}: us contains a scalar; expected arrays with a leading time axis.")
    lengths = {shape[0] for shape in shapes}
    given = lengths if steps is None else lengths | {steps}
    if len(given) != 1 or min(given) < 1:
        raise ValueError(
            f"{who}: got steps={steps} and us of lengths {sorted(lengths - {steps})}; expected one"
            " number of steps, at least 1. Pass steps=, or us with a leading time axis."
        )
    return given.pop()


def until(length: Any, us: Inputs, steps: int | Any) -> tuple[Inputs, Array | None]:
    """Return inputs that are harmless after the end, and whether each step counts.

    NaN after the end must not reach a gradient, so the inputs of the first step replace them (ones,
    if there is no step).

    Args:
        length: the number of steps that count, or None for all.
        us: inputs [T, ...].
        steps: T.

    Returns:
        The inputs, and booleans [T], or None if length is None.
    """
    if length is None:
        return us, None
    active = jnp.arange(steps) < length

    def fill(a: Array) -> Array:
        harmless = jnp.where(length > 0, a[:1], jnp.ones_like(a[:1]))
        return jnp.where(active.reshape((-1,) + (1,) * (a.ndim - 1)), a, harmless)

    return jax.tree.map(lambda a: fill(jnp.asarray(a)), us), active
