"""One trainer for everything: models, noise covariances, networks, gains; one run or many at once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kfjax._support import sharding
from kfjax._support.fingerprints import fingerprint
from kfjax._support.progress import progress_bar
from kfjax.data import Dataset, on_disk, whole_windows
from kfjax.training.checkpoints import Checkpoints
from kfjax.training.history import History, Spread, spread
from kfjax.training.optimizers import clipped_adam, set_hyperparameters
from kfjax.training.partition import merge, partition
from kfjax.training.reading import Batches, advance_from_disk
from kfjax.training.stepping import Interval, Task, TrainState, advance, begin

__all__ = ["Fitted", "fit"]


class Fitted(NamedTuple):
    """What a training found; of several runs, every array has a leading axis [S].

    Attributes:
        params: the best of all reports by validation loss; without validation data those of the
            last step. With `ema` they are averages.
        validation: their validation loss (infinite if it never was finite), or None without
            validation data.
        step: the step they are from; 0 are those given.
        refused: steps that were not taken, since the loss or its gradient was not finite.
        history: `History`, as numpy arrays.
    """

    params: Any
    validation: Any
    step: Any
    refused: Any
    history: History

    @property
    def spread(self) -> Spread:
        """How much the validation loss differs between runs."""
        return spread(self.validation)

    @property
    def best_run(self) -> int:
        """The run with the lowest validation loss."""
        return int(np.nanargmin(self.validation))

    def run(self, index: int) -> Fitted:
        """Return one of several runs."""
        return jax.tree.map(lambda a: a[index], self)


def fit(
    loss: Callable[[Any, Any, Array], Array],
    params: Any,
    data: Any,
    *,
    key: Array,
    steps: int,
    batch_size: int = 32,
    optimizer: optax.GradientTransformation | None = None,
    validation: Any = None,
    validation_loss: Callable | None = None,
    trainable: Any = None,
    window: int | None = None,
    ema: float | None = None,
    patience: int | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    reports: int = 50,
    checkpoints: Checkpoints | None = None,
    show: bool | None = None,
) -> Fitted:
    """Train parameters by gradient, on batches of trajectories, and keep those that do best on validation data.

    Batches are drawn on the device, every trajectory once per epoch (what does not fill a batch
    waits for the next shuffle), and split over all devices. Data on disk (`kfjax.data.read_folder`)
    stay there, and give the same batches. A step whose loss or gradient is not finite moves neither
    params nor the optimiser, and is counted. The result depends on the arguments alone. A loss or
    an optimiser built anew compiles anew, but for those of `kfjax.training`, which are equal if
    built alike.

    Args:
        loss: `(params, batch, key) -> scalar`, such as `mse(filter)`; its batch is a `Dataset` of
            `batch_size` trajectories, or part of whatever `data` is.
        params: any pytree of arrays: a `StateSpaceModel`, `Learned(model, network)`, a dict.
        data: a `Dataset`, or any pytree of arrays with a leading axis of N; in memory or on disk.
        key: random key. S keys train S runs at once: params, and everything in the result, then
            have a leading axis.
        steps: steps of the optimiser.
        batch_size: trajectories per step, at most all.
        optimizer: of optax; default `clipped_adam()`. Schedules and weight decay are the
            optimiser's.
        validation: data like `data` to choose on, all of it at every report; None keeps the last
            params.
        validation_loss: what to choose by; default the loss itself.
        trainable: which leaves are trained, see `partition`; default the network of `Learned`, else
            all.
        window: steps per window of truncated backpropagation: one step of the optimiser per window,
            which goes on from the state at the end of the window before. None takes whole
            trajectories.
        ema: decay of a moving average of the params, such as 0.999, which is what is validated and
            returned; its memory is shorter in the first steps.
        patience: stop after so many reports without a better validation loss; None takes all steps.
        hyperparameters: values by name, such as learning_rate, for an optimiser of
            `optax.inject_hyperparams` (as `clipped_adam` is): one number, or one per run [S].
        reports: how many reports (validation, history, checkpoint) the steps are divided by.
        checkpoints: where to save the state; a run that was killed, started again with the same
            arguments, goes on and gives the same numbers to the bit.
        show: whether to show a progress bar; default if a person watches.

    Returns:
        `Fitted`.

    Raises:
        ValueError: if arguments do not fit together, no step was finite, or the validation loss
            never was.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(jax.random.split(jax.random.key(0), 40))
        >>> train, validation = kf.Dataset(ys, xs).split(30, 10)
        >>> params = kf.ConstantGainParams(model, jnp.zeros((2, 1)))
        >>> fitted = kf.training.fit(kf.training.mse(kf.constant_gain()), params, train, validation=validation,
        ...     key=jax.random.key(1), steps=200, optimizer=kf.training.clipped_adam(0.02),
        ...     trainable=kf.ConstantGainParams(False, True))
        >>> bool(abs(fitted.params.gain - kf.steady_state(model).gain).max() < 0.2)
        True
    """
    key = _typed(key)
    batch_size = min(batch_size, _size("data", data))
    optimizer = clipped_adam() if optimizer is None else optimizer
    task = Task(
        loss,
        validation_loss or loss,
        optimizer,
        batch_size,
        window,
        ema,
        patience,
        many=key.ndim == 1,
    )
    _check(task, params, data, validation, key, steps, reports)
    every = -(-steps // reports)
    rows = 1 + -(-steps // every)
    ahead, batches, first, marked = _source(task, data, key)
    validation = jax.tree.map(jnp.asarray, validation)
    trained, frozen = partition(params, trainable)
    start = begin(task, trained, frozen, first, key, rows)
    start = start._replace(optimizer=set_hyperparameters(start.optimizer, hyperparameters))
    mark = functools.partial(_mark, task, (steps, every), start, frozen, marked, validation, key)
    devices = sharding.all_devices()
    frozen, validation, key = sharding.everywhere((frozen, validation, key), devices)
    with (
        _saver(checkpoints, start, mark) as (saved, restored, save),
        progress_bar("training", steps, show) as progress,
    ):
        state, done = sharding.everywhere(restored, devices), saved
        progress(max(saved, 0) * every)
        while done + 1 < rows and not _settled(task, state):
            done += 1
            interval = Interval(max(done - 1, 0) * every, min(done * every, steps), done)
            state = ahead(task, state, frozen, batches, validation, key, interval)
            save(done, state)
            progress(interval.last - interval.first, _note(task, state.history, done))
    return _result(state, frozen, done, validation is not None)


def _source(task: Task, data: Any, key: Array) -> tuple[Callable, Any, Any, Any]:
    """What takes the steps of an interval, what it takes them on, the first trajectories, and what marks the data."""
    if on_disk(data):
        batches = Batches(task, data, key)
        return (
            advance_from_disk,
            batches,
            batches.read(np.arange(task.batch_size)),
            batches.sample(),
        )
    data = jax.tree.map(
        jnp.asarray, data if task.window is None else whole_windows(data, task.window)
    )
    first = jax.tree.map(lambda a: a[: task.batch_size], data)
    return advance, sharding.everywhere(data, sharding.all_devices()), first, data


def _mark(task: Task, steps: tuple[int, int], *arrays: Any) -> np.ndarray:
    """Tell runs apart by all that a training is made of but its functions, which have no stable names."""
    return fingerprint(
        f"{steps} {task.batch_size} {task.window} {task.ema} {task.patience}", *arrays
    )


@contextlib.contextmanager
def _saver(
    checkpoints: Checkpoints | None, start: TrainState, mark: Callable[[], np.ndarray]
) -> Iterator[tuple[int, TrainState, Callable[[int, TrainState], None]]]:
    """Yield the number of the last report saved (-1: none), the state after it, and what saves the next ones."""
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
    """Whether every run has lost patience."""
    return task.patience is not None and bool((np.asarray(state.waiting) >= task.patience).all())


def _note(task: Task, history: History, row: int) -> str:
    """The last report in words; of several runs the median."""
    texts = []
    for name, loss in (("loss", task.loss), ("validation", task.validation_loss)):
        value = float(np.median(np.asarray(getattr(history, name))[..., row]))
        if np.isfinite(value):
            squared = getattr(loss, "is_squared_error", False) and value > 0
            texts.append(
                f"{name} {10 * np.log10(value):.2f} dB" if squared else f"{name} {value:.4g}"
            )
    return ", ".join(texts)


def _result(state: TrainState, frozen: Any, done: int, validated: bool) -> Fitted:
    """What is handed back."""
    history = state.history.until(done + 1)
    taken = int(np.max(history.step))
    refused, best = np.asarray(state.refused), np.asarray(state.best_loss)
    if (refused == taken).all():
        raise ValueError(
            f"fit: the loss or its gradient was not finite in any of {taken} steps; expected"
            " numbers. Check the params,"
            " the scale of the data, and whether the filter diverges before it is trained (start"
            " closer, or shorter)."
        )
    if validated and not np.isfinite(best).any():
        raise ValueError(
            "fit: the validation loss never was finite; expected numbers. Check the validation"
            " data."
        )
    params = sharding.home(merge(state.best, frozen))
    return Fitted(params, best[()] if validated else None, state.best_step, refused[()], history)


def _typed(key: Array) -> Array:
    """A key of the new type, or an array of keys."""
    key = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
    if key.ndim > 1:
        raise ValueError(f"fit: key has shape {key.shape}; expected one key, or S keys for S runs.")
    return key


def _size(name: str, data: Any) -> int:
    """The number of trajectories."""
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            f"fit: {name} is {type(data).__name__} with leading axes {sorted(sizes)}; expected a"
            " kfjax.Dataset, or"
            " arrays that share a leading axis."
        )
    return sizes.pop()[0]


def _check(
    task: Task, params: Any, data: Any, validation: Any, key: Array, steps: int, reports: int
) -> None:
    """The public door."""
    if min(steps, task.batch_size, reports, 1 if task.window is None else task.window) < 1:
        raise ValueError(
            f"fit: got steps={steps}, batch_size={task.batch_size}, reports={reports},"
            f" window={task.window};"
            " expected at least 1."
        )
    if validation is not None:
        _size("validation", validation)
    elif task.patience is not None or task.validation_loss is not task.loss:
        raise ValueError(
            "fit: got patience or validation_loss without validation; expected data to measure on."
        )
    if task.ema is not None and not 0 < task.ema < 1:
        raise ValueError(
            f"fit: ema is {task.ema}; expected a decay between 0 and 1, such as 0.999."
        )
    if task.window is not None and not (
        isinstance(data, Dataset) and hasattr(task.loss, "continued")
    ):
        raise ValueError(
            f"fit: got window with data of type {type(data).__name__} and the loss {task.loss!r};"
            " expected a Dataset"
            " and a loss that can go on from a state, such as kfjax.training.mse(filter)."
        )
    if task.many and any(np.shape(leaf)[:1] != key.shape for leaf in jax.tree.leaves(params)):
        raise ValueError(
            f"fit: got {key.shape[0]} keys, and params without that leading axis; expected it in"
            " every leaf. Initialise"
            " them with jax.vmap over the keys, or repeat them with"
            " kfjax.training.replicate(params, S)."
        )
