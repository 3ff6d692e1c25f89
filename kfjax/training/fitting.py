"""The trainer of models, noise covariances, networks and gains, for one run or many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import (
    check_count,
    check_counts,
    check_function,
    check_key,
    check_kind,
    check_number,
)
from kfjax._support.naming import described
from kfjax._support.persistence import is_key
from kfjax._support.types import Key, PyTree, RunKeys
from kfjax.base import Params
from kfjax.data import Dataset
from kfjax.data.batches import check_noise_on
from kfjax.training.checkpoints import Checkpoints
from kfjax.training.checks import check_optimizer
from kfjax.training.history import Fitted, Report
from kfjax.training.optimising import Plan, optimise
from kfjax.training.optimizers import clipped_adam
from kfjax.training.tasks import Keys, Task
from kfjax.training.wrapping import filter_params

__all__ = ["fit"]


def fit(
    loss: Callable[[Any, Any, Key], Float[Array, ""]],
    params: Params,
    data: PyTree,
    *,
    key: RunKeys,
    updates: int,
    batch_size: int = 32,
    optimizer: optax.GradientTransformation | None = None,
    validation: PyTree = None,
    validation_loss: Callable | None = None,
    learn: PyTree = None,
    window: int | None = None,
    ema: float | None = None,
    patience: int | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    reports: int = 50,
    checkpoints: Checkpoints | None = None,
    progress: bool | None = None,
    callback: Callable[[Report], Any] | None = None,
) -> Fitted:
    """Train parameters by gradient, and keep those with the lowest validation loss.

    Batches are drawn on the device, every trajectory once per epoch (trajectories that do not fill
    a batch wait for the next shuffle), and split over all devices. Data on disk
    (`kfjax.data.read_folder`) stay there, and give the same batches. An update whose loss or
    gradient is not finite changes neither params nor the optimiser, and is counted. The result
    depends only on the arguments. A new loss or optimiser is compiled again, except those of
    `kfjax.training`, which are equal if built alike.

    Args:
        loss: `(params, batch, key) -> scalar`, such as `state_mse(filter)`; its batch is a
            `Dataset` of `batch_size` trajectories, or the corresponding part of other `data`.
        params: any pytree of arrays: a `StateSpaceModel`, `Learned(model, network)`, a dict.
        data: a `Dataset`, or any pytree of arrays with a leading axis of N; in memory or on disk.
        key: random key. S keys train S runs at once: params and everything in the result then have
            a leading axis.
        updates: number of updates by the optimiser.
        batch_size: trajectories per update, at most all.
        optimizer: an optax optimiser, which includes schedules and weight decay; default
            `clipped_adam()`.
        validation: data like `data` to choose the params on, all of it at every report; None keeps
            the last params.
        validation_loss: the loss to choose by; default the training loss.
        learn: which leaves are trained, see `partition`; default the network of `Learned`,
            otherwise all.
        window: time steps per window of truncated backpropagation: one update per window, which
            continues from the state at the end of the previous window. None takes whole
            trajectories.
        ema: decay of a moving average of the params, such as 0.999; the average is validated and
            returned. Its memory is shorter in the first updates.
        patience: number of reports without a better validation loss after which to stop; None makes
            all updates.
        hyperparameters: values by name, such as learning_rate, for an optimiser built by
            `optax.inject_hyperparams`, such as `clipped_adam`: one number, or one per run [S].
        reports: number of reports (validation, history, checkpoint), spread evenly over the
            updates.
        checkpoints: where to save the state; an interrupted run that is started again with the same
            arguments continues, and gives the same numbers to the bit.
        progress: whether to show progress on stderr: a bar in a terminal, elsewhere a line now and
            then. By default, work of less than half a minute prints no lines.
        callback: a function that is called with a `Report` after each report, the one before the
            first update included, for experiment trackers. It runs outside of compiled code, after
            the checkpoint is written; what it returns is ignored, and an exception ends the
            training. It is not part of the run: a run that continues from a checkpoint may have
            another one, which gets the reports that come after the checkpoint. With several
            processes, each of them calls it.

    Returns:
        `Fitted`.

    Raises:
        ValueError: if arguments do not fit together, or if no update or no validation loss was
            finite.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 40)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 50))(keys)
        >>> train, validation = kf.Dataset(ys, xs).split(30, 10)
        >>> params = kf.ConstantGainParams(model, jnp.zeros((2, 1)))
        >>> fitted = kf.training.fit(
        ...     kf.training.state_mse(kf.constant_gain()),
        ...     params,
        ...     train,
        ...     validation=validation,
        ...     key=jax.random.key(1),
        ...     updates=200,
        ...     optimizer=kf.training.clipped_adam(0.02),
        ...     learn=kf.ConstantGainParams(False, True),
        ... )
        >>> bool(abs(fitted.params.gain - kf.steady_state(model).gain).max() < 0.2)
        True
    """
    _check_loss(loss)
    check_key("fit: key", key, many=True)
    check_count("fit: batch_size", batch_size)
    if callback is not None:
        check_function("fit: callback", callback, "a function of a Report, or None")
    if validation_loss is not None:
        _check_loss(validation_loss, "validation_loss")
    check_optimizer("fit: optimizer", optimizer)
    if ema is not None:
        check_number("fit: ema, such as 0.999,", ema, above=0, below=1)
    if checkpoints is not None:
        check_kind("fit: checkpoints", checkpoints, Checkpoints)
    if hyperparameters is not None and not isinstance(hyperparameters, Mapping):
        raise ValueError(
            f"fit: hyperparameters is {described(hyperparameters)}; expected a dict of numbers by"
            " name."
        )
    key = _typed(key)
    task = Task(
        loss,
        loss if validation_loss is None else validation_loss,
        clipped_adam() if optimizer is None else optimizer,
        min(batch_size, _size("data", data)),
        window,
        ema,
        patience,
        many=key.ndim == 1,
    )
    _check(task, params, data, validation, key, updates, reports)
    if isinstance(data, Dataset):
        one = jax.tree.map(lambda a: a[0], params) if task.many else params
        for run_with in filter_params(loss, one):
            check_noise_on("fit", run_with, data)
    # Rounded up: more updates between reports, and never more reports than there are rows for.
    every = -(-updates // reports)
    plan = Plan("training", updates, every, progress, hyperparameters, checkpoints, callback)
    fitted = optimise(task, params, learn, data, validation, _keys(key), plan)
    _check_finite(fitted)
    return fitted


def _keys(key: Array) -> Keys:
    """Return the keys of one run or of several runs."""
    parts = jax.random.split(key, 3) if key.ndim == 0 else jax.vmap(_three, out_axes=1)(key)
    return Keys(*parts)


def _three(key: Array) -> Array:
    return jax.random.split(key, 3)


def _typed(key: Array) -> Array:
    """Return a typed key, or an array of typed keys."""
    key = key if is_key(key) else jax.random.wrap_key_data(key)
    if key.ndim > 1:
        raise ValueError(f"fit: key has shape {key.shape}; expected one key, or S keys for S runs.")
    return key


def _check_loss(loss: object, name: str = "loss") -> None:
    """Raise unless a loss is a hashable function."""
    if not callable(loss) or getattr(type(loss), "__hash__", None) is None:
        raise ValueError(
            f"fit: {name} is {described(loss)}; expected a function (params, batch, key) -> scalar,"
            " such as kf.training.state_mse(filter)."
        )


def _size(name: str, data: PyTree) -> int:
    """Return the number of trajectories."""
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            f"fit: {name} is {type(data).__name__} with leading axes {sorted(sizes)}; expected a"
            " kfjax.Dataset, or arrays that share a leading axis."
        )
    return sizes.pop()[0]


def _check(
    task: Task,
    params: Params,
    data: PyTree,
    validation: PyTree,
    key: Array,
    updates: int,
    reports: int,
) -> None:
    """Validate the arguments of `fit`."""
    window = 1 if task.window is None else task.window
    check_counts("fit", updates=updates, reports=reports, window=window)
    if validation is not None:
        _size("validation", validation)
    elif task.patience is not None or task.validation_loss is not task.loss:
        raise ValueError(
            "fit: got patience or validation_loss without validation; expected data to measure on."
        )
    continues = isinstance(data, Dataset) and hasattr(task.loss, "continued")
    if task.window is not None and not continues:
        raise ValueError(
            f"fit: got window with data of type {type(data).__name__} and the loss {task.loss!r};"
            " expected a Dataset and a loss that can continue from a state, such as"
            " kfjax.training.state_mse(filter)."
        )
    if task.many and any(np.shape(leaf)[:1] != key.shape for leaf in jax.tree.leaves(params)):
        raise ValueError(
            f"fit: got {key.shape[0]} keys, and params without that leading axis; expected it in"
            " every leaf. Initialise them with jax.vmap over the keys, or repeat them with"
            " kfjax.training.replicate(params, S)."
        )


def _check_finite(fitted: Fitted) -> None:
    """Raise if nothing was learned because nothing was finite."""
    made = int(np.max(fitted.history.update))
    if np.all(fitted.refused == made):
        raise ValueError(
            f"fit: the loss or its gradient was not finite in any of {made} updates; expected"
            " numbers. Check the params, the scale of the data, and whether the untrained filter"
            " diverges (start closer to the truth, or on shorter trajectories)."
        )
    if fitted.validation is not None and not np.isfinite(fitted.validation).any():
        raise ValueError(
            "fit: the validation loss was never finite; expected numbers. Check the validation"
            " data."
        )
