"""The latest rows of a record in order of time, and where another row belongs among them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.naming import described
from kfjax.base import Inputs, State

__all__: list[str] = []

ROUNDINGS = 32  # times that differ by so many roundings are equal: each is a sum of many steps


class History(NamedTuple):
    """The latest rows in order of time, the newest last; at the start the first ones are empty.

    Attributes:
        after: states of the filter after each row, [rows, ...].
        step: time since the row before [rows].
        u: inputs, flat [rows, k].
        y: observations, flat [rows, m].
        observed: what was observed [rows, m]; nothing in a row that only predicts.
        log_likelihood: what each row adds to the total [rows].
    """

    after: State
    step: Array
    u: Array
    y: Array
    observed: Array
    log_likelihood: Array


class Place(NamedTuple):
    """The place of a row in a history.

    Attributes:
        row: its index. The rows up to there move towards the start, and the oldest is forgotten.
        step: time since the row before it.
        gap: time until the row after it.
        refused: whether every row of the history is later.
    """

    row: Array
    step: Array
    gap: Array
    refused: Array


def new_history(state: State, rows: int, inputs: int, channels: int) -> History:
    """Return a history whose one row is the start of a record."""
    dtype = jnp.result_type(float)
    return History(
        jax.tree.map(lambda a: jnp.broadcast_to(a, (rows, *jnp.shape(a))), state),
        jnp.zeros(rows, dtype),
        jnp.zeros((rows, inputs), dtype),
        jnp.zeros((rows, channels), dtype),
        jnp.zeros((rows, channels), bool),
        jnp.zeros(rows, state.mean.dtype),
    )


def find(history: History, in_use: Array, ahead: Array) -> Place:
    """Return the place of a row from its time since the newest row.

    Args:
        history: the rows, of which the first ones may be empty.
        in_use: how many rows are not empty.
        ahead: the time since the newest row, negative for a late one.
    """
    rows = history.step.shape[0]
    later_steps = jnp.append(history.step[1:], 0)
    backwards = jnp.cumsum(later_steps[::-1])
    times = -backwards[::-1]  # since the newest row, which is at zero
    eps = jnp.finfo(times.dtype).eps
    rounding = ROUNDINGS * eps * jnp.abs(ahead)
    empty = rows - in_use
    known = jnp.arange(rows, dtype=jnp.int32) >= empty
    is_earlier = times <= ahead + rounding
    before = jnp.sum(known & is_earlier, dtype=jnp.int32)
    index = jnp.maximum(empty + before - 1, 0)
    time_before = times[index]
    step = ahead - time_before
    step = jnp.where(step <= rounding, 0, step)
    following = jnp.minimum(index + 1, rows - 1)
    gap = times[following] - time_before - step
    gap = jnp.maximum(gap, 0)
    refused = before == 0
    return Place(index, step, gap, refused)


def insert(history: History, place: Place, after: State, u: Array) -> History:
    """Return the history with a row in which nothing is observed, and without the oldest row."""
    rows = history.step.shape[0]
    indices = jnp.arange(rows, dtype=jnp.int32)
    moves = indices < place.row
    following = indices == place.row + 1
    steps = jnp.where(following, place.gap, history.step)
    history = history._replace(step=steps)
    without_states = history._replace(after=None)
    nothing = jax.tree.map(lambda a: jnp.zeros_like(a[0]), without_states)
    row = nothing._replace(after=after, step=place.step, u=u)

    def insert_into(kept: Array, new: Array) -> Array:
        further_axes = (1,) * (kept.ndim - 1)
        moved = moves.reshape((-1, *further_axes))
        rotated = jnp.concatenate([kept[1:], kept[:1]])
        shifted = jnp.where(moved, rotated, kept)
        return shifted.at[place.row].set(new)

    return jax.tree.map(insert_into, history, row)


def repeat(history: History, index: Array, after: State) -> History:
    """Return the history with another row of the same time behind a row; it moves forward."""
    steps = history.step
    newest = steps.shape[0] - 1
    following = jnp.minimum(index + 1, newest)
    step = jnp.zeros_like(steps[0])
    gap = steps[following]
    refused = jnp.zeros((), bool)
    place = Place(index, step, gap, refused)
    u = history.u[index]
    return insert(history, place, after, u)


def write(history: History, index: Array, **values: State) -> History:
    """Return the history with other values in a row."""
    changed = {
        name: jax.tree.map(lambda a, b: a.at[index].set(b), getattr(history, name), value)
        for name, value in values.items()
    }
    return history._replace(**changed)


def gained(new: History, old: History) -> Array:
    """Return by how much the log-likelihood of all rows grew."""
    before = old.log_likelihood
    after = new.log_likelihood
    growth = jnp.where(after == before, 0, after - before)  # both may be infinite
    return jnp.sum(growth)


def step_of(u: Inputs, dt: str | int) -> Array:
    """Return the time step in the inputs of a row."""
    is_dict = isinstance(u, dict)
    is_array = not is_dict and len(jax.tree.leaves(u)) == 1
    if is_array and jnp.ndim(u) == 0:
        return jnp.asarray(u, float)
    named = is_dict and dt in u and jnp.ndim(u[dt]) == 0
    is_vector = is_array and jnp.ndim(u) == 1
    counted = is_vector and isinstance(dt, int) and abs(dt) < jnp.size(u)
    if named or counted:
        return jnp.asarray(u[dt], float)
    got = f"with the keys {sorted(u)}" if is_dict else f"{described(u)}"
    raise ValueError(
        f"delayed: u is {got}, and dt is {dt!r}; expected the time since the newest row, negative"
        " for a late one, as u itself, or in it where dt says: the key of a dict, or the index of a"
        " vector."
    )


def with_step(u: Inputs, dt: str | int, step: Array) -> Inputs:
    """Return the inputs of a row with another time step."""
    given = u[dt] if isinstance(u, dict) or jnp.ndim(u) else u
    dtype = jnp.result_type(given)
    if jnp.issubdtype(dtype, jnp.floating):
        step = step.astype(dtype)
    if isinstance(u, dict):
        return u | {dt: step}
    if jnp.ndim(u):
        return jnp.asarray(u).at[dt].set(step)
    return step
