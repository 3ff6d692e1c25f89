"""The data behind the diagnosis of an imitation: targets, and the student's estimates of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax._support.naming import described
from kfjax._support.values import real_array
from kfjax.data import Dataset, first_steps
from kfjax.training.imitation import Targets, estimates_of

__all__: list[str] = []


class ImitationData(NamedTuple):
    """The data of a diagnosis.

    Attributes:
        train: simple maps are fitted to it, and its range is that of the training.
        validation: the targets to measure on.
        estimates: the student's [N, T, n] for the validation data.
        burn_in: number of leading steps of the validation data that do not count.
    """

    train: Targets
    validation: Targets
    estimates: np.ndarray
    burn_in: int


def recorded_targets(name: str, given: object) -> Targets:
    """Return targets, or those that a `Dataset` with recorded estimates as xs holds."""
    if isinstance(given, Dataset):
        if given.xs is None or np.isnan(given.xs).all():
            raise ValueError(
                f"{name} has no xs; expected the teacher's recorded estimates there. Build it with"
                " kf.Dataset(inputs, xs=targets)."
            )
        return Targets(given, None)
    if not isinstance(given, Targets):
        raise ValueError(
            f"{name} is {described(given)}; expected a kfjax.Dataset with the teacher's recorded"
            " estimates as xs, or Targets from kf.training.imitation_targets."
        )
    return given


def given_parts(
    train: Any, validation: Any, inputs: Any, targets: Any, length: Any
) -> tuple[Targets | None, Targets]:
    """Return the training data, if there are any, and those to measure on."""
    if (inputs is None) != (targets is None) or (inputs is None) == (validation is None):
        raise ValueError(
            "diagnose: got neither or both of validation and arrays; expected validation, or inputs"
            " and targets."
        )
    if validation is None:
        validation = Dataset(inputs, targets, length=length)
    elif length is not None:
        raise ValueError("diagnose: got length without inputs; expected it in the Dataset.")
    train = None if train is None else recorded_targets("diagnose: train", train)
    return train, recorded_targets("diagnose: validation", validation)


def given_estimates(student: Any, predictions: Any, data: Dataset) -> np.ndarray:
    """Return the student's estimates [N, T, n], computed or as they were given."""
    if (student is None) == (predictions is None):
        raise ValueError(
            "diagnose: got neither or both of student and predictions; expected a pair (filter,"
            " params), or predictions [N, T, n]."
        )
    if student is not None:
        return np.asarray(estimates_of(student, data, jax.random.key(1), False)[0])
    given = np.asarray(real_array("diagnose: predictions", predictions, finite=False), np.float64)
    if given.shape != data.xs.shape:
        raise ValueError(
            f"diagnose: predictions have shape {given.shape}; expected {data.xs.shape}, one for"
            " every target. For a network that gives only the last step of a window, pad the steps"
            " before it with NaN in the targets."
        )
    return given


def in_halves(both: Targets, estimates: np.ndarray, burn_in: int) -> ImitationData:
    """Return the first half as training data, and the rest to measure on.

    One or two records are cut in time.
    """
    size = both.data.size
    if size > 2:
        middle = size // 2
        first, second = (
            Targets(both.data[rows], None if both.cov is None else both.cov[rows])
            for rows in (slice(None, middle), slice(middle, None))
        )
        return ImitationData(first, second, estimates[middle:], burn_in)
    middle = int(both.data.lengths.min()) // 2
    if middle < 2:
        raise ValueError(
            f"diagnose: a record has {2 * middle} steps and there is no train; expected training"
            " data. Pass train=kf.Dataset(inputs, xs=targets)."
        )
    cov = None if both.cov is None else both.cov[:, :middle]
    train = Targets(first_steps(both.data, middle), cov)
    return ImitationData(train, both, estimates, max(burn_in, middle))
