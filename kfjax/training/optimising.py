"""The loop around the compiled updates: batches, reports, checkpoints and progress."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support import sharding
from kfjax._support.fingerprints import fingerprint
from kfjax._support.progress import progress_bar
from kfjax.data import on_disk, whole_windows
from kfjax.training.checkpoints import Checkpoints
from kfjax.training.history import Fitted, History
from kfjax.training.optimizers import set_hyperparameters
from kfjax.training.partitioning import merge, partition
from kfjax.training.reading import Batches, advance_from_disk
from kfjax.training.stepping import advance
from kfjax.training.tasks import Interval, Keys, Task, TrainState, begin

__all__: list[str] = []


class Plan(NamedTuple):
    """How long a training is, and what happens on the way.

    Attributes:
        name: the text of the progress bar.
        updates: number of updates.
        every: updates from one report to the next.
        progress: whether to show the progress bar; None if stderr is a terminal.
        hyperparameters: values in the state of the optimiser by name, or None.
        checkpoints: where to save the state, or None.
    """

    name: str
    updates: int
    every: int
    progress: bool | None = None
    hyperparameters: Mapping[str, Any] | None = None
    checkpoints: Checkpoints | None = None


def optimise(
    task: Task, params: Any, learn: Any, data: Any, validation: Any, keys: Keys, plan: Plan
) -> Fitted:
    """Run a training to its end, and return what it found, whatever that is."""
    rows = 1 + -(-plan.updates // plan.every)
    ahead, batches, first, marked = _source(task, data, keys)
    validation = jax.tree.map(jnp.asarray, validation)
    trained, frozen = partition(params, learn)
    start = begin(task, trained, frozen, first, keys.loss, rows)
    start = start._replace(optimizer=set_hyperparameters(start.optimizer, plan.hyperparameters))
    mark = functools.partial(_mark, task, plan, start, frozen, marked, validation, keys)
    devices = sharding.all_devices()
    frozen, validation, keys = sharding.everywhere((frozen, validation, keys), devices)
    with (
        _saver(plan.checkpoints, start, mark) as (saved, restored, save),
        progress_bar(plan.name, plan.updates, plan.progress) as progress,
    ):
        state, done = sharding.everywhere(restored, devices), saved
        progress(max(saved, 0) * plan.every)
        while done + 1 < rows and not _settled(task, state):
            done += 1
            ends = max(done - 1, 0) * plan.every, min(done * plan.every, plan.updates)
            state = ahead(task, state, frozen, batches, validation, keys, Interval(*ends, done))
            save(done, state)
            progress(ends[1] - ends[0], _note(task, state.history, done))
    return _fitted(state, frozen, done, validation is not None)


def _source(task: Task, data: Any, keys: Keys) -> tuple[Callable, Any, Any, Any]:
    """Return (advance function, batches, first batch, fingerprint data)."""
    if on_disk(data):
        batches = Batches(task, data, keys.order)
        first = batches.read(np.arange(task.batch_size))
        return advance_from_disk, batches, first, batches.sample()
    if task.window is not None:
        data = whole_windows(data, task.window)
    data = jax.tree.map(jnp.asarray, data)
    first = jax.tree.map(lambda a: a[: task.batch_size], data)
    return advance, sharding.everywhere(data, sharding.all_devices()), first, data


def _mark(task: Task, plan: Plan, *arrays: Any) -> np.ndarray:
    """Return the fingerprint of a run, without its functions, which have no stable names."""
    numbers = (plan.updates, plan.every, task.batch_size, task.window, task.ema, task.patience)
    return fingerprint(" ".join(map(str, numbers)), *arrays)


@contextlib.contextmanager
def _saver(
    checkpoints: Checkpoints | None, start: TrainState, mark: Callable[[], np.ndarray]
) -> Iterator[tuple[int, TrainState, Callable[[int, TrainState], None]]]:
    """Yield the last saved report (-1 if none), the state after it, and a function that saves."""
    if checkpoints is None:
        yield -1, start, lambda *_: None
        return
    own = mark()
    with checkpoints.manager() as manager:

        def save(report: int, state: TrainState) -> None:
            if report % checkpoints.every == 0:
                checkpoints.save(manager, report, state, own)

        yield *checkpoints.latest(manager, start, own), save


def _settled(task: Task, state: TrainState) -> bool:
    """Tell whether every run has lost patience."""
    return task.patience is not None and bool((np.asarray(state.waiting) >= task.patience).all())


def _note(task: Task, history: History, row: int) -> str:
    """Return the last report in words; of several runs the median."""
    texts = []
    for name, loss in (("loss", task.loss), ("validation", task.validation_loss)):
        value = float(np.median(np.asarray(getattr(history, name))[..., row]))
        if np.isfinite(value):
            squared = getattr(loss, "is_squared_error", False) and value > 0
            shown = f"{10 * np.log10(value):.2f} dB" if squared else f"{value:.4g}"
            texts.append(f"{name} {shown}")
    return ", ".join(texts)


def _fitted(state: TrainState, frozen: Any, done: int, validated: bool) -> Fitted:
    """Return what is handed back."""
    validation = np.asarray(state.best_loss)[()] if validated else None
    return Fitted(
        params=sharding.home(merge(state.best, frozen)),
        validation=validation,
        update=state.best_update,
        refused=np.asarray(state.refused)[()],
        history=state.history.until(done + 1),
    )
