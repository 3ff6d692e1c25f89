"""The compiled part of training: steps of an optimiser on batches drawn on the device, and the report that ends them.

Everything here is a pure function of a `TrainState`, so that several runs at once are a `jax.vmap`
and a run that goes on from a saved state is the run that was never stopped, to the bit. Batches are
split over the devices of all processes, and what a training remembers is copied to each of them.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kfjax._support import sharding
from kfjax.data import window_at
from kfjax.training.history import History
from kfjax.training.partition import merge

__all__ = [
    "Interval",
    "Task",
    "TrainState",
    "advance",
    "begin",
    "report",
    "shuffled",
    "take_step",
    "totals",
]


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
        patience: reports without a better validation loss, after which the best is settled, or
            None.
        many: whether several runs are trained at once.
    """

    loss: Any
    validation_loss: Any
    optimizer: optax.GradientTransformation
    batch_size: int
    window: int | None = None
    ema: float | None = None
    patience: int | None = None
    many: bool = False

    def windows(self, data: Any) -> int:
        """Return how many windows the trajectories have, the last of which may be padded."""
        return 1 if self.window is None else -(-data.ys.shape[1] // self.window)


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
def begin(
    task: Task, trained: Any, frozen: Any, first: Any, key: Array, reports: int
) -> TrainState:
    """Return the state before the first step; `first` are trajectories like those of a batch."""

    def one(trained: Any, frozen: Any, key: Array) -> TrainState:
        trained = jax.tree.map(
            lambda a: a.astype(a.dtype), trained
        )  # no weak types, which would compile twice
        carried = None
        if task.window is not None:
            carried = task.loss.start(merge(trained, frozen), window_at(first, 0, task.window), key)
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
    task: Task,
    state: TrainState,
    frozen: Any,
    data: Any,
    validation: Any,
    key: Array,
    interval: Interval,
) -> TrainState:
    """Take the steps of an interval, and report."""
    one = functools.partial(_advance, task)
    if task.many:
        one = jax.vmap(one, in_axes=(0, 0, None, None, 0, None))
    return sharding.copied(one(state, frozen, data, validation, key, interval))


def _advance(
    task: Task,
    state: TrainState,
    frozen: Any,
    data: Any,
    validation: Any,
    key: Array,
    interval: Interval,
) -> TrainState:
    order_key, loss_key, validation_key = jax.random.split(key, 3)
    size, windows = _size(data), task.windows(data)
    epoch = size // task.batch_size * windows  # steps

    def order_at(s: Array) -> Array:
        return _shuffled(order_key, s // epoch, size)

    def body(s: Array, carry: tuple) -> tuple:
        state, order, sums = carry
        # the condition is the same in every run, so that this stays a branch under vmap
        order = jax.lax.cond(s % epoch == 0, order_at, lambda _: order, s)
        first = s // windows % (size // task.batch_size) * task.batch_size
        index = jax.lax.dynamic_slice_in_dim(order, first, task.batch_size)
        batch = jax.tree.map(lambda a: a[index], data)
        state, sums = _step(task, windows, state, sums, frozen, batch, loss_key, s)
        return state, order, sums

    carry = (state, order_at(interval.first), totals())
    state, _, sums = jax.lax.fori_loop(interval.first, interval.last, body, carry)
    return _report(task, state, sums, frozen, validation, validation_key, interval)


def _shuffled(key: Array, epoch: Any, size: int) -> Array:
    """The order of the trajectories in an epoch."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


@functools.partial(jax.jit, static_argnums=2)
def shuffled(key: Array, epoch: Any, size: int) -> Array:
    """Return the order of the trajectories in an epoch, of a run with this key."""
    return _shuffled(jax.random.split(key, 3)[0], epoch, size)


def totals() -> Array:
    """Return the sums over the steps since the last report, before the first of them: losses, norms, how many."""
    return jnp.zeros(3, jax.dtypes.canonicalize_dtype(float))


@functools.partial(jax.jit, static_argnums=(0, 1))
def take_step(
    task: Task,
    windows: int,
    state: TrainState,
    sums: Array,
    frozen: Any,
    batch: Any,
    key: Array,
    s: Any,
) -> tuple[TrainState, Array]:
    """Take one step on a batch (of several runs, one each), where the data are not on the device."""

    def one(
        state: TrainState, sums: Array, frozen: Any, batch: Any, key: Array
    ) -> tuple[TrainState, Array]:
        return _step(task, windows, state, sums, frozen, batch, jax.random.split(key, 3)[1], s)

    return sharding.copied((jax.vmap(one) if task.many else one)(state, sums, frozen, batch, key))


@functools.partial(jax.jit, static_argnums=0)
def report(
    task: Task,
    state: TrainState,
    sums: Array,
    frozen: Any,
    validation: Any,
    key: Array,
    interval: Interval,
) -> TrainState:
    """Report after steps that were taken one by one."""

    def one(state: TrainState, sums: Array, frozen: Any, key: Array) -> TrainState:
        return _report(task, state, sums, frozen, validation, jax.random.split(key, 3)[2], interval)

    return sharding.copied((jax.vmap(one) if task.many else one)(state, sums, frozen, key))


def _step(
    task: Task,
    windows: int,
    state: TrainState,
    sums: Array,
    frozen: Any,
    batch: Any,
    key: Array,
    s: Any,
) -> tuple[TrainState, Array]:
    """One step of the optimiser, and the sums with its loss and norm, where both are finite."""
    batch, key = sharding.split(batch), jax.random.fold_in(key, s)
    if task.window is not None:
        batch = window_at(batch, s % windows * task.window, task.window)

    def objective(trained: Any) -> tuple[Array, Any]:
        params = merge(trained, frozen)
        if task.window is None:
            return _scalar(task.loss(params, batch, key)), None
        first = s % windows == 0  # of the trajectories: a learned start has its gradient here
        states = task.loss.start(params, batch, key)
        states = jax.tree.map(lambda a, b: jnp.where(first, a, b), states, state.carried)
        value, ends = task.loss.continued(params, batch, key, states)
        return _scalar(value), ends

    (value, carried), slope = jax.value_and_grad(objective, has_aux=True)(state.params)
    norm = optax.tree.norm(
        slope
    )  # of finite squares: no second moment of an optimiser overflows either
    sound = jnp.isfinite(value) & jnp.isfinite(norm)
    updates, moved = task.optimizer.update(slope, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if task.ema is not None:
        weight = 1 - jnp.minimum(
            task.ema, (1.0 + s) / (10.0 + s)
        )  # short memory at first, which forgets the start
        average = optax.incremental_update(params, average, weight)
    new, old = (params, moved, average), (state.params, state.optimizer, state.average)
    params, moved, average = jax.tree.map(lambda a, b: jnp.where(sound, a, b), new, old)
    refused = state.refused + (~sound).astype(jnp.int32)
    state = state._replace(
        params=params, optimizer=moved, average=average, carried=carried, refused=refused
    )
    return state, sums + jnp.stack(
        [jnp.where(sound, value, 0), jnp.where(sound, norm, 0), sound.astype(value.dtype)]
    )


def _report(
    task: Task,
    state: TrainState,
    sums: Array,
    frozen: Any,
    validation: Any,
    key: Array,
    interval: Interval,
) -> TrainState:
    """Measure the parameters on the validation data, keep them if they are the best, and write the history."""
    candidate = state.params if state.average is None else state.average
    measured, better = jnp.asarray(jnp.nan), jnp.asarray(True)
    if validation is not None:
        measured = _scalar(
            task.validation_loss(merge(candidate, frozen), sharding.split(validation), key)
        )
        better = measured < state.best_loss
        if task.patience is not None:  # one run of several may have to wait for the others
            better &= state.waiting < task.patience
    best = (
        candidate,
        measured.astype(state.best_loss.dtype),
        jnp.asarray(interval.last, jnp.int32),
    )
    best = jax.tree.map(
        lambda a, b: jnp.where(better, a, b), best, (state.best, state.best_loss, state.best_step)
    )
    mean_loss, mean_norm = sums[0] / sums[2], sums[1] / sums[2]
    row = History(interval.last, mean_loss, measured, mean_norm, state.refused)
    history = jax.tree.map(
        lambda rows, value: rows.at[interval.row].set(value.astype(rows.dtype)), state.history, row
    )
    waiting = jnp.where(better, 0, state.waiting + 1)
    return state._replace(
        best=best[0], best_loss=best[1], best_step=best[2], waiting=waiting, history=history
    )


def _size(data: Any) -> int:
    return jax.tree.leaves(data)[0].shape[0]


def _scalar(value: Any) -> Array:
    if np.shape(value) != ():
        raise ValueError(
            f"fit: the loss has shape {np.shape(value)}; expected a scalar. Average over the batch."
        )
    return jnp.asarray(value)
