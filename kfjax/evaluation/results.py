"""What a filter achieved over many trajectories: every metric with its interval, from per-trajectory sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from kfjax._support import sharding
from kfjax.evaluation import intervals
from kfjax.evaluation.engine import Curves, Part, Statistics
from kfjax.evaluation.intervals import Interval, Whiteness, to_db
from kfjax.evaluation.metrics import Sums

__all__ = ["Evaluation"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """One filter over N trajectories of up to T steps, as sums: all metrics come from here, the trajectories are gone.

    Methods return None for what the filter or the data do not have (no truth, no covariance). A
    trajectory that failed (an estimate not finite, or a negative variance) is never dropped: errors
    are then infinite and other means NaN; the median counts it as the worst.

    Attributes:
        statistics: per-trajectory sums, leaves [N, ...] in double precision.
        curves: per-step sums over the trajectories, leaves [T].
    """

    statistics: Statistics
    curves: Curves

    @classmethod
    def gather(cls, parts: Iterable[Part], rows: int) -> Evaluation:
        """Join the parts of an evaluation, of `rows` trajectories together, and those of other processes."""
        parts = iter(parts)
        chunk, curves = next(parts)
        # one array for all parts, which are never in memory together
        statistics = jax.tree.map(lambda a: np.empty((rows, *a.shape[1:]), _wide(a.dtype)), chunk)
        first = _put(statistics, chunk, 0)
        for chunk, more in parts:
            first = _put(statistics, chunk, first)
            curves = jax.tree.map(np.add, curves, more)
        curves = sharding.gather_rows(jax.tree.map(lambda a: a[None], curves))
        return cls(sharding.gather_rows(statistics), jax.tree.map(lambda a: a.sum(0), curves))

    @property
    def trajectories(self) -> int:
        """How many trajectories there were, N."""
        return self.statistics.steps.shape[0]

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return int(self.statistics.failed.sum())

    @property
    def mses(self) -> np.ndarray | None:
        """MSE of every trajectory [N]: over its steps and known state components; inf where failed."""
        return self._means(self.statistics.squared_error, np.inf)

    @property
    def prediction_mses(self) -> np.ndarray | None:
        """Mean squared one-step prediction error of y of every trajectory [N]; inf where failed."""
        return self._means(self.statistics.prediction, np.inf)

    @property
    def ranking(self) -> np.ndarray | None:
        """The errors that filters are ranked by: `mses` where the truth is known, else `prediction_mses`."""
        return self.prediction_mses if self.mses is None else self.mses

    def mse_db(self, level: float = 0.95) -> Interval | None:
        """MSE in dB over trajectories, steps and state dimensions: `kfjax.evaluation.mse_db`."""
        return None if (mses := self.mses) is None else intervals.mse_db(mses, level=level)

    def rmse(self, level: float = 0.95) -> Interval | None:
        """Root of the MSE: `kfjax.evaluation.rmse_interval`."""
        return None if (mses := self.mses) is None else intervals.rmse_interval(mses, level=level)

    def median_db(self) -> float | None:
        """Median over trajectories of the MSE in dB."""
        return None if (mses := self.mses) is None else intervals.median_db(mses)

    def prediction_db(self, level: float = 0.95) -> Interval | None:
        """Mean squared one-step prediction error of y, in dB."""
        return (
            None if (mses := self.prediction_mses) is None else intervals.mse_db(mses, level=level)
        )

    def paired_db(self, other: Evaluation, level: float = 0.95) -> Interval | None:
        """How much worse this filter is than another on the same trajectories: `kfjax.evaluation.paired_db`.

        By state error where the truth is known, else by prediction error.
        """
        ours, theirs = self.ranking, other.ranking
        return (
            None
            if ours is None or theirs is None
            else intervals.paired_db(ours, theirs, level=level)
        )

    def anees(self, level: float = 0.95) -> Interval | None:
        """Average normalised estimation error squared per dimension: `kfjax.evaluation.anees`."""
        if (sums := self.statistics.nees) is None:
            return None
        counted = sums.count > 0
        totals = np.where(self.statistics.failed, np.nan, sums.total)
        steps = self.statistics.nees_steps
        if not counted.any():
            return Interval(np.nan, np.nan, np.nan)
        return intervals.anees(totals[counted], sums.count[counted], steps[counted], level=level)

    def anis(self, level: float = 0.95) -> Interval | None:
        """Mean normalised innovation squared per observed channel: `kfjax.evaluation.anis`."""
        if (sums := self.statistics.nis) is None:
            return None
        return intervals.anis(
            np.where(self.statistics.failed, np.nan, sums.total), sums.count, level=level
        )

    def coverage(self, level: float = 0.95) -> Interval | None:
        """Fraction of states within their central 95 % interval; the confidence interval is over trajectories."""
        if (sums := self.statistics.coverage) is None:
            return None
        return self._interval(Sums(sums.total.sum(-1), sums.count.sum(-1)), level)

    def log_likelihood(self, level: float = 0.95) -> Interval | None:
        """Log-likelihood per step, the mean over trajectories."""
        return self._interval(self.statistics.log_likelihood, level)

    def whiteness(self, level: float = 0.95) -> Whiteness | None:
        """Autocorrelation of the whitened innovations: `kfjax.evaluation.whiteness`."""
        if (sums := self.statistics.innovations) is None or sums.total.shape[
            -1
        ] < 2:  # one step has no lags
            return None
        totals = np.where(self.statistics.failed[:, None], np.nan, sums.total)
        return intervals.whiteness(totals, sums.count, level=level)

    def error_over_time(self) -> np.ndarray | None:
        """MSE in dB of every step [T], over trajectories and dimensions; NaN at steps that no truth is known of."""
        return _curve_db(self.curves.squared_error)

    def prediction_over_time(self) -> np.ndarray | None:
        """Mean squared one-step prediction error of y in dB of every step [T]."""
        return _curve_db(self.curves.prediction)

    def nees_over_time(self, level: float = 0.95) -> Interval | None:
        """ANEES of every step with its acceptance interval, all [T]."""
        return _curve_chi_square(self.curves.nees, level)

    def nis_over_time(self, level: float = 0.95) -> Interval | None:
        """Mean NIS per observed channel of every step with its acceptance interval, all [T]."""
        return _curve_chi_square(self.curves.nis, level)

    def _means(self, sums: Sums | None, failed_as: float) -> np.ndarray | None:
        """Total / count of the trajectories that have any count."""
        if sums is None:
            return None
        counted = sums.count > 0
        return (
            np.where(self.statistics.failed, failed_as, sums.total)[counted] / sums.count[counted]
        )

    def _interval(self, sums: Sums | None, level: float) -> Interval | None:
        """The mean over trajectories with its confidence interval."""
        if (means := self._means(sums, np.nan)) is None:
            return None
        return (
            intervals.mean_interval(means, level=level)
            if means.size
            else Interval(np.nan, np.nan, np.nan)
        )

    def __repr__(self) -> str:
        values = {
            "mse_db": self.mse_db(),
            "anees": self.anees(),
            "log_likelihood": self.log_likelihood(),
        }
        shown = [f"{name}={value.value:.4g}" for name, value in values.items() if value is not None]
        return f"Evaluation({', '.join([f'{self.trajectories} trajectories', f'failed={self.failed}', *shown])})"


def _wide(dtype: np.dtype) -> np.dtype:
    """Double precision for numbers."""
    return dtype if dtype.kind == "b" else np.dtype(np.float64)


def _put(statistics: Statistics, part: Statistics, first: int) -> int:
    """Write the rows of a part from row `first` on; return where the next part goes."""
    end = first + len(part.steps)
    for leaf, rows in zip(jax.tree.leaves(statistics), jax.tree.leaves(part), strict=True):
        leaf[first:end] = rows
    return end


def _curve_db(sums: Sums | None) -> np.ndarray | None:
    return None if sums is None else to_db(_ratio(sums))


def _curve_chi_square(sums: Sums | None, level: float) -> Interval | None:
    if sums is None:
        return None
    return Interval(_ratio(sums), *intervals.chi_square_interval(sums.count, level=level))


def _ratio(sums: Sums) -> Any:
    """Total / count, NaN where nothing was counted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums.total / sums.count
