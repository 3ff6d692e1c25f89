"""The loop around the compiled updates: batches, reports, checkpoints and progress."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support import sharding
from kfjax._support.fingerprints import identity
from kfjax._support.progress import progress_bar
from kfjax._support.types import PyTree
from kfjax.base import Params
from kfjax.data import on_disk, whole_windows
from kfjax.training.checkpoints import Checkpoints
from kfjax.training.history import Fitted, History, Report, report_at
from kfjax.training.optimizers import set_hyperparameters
from kfjax.training.partitioning import merge, partition
from kfjax.training.reading import Batches, advance_from_disk
from kfjax.training.stepping import advance
from kfjax.training.tasks import Interval, Keys, Task, TrainState, begin

__all__: list[str] = []

ROUNDING = 1e-3  # relative tolerance of a validation loss that is computed again on other devices


class Plan(NamedTuple):
    """The length of a training run, its reports and its checkpoints.

    Attributes:
        name: label of the progress bar.
        updates: number of updates.
        every: number of updates from one report to the next.
        progress: whether to show progress; None shows it if the training takes long.
        hyperparameters: values in the state of the optimiser by name, or None.
        checkpoints: where to save the state, or None.
        callback: function that is called with every `Report`, or None.
    """

    name: str
    updates: int
    every: int
    progress: bool | None = None
    hyperparameters: Mapping[str, Any] | None = None
    checkpoints: Checkpoints | None = None
    callback: Callable[[Report], Any] | None = None


def optimise(
    task: Task,
    params: Params,
    learn: PyTree,
    data: PyTree,
    validation: PyTree,
    keys: Keys,
    plan: Plan,
) -> Fitted:
    """Train to the end, and return the result even if it is not finite."""
    rows = 1 + -(-plan.updates // plan.every)
    ahead, batches, first, marked = _source(task, data, keys)
    validation = jax.tree.map(jnp.asarray, validation)
    trained, frozen = partition(params, learn)
    start = begin(task, trained, frozen, first, keys.loss, rows)
    start = start._replace(optimizer=set_hyperparameters(start.optimizer, plan.hyperparameters))
    told = functools.partial(_identity, task, plan, params, learn, marked, validation, keys)
    devices = sharding.all_devices()
    frozen, validation, keys = sharding.everywhere((frozen, validation, keys), devices)
    with (
        _saver(plan, rows - 1, start, told) as (saved, restored, save),
        progress_bar(plan.name, plan.updates, plan.progress) as progress,
    ):
        state = sharding.everywhere(restored, devices)
        done = saved
        report = functools.partial(_ahead, ahead, task, plan, frozen, batches, validation, keys)
        if saved >= 0:
            _check_restored(plan, state, saved, report(state, saved, again=True))
        progress(max(saved, 0) * plan.every)
        while done + 1 < rows and not _settled(task, state):
            done += 1
            state = report(state, done)
            save(done, state)
            progress(_ends(plan, done) - _ends(plan, done - 1), _note(task, state.history, done))
            if plan.callback is not None:
                plan.callback(_report(state, frozen, done))
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


def _ends(plan: Plan, report: int) -> int:
    """Return the number of updates before a report."""
    return min(max(report, 0) * plan.every, plan.updates)


def _ahead(
    ahead: Callable,
    task: Task,
    plan: Plan,
    frozen: PyTree,
    batches: Any,
    validation: Any,
    keys: Keys,
    state: TrainState,
    report: int,
    *,
    again: bool = False,
) -> TrainState:
    """Take the updates before a report, and report; with `again`, report without updates."""
    last = _ends(plan, report)
    first = last if again else _ends(plan, report - 1)
    interval = Interval(first, last, report)
    return ahead(task, state, frozen, batches, validation, keys, interval)


def _check_restored(plan: Plan, state: TrainState, report: int, again: TrainState) -> None:
    """Raise unless a stored state reproduces the validation loss that is stored with it."""
    stored, found = (
        np.asarray(run.history.validation)[..., report].astype(np.float64) for run in (state, again)
    )
    if not np.allclose(found, stored, rtol=ROUNDING, equal_nan=True):
        directory = None if plan.checkpoints is None else plan.checkpoints.directory
        raise ValueError(
            f"fit: {directory} holds checkpoints of another run: the validation loss after"
            f" {_ends(plan, report)} updates is {found} now and was {stored}; expected the same."
            " The loss, the model or the filter has changed. Choose another directory."
        )


def _identity(
    task: Task,
    plan: Plan,
    params: Params,
    learn: PyTree,
    data: PyTree,
    validation: PyTree,
    keys: Keys,
) -> dict[str, str]:
    """Return fingerprints of the settings and data that identify a run."""
    settings = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    return identity(
        **settings,
        updates=plan.updates,
        reports=plan.every,
        hyperparameters=plan.hyperparameters,
        params=params,
        learn=learn,
        data=data,
        validation=validation,
        key=tuple(keys),
    )


@contextlib.contextmanager
def _saver(
    plan: Plan, last: int, start: TrainState, told: Callable[[], dict[str, str]]
) -> Iterator[tuple[int, TrainState, Callable[[int, TrainState], None]]]:
    """Yield the last saved report (-1 for none), the state after it, and a function that saves."""
    checkpoints = plan.checkpoints
    if checkpoints is None:
        yield -1, start, lambda *_: None
        return
    own = told()

    def save(report: int, state: TrainState) -> None:
        if report % checkpoints.every == 0 or report == last:
            checkpoints.save(report, state, own)

    with checkpoints.kept_alone():
        saved, state = checkpoints.latest(start, own)
        sharding.wait_for_all()  # before the first process writes
        yield saved, state, save


def _settled(task: Task, state: TrainState) -> bool:
    """Return whether every run has run out of patience."""
    if task.patience is None:
        return False
    waiting = np.asarray(state.waiting)
    return bool((waiting >= task.patience).all())


def _report(state: TrainState, frozen: PyTree, row: int) -> Report:
    """Return the last report, for a callback."""
    candidate = state.params if state.average is None else state.average
    return report_at(state.history, row, sharding.home(merge(candidate, frozen)))


def _note(task: Task, history: History, row: int) -> str:
    """Return the last report as text; for several runs, the medians."""
    texts = []
    for name, loss in (("loss", task.loss), ("validation", task.validation_loss)):
        value = float(np.median(np.asarray(getattr(history, name))[..., row]))
        if np.isfinite(value):
            squared = getattr(loss, "is_squared_error", False) and value > 0
            shown = f"{10 * np.log10(value):.2f} dB" if squared else f"{value:.4g}"
            texts.append(f"{name} {shown}")
    return ", ".join(texts)


def _fitted(state: TrainState, frozen: PyTree, done: int, validated: bool) -> Fitted:
    """Return the result of a training from its last state."""
    validation = np.asarray(state.best_loss)[()] if validated else None
    return Fitted(
        params=sharding.home(merge(state.best, frozen)),
        validation=validation,
        update=state.best_update,
        refused=np.asarray(state.refused)[()],
        history=state.history.until(done + 1),
    )
