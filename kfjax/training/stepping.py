"""The compiled part of training: updates on batches drawn on the device, and reports.

Everything here is a pure function of a `TrainState`, so that `jax.vmap` trains several runs at
once, and a run that continues from a saved state equals an uninterrupted one to the bit. Batches
are split over the devices of all processes, and the `TrainState` is copied to each of them.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kfjax._support import sharding
from kfjax._support.compiling import jit
from kfjax._support.pytrees import select
from kfjax._support.types import PyTree
from kfjax.base import Params
from kfjax.data import window_at
from kfjax.training.history import History
from kfjax.training.partitioning import merge
from kfjax.training.tasks import Interval, Keys, Task, TrainState
from kfjax.training.updates import guarded_update

__all__: list[str] = []


@functools.partial(jit, static_argnums=0)
def advance(
    task: Task,
    state: TrainState,
    frozen: PyTree,
    data: PyTree,
    validation: PyTree,
    keys: Keys,
    interval: Interval,
) -> TrainState:
    """Take the updates of an interval, and report."""
    one = functools.partial(_advance, task)
    if task.many:
        # Runs differ in their state, their frozen params and their keys. The data and the interval
        # are shared, so that the data are on the device once however many runs there are.
        one = jax.vmap(one, in_axes=(0, 0, None, None, 0, None))
    return sharding.copied(one(state, frozen, data, validation, keys, interval))


def _advance(
    task: Task,
    state: TrainState,
    frozen: PyTree,
    data: PyTree,
    validation: PyTree,
    keys: Keys,
    interval: Interval,
) -> TrainState:
    size = _size(data)
    windows = task.windows(data)
    batches = task.batches(size)
    epoch = batches * windows  # counted in updates

    # The order of an epoch is a function of its number and not of the one before: a run that
    # continues in the middle of an epoch draws the order that the uninterrupted run has there.
    def order_at(s: Array) -> Array:
        return _shuffled(keys.order, s // epoch, size)

    def body(s: Array, carry: tuple) -> tuple:
        state, order, sums = carry
        # the condition is shared by all runs, so that this stays a branch under vmap
        order = jax.lax.cond(s % epoch == 0, order_at, lambda _: order, s)
        first = s // windows % batches * task.batch_size
        index = jax.lax.dynamic_slice_in_dim(order, first, task.batch_size)
        batch = jax.tree.map(lambda a: a[index], data)
        state, sums = _update(task, windows, state, sums, frozen, batch, keys.loss, s)
        return state, order, sums

    # The bounds of the loop are traced, so that intervals of any length share one compilation;
    # `fori_loop` is then a `while` without a reverse mode, and none is needed, since every update
    # takes its gradient inside.
    carry = (state, order_at(interval.first), totals())
    state, _, sums = jax.lax.fori_loop(interval.first, interval.last, body, carry)
    return _report(task, state, sums, frozen, validation, keys.validation, interval)


def _shuffled(key: Array, epoch: Any, size: int) -> Array:
    """Return the order of the trajectories in an epoch."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


shuffled = jit(_shuffled, static_argnums=2)


def totals() -> Array:
    """Return the initial sums of losses, norms and counts since the last report."""
    # Sums in the widest float that is enabled: an interval may add up thousands of losses in
    # float32.
    return jnp.zeros(3, jax.dtypes.canonicalize_dtype(float))


@functools.partial(jit, static_argnums=(0, 1))
def take_update(
    task: Task,
    windows: int,
    state: TrainState,
    sums: Array,
    frozen: PyTree,
    batch: PyTree,
    key: Array,
    s: Any,
) -> tuple[TrainState, Array]:
    """Take one update on a batch (one per run) of data that do not reside on the device."""

    def one(
        state: TrainState, sums: Array, frozen: PyTree, batch: PyTree, key: Array
    ) -> tuple[TrainState, Array]:
        return _update(task, windows, state, sums, frozen, batch, key, s)

    return sharding.copied(task.over_runs(one)(state, sums, frozen, batch, key))


@functools.partial(jit, static_argnums=0)
def report(
    task: Task,
    state: TrainState,
    sums: Array,
    frozen: PyTree,
    validation: PyTree,
    key: Array,
    interval: Interval,
) -> TrainState:
    """Report after updates that were taken one by one."""

    def one(state: TrainState, sums: Array, frozen: PyTree, key: Array) -> TrainState:
        return _report(task, state, sums, frozen, validation, key, interval)

    return sharding.copied(task.over_runs(one)(state, sums, frozen, key))


@functools.partial(jit, static_argnums=0)
def measure(loss: Any, params: Params, data: Any, key: Array) -> Array:
    """Return a loss on all data at once, as a report does."""
    return _scalar(loss(params, sharding.split(data), key))


def _update(
    task: Task,
    windows: int,
    state: TrainState,
    sums: Array,
    frozen: PyTree,
    batch: PyTree,
    key: Array,
    s: Any,
) -> tuple[TrainState, Array]:
    """Take update number s; its loss and norm are added to the sums unless it was refused."""
    batch = sharding.split(batch)
    key = jax.random.fold_in(key, s)
    if task.window is not None:
        # Windows of one batch follow each other in updates, so that truncated backpropagation
        # carries the states from a window to the next.
        batch = window_at(batch, s % windows * task.window, task.window)

    def objective(trained: PyTree) -> tuple[Array, Any]:
        params = merge(trained, frozen)
        if task.window is None:
            return _scalar(task.loss(params, batch, key)), None
        # only in the first window of the trajectories does a learned start get a gradient
        first = s % windows == 0
        states = select(first, task.loss.start(params, batch, key), state.carried)
        value, ends = task.loss.continued(params, batch, key, states)
        return _scalar(value), ends

    found = guarded_update(task.optimizer, objective, state.params, state.optimizer)
    average = state.average
    if task.ema is not None:
        # a short memory at first, so that the initial params are forgotten
        weight = 1 - jnp.minimum(task.ema, (1.0 + s) / (10.0 + s))
        moved = optax.incremental_update(found.params, average, weight)
        average = select(found.taken, moved, average)
    state = state._replace(
        params=found.params,
        optimizer=found.optimizer,
        average=average,
        carried=found.aux,
        refused=state.refused + (~found.taken).astype(jnp.int32),
    )
    # Selected and not multiplied by `taken`: a loss that was refused is NaN or infinite, and 0
    # times it is NaN.
    loss, norm = (jnp.where(found.taken, value, 0) for value in (found.loss, found.norm))
    return state, sums + jnp.stack([loss, norm, found.taken.astype(found.loss.dtype)])


def _report(
    task: Task,
    state: TrainState,
    sums: Array,
    frozen: PyTree,
    validation: PyTree,
    key: Array,
    interval: Interval,
) -> TrainState:
    """Validate the params, keep them if they are the best, and write the history."""
    candidate = state.params if state.average is None else state.average
    measured = jnp.asarray(jnp.nan)
    better = jnp.asarray(True)
    if validation is not None:
        params = merge(candidate, frozen)
        measured = _scalar(task.validation_loss(params, sharding.split(validation), key))
        # NaN compares false, so that params with a loss that is not finite are never the best.
        # Without validation data the newest params count as the best.
        better = measured < state.best_loss
        if task.patience is not None:  # a settled run may have to wait for the others
            better &= state.waiting < task.patience
    measured_loss = measured.astype(state.best_loss.dtype)
    best, best_loss, best_update = select(
        better,
        (candidate, measured_loss, jnp.asarray(interval.last, jnp.int32)),
        (state.best, state.best_loss, state.best_update),
    )
    # With every update refused these are 0 / 0, and NaN says that nothing was measured.
    loss = sums[0] / sums[2]
    norm = sums[1] / sums[2]
    row = History(interval.last, loss, measured, norm, state.refused)

    def written(rows: Array, value: Array) -> Array:
        return rows.at[interval.row].set(value.astype(rows.dtype))

    history = jax.tree.map(written, state.history, row)
    return state._replace(
        best=best,
        best_loss=best_loss,
        best_update=best_update,
        waiting=jnp.where(better, 0, state.waiting + 1),
        history=history,
    )


def _size(data: Any) -> int:
    return jax.tree.leaves(data)[0].shape[0]


def _scalar(value: Any) -> Array:
    if np.shape(value) != ():
        raise ValueError(
            f"fit: the loss has shape {np.shape(value)}; expected a scalar. Average over the batch."
        )
    return jnp.asarray(value)
