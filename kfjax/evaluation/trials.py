"""Monte Carlo evaluation: draw from one model, filter with another, keep sums."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support import sharding
from kfjax._support.fingerprints import fingerprint
from kfjax._support.progress import progress_bar
from kfjax.base import Filter
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
from kfjax.evaluation.results import Evaluation
from kfjax.evaluation.resuming import resumed, stored_chunk
from kfjax.models.simulation import simulate
from kfjax.models.state_space import StateSpaceModel

__all__ = ["monte_carlo"]


def monte_carlo(
    key: Array,
    truth: StateSpaceModel,
    filter: Filter,
    params: Any,
    *,
    trials: int,
    steps: int | None = None,
    us: Any = None,
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
        steps: T; may be left out where us is given.
        us: inputs [T, ...] of every trajectory, or None.
        skip: leading steps that are filtered but do not count.
        chunk: trajectories at a time; default what fits in half a gigabyte.
        resume: folder that keeps the sums of every chunk: a study that was killed goes on there if
            it is called again with the same arguments, one that was finished with more trials too.
            The first chunk is always run, and compared.
        progress: show a progress bar on stderr; default only where a person watches (a terminal).

    Returns:
        An `Evaluation`: all metrics with intervals, and curves over time.

    Raises:
        ValueError: if the numbers make no sense, inputs are not finite, the filter cannot run on
            the model's data, the true trajectories are not finite, or the folder is that of another
            study.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> result = kf.monte_carlo(jax.random.key(0), model, kf.kalman(), model, trials=100, steps=50)
        >>> value, low, high = result.anees()
        >>> bool(low < value < high)
        True
    """
    trials, chunk = _count("trials", trials), None if chunk is None else _count("chunk", chunk)
    _check_inputs(us)
    if not isinstance(truth, StateSpaceModel):
        raise ValueError(
            f"monte_carlo: truth is {type(truth).__name__}; expected a StateSpaceModel to draw"
            " from."
        )
    one = jax.eval_shape(functools.partial(_draw, steps), truth, us, key)
    check_skip("monte_carlo", skip, one.ys.shape[0])
    size = chunk_size(filter, params, one, key, trials, chunk)
    size = size if resume is None else stored_chunk(Path(resume), chunk) or size
    mine, rows = share_of_chunks(trials, size)
    models = sharding.everywhere((truth, params, us, key), sharding.local_devices())
    run = functools.partial(_part, (filter, steps, skip), models)
    parts: Iterator[Part] = itertools.starmap(run, mine)
    if resume is not None:
        parts = resumed(
            Path(resume), fingerprint(f"{steps} {skip}", truth, params, us, key), mine, run
        )
    with progress_bar("trials", rows, progress) as advance:
        return Evaluation.gather(_watched(parts, advance), rows)


def _part(
    settings: tuple[Filter, int | None, int], models: tuple, index: np.ndarray, count: int
) -> Part:
    """Run the trials of these numbers, of which the first `count` count."""
    statistics, curves, sound = _trials(*settings, models, index)
    _check_truth(sound[:count])
    return counted(statistics, curves, count)


def _watched(parts: Iterable[Part], advance: Callable[..., None]) -> Iterator[Part]:
    for part in parts:
        advance(len(part[0].steps))
        yield part


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _trials(
    filter: Filter,
    steps: int | None,
    skip: int,
    models: tuple[StateSpaceModel, Any, Any, Array],
    index: Array,
) -> tuple[Statistics, Curves, Array]:
    """Run the trials of these numbers; us is shared, so that covariances which depend on nothing else are too."""

    def one(models: tuple, i: Array) -> tuple[Statistics, Curves, Array]:
        truth, params, us, key = models
        drawing, filtering = jax.random.split(jax.random.fold_in(key, i))
        trajectory = _draw(steps, truth, us, drawing)
        sound = jnp.isfinite(trajectory.xs).all() & jnp.isfinite(trajectory.ys).all()
        outputs = filter_one(filter, params, trajectory, filtering)
        return *summarise(skip, state_difference(params), trajectory, outputs), sound

    return sharding.vmap(one, (None, 0))(models, index)


def _draw(steps: int | None, truth: StateSpaceModel, us: Any, key: Array) -> Dataset:
    """One trajectory of the truth, as the engine takes it."""
    xs, ys = simulate(key, truth, steps, us=us)
    return Dataset.unchecked(ys, xs, us, None, None, None)


def _count(name: str, value: Any) -> int:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(
            f"monte_carlo: {name} is {value!r}; expected a whole number of at least 1."
        )
    return int(value)


def _check_inputs(us: Any) -> None:
    for leaf in jax.tree.leaves(us):
        if not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(
                "monte_carlo: us has NaN or infinite entries; expected finite numbers. Fill the"
                " gaps."
            )


def _check_truth(sound: Any) -> None:
    if not (sound := np.asarray(sound)).all():
        raise ValueError(
            f"monte_carlo: {(~sound).sum()} of {sound.size} true trajectories are not finite;"
            " expected a model that"
            " stays finite over all steps. Use fewer or smaller steps."
        )
