"""Filters compiled for chunks of a data set, evaluated and timed."""

from __future__ import annotations

import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jax import Array
from jax.stages import Lowered

from kfjax._support import sharding
from kfjax._support.compiling import jit
from kfjax.base import Estimate, Filter, Info, Params
from kfjax.data import Dataset
from kfjax.evaluation.chunks import (
    Chunk,
    Part,
    as_part,
    batch_of,
    chunk_size,
    gather,
    own_chunks,
    trajectories_in,
)
from kfjax.evaluation.errors import Difference
from kfjax.evaluation.results import Evaluation
from kfjax.evaluation.summaries import Curves, Statistics, filter_one, summarise

__all__: list[str] = []

PATIENCE = 1.0  # seconds after which a filter is not called again for timing
COMPILING = 0.5  # share of the work on a filter that counts as done once it is compiled

Outputs: TypeAlias = tuple[Estimate, Info]
"""The outputs of a filter for every step of a batch of trajectories."""


class CompiledFilter(NamedTuple):
    """A filter, compiled for a chunk of trajectories.

    Attributes:
        call: `(params, batch, keys) -> (Estimate, Info)`.
        difference: how states are subtracted; None for a - b.
        size: number of trajectories of a chunk.
        seconds: time to trace and compile it.
    """

    call: Callable[..., Outputs]
    difference: Difference | None
    size: int
    seconds: float


class Timing(NamedTuple):
    """The times of a filter.

    Attributes:
        microseconds: time of one step of one trajectory.
        compile_seconds: time to trace and compile.
    """

    microseconds: float
    compile_seconds: float


class _First(NamedTuple):
    """The outputs of the first trajectory of the first chunk, and the time of the call."""

    outputs: Outputs
    seconds: float


# Only the filter is timed. Its metrics are a second function, which does not depend on the filter
# and is compiled once for all filters with outputs of the same shapes.


@functools.partial(jit, static_argnums=0)
def _filtered(filter: Filter, params: Params, batch: Dataset, keys: Array) -> Outputs:
    """Run a filter over a batch that is split over devices."""
    over_batch = sharding.vmap(functools.partial(filter_one, filter), (None, 0, 0))
    return over_batch(params, batch, keys)


@functools.partial(jit, static_argnums=0)
def _summarised(
    skip: int, difference: Difference | None, batch: Dataset, outputs: Outputs
) -> tuple[Statistics, Curves]:
    """Summarise a batch that is split over devices."""
    over_batch = sharding.vmap(functools.partial(summarise, skip), (None, 0, 0))
    return over_batch(difference, batch, outputs)


def compile_filters(
    filters: Mapping[str, tuple[Filter, Params]],
    differences: Mapping[str, Difference | None],
    data: Dataset,
    key: Array,
    wanted: int | None,
    advance: Callable[..., None],
) -> dict[str, CompiledFilter]:
    """Compile every filter for chunks of `wanted` trajectories, or as many as fit in memory.

    Several are compiled at once, since the compiler releases the interpreter lock. Tracing holds
    it, so filters are traced one after another.
    """
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
        jobs = {}
        for name, (method, params) in filters.items():
            try:
                lowered = _lowered(method, params, differences[name], data, key, wanted)
                jobs[name] = pool.submit(_compile, differences[name], *lowered)
            except ValueError as error:
                raise ValueError(f"compare: filter {name!r}: {error}") from error
        names = {job: name for name, job in jobs.items()}
        for job in as_completed(names):
            job.result()
            advance(COMPILING, f"{names[job]} compiled")
    return {name: job.result() for name, job in jobs.items()}


def _lowered(
    filter: Filter,
    params: Params,
    difference: Difference | None,
    data: Dataset,
    key: Array,
    wanted: int | None,
) -> tuple[Lowered, int, float]:
    """Trace a filter over a chunk; return it, the size of a chunk, and the seconds of tracing."""
    start = time.perf_counter()
    one = jax.tree.map(lambda leaf: leaf[0], data)
    size = chunk_size(filter, params, one, key, data.size, wanted, difference=difference)
    batch, keys = batch_of(data, key, own_chunks(data.size, size)[0])
    lowered = _filtered.lower(filter, params, batch, keys)
    return lowered, size, time.perf_counter() - start


def _compile(
    difference: Difference | None, lowered: Lowered, size: int, tracing: float
) -> CompiledFilter:
    """Compile a traced filter; `tracing` is the time of tracing in seconds."""
    start = time.perf_counter()
    compiled = lowered.compile()
    return CompiledFilter(compiled, difference, size, tracing + time.perf_counter() - start)


def evaluate(
    compiled: CompiledFilter,
    params: Params,
    data: Dataset,
    key: Array,
    skip: int,
    repeats: int,
    example: int,
    advance: Callable[[float], None],
) -> tuple[Evaluation, Outputs, Timing]:
    """Return the evaluation, the outputs of one trajectory, and the timing of a filter."""
    first: list[_First] = []
    mine = own_chunks(data.size, compiled.size)

    def part_of(chunk: Chunk) -> Part:
        batch, keys = batch_of(data, key, chunk)
        call = functools.partial(compiled.call, params, batch, keys)
        outputs, seconds = _timed(call, 1 if first else repeats)
        if not first:
            of_first = jax.tree.map(lambda leaf: np.asarray(leaf[0]), outputs)
            first.append(_First(of_first, seconds))
        sums = _summarised(skip, compiled.difference, batch, outputs)
        part = as_part(sums, chunk.valid)
        advance((1 - COMPILING) / len(mine))
        return part

    parts: Iterator[Part] = map(part_of, mine)
    evaluation = Evaluation(*gather(parts, trajectories_in(mine)))
    # the first trajectory is in the first process, whose timing is reported by all
    known = sharding.from_first(first[0])
    microseconds = 1e6 * float(known.seconds) / (compiled.size * data.steps)
    outputs = known.outputs
    if example:
        outputs = _outputs_of(example, compiled, params, data, key, mine[0])
    return evaluation, outputs, Timing(microseconds, compiled.seconds)


def _outputs_of(
    example: int, compiled: CompiledFilter, params: Params, data: Dataset, key: Array, chunk: Chunk
) -> Outputs:
    """Return the outputs of one trajectory, from a chunk that holds nothing else."""
    alone = Chunk(np.full_like(chunk.rows, example), 1)
    batch, keys = batch_of(data, key, alone)
    outputs = jax.tree.map(lambda leaf: np.asarray(leaf[0]), compiled.call(params, batch, keys))
    return sharding.from_first(outputs)


def _timed(call: Callable[[], Outputs], repeats: int) -> tuple[Outputs, float]:
    """Return the result of a compiled function and its median time.

    The function is called `repeats` times, or less often if it takes long.
    """
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < PATIENCE:
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)
