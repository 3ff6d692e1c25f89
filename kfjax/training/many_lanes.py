"""Functions of many series, computed for groups of series, one group after another.

On a CPU the arrays of a group stay in the fastest cache. One call of a compiled program computes
as many groups as it is given: a call with few series takes less time.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kfjax._support import sharding
from kfjax._support.compiling import jit
from kfjax._support.types import PyTree
from kfjax.data import Dataset

__all__: list[str] = []

LANES = 16  # series that are computed side by side on one CPU
WIDE_LANES = 4096  # and on one device of another kind
GROUPS = 32  # of series, in one call of a compiled program


class Lanes:
    """Functions of the series of a dataset.

    Args:
        data: the series.
        shared: further arguments of the functions, the same for all series.
    """

    def __init__(self, data: Dataset, shared: PyTree) -> None:
        devices = sharding.local_devices()
        self.lanes = LANES if devices[0].platform == "cpu" else WIDE_LANES
        self.devices = len(devices)
        groups = math.ceil(data.size / (self.lanes * self.devices))
        self.groups = min(GROUPS, groups)
        self.data = data
        self.shared = sharding.everywhere(shared, devices)

    def map(self, function: Any, rows: np.ndarray, tree: Any) -> Any:
        """Return `function(part of tree, series, *shared)` for some series.

        Args:
            function: hashable, of one series.
            rows: the numbers of the series.
            tree: arrays [rows, ...].
        """
        size = self.lanes * self.devices * self.groups
        results = []
        for first in range(0, len(rows), size):
            chosen = np.arange(first, min(first + size, len(rows)))
            found = self._at_once(function, rows[chosen], rows_of(tree, chosen))
            results.append(found)
        return jax.tree.map(lambda *parts: np.concatenate(parts), *results)

    def _at_once(self, function: Any, rows: np.ndarray, tree: Any) -> Any:
        """Return the results of one call of the compiled program."""
        count = len(rows)
        places = np.arange(self.lanes * self.groups * self.devices)
        # row j of a device is series j * devices + device: all have the same number, or one less
        order = places.reshape(-1, self.devices).T.ravel()
        at = np.minimum(order, count - 1)
        placed = sharding.place((rows_of(tree, at), self.data[rows[at]]))
        groups = math.ceil(count / (self.lanes * self.devices))
        found = _in_groups(function, self.lanes, *placed, (jnp.asarray(groups), *self.shared))
        back = np.argsort(order)[:count]
        return jax.tree.map(lambda a: np.asarray(a)[back], found)


def rows_of(tree: Any, at: np.ndarray) -> Any:
    """Return rows of the arrays of a tree."""
    return jax.tree.map(lambda a: a[at], tree)


@functools.partial(jit, static_argnums=(0, 1))
def _in_groups(function: Any, lanes: int, tree: Any, series: Dataset, shared: Any) -> Any:
    """Return the results of the groups in use; those of the others are zero."""

    def of_device(tree: Any, series: Dataset, shared: Any) -> Any:
        number, *others = shared
        batched = jax.vmap(lambda part, one: function(part, one, *others))
        grouped = jax.tree.map(lambda a: a.reshape(-1, lanes, *a.shape[1:]), (tree, series))

        def of_nobody(group: Any) -> Any:
            shapes = jax.eval_shape(lambda group: batched(*group), group)
            return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

        def of_group(numbered: Any) -> Any:
            at, group = numbered
            return lax.cond(at < number, lambda group: batched(*group), of_nobody, group)

        # A loop with a number of rounds that is not known when it is compiled takes twice the time.
        count = jax.tree.leaves(grouped)[0].shape[0]
        found = lax.map(of_group, (jnp.arange(count), grouped))
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), found)

    return sharding.over_devices(of_device, (0, 0, None))(tree, series, shared)
