"""Training on data on disk: the updates of `stepping`, on batches that are read one by one."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array

from kfjax._support import sharding
from kfjax._support.types import PyTree
from kfjax.data import take, whole_windows
from kfjax.training.stepping import report, shuffled, take_update, totals
from kfjax.training.tasks import Interval, Keys, Task, TrainState

__all__: list[str] = []

SAMPLE = 256  # trajectories by which data sets are told apart


class Batches:
    """The batches of a training run by update, the same as for data on the device.

    One batch and the order of one epoch are kept in memory.
    """

    def __init__(self, task: Task, data: PyTree, key: Array) -> None:
        self.task = task
        self.data = data
        self.key = key
        self.size = len(jax.tree.leaves(data)[0])
        self.windows = task.windows(data)
        self._number = -1
        self._batch = None
        self._epoch = -1
        self._order = np.zeros(0, int)

    def at(self, s: int) -> Any:
        """Return the batch of update s, on all devices; [S, batch, ...] for several runs."""
        size = self.task.batch_size
        number = s // self.windows
        if number != self._number:
            epoch, place = divmod(number, self.task.batches(self.size))
            index = self._ordered(epoch)[..., place * size : (place + 1) * size]
            self._batch = sharding.everywhere(self.read(index), sharding.all_devices())
            self._number = number
        return self._batch

    def read(self, index: np.ndarray) -> Any:
        """Return trajectories by number [...], padded to whole windows."""
        rows = take(self.data, index.ravel())
        rows = rows if self.task.window is None else whole_windows(rows, self.task.window)
        return jax.tree.map(lambda a: a.reshape(*index.shape, *a.shape[1:]), rows)

    def sample(self) -> Any:
        """Return some of the trajectories."""
        places = np.linspace(0, self.size - 1, min(SAMPLE, self.size))
        return take(self.data, places.astype(int))

    def _ordered(self, epoch: int) -> np.ndarray:
        """Return the order of the trajectories in an epoch, [N] or [S, N]."""
        if epoch != self._epoch:
            orders = [np.asarray(shuffled(key, epoch, self.size)) for key in self.key.ravel()]
            self._order = np.stack(orders) if self.task.many else orders[0]
            self._epoch = epoch
        return self._order


def advance_from_disk(
    task: Task,
    state: TrainState,
    frozen: PyTree,
    batches: Batches,
    validation: PyTree,
    keys: Keys,
    interval: Interval,
) -> TrainState:
    """Take the updates of an interval and report, like `stepping.advance`, for data on disk."""
    sums: Any = np.tile(totals(), (*keys.loss.shape, 1))
    for s in range(interval.first, interval.last):
        batch = batches.at(s)  # while the device is busy with the previous update
        jax.block_until_ready(sums)  # otherwise batches would pile up in memory
        state, sums = take_update(task, batches.windows, state, sums, frozen, batch, keys.loss, s)
    return report(task, state, sums, frozen, validation, keys.validation, interval)
