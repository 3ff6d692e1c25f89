"""The result of a filter on many trajectories: every metric with its interval."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from kfjax._support.types import AnyArray
from kfjax.evaluation import consistency, innovations, intervals
from kfjax.evaluation.innovations import Whiteness
from kfjax.evaluation.intervals import Interval, to_db
from kfjax.evaluation.metrics import Sums
from kfjax.evaluation.summaries import Curves, Statistics

__all__ = ["Evaluation"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Sums of one filter over N trajectories of up to T steps, from which all metrics come.

    The trajectories themselves are not kept. Methods return None for what the filter or the data do
    not have (no truth, no covariance). A trajectory that failed (an estimate or its likelihood is
    not a number, or a variance is negative) is never dropped: its errors are infinite and its
    likelihood is zero; the median counts it as the worst. Steps at which a filter broke down have
    an infinite NEES or NIS, and states outside their interval.

    Attributes:
        statistics: per-trajectory sums, leaves [N, ...] in double precision.
        curves: per-step sums over the trajectories, leaves [T].
    """

    statistics: Statistics
    curves: Curves

    @property
    def trajectories(self) -> int:
        """The number of trajectories, N."""
        return self.statistics.steps.shape[0]

    @property
    def failed(self) -> int:
        """The number of trajectories that failed."""
        return int(self.statistics.failed.sum())

    @property
    def mses(self) -> Float[np.ndarray, " N"] | None:
        """MSE of every trajectory [N], over steps and known state components; inf where failed."""
        return self._means(self.statistics.squared_error, np.inf)

    @property
    def prediction_mses(self) -> Float[np.ndarray, " N"] | None:
        """Mean squared one-step prediction error of y of every trajectory [N]; inf where failed."""
        return self._means(self.statistics.prediction, np.inf)

    @property
    def ranking(self) -> Float[np.ndarray, " N"] | None:
        """Errors to rank filters by: `mses` if the truth is known, otherwise `prediction_mses`."""
        return self.prediction_mses if self.mses is None else self.mses

    @property
    def scored_channels(self) -> int | None:
        """The number of observed channels that have a NIS, over all trajectories and steps."""
        sums = self.statistics.nis
        return None if sums is None else int(sums.count.sum())

    def mse_db(self, level: float = 0.95) -> Interval | None:
        """Return the MSE in dB over trajectories, steps and state dimensions.

        See `kfjax.evaluation.mse_db`.
        """
        mses = self.mses
        if mses is None:
            return None
        return intervals.mse_db(mses, level=level)

    def rmse(self, level: float = 0.95) -> Interval | None:
        """Return the root of the MSE: `kfjax.evaluation.rmse_interval`."""
        mses = self.mses
        if mses is None:
            return None
        return intervals.rmse_interval(mses, level=level)

    def median_db(self) -> float | None:
        """Return the median over trajectories of the MSE, in dB."""
        mses = self.mses
        if mses is None:
            return None
        return intervals.median_db(mses)

    def prediction_db(self, level: float = 0.95) -> Interval | None:
        """Return the mean squared one-step prediction error of y, in dB."""
        mses = self.prediction_mses
        if mses is None:
            return None
        return intervals.mse_db(mses, level=level)

    def paired_db(self, other: Evaluation, level: float = 0.95) -> Interval | None:
        """Return by how many dB this filter is worse than another on the same trajectories.

        The comparison is by state error if the truth is known, otherwise by prediction error; see
        `kfjax.evaluation.paired_db`.
        """
        ours = self.ranking
        theirs = other.ranking
        if ours is None or theirs is None:
            return None
        return intervals.paired_db(ours, theirs, level=level)

    def anees(self, level: float = 0.95) -> Interval | None:
        """Return the average NEES per dimension: `kfjax.evaluation.anees`."""
        sums = self.statistics.nees
        steps = self.statistics.nees_steps
        if sums is None or steps is None:
            return None
        counted = sums.count > 0
        if not counted.any():
            return Interval(np.nan, np.nan, np.nan)
        return consistency.anees(
            sums.total[counted], sums.count[counted], steps[counted], level=level
        )

    def anis(self, level: float = 0.95) -> Interval | None:
        """Return the mean NIS per observed channel: `kfjax.evaluation.anis`."""
        sums = self.statistics.nis
        if sums is None:
            return None
        return consistency.anis(sums.total, sums.count, level=level)

    def rejected(self) -> float | None:
        """Return the share of the observed channels that the filter did not use.

        A noise-free channel that others determine adds no information, and counts in neither number
        unless it was impossible. None for filters that use every observation.
        """
        sums = self.statistics.rejected
        if sums is None:
            return None
        count = np.maximum(sums.count.sum(), 1)
        return float(sums.total.sum() / count)

    def coverage(self, level: float = 0.95) -> Interval | None:
        """Return the fraction of states within their central 95 % interval.

        The confidence interval is over trajectories.
        """
        sums = self.statistics.coverage
        if sums is None:
            return None
        return _interval(_per_trajectory(sums.total.sum(-1), sums.count.sum(-1)), level)

    def log_likelihood(self, level: float = 0.95) -> Interval | None:
        """Return the log-likelihood per step, the mean over trajectories; -inf if one failed."""
        means = self._means(self.statistics.log_likelihood, -np.inf)
        return None if means is None else _interval(means, level)

    def whiteness(self, level: float = 0.95) -> Whiteness | None:
        """Return the autocorrelation of the whitened innovations: `kfjax.evaluation.whiteness`.

        It is also None for trajectories of one step, which have no lags.
        """
        sums = self.statistics.innovations
        if sums is None or sums.total.shape[-1] < 2:
            return None
        return innovations.whiteness(self._or_nan(sums.total), sums.count, level=level)

    def error_over_time(self) -> Float[np.ndarray, " T"] | None:
        """Return the MSE in dB of every step [T], over trajectories and dimensions.

        It is NaN at steps where no truth is known.
        """
        return _curve_db(self.curves.squared_error)

    def prediction_over_time(self) -> Float[np.ndarray, " T"] | None:
        """Return the mean squared one-step prediction error of y in dB of every step [T]."""
        return _curve_db(self.curves.prediction)

    def nees_over_time(self, level: float = 0.95) -> Interval | None:
        """Return the ANEES of every step with its acceptance interval, all [T]."""
        return _curve_chi_square(self.curves.nees, level)

    def nis_over_time(self, level: float = 0.95) -> Interval | None:
        """Return the mean NIS per channel of every step with its acceptance interval, all [T]."""
        return _curve_chi_square(self.curves.nis, level)

    def _or_nan(self, totals: AnyArray) -> np.ndarray:
        """Return totals [N, ...] with NaN for the trajectories that failed."""
        failed = np.expand_dims(self.statistics.failed, tuple(range(1, totals.ndim)))
        return np.where(failed, np.nan, totals)

    def _means(self, sums: Sums | None, failed_as: float) -> np.ndarray | None:
        """Return total / count of the trajectories that have any count."""
        if sums is None:
            return None
        means = _per_trajectory(sums.total, sums.count)
        counted = np.asarray(sums.count) > 0
        failed = np.asarray(self.statistics.failed)[counted]
        return np.where(failed, failed_as, means)

    def __repr__(self) -> str:
        shown = [f"{self.trajectories} trajectories", f"failed={self.failed}"]
        rejected = self.rejected()
        if rejected is not None:
            shown.append(f"rejected={rejected:.4g}")
        for name, error in (("mse_db", self.mse_db()), ("log_likelihood", self.log_likelihood())):
            if error is not None:
                shown.append(f"{name}={error.value:.4g}")
        for name, ratio in (("anees", self.anees()), ("anis", self.anis())):
            if ratio is not None:
                shown.append(f"{name}={_with_flag(ratio)}")
        return f"Evaluation({', '.join(shown)})"


def _with_flag(value: Interval) -> str:
    """Return a value, with its acceptance interval if it is outside."""
    text = f"{value.value:.4g}"
    if value.is_outside:
        text += f" (not in [{value.low:.4g}, {value.high:.4g}])"
    return text


def _per_trajectory(total: AnyArray, count: AnyArray) -> np.ndarray:
    """Return total / count of the trajectories that have any count."""
    counted = np.asarray(count) > 0
    return np.asarray(total)[counted] / np.asarray(count)[counted]


def _interval(means: np.ndarray, level: float) -> Interval:
    """Return the mean over trajectories with its confidence interval; NaN if there are none."""
    if not means.size:
        return Interval(np.nan, np.nan, np.nan)
    return intervals.mean_interval(means, level=level)


def _curve_db(sums: Sums | None) -> np.ndarray | None:
    """Return the means of every step in dB."""
    return None if sums is None else np.asarray(to_db(_ratio(sums)))


def _curve_chi_square(sums: Sums | None, level: float) -> Interval | None:
    """Return the means of every step with their acceptance intervals."""
    if sums is None:
        return None
    return Interval(_ratio(sums), *consistency.chi_square_interval(sums.count, level=level))


def _ratio(sums: Sums) -> np.ndarray:
    """Return total / count, NaN where nothing was counted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums.total / sums.count)
