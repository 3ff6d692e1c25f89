"""The result of a training, its history report by report, and the spread between runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Real

from kfjax._support.arguments import real_numbers
from kfjax._support.types import Nested, PyTree

__all__ = ["Fitted", "History", "Report", "Spread", "spread"]


class History(NamedTuple):
    """One entry per report, starting before the first update; [reports], or [S, reports].

    Attributes:
        update: number of updates made so far.
        loss: the mean training loss of the updates since the last report; NaN at first.
        validation: the validation loss; NaN without validation data.
        gradient_norm: the mean norm of the gradient since the last report, before clipping; NaN at
            first.
        refused: number of updates skipped so far, because the loss or its gradient was not finite.
    """

    update: Any
    loss: Any
    validation: Any
    gradient_norm: Any
    refused: Any

    def until(self, reports: int) -> History:
        """Return the first reports, as numpy arrays."""
        return History(*(np.asarray(values)[..., :reports] for values in self))


class Report(NamedTuple):
    """One report of a training, as `fit` passes it to its callback.

    Numbers are Python's; for several runs, every value has a leading axis [S].

    Attributes:
        update: number of updates made so far.
        loss: the mean training loss since the last report; NaN in the first report, which comes
            before any update.
        validation: the validation loss; NaN without validation data.
        gradient_norm: the mean norm of the gradient since the last report; NaN at first.
        refused: number of updates skipped so far, because the loss or its gradient was not finite.
        params: the params that were validated; with `ema` they are averages.
    """

    update: Any
    loss: Any
    validation: Any
    gradient_norm: Any
    refused: Any
    params: Any


def report_at(history: History, row: int, params: PyTree) -> Report:
    """Return a row of a history that is being written, with the params of that time."""
    values = [np.asarray(rows)[..., row] for rows in history]
    numbers = [value.item() if value.ndim == 0 else value for value in values]
    return Report._make([*numbers, params])


def through_params(
    callback: Callable[[Report], Any] | None, transform: Callable[[Any], Any]
) -> Callable[[Report], Any] | None:
    """Return a callback that is given transformed params, as `through` does for losses."""
    if callback is None:
        return None
    return lambda report: callback(report._replace(params=transform(report.params)))


class Spread(NamedTuple):
    """The spread of a result between runs.

    Attributes:
        median: the median.
        min: the lowest.
        max: the highest.
        iqr: the difference between the 75th and the 25th percentile.
    """

    median: float
    min: float
    max: float
    iqr: float


def spread(values: Real[ArrayLike, " S"] | Nested) -> Spread:
    """Return the spread of one number per run; runs that are not finite count as infinite.

    Args:
        values: [S], such as the validation losses of a `Fitted` of several runs.

    Raises:
        ValueError: if there are no values, or they are not numbers.

    Example:
        >>> kf.training.spread([1.0, 2.0, 3.0, 4.0, 10.0])
        Spread(median=3.0, min=1.0, max=10.0, iqr=2.0)
    """
    flat = real_numbers("spread: values", values).ravel()
    if flat.size == 0:
        raise ValueError("spread: values is empty; expected one number per run, [S].")
    values = np.sort(np.nan_to_num(flat, nan=np.inf))
    # between equal order statistics, without infinity minus infinity
    low, high = (float(np.percentile(values, q, method="nearest")) for q in (25, 75))
    return Spread(
        float(np.median(values)),
        float(values[0]),
        float(values[-1]),
        0.0 if low == high else high - low,
    )


class Fitted(NamedTuple):
    """The result of a training; for several runs, every array has a leading axis [S].

    Attributes:
        params: the best params of all reports by validation loss; without validation data, those
            after the last update. With `ema` they are averages.
        validation: their validation loss (infinite if it was never finite), or None without
            validation data.
        update: the number of updates that led to them; 0 for the given params.
        refused: number of updates skipped because the loss or its gradient was not finite.
        history: `History`, as numpy arrays.
    """

    params: Any
    validation: Any
    update: Any
    refused: Any
    history: History

    @property
    def spread(self) -> Spread:
        """The spread of the validation loss between runs."""
        return spread(self.validation)

    @property
    def best_run(self) -> int:
        """The run with the lowest validation loss."""
        return int(np.nanargmin(self.validation))

    def run(self, index: int) -> Fitted:
        """Return one of several runs."""
        return jax.tree.map(lambda a: a[index], self)
