"""The settings and the state of a training run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from kfjax._support.compiling import jit
from kfjax._support.types import PyTree
from kfjax.data import window_at
from kfjax.training.history import History
from kfjax.training.partitioning import merge

__all__ = ["Interval"]


@dataclasses.dataclass(frozen=True)
class Task:
    """The settings of a training run; static, since they determine what is compiled.

    Attributes:
        loss: `(params, batch, key) -> scalar`.
        validation_loss: likewise.
        optimizer: an optax optimiser.
        batch_size: trajectories per update.
        window: time steps per window of truncated backpropagation with carried states, or None.
        ema: decay of the average of the parameters, or None.
        patience: number of reports without a better validation loss after which a run is settled,
            or None.
        many: whether several runs are trained at once.
        independent: whether each batch is drawn from all trajectories, independently of earlier
            batches, instead of every trajectory once per epoch.
    """

    loss: Any
    validation_loss: Any
    optimizer: optax.GradientTransformation
    batch_size: int
    window: int | None = None
    ema: float | None = None
    patience: int | None = None
    many: bool = False

    independent: bool = False

    def over_runs(self, one: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of one run as a function of all runs."""
        return jax.vmap(one) if self.many else one

    def windows(self, data: Any) -> int:
        """Return the number of windows in the trajectories; the last one may be padded."""
        # Rounded up by floor division of the negative, which has no rounding of floats.
        return 1 if self.window is None else -(-data.ys.shape[1] // self.window)

    def batches(self, size: int) -> int:
        """Return the number of batches of `size` trajectories between two shuffles."""
        # What is left over after full batches waits for the next shuffle: a smaller batch would be
        # compiled for its own shape, and would weigh its trajectories more than the others.
        return 1 if self.independent else size // self.batch_size


class Keys(NamedTuple):
    """The random keys of a training run, with a leading axis for several runs.

    Attributes:
        order: key of the order of the trajectories.
        loss: key of the training loss, folded with the number of the update.
        validation: key of the validation loss, the same in every report.
    """

    order: Array
    loss: Array
    validation: Array


class Interval(NamedTuple):
    """Which updates to take: `first` up to but not including `last`, then report number `row`."""

    first: Any
    last: Any
    row: Any


class TrainState(NamedTuple):
    """The state of a training run.

    Attributes:
        params: the trained leaves.
        optimizer: state of the optimiser.
        average: moving average of params, or None.
        carried: states of the filter at the end of the last window, or None.
        best: the params of the best report.
        best_loss: its validation loss.
        best_update: the number of updates before it.
        waiting: number of reports since the best one.
        refused: number of updates skipped because they were not finite.
        history: `History` with room for all reports.
    """

    params: Any
    optimizer: Any
    average: Any
    carried: Any
    best: Any
    best_loss: Array
    best_update: Array
    waiting: Array
    refused: Array
    history: History


@functools.partial(jit, static_argnums=(0, 5))
def begin(
    task: Task, trained: PyTree, frozen: PyTree, first: Any, key: Array, reports: int
) -> TrainState:
    """Return the state before the first update; `first` is a batch of trajectories."""

    def one(trained: PyTree, frozen: PyTree, key: Array) -> TrainState:
        # no weak types, with which everything would be compiled twice
        trained = jax.tree.map(lambda a: a.astype(a.dtype), trained)
        carried = None
        if task.window is not None:
            window = window_at(first, 0, task.window)
            carried = task.loss.start(merge(trained, frozen), window, key)
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
            best_update=zero,
            waiting=zero,
            refused=zero,
            history=History(counts, rows, rows, rows, counts),
        )

    return task.over_runs(one)(trained, frozen, key)
