"""Classical filters whose noise, f or h is learned by `kfjax train`, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax.base import Filter
from kfjax.data import Parts
from kfjax.filters import by_name
from kfjax.learned import Polynomial, fit_residual, residual_model
from kfjax.learned.params import in_precision
from kfjax.models.state_space import StateSpaceModel
from kfjax.training import Scales, Tuned, load_params, save_params, scale_noise, tune

__all__: list[str] = []

LEARN = ("gain", "noise", "f", "h")
FILE = "classical.npz"
DEGREES = (1, 2, 3)  # of the polynomials that are tried; a linear f or h needs the first


class Classical(NamedTuple):
    """A classical filter with a learned model.

    Attributes:
        name: name of the filter.
        filter: the `Filter`.
        model: the model, whose Q and R are tuned.
        learn: "noise", "f" or "h".
        degree: degree of the polynomial that was added to f or h; 0 for none.
        tuned: the result of the tuning.
    """

    name: str
    filter: Filter
    model: StateSpaceModel
    learn: str
    degree: int
    tuned: Tuned

    @property
    def about(self) -> dict[str, Any]:
        """The description that `load_classical` needs."""
        scales = {name: np.asarray(factor) for name, factor in self.tuned.scales._asdict().items()}
        told = {"filter": self.name, "learn": self.learn, "degree": self.degree}
        return {**told, "scales": scales, "validation": self.tuned.validation}

    @property
    def text(self) -> str:
        """A sentence about what was learned."""
        before, after = self.tuned.validation
        text = f"{self.name}: Q and R tuned"
        if self.degree:
            text = (
                f"{self.name}: {self.learn} with a polynomial of degree {self.degree}, fitted by"
                " least squares (the best of 1 to 3), then Q and R tuned"
            )
        return (
            f"{text}; the objective on the validation part went from {before:.4g} to {after:.4g}."
        )


def learn_classical(
    name: str,
    learn: str,
    model: StateSpaceModel,
    parts: Parts,
    *,
    objective: str,
    updates: int = 150,
    seed: int = 0,
) -> Classical:
    """Learn the model of a classical filter, and tune its Q and R, one factor per row.

    A polynomial is added to f or h by least squares on true states; its degree is that with the
    best objective on the validation part.

    Args:
        name: name of a filter, see `kfjax.filters.by_name`.
        learn: "noise", "f" or "h".
        model: the design model.
        parts: the data; the test part is not used.
        objective: "likelihood" or "mse".
        updates: number of updates of the tuning.
        seed: the seed of the batches.
    """
    chosen = by_name(name)
    found = []
    for degree in (0,) if learn == "noise" else DEGREES:
        candidate = model
        if degree:
            candidate = residual_model(model, learn, Polynomial(degree))
            candidate = fit_residual(candidate, parts.train)
        tuned = tune(
            chosen,
            candidate,
            parts.train,
            validation=parts.validation,
            key=jax.random.key(seed),
            structure="diagonal",
            objective=objective,
            updates=updates,
            skip=parts.skip[:2],
        )
        found.append(Classical(name, chosen, tuned.params, learn, degree, tuned))
    return min(found, key=lambda classical: classical.tuned.validation[1])


def save_classical(directory: Path, classical: Classical) -> None:
    """Write the numbers of the model."""
    save_params(directory / FILE, classical.model)


def load_classical(
    directory: Path, about: dict[str, Any], dtype: str, model: StateSpaceModel
) -> tuple[Filter, StateSpaceModel]:
    """Load a classical filter, in the precision of the design model.

    Args:
        directory: the folder of the training.
        about: the entry of its description.
        dtype: the precision in which it was trained.
        model: the design model, whose functions are those of the result.
    """
    like = model
    if about["degree"]:
        like = residual_model(model, about["learn"], Polynomial(about["degree"]))
    like = scale_noise(like, Scales(*(np.asarray(about["scales"][name]) for name in "QR")))
    like = in_precision(np.dtype(dtype), like)
    return by_name(about["filter"]), in_precision(model.dtype, load_params(directory / FILE, like))
