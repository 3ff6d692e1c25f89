"""Chunks of trajectories: as many at a time as fit in memory, over all devices and processes.

`compare` and `monte_carlo` take N trajectories, numbered from 0, in chunks of equal size
(`chunk_size`). Each process takes its share of the chunks (`own_chunks`) and splits every one over
its devices; what all trajectories share is copied to each of them (`on_devices`). Only the sums of
a chunk are kept, in main memory (`as_part`). In the end they are joined, including those of other
processes (`gather`). No result depends on the sizes of chunks or on the numbers of devices and
processes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jax import Array

from kfjax._support import sharding
from kfjax._support.types import PyTree
from kfjax.base import Filter, Params
from kfjax.data import Dataset
from kfjax.evaluation.errors import Difference
from kfjax.evaluation.summaries import Curves, Statistics, filter_one, summarise

__all__: list[str] = []

MEMORY = 2**29  # bytes that one chunk of trajectories may take, including temporaries
# Bytes that it takes for each CPU. The results of a larger one do not stay in a processor's cache
# between the loop over time and what reads them: 2048 trials of an extended filter over 100 steps
# take 0.66 of the time in chunks of 128, and 0.68 in chunks of 512.
CACHE = 2**24
LEAST = 8  # trajectories for each CPU, if they fit in memory: fewer cost more calls than they save

Part: TypeAlias = tuple[Statistics, Curves]
"""Sums of some trajectories in numpy: statistics [rows, ...], and curves [T] over all of them."""


class Chunk(NamedTuple):
    """Trajectories that are computed together.

    Attributes:
        rows: numbers of the trajectories [size]; the last ones may be padding.
        valid: number of leading trajectories that are not padding.
    """

    rows: np.ndarray
    valid: int


def chunk_size(
    filter: Filter,
    params: Params,
    one: Dataset,
    key: Array,
    total: int,
    wanted: int | None = None,
    *,
    difference: Difference | None = None,
) -> int:
    """Return the number of trajectories of a chunk: `wanted`, or what fits in memory and caches.

    It is evened out, so that the last chunk has little padding and every process has the same
    number. The filter and its summary are traced on the way, so that mismatches are found before
    anything is compiled.

    Args:
        filter: the filter.
        params: its parameters.
        one: one trajectory, a `Dataset` without its leading axis; shapes suffice.
        key: random key.
        total: number of trajectories of all chunks and processes.
        wanted: number of trajectories at a time, or None.
        difference: how states are subtracted; None for a - b.

    Raises:
        ValueError: if the filter cannot run on such a trajectory, or its estimates do not have the
            shape of the truth.
    """
    outputs = jax.eval_shape(functools.partial(filter_one, filter), params, one, key)
    jax.eval_shape(functools.partial(summarise, 0), difference, one, outputs)
    if wanted is None:
        # the results, twice as much for the metrics, and the carry of the loop over time with its
        # temporaries
        state = jax.eval_shape(filter.init, params, key)
        wanted = _fitting(3 * _bytes((outputs, one)) + 8 * _bytes(state))
    processes = jax.process_count()
    chunks_of_a_process = math.ceil(total / processes / max(1, wanted))
    return math.ceil(total / (chunks_of_a_process * processes))


def _fitting(each: int) -> int:
    """Return the number of trajectories, of so many bytes each, that fit in memory and caches."""
    in_memory = MEMORY // each
    if jax.default_backend() != "cpu":
        return in_memory
    in_caches = max(LEAST, CACHE // each) * len(sharding.local_devices())
    return min(in_memory, in_caches)


def _bytes(tree: PyTree) -> int:
    """Return the size of the arrays of a tree; a random key counts as one word of 8 bytes."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * getattr(leaf.dtype, "itemsize", 8) for leaf in leaves)


def all_chunks(total: int, size: int) -> Iterator[Chunk]:
    """Yield the chunks of all trajectories."""
    return (_chunk(number, total, size) for number in range(math.ceil(total / size)))


def own_chunks(total: int, size: int) -> list[Chunk]:
    """Return the chunks of this process; all have the same number, the last ones may be padding."""
    numbers = sharding.share(math.ceil(total / size))
    return [_chunk(number, total, size) for number in numbers]


def trajectories_in(chunks: Iterable[Chunk]) -> int:
    """Return the number of trajectories, without padding."""
    return sum(chunk.valid for chunk in chunks)


def _chunk(number: int, total: int, size: int) -> Chunk:
    """Return the chunk of this number.

    The last trajectory is repeated as padding: in the last chunk, in those beyond the end, and
    where the devices do not divide the size. So all chunks have the same shape, and are compiled
    once.
    """
    start = number * size
    end = min(start + size, total)
    rows = np.arange(start, start + sharding.whole(size))
    return Chunk(np.minimum(rows, end - 1), max(end - start, 0))


def on_devices(tree: PyTree) -> PyTree:
    """Put a copy on every device of this process."""
    return sharding.everywhere(tree, sharding.local_devices())


def batch_of(data: Dataset, key: Array, chunk: Chunk) -> tuple[Dataset, Array]:
    """Return the trajectories of a chunk, split over the devices, and a random key for each."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, chunk.rows)
    return sharding.place((data[chunk.rows], keys))


def as_part(sums: tuple[Statistics, Curves], valid: int) -> Part:
    """Return the first `valid` trajectories in main memory, curves in double precision."""
    statistics, curves = jax.tree.map(lambda a: np.asarray(a)[:valid], sums)
    return statistics, jax.tree.map(lambda a: a.sum(0, dtype=np.float64), curves)


def gather(parts: Iterable[Part], total: int) -> Part:
    """Join the parts of this process, of `total` trajectories together, and of other processes.

    Numbers become double precision.
    """
    parts = iter(parts)
    chunk, curves = next(parts)
    # one array for all parts, so that they are never in memory twice
    statistics = jax.tree.map(lambda a: np.empty((total, *a.shape[1:]), _wide(a.dtype)), chunk)
    row = _put(statistics, chunk, 0)
    for chunk, more in parts:
        row = _put(statistics, chunk, row)
        curves = jax.tree.map(np.add, curves, more)
    curves = sharding.gather_rows(jax.tree.map(lambda a: a[None], curves))
    return sharding.gather_rows(statistics), jax.tree.map(lambda a: a.sum(0), curves)


def _wide(dtype: np.dtype) -> np.dtype:
    """Return double precision for numbers, and booleans as they are."""
    return dtype if dtype.kind == "b" else np.dtype(np.float64)


def _put(statistics: Statistics, part: Statistics, first: int) -> int:
    """Write the rows of a part from row `first` on; return the row after them."""
    end = first + len(part.steps)
    for leaf, rows in zip(jax.tree.leaves(statistics), jax.tree.leaves(part), strict=True):
        leaf[first:end] = rows
    return end
