"""Filters side by side on the same trajectories: how good, how honest and how fast each is."""

from __future__ import annotations

import functools
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from kfjax._support import sharding
from kfjax._support.progress import progress_bar
from kfjax.base import Estimate, Filter, Info
from kfjax.data import Dataset
from kfjax.evaluation.engine import (
    Curves,
    Part,
    Statistics,
    check_skip,
    chunk_size,
    counted,
    filter_one,
    share_of_chunks,
    state_difference,
    summarise,
)
from kfjax.evaluation.intervals import Interval, check_level
from kfjax.evaluation.reports import Comparison, Row
from kfjax.evaluation.results import Evaluation

__all__ = ["compare"]

PATIENCE = 1.0  # seconds after which a filter is not called again for its timing


def compare(
    filters: Mapping[str, tuple[Filter, Any]],
    data: Dataset,
    *,
    key: Array | None = None,
    skip: int = 0,
    chunk: int | None = None,
    repeats: int = 5,
    level: float = 0.95,
    progress: bool | None = None,
) -> Comparison:
    """Run filters over the same trajectories and say how good, how honest and how fast each is.

    With true states: MSE in dB with interval, median, paired difference to the best, ANEES and
    coverage. With or without: NIS, whiteness, log-likelihood, one-step prediction error of y, time
    per step and compile time.

    Args:
        filters: `{name: (filter, params)}`.
        data: the trajectories.
        key: random key; trajectory i gets `fold_in(key, i)` in every filter that draws. Default
            `jax.random.key(0)`.
        skip: leading steps that are filtered but do not count.
        chunk: trajectories at a time; default what fits in half a gigabyte.
        repeats: calls whose median time is reported, at least 1; none is added once they have taken
            a second.
        level: probability of all intervals.
        progress: show a progress bar on stderr; default only where a person watches (a terminal).

    Returns:
        A `Comparison`.

    Raises:
        ValueError: if `filters` or `data` are no such things, or a filter cannot run on the data.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = jax.vmap(lambda k: kf.simulate(k, model, steps=20))(jax.random.split(jax.random.key(0), 50))
        >>> filters = {"tuned": (kf.kalman(), model), "R too large": (kf.kalman(), model.replace(R=9.0 * model.R))}
        >>> comparison = kf.compare(filters, kf.Dataset(ys, xs))
        >>> comparison.best
        'tuned'
    """
    _check(filters, data, repeats, 1 if chunk is None else chunk)
    check_skip("compare", skip, data.steps)
    check_level(level)
    key = jax.random.key(0) if key is None else key
    devices = sharding.local_devices()
    filters = {
        name: (method, sharding.everywhere(params, devices))
        for name, (method, params) in filters.items()
    }
    evaluations, estimates, timings = {}, {}, {}
    with progress_bar("filters", 2 * len(filters), progress) as advance:
        programmes = _compiled(filters, data, key, chunk, advance)
        for name, (_, params) in filters.items():
            evaluations[name], estimates[name], timings[name] = _evaluate(
                programmes[name], params, data, key, skip, repeats
            )
            advance(1)
    best = _best(evaluations)
    rows = tuple(_row(name, evaluations, best, timings[name], level) for name in filters)
    return Comparison(rows, best, evaluations, data[[0]], estimates, _settings(data, skip, level))


def _check(filters: Any, data: Any, repeats: int, chunk: int) -> None:
    """The public door of compare."""
    if not isinstance(data, Dataset):
        raise ValueError(
            f"compare: data is {type(data).__name__}; expected a Dataset. Use kf.Dataset(ys [N, T,"
            " m], xs)."
        )
    if not isinstance(filters, Mapping) or not filters:
        raise ValueError(
            f"compare: filters is {filters!r:.60}; expected {{name: (filter, params)}}, at least"
            " one."
        )
    for name, pair in filters.items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Filter)):
            raise ValueError(
                f"compare: filters[{name!r}] is {type(pair).__name__}; expected (filter, params),"
                " such as"
                " (kf.kalman(), model)."
            )
    for name, value in (("repeats", repeats), ("chunk", chunk)):
        if value < 1:
            raise ValueError(f"compare: {name} is {value}; expected at least 1.")


@functools.partial(jax.jit, static_argnums=0)
def _filtered(filter: Filter, params: Any, batch: Dataset, keys: Array) -> tuple[Estimate, Info]:
    return sharding.vmap(functools.partial(filter_one, filter), (None, 0, 0))(params, batch, keys)


@functools.partial(jax.jit, static_argnums=0)
def _summarised(
    skip: int, difference: Callable | None, batch: Dataset, outputs: tuple[Estimate, Info]
) -> tuple[Statistics, Curves]:
    return sharding.vmap(functools.partial(summarise, skip), (None, 0, 0))(
        difference, batch, outputs
    )


class _Programme(NamedTuple):
    """A compiled filter: the call, trajectories at a time, and how long it took to trace and compile."""

    call: Callable[..., tuple[Estimate, Info]]
    size: int
    seconds: float


def _compiled(
    filters: Mapping[str, tuple[Filter, Any]],
    data: Dataset,
    key: Array,
    chunk: int | None,
    advance: Callable,
) -> dict[str, _Programme]:
    """Compile every filter, several at once: the compiler leaves Python alone, tracing does not."""
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
        jobs = {}
        for name, (method, params) in filters.items():
            try:
                jobs[name] = pool.submit(_compile, *_lowered(method, params, data, key, chunk))
            except ValueError as error:
                raise ValueError(f"compare: filter {name!r}: {error}") from error
        for job in as_completed(jobs.values()):
            job.result()
            advance(1)
    return {name: job.result() for name, job in jobs.items()}


def _lowered(
    filter: Filter, params: Any, data: Dataset, key: Array, chunk: int | None
) -> tuple[Any, int, float]:
    """Return the traced filter over a chunk of trajectories, their number, and the seconds that it took."""
    start = time.perf_counter()
    size = chunk_size(filter, params, jax.tree.map(lambda a: a[0], data), key, data.size, chunk)
    index = share_of_chunks(data.size, size)[0][0][0]
    lowered = _filtered.lower(filter, params, *_batch(data, key, index))
    return lowered, size, time.perf_counter() - start


def _compile(lowered: Any, size: int, seconds: float) -> _Programme:
    start = time.perf_counter()
    return _Programme(lowered.compile(), size, seconds + time.perf_counter() - start)


def _evaluate(
    programme: _Programme, params: Any, data: Dataset, key: Array, skip: int, repeats: int
) -> tuple[Evaluation, Estimate, tuple[float, float]]:
    """Return the evaluation, the estimate of the first trajectory, and (microseconds per step, compile seconds)."""
    # what is timed is the filter alone; its metrics are a second function, which filters share
    first: dict[str, Any] = {}
    mine, rows = share_of_chunks(data.size, programme.size)

    def parts() -> Iterator[Part]:
        for index, count in mine:
            batch, keys = _batch(data, key, index)
            call = functools.partial(programme.call, params, batch, keys)
            outputs, seconds = _timed(call, 1 if first else repeats)
            if not first:
                first.update(
                    seconds=seconds, estimate=jax.tree.map(lambda a: np.asarray(a[0]), outputs[0])
                )
            statistics, curves = _summarised(skip, state_difference(params), batch, outputs)
            yield counted(statistics, curves, count)

    evaluation = Evaluation.gather(parts(), rows)
    known = sharding.from_first(first)  # of the first trajectory, and one timing for all processes
    microseconds = 1e6 * float(known["seconds"]) / (programme.size * data.steps)
    return evaluation, known["estimate"], (microseconds, programme.seconds)


def _batch(data: Dataset, key: Array, index: np.ndarray) -> tuple[Dataset, Array]:
    """Put some trajectories on the devices, with a key each."""
    return sharding.place((data[index], jax.vmap(jax.random.fold_in, (None, 0))(key, index)))


def _timed(call: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """Return the result of a compiled function and the median time of several calls; fewer where they take long."""
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < PATIENCE:
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def _best(evaluations: Mapping[str, Evaluation]) -> str | None:
    """The filter of least error: of the state where the truth is known, else of the prediction of y."""
    errors = {name: evaluation.ranking for name, evaluation in evaluations.items()}
    means = {
        name: mses.mean()
        for name, mses in errors.items()
        if mses is not None and np.isfinite(mses).all()
    }
    return min(means, key=means.__getitem__) if means else None


def _row(
    name: str,
    evaluations: Mapping[str, Evaluation],
    best: str | None,
    timing: tuple[float, float],
    level: float,
) -> Row:
    """Everything that the table says of one filter."""
    evaluation = evaluations[name]
    white = evaluation.whiteness(level)
    return Row(
        name=name,
        trajectories=evaluation.trajectories,
        failed=evaluation.failed,
        mse_db=evaluation.mse_db(level),
        median_db=evaluation.median_db(),
        difference_db=None if best is None else evaluation.paired_db(evaluations[best], level),
        anees=evaluation.anees(level),
        coverage=evaluation.coverage(level),
        anis=evaluation.anis(level),
        log_likelihood=evaluation.log_likelihood(level),
        prediction_db=evaluation.prediction_db(level),
        autocorrelation=None
        if white is None
        else Interval(white.autocorrelation[0], -white.bound[0], white.bound[0]),
        whiteness=None if white is None else white.p_value,
        microseconds=timing[0],
        compile_seconds=timing[1],
    )


def _settings(data: Dataset, skip: int, level: float) -> dict[str, Any]:
    """What the comparison was of, and where it ran."""
    import kfjax

    device = jax.devices()[0]
    return {
        "trajectories": data.size,
        "steps": data.steps,
        "skip": skip,
        "n": None if data.xs is None else data.xs.shape[2],
        "m": data.ys.shape[2],
        "missing": data.missing,
        "level": level,
        "dtype": str(data.ys.dtype),
        "device": f"{device.platform}: {device.device_kind}",
        "versions": {
            "kfjax": kfjax.__version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
