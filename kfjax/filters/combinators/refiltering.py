"""The rows of a history that are later than another one, filtered again."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.pytrees import select
from kfjax.base import Filter, Info, Inputs, Params, State
from kfjax.filters.combinators.flat_rows import flatten, observation_shapes, unflatten
from kfjax.filters.combinators.histories import History, with_step

__all__: list[str] = []


class Late(NamedTuple):
    """The settings of `delayed`.

    Attributes:
        filter: the filter of rows in order.
        dt: where the time step is in its inputs.
        inputs: how many numbers the inputs hold.
        rows: number of rows of the history.
    """

    filter: Filter
    dt: str | int
    inputs: int
    rows: int


def moved(late: Late, params: Params, state: State, u: Inputs, step: Array) -> State:
    """Return the state after a time step, as it is where that is zero."""
    # in a batch both are computed, and a prediction over no time may have no gradient
    ahead = with_step(u, late.dt, jnp.where(step > 0, step, 1))
    # as operands, since what is concrete outside of a branch is not in it
    operands = (params, state, ahead)
    return jax.lax.cond(step > 0, late.filter.predict, lambda _, state, __: state, *operands)


def again_unless(
    done: Array, result: tuple[State, History], late: Late, operands: tuple[Any, ...]
) -> tuple[State, History]:
    """Return the result where a row is the newest; where it is not, filter the later rows again."""
    again = functools.partial(_again, late)
    return jax.lax.cond(done, lambda *_: result, again, *operands)


def _again(
    late: Late, params: Params, history: History, start: State, index: Array, now: Inputs
) -> tuple[State, History]:
    """Filter the rows later than one again; return the newest state and the history."""
    shapes = observation_shapes(params, now)

    def body(before: State, row: tuple[Array, History]) -> tuple[State, tuple[State, Array]]:
        number, old = row
        is_later = number > index
        # in a batch the other rows are computed, too: with inputs that do no harm
        u = unflatten(jnp.where(is_later, old.u, flatten(now)), now)

        def filtered() -> tuple[State, Array]:
            state = moved(late, params, before, u, old.step)
            y = unflatten(old.y, shapes)
            seen = unflatten(old.observed, shapes)
            u_of_row = with_step(u, late.dt, old.step)
            state, info = late.filter.update(params, state, y, u_of_row, seen)
            return state, log_likelihood_of(info, state)

        new = jax.lax.cond(is_later, filtered, lambda: (before, old.log_likelihood))
        return new[0], select(is_later, new, (old.after, old.log_likelihood))

    numbered = (jnp.arange(history.step.shape[0], dtype=jnp.int32), history)
    newest, (after, terms) = jax.lax.scan(body, start, numbered)
    return newest, history._replace(after=after, log_likelihood=terms)


def log_likelihood_of(info: Info, state: State) -> Array:
    """Return the log-likelihood of an update, zero of a filter that has none."""
    zero = jnp.zeros((), state.mean.dtype)
    return zero if info.log_likelihood is None else info.log_likelihood
