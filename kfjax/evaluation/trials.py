"""Monte Carlo evaluation: draw trajectories from one model, filter them with another."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support import sharding
from kfjax._support.arguments import as_path, check_count, check_key
from kfjax._support.compiling import jit
from kfjax._support.fingerprints import identity
from kfjax._support.progress import progress_bar
from kfjax._support.types import AnyArray, Key
from kfjax.base import Filter, Inputs, Params
from kfjax.data import Dataset
from kfjax.evaluation.chunks import (
    Chunk,
    Part,
    as_part,
    chunk_size,
    gather,
    on_devices,
    own_chunks,
    trajectories_in,
)
from kfjax.evaluation.errors import Difference
from kfjax.evaluation.results import Evaluation
from kfjax.evaluation.resuming import resumed, stored_chunk
from kfjax.evaluation.summaries import (
    Curves,
    Statistics,
    check_skip,
    filter_one,
    state_difference,
    summarise,
)
from kfjax.filters.checks import check_filter, check_params
from kfjax.models.records import checked_inputs
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.simulation import simulate
from kfjax.models.state_space import StateSpaceModel

__all__ = ["monte_carlo"]


def monte_carlo(
    key: Key,
    truth: StateSpaceModel,
    filter: Filter,
    params: Params,
    *,
    trials: int,
    steps: int | None = None,
    us: Inputs = None,
    skip: int = 0,
    chunk: int | None = None,
    resume: str | Path | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Evaluate a filter over many trajectories drawn from a model, in chunks that fit in memory.

    Trial i draws its trajectory, and the filter its random numbers, from `fold_in(key, i)`: the
    same key gives the same trials whatever the chunk, the devices and the processes, and the same
    trajectories for every filter.

    Args:
        key: random key.
        truth: the model that the trajectories are drawn from.
        filter: the `Filter`.
        params: its parameters: the same model, or a mismatched one of the same state.
        trials: number of trajectories.
        steps: number of steps T; may be omitted if us is given.
        us: inputs [T, ...] of every trajectory, or None.
        skip: number of leading steps that are filtered but do not count.
        chunk: number of trajectories at a time; default as many as fit in half a gigabyte
            and, on CPUs, in caches.
        resume: folder that keeps the sums of every chunk. An interrupted study continues there when
            it is called again with the same arguments, and a finished one when it is called with
            more trials. The first chunk is always run and compared.
        progress: whether to show progress on stderr: a bar in a terminal, elsewhere a line now and
            then. By default, work of less than half a minute prints no lines.

    Returns:
        An `Evaluation`: all metrics with intervals, and curves over time.

    Raises:
        ValueError: if numbers are out of range, inputs are not finite, the filter cannot run on the
            model's data, the true trajectories are not finite, or the folder belongs to another
            study.

    Example:
        >>> model, key = kf.systems.constant_velocity(), jax.random.key(0)
        >>> result = kf.monte_carlo(
        ...     key, model, kf.kalman(), model, trials=100, steps=50
        ... )
        >>> value, low, high = result.anees()
        >>> bool(low < value < high)
        True
    """
    check_key("monte_carlo: key", key)
    check_filter("monte_carlo", filter)
    check_params("monte_carlo", params)
    check_count("monte_carlo: trials", trials)
    if chunk is not None:
        check_count("monte_carlo: chunk", chunk)
    us = checked_inputs("monte_carlo", us)
    if resume is not None:
        resume = as_path("monte_carlo: resume", resume)
    _check_model(truth)
    check_first_noise("monte_carlo: truth", truth, us)
    check_first_noise("monte_carlo: params", params, us)
    one = jax.eval_shape(functools.partial(_draw, steps), truth, us, key)
    check_skip("monte_carlo", skip, one.ys.shape[0])
    difference = _difference(truth, params)
    size = chunk_size(filter, params, one, key, trials, chunk, difference=difference)
    if resume is not None:
        size = stored_chunk(resume, chunk) or size
    mine = own_chunks(trials, size)
    models = on_devices((truth, params, us, key))
    run = functools.partial(_part, (filter, steps, skip), models)
    parts: Iterator[Part] = map(run, mine)
    if resume is not None:
        told = identity(
            steps=steps, skip=skip, truth=truth, filter=filter, params=params, us=us, key=key
        )
        parts = resumed(resume, told, mine, run)
    total = trajectories_in(mine)
    with progress_bar("trials", total, progress) as advance:
        return Evaluation(*gather(_watched(parts, advance), total))


def _part(
    settings: tuple[Filter, int | None, int],
    models: tuple[StateSpaceModel, Params, Inputs, Array],
    chunk: Chunk,
) -> Part:
    """Run the trials of a chunk."""
    statistics, curves, sound = _trials(*settings, models, chunk.rows)
    _check_truth(sound[: chunk.valid])
    return as_part((statistics, curves), chunk.valid)


def _watched(parts: Iterable[Part], advance: Callable[..., None]) -> Iterator[Part]:
    """Yield the parts, and report progress."""
    for part in parts:
        statistics, _ = part
        advance(len(statistics.steps))
        yield part


@functools.partial(jit, static_argnums=(0, 1, 2))
def _trials(
    filter: Filter,
    steps: int | None,
    skip: int,
    models: tuple[StateSpaceModel, Params, Inputs, Array],
    index: AnyArray,
) -> tuple[Statistics, Curves, Array]:
    """Run the trials of these numbers; also return whether each true trajectory is finite.

    The models and us have no batch axis, so covariances that depend on nothing else are computed
    once for the whole batch.
    """

    def one(
        models: tuple[StateSpaceModel, Params, Inputs, Array], i: Array
    ) -> tuple[Statistics, Curves, Array]:
        truth, params, us, key = models
        # The key of a trial is derived from its number: trial i is the same in chunks of any
        # size, and in a run that continues.
        drawing, filtering = jax.random.split(jax.random.fold_in(key, i))
        trajectory = _draw(steps, truth, us, drawing)
        finite_states = jnp.isfinite(trajectory.xs).all()
        sound = finite_states & jnp.isfinite(trajectory.ys).all()
        outputs = filter_one(filter, params, trajectory, filtering)
        statistics, curves = summarise(skip, _difference(truth, params), trajectory, outputs)
        return statistics, curves, sound

    return sharding.vmap(one, (None, 0))(models, index)


def _difference(truth: StateSpaceModel, params: Params) -> Difference | None:
    """Return how states are subtracted: as in the truth, if it is on a curved space."""
    return state_difference(truth) or state_difference(params)


def _draw(steps: int | None, truth: StateSpaceModel, us: Inputs, key: Array) -> Dataset:
    """Draw one trajectory of the truth, a `Dataset` without its leading axis."""
    xs, ys = simulate(key, truth, steps, us=us)
    return Dataset.unchecked(ys, xs, us, None, None, None)


def _check_model(truth: StateSpaceModel) -> None:
    """Raise unless there is a model to draw from."""
    if not isinstance(truth, StateSpaceModel):
        raise ValueError(
            f"monte_carlo: truth is {type(truth).__name__}; expected a StateSpaceModel to draw"
            " from."
        )


def _check_truth(sound: AnyArray) -> None:
    """Raise if a true trajectory is not finite."""
    finite = np.asarray(sound)
    if not finite.all():
        raise ValueError(
            f"monte_carlo: {(~finite).sum()} of {finite.size} true trajectories are not finite;"
            " expected a model that stays finite over all steps. Use fewer or smaller steps."
        )
