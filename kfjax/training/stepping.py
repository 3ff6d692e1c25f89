"""The compiled part of training: steps of an optimiser on batches drawn on the device, and the report that ends them.

Everything here is a pure function of a `TrainState`, so that several runs at once are a `jax.vmap` and a run that goes
on from a saved state is the run that was never stopped, to the bit.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kfjax.data import window_at
from kfjax.training.history import History
from kfjax.training.partition import merge

__all__ = ["Task", "TrainState", "advance", "begin"]


@dataclasses.dataclass(frozen=True)
class Task:
    """What stays the same in one training; static, since it chooses what is compiled.

    Attributes:
        loss: `(params, batch, key) -> scalar`.
        validation_loss: likewise.
        optimizer: of optax.
        batch_size: trajectories per step.
        window: steps per window of truncated backpropagation with carried states, or None.
        ema: decay of the average of the parameters, or None.
        patience: reports without a better validation loss, after which the best is settled, or None.
        many: whether several runs are trained at once.
    """

    loss: Callable
    validation_loss: Callable
    optimizer: optax.GradientTransformation
    batch_size: int
    window: int | None = None
    ema: float | None = None
    patience: int | None = None
    many: bool = False


class TrainState(NamedTuple):
    """Everything that a training has to remember.

    Attributes:
        params: the trained leaves.
        optimizer: state of the optimiser.
        average: moving average of params, or None.
        carried: states of the filter at the end of the last window, or None.
        best: the params of the best report.
        best_loss: its validation loss.
        best_step: its step.
        waiting: reports since then.
        refused: steps not taken.
        history: `History` with room for all reports.
    """

    params: Any
    optimizer: Any
    average: Any
    carried: Any
    best: Any
    best_loss: Array
    best_step: Array
    waiting: Array
    refused: Array
    history: History


class Interval(NamedTuple):
    """Which steps to take: from `first` to before `last`, then report number `row`."""

    first: Any
    last: Any
    row: Any


@functools.partial(jax.jit, static_argnums=(0, 5))
def begin(task: Task, trained: Any, frozen: Any, data: Any, key: Array, reports: int) -> TrainState:
    """Return the state before the first step."""

    def one(trained: Any, frozen: Any, key: Array) -> TrainState:
        trained = jax.tree.map(lambda a: a.astype(a.dtype), trained)  # no weak types, which would compile twice
        carried = None
        if task.window is not None:
            batch = _batch(task, data, jnp.arange(_size(data)), 0)
            carried = task.loss.start(merge(trained, frozen), batch, key)
        dtype = jax.dtypes.canonicalize_dtype(float)
        rows = jnp.full(reports, jnp.nan, dtype)
        zero = jnp.zeros((), jnp.int32)
        counts = jnp.zeros(reports, jnp.int32)
        return TrainState(
            params=trained,
            optimizer=task.optimizer.init(trained),
            average=None if task.ema is None else trained,
            carried=carried,
            best=trained,
            best_loss=jnp.full((), jnp.inf, dtype),
            best_step=zero,
            waiting=zero,
            refused=zero,
            history=History(counts, rows, rows, rows, counts),
        )

    return (jax.vmap(one) if task.many else one)(trained, frozen, key)


@functools.partial(jax.jit, static_argnums=0)
def advance(
    task: Task, state: TrainState, frozen: Any, data: Any, validation: Any, key: Array, interval: Interval
) -> TrainState:
    """Take the steps of an interval, and report."""
    one = functools.partial(_advance, task)
    if task.many:
        one = jax.vmap(one, in_axes=(0, 0, None, None, 0, None))
    return one(state, frozen, data, validation, key, interval)


def _advance(
    task: Task, state: TrainState, frozen: Any, data: Any, validation: Any, key: Array, interval: Interval
) -> TrainState:
    order_key, loss_key, validation_key = jax.random.split(key, 3)
    epoch = _size(data) // task.batch_size * _windows(task, data)  # steps

    def shuffled(s: Array) -> Array:
        return jax.random.permutation(jax.random.fold_in(order_key, s // epoch), _size(data))

    def body(s: Array, carry: tuple) -> tuple:
        state, order, totals = carry
        # the condition is the same in every run, so that this stays a branch under vmap
        order = jax.lax.cond(s % epoch == 0, shuffled, lambda _: order, s)
        batch = _batch(task, data, order, s)
        state, value, norm, sound = _step(task, state, frozen, batch, jax.random.fold_in(loss_key, s), s, data)
        new = jnp.stack([jnp.where(sound, value, 0), jnp.where(sound, norm, 0), sound.astype(value.dtype)])
        return state, order, totals + new

    totals = jnp.zeros(3, jax.dtypes.canonicalize_dtype(float))
    carry = (state, shuffled(interval.first), totals)
    state, _, totals = jax.lax.fori_loop(interval.first, interval.last, body, carry)
    return _report(task, state, frozen, validation, validation_key, totals, interval)


def _step(
    task: Task, state: TrainState, frozen: Any, batch: Any, key: Array, s: Array, data: Any
) -> tuple[TrainState, Array, Array, Array]:
    """One step of the optimiser; the loss, the norm of its gradient, and whether both are finite."""

    def objective(trained: Any) -> tuple[Array, Any]:
        params = merge(trained, frozen)
        if task.window is None:
            return _scalar(task.loss(params, batch, key)), None
        first = s % _windows(task, data) == 0  # of the trajectories: a learned start has its gradient here
        states = task.loss.start(params, batch, key)
        states = jax.tree.map(lambda a, b: jnp.where(first, a, b), states, state.carried)
        value, ends = task.loss.continued(params, batch, key, states)
        return _scalar(value), ends

    (value, carried), slope = jax.value_and_grad(objective, has_aux=True)(state.params)
    norm = optax.tree.norm(slope)  # of finite squares: no second moment of an optimiser overflows either
    sound = jnp.isfinite(value) & jnp.isfinite(norm)
    updates, moved = task.optimizer.update(slope, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if task.ema is not None:
        weight = 1 - jnp.minimum(task.ema, (1.0 + s) / (10.0 + s))  # short memory at first, which forgets the start
        average = optax.incremental_update(params, average, weight)
    new, old = (params, moved, average), (state.params, state.optimizer, state.average)
    params, moved, average = jax.tree.map(lambda a, b: jnp.where(sound, a, b), new, old)
    refused = state.refused + (~sound).astype(jnp.int32)
    state = state._replace(params=params, optimizer=moved, average=average, carried=carried, refused=refused)
    return state, value, norm, sound


def _report(
    task: Task, state: TrainState, frozen: Any, validation: Any, key: Array, totals: Array, interval: Interval
) -> TrainState:
    """Measure the parameters on the validation data, keep them if they are the best, and write the history."""
    candidate = state.params if state.average is None else state.average
    measured, better = jnp.asarray(jnp.nan), jnp.asarray(True)
    if validation is not None:
        measured = _scalar(task.validation_loss(merge(candidate, frozen), validation, key))
        better = measured < state.best_loss
        if task.patience is not None:  # one run of several may have to wait for the others
            better &= state.waiting < task.patience
    best = (candidate, measured.astype(state.best_loss.dtype), jnp.asarray(interval.last, jnp.int32))
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), best, (state.best, state.best_loss, state.best_step))
    mean_loss, mean_norm = totals[0] / totals[2], totals[1] / totals[2]
    row = History(interval.last, mean_loss, measured, mean_norm, state.refused)
    history = jax.tree.map(lambda rows, value: rows.at[interval.row].set(value.astype(rows.dtype)), state.history, row)
    waiting = jnp.where(better, 0, state.waiting + 1)
    return state._replace(best=best[0], best_loss=best[1], best_step=best[2], waiting=waiting, history=history)


def _batch(task: Task, data: Any, order: Array, s: Any) -> Any:
    """Batch number s of the order, or window of it."""
    windows = _windows(task, data)
    first = s // windows % (_size(data) // task.batch_size) * task.batch_size
    index = jax.lax.dynamic_slice_in_dim(order, first, task.batch_size)
    batch = jax.tree.map(lambda a: a[index], data)
    return batch if task.window is None else window_at(batch, s % windows * task.window, task.window)


def _size(data: Any) -> int:
    return jax.tree.leaves(data)[0].shape[0]


def _windows(task: Task, data: Any) -> int:
    return 1 if task.window is None else data.obs.shape[1] // task.window


def _scalar(value: Any) -> Array:
    if np.shape(value) != ():
        raise ValueError(f"fit: the loss has shape {np.shape(value)}; expected a scalar. Average over the batch.")
    return jnp.asarray(value)
