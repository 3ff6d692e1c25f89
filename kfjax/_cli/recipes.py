"""The training recipe of the command line: first short pieces, then whole trajectories."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from kfjax._cli.loading import learned_kind
from kfjax._support.types import PyTree
from kfjax.base import Filter
from kfjax.data import Dataset, Parts, first_steps, pieces
from kfjax.learned.params import Learned, init_params
from kfjax.learned.registry import learned_by_name
from kfjax.models.state_space import StateSpaceModel
from kfjax.training import (
    Checkpoints,
    Cosine,
    FilterLoss,
    Fitted,
    Rollout,
    clipped_adam,
    fit_stages,
    nll,
    state_mse,
)
from kfjax.training.losses import unlabelled_loss

__all__: list[str] = []

LOSSES = ("mse", "nll", "innovation")
# steps of the pieces that come first: an untrained filter may diverge on longer ones
SHORT = 20
WINDOW = 100  # steps of a window of backpropagation, if trajectories are longer than two windows


class Settings(NamedTuple):
    """The settings that a user chooses.

    Attributes:
        loss: one of `LOSSES`; default mse if true states are known, otherwise innovation.
        updates: number of updates by the optimiser.
        batch_size: trajectories per update.
        learning_rate: the largest step size; it starts and ends at a tenth.
        short: the share of the updates on short pieces, before whole trajectories.
        seed: the seed of everything random.
        seeds: number of runs at once.
        patience: reports without a better validation loss after which a stage ends, or None.
        window: steps of a window of backpropagation, or None for 100 if trajectories are longer
            than two such windows.
        reports: number of validations and checkpoints in each stage.
    """

    loss: str | None = None
    updates: int = 2000
    batch_size: int = 32
    learning_rate: float = 1e-3
    short: float = 0.4
    seed: int = 0
    seeds: int = 1
    patience: int | None = None
    window: int | None = None
    reports: int = 20


QUICK = Settings(updates=800, learning_rate=2e-3, short=1.0, reports=10)  # seconds, not minutes


class Training(NamedTuple):
    """A trained filter.

    Attributes:
        filter: the `Filter`.
        params: `Learned` params of the best run.
        loss: the name of the loss.
        fitted: `Fitted`, of all runs.
        text: how it was trained, in a sentence.
    """

    filter: Filter
    params: Learned
    loss: str
    fitted: Fitted
    text: str


def train_learned(
    name: str,
    model: StateSpaceModel,
    parts: Parts,
    settings: Settings,
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Train a learned filter on the training part.

    Its parameters are chosen on the validation part.

    The first updates are made on pieces of 20 steps, which start at true states where they are
    known. A likelihood of the states (nll) comes after the squared error. Training on long
    trajectories is in windows, with the state carried from one to the next.

    Args:
        name: name of a learned filter, see `kfjax.learned.registry`.
        model: the design model.
        parts: the data; the test part is not used.
        settings: see `Settings`.
        checkpoints: where to save, so that an interrupted training can continue.

    Raises:
        ValueError: if the filter does not run on the data, or lacks what the loss needs.
    """
    start = time.perf_counter()
    kind = learned_kind(name)
    chosen = kind.build(model.n, parts.train.ys.shape[2])
    keys = jax.random.split(jax.random.key(settings.seed), 2)
    constants = None if kind.constants is None else kind.constants(model, parts.train)
    params = _draw(keys[0], chosen, model, constants, settings.seeds)
    loss = settings.loss or ("innovation" if parts.train.xs is None else "mse")
    losses = _losses(name, loss, chosen, _one(params, settings.seeds, 0), parts)
    stages = _stages(losses, parts, model, settings)
    fitted = fit_stages(
        losses[0],
        params,
        stages,
        key=keys[1] if settings.seeds == 1 else jax.random.split(keys[1], settings.seeds),
        batch_size=settings.batch_size,
        window=_window(parts, settings),
        patience=settings.patience,
        reports=settings.reports,
        checkpoints=checkpoints,
    )
    best = _one(fitted.params, settings.seeds, 0 if settings.seeds == 1 else fitted.best_run)
    text = _text(loss, parts, stages, time.perf_counter() - start)
    return Training(chosen, best, loss, fitted, text)


def _window(parts: Parts, settings: Settings) -> int | None:
    """Return the steps of a window of backpropagation; None takes whole trajectories."""
    if settings.window is None:
        return WINDOW if parts.train.steps > 2 * WINDOW else None
    return settings.window if settings.window < parts.train.steps else None


def train_quickly(
    names: str, model: StateSpaceModel, parts: Parts, seed: int
) -> tuple[dict[str, Training], dict[str, str]]:
    """Train several learned filters quickly.

    Filters that cannot be trained are left out, with the reason.

    Args:
        names: names of learned filters, separated by commas.
        model: the design model.
        parts: the data, of which a hundred validation trajectories are used.
        seed: the seed of everything random.
    """
    parts = parts._replace(validation=parts.validation[:100])
    trained = {}
    left_out = {}
    for name in names.split(","):
        learned_by_name(name, model.n, parts.train.ys.shape[2])  # a misprint is an error
        try:
            trained[f"{name}, learned"] = train_learned(
                name, model, parts, QUICK._replace(seed=seed)
            )
        except ValueError as error:
            left_out[name] = str(error)
    return trained, left_out


def _draw(
    key: Array, chosen: Filter, model: StateSpaceModel, constants: PyTree, runs: int
) -> Learned:
    """Draw the parameters, with a leading axis for several runs."""
    if runs == 1:
        return init_params(key, chosen, model, constants)
    return jax.vmap(lambda k: init_params(k, chosen, model, constants))(jax.random.split(key, runs))


def _one(params: Learned, runs: int, index: int) -> Learned:
    return params if runs == 1 else jax.tree.map(lambda a: a[index], params)


def _losses(
    name: str, loss: str, chosen: Filter, params: Learned, parts: Parts
) -> list[FilterLoss]:
    """Return the losses of the stages in order."""
    if loss == "innovation":
        return [unlabelled_loss(chosen, params, parts.train)]
    needed = {"training": parts.train, "validation": parts.validation}
    if unknown := [part for part, data in needed.items() if data.xs is None]:
        raise ValueError(
            f"got --loss {loss}, but the {' and '.join(unknown)} part has no true states; expected"
            " state [N, T, n]. Use --loss innovation, which needs none."
        )
    if loss == "nll" and jax.eval_shape(chosen.init, params).cov is None:
        raise ValueError(
            f"got --loss nll, but {name} has no covariance; expected a filter with one, such as"
            " corrected_gain. Or use --loss mse."
        )
    return [state_mse(chosen), nll(chosen)] if loss == "nll" else [state_mse(chosen)]


def _stages(
    losses: list[FilterLoss], parts: Parts, model: StateSpaceModel, settings: Settings
) -> list[dict[str, Any]]:
    """Return the stages of a training.

    The first stage takes short pieces, unless the data were split in time; then come whole
    trajectories, with a stage for each loss.
    """
    stages = []
    if not any(parts.skip) and parts.train.steps > 2 * SHORT:
        # the last stage is validated on whole trajectories
        validation = parts.validation if settings.short == 1 else _short(parts.validation, model)
        stages.append(
            {
                "loss": losses[0],
                "data": _short(parts.train, model),
                "validation": validation,
                "window": None,
            }
        )
    whole = {"data": parts.train, "validation": parts.validation}
    stages += [
        {"loss": loss, "validation_loss": _after(loss, parts.skip[1]), **whole} for loss in losses
    ]
    early = round(settings.short * settings.updates) if len(stages) > len(losses) else 0
    ends = np.linspace(early, settings.updates, len(losses) + 1).astype(int)
    counts = np.diff([0, *ends] if len(stages) > len(losses) else ends).tolist()
    return [
        stage
        | {
            "updates": count,
            "optimizer": clipped_adam(Cosine(settings.learning_rate, count, warmup=0.1)),
        }
        for stage, count in zip(stages, counts, strict=True)
        if count
    ]


def _short(data: Dataset, model: StateSpaceModel) -> Dataset:
    """Return pieces that start at true states if these are known, otherwise the first steps."""
    if data.xs is None or np.isnan(data.xs).any():
        return first_steps(data, SHORT)
    return pieces(data, SHORT, prior_mean=model.prior.mean, first=model.first)


def _after(loss: FilterLoss, skip: int) -> FilterLoss:
    """Return the loss without the first steps, which belong to another part."""
    return (
        loss if skip == 0 else FilterLoss(loss.filter, loss.term, loss.emit, Rollout(burn_in=skip))
    )


def _text(loss: str, parts: Parts, stages: list[dict[str, Any]], seconds: float) -> str:
    updates = " and ".join(
        f"{stage['updates']} updates on trajectories of {stage['data'].lengths.max()} steps"
        for stage in stages
    )
    return (
        f"trained ({loss}) by {updates}, from {parts.train.size} training trajectories; chosen on"
        f" {parts.validation.size} validation trajectories; in {seconds:.0f} s. Those compared are"
        " others."
    )
