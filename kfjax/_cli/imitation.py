"""The training recipe of `kfjax distil`: short pieces of records, then long ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax.base import Filter
from kfjax.data import Dataset, Parts, pieces
from kfjax.learned import imitator
from kfjax.learned.params import Learned
from kfjax.training import (
    Checkpoints,
    Cosine,
    Fitted,
    Rollout,
    clipped_adam,
    fit_stages,
    state_mse,
)

__all__: list[str] = []

SHORT = 50  # steps of the first pieces
LONG = 400  # steps of the later ones
WINDOW = 100  # steps of a window of backpropagation in long pieces
REPORTS = 20  # of each stage
EARLY = 0.4  # share of the updates on short pieces


class Imitation(NamedTuple):
    """The settings that a user chooses.

    Attributes:
        hidden: units of every layer.
        cell: "lstm", "gru" or "rnn".
        level: whether the network learns levels without feedback; otherwise what to add to a linear
            recursion, with feedback.
        updates: number of updates by the optimiser.
        batch_size: pieces per update.
        learning_rate: the largest step size; it starts and ends at a tenth.
        patience: reports without a better validation loss after which a stage ends, or None.
        burn_in: number of leading rows that do not count.
        seed: the seed of everything random.
    """

    hidden: tuple[int, ...] = (64,)
    cell: str = "lstm"
    level: bool = False
    updates: int = 3000
    batch_size: int = 32
    learning_rate: float = 3e-3
    patience: int | None = None
    burn_in: int = 0
    seed: int = 0

    @property
    def network(self) -> dict[str, Any]:
        """The arguments of the sequence regressor."""
        output = "level" if self.level else None
        return {"cell": self.cell, "feedback": not self.level, "output": output}


def imitate(
    parts: Parts, settings: Imitation, checkpoints: Checkpoints | None = None
) -> tuple[Filter, Fitted]:
    """Train a sequence model on recorded estimates, the xs of the parts.

    Errors are measured in standard deviations of the training targets.
    """
    keys = jax.random.split(jax.random.key(settings.seed), 2)
    student, params = imitator(keys[0], parts.train, settings.hidden, **settings.network)
    scale = np.asarray(params.constants["x"]["spread"])
    burn_in = max(settings.burn_in, parts.skip[1])
    fitted = fit_stages(
        state_mse(student, scale=scale),
        params,
        _stages(parts, params, settings),
        key=keys[1],
        validation=parts.validation,
        validation_loss=state_mse(student, scale=scale, rollout=Rollout(burn_in)),
        batch_size=settings.batch_size,
        patience=settings.patience,
        reports=REPORTS,
        checkpoints=checkpoints,
    )
    return student, fitted


def _stages(parts: Parts, params: Learned, settings: Imitation) -> list[dict[str, Any]]:
    """Return the stages: short pieces, if the records are longer, then long ones."""
    lengths = [SHORT, LONG] if parts.train.steps > 2 * SHORT else [LONG]
    early = round(EARLY * settings.updates) if len(lengths) > 1 else settings.updates
    counts = [early, settings.updates - early]
    return [
        {
            "data": _pieces(parts.train, steps, params),
            "updates": count,
            "optimizer": clipped_adam(Cosine(settings.learning_rate, count, warmup=0.1)),
            "window": WINDOW if min(steps, parts.train.steps) > 2 * WINDOW else None,
        }
        for steps, count in zip(lengths, counts, strict=False)
        if count
    ]


def _pieces(data: Dataset, steps: int, params: Learned) -> Dataset:
    """Return pieces that start at recorded estimates, or whole records where some are not known."""
    if steps >= data.steps or np.isnan(data.xs).any():
        return data
    return pieces(data, steps, prior_mean=params.model.prior.mean)
