"""Confidence intervals over trajectories, from one value per trajectory.

Trajectories are independent and the steps of one trajectory are not, so every interval here is over
trajectories. It holds the true value with the stated probability. With one trajectory it is
(-inf, inf). `kfjax.evaluation.anees` and `anis` return intervals of another kind, *acceptance*
intervals: they hold the value itself if the filter is consistent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import ArrayLike, Float, Real
from scipy import special

from kfjax._support.arguments import check_number, real_numbers

__all__ = [
    "Interval",
    "mean_interval",
    "median_db",
    "mse_db",
    "paired_db",
    "rmse_interval",
    "to_db",
]

PerTrajectory: TypeAlias = Real[ArrayLike, " N"] | Sequence[float]
"""One number for each trajectory."""

DB = 10 / np.log(10)  # decibels per unit of relative change


class Interval(NamedTuple):
    """A value and an interval; see the function that returns it for the meaning of the interval.

    Attributes:
        value: the estimate, a number, or an array [T] for a curve over time.
        low: lower end, of the same shape.
        high: upper end, of the same shape.
    """

    value: float | Float[np.ndarray, " ..."]
    low: float | Float[np.ndarray, " ..."]
    high: float | Float[np.ndarray, " ..."]

    @property
    def is_outside(self) -> bool:
        """Whether the value lies outside the interval: False if it is inside, or NaN."""
        return bool(self.value < self.low or self.value > self.high)


def to_db(x: Real[ArrayLike, " ..."] | Sequence[float]) -> float | Float[np.ndarray, " ..."]:
    """Return 10 log10(x) in double precision; -inf for 0.

    Args:
        x: a number or an array [...], not negative.

    Returns:
        A number or an array [...], in dB.

    Raises:
        ValueError: if a number is negative.

    Example:
        >>> float(kf.evaluation.to_db(100.0))
        20.0
    """
    numbers = real_numbers("to_db: x", x)
    if (numbers < 0).any():
        raise ValueError(f"to_db: x is {numbers.min()} somewhere; expected 0 or more.")
    with np.errstate(divide="ignore"):
        return 10 * np.log10(numbers)[()]


def mean_interval(values: PerTrajectory, *, level: float = 0.95) -> Interval:
    """Return the mean over trajectories with its confidence interval.

    mean +- t s / sqrt(N), where s is the standard deviation of the values and t the quantile of
    Student's distribution with N - 1 degrees of freedom.

    Args:
        values: one for each trajectory [N].
        level: probability of the interval.

    Returns:
        `Interval(value, low, high)`; (value, nan, nan) if the mean is not finite.

    Raises:
        ValueError: if values is empty or not one-dimensional.

    Example:
        >>> [
        ...     round(float(x), 3)
        ...     for x in kf.evaluation.mean_interval([1.0, 2.0, 3.0])
        ... ]
        [2.0, -0.484, 4.484]
    """
    array = per_trajectory("mean_interval", values)
    mean = array.mean()
    if not np.isfinite(mean):
        return Interval(mean, np.nan, np.nan)
    half = _half_width(array, level)
    return Interval(mean, mean - half, mean + half)


def mse_db(mses: PerTrajectory, *, level: float = 0.95) -> Interval:
    """Return the MSE in dB, 10 log10 of the mean over trajectories, with its confidence interval.

    The interval is that of the mean, carried to decibels by the delta method:
    +- (10 / ln 10) t s / (sqrt(N) mean).

    Args:
        mses: MSE of every trajectory (over steps and state dimensions) [N], as returned by `mse`;
            inf for a trajectory that failed.
        level: probability of the interval.

    Returns:
        `Interval` in dB; (inf, nan, nan) if a trajectory failed.

    Raises:
        ValueError: if mses is empty or not one-dimensional.

    Example:
        >>> [round(float(x), 2) for x in kf.evaluation.mse_db([0.9, 1.0, 1.1])]
        [0.0, -1.08, 1.08]
    """
    array = per_trajectory("mse_db", mses)
    mean = array.mean()
    value = to_db(mean)
    if mean == 0:
        return Interval(value, -np.inf, -np.inf)
    if not np.isfinite(mean):
        return Interval(value, np.nan, np.nan)
    # The delta method: d (10 log10 m) = DB dm / m.
    half = DB * _half_width(array / mean, level)
    return Interval(value, value - half, value + half)


def rmse_interval(mses: PerTrajectory, *, level: float = 0.95) -> Interval:
    """Return the root of the mean MSE over trajectories, with its confidence interval.

    The interval is that of the mean, carried to its root by the delta method:
    +- t s / (2 sqrt(N) root).

    Args:
        mses: MSE of every trajectory [N].
        level: probability of the interval.

    Returns:
        `Interval` in units of the state; (inf, nan, nan) if a trajectory failed.

    Raises:
        ValueError: if mses is empty or not one-dimensional.

    Example:
        >>> [
        ...     round(float(x), 2)
        ...     for x in kf.evaluation.rmse_interval([3.0, 4.0, 5.0])
        ... ]
        [2.0, 1.38, 2.62]
    """
    array = per_trajectory("rmse_interval", mses)
    root = np.sqrt(array.mean())
    if root == 0:
        return Interval(root, 0.0, 0.0)
    if not np.isfinite(root):
        return Interval(root, np.nan, np.nan)
    # d m^1/2 = dm / (2 m^1/2).
    half = _half_width(array, level) / (2 * root)
    return Interval(root, root - half, root + half)


def median_db(mses: PerTrajectory) -> float:
    """Return the median over trajectories of the MSE, in dB.

    Trajectories that failed (inf) count as the worst.

    Args:
        mses: MSE of every trajectory [N].

    Returns:
        The median in dB.

    Raises:
        ValueError: if mses is empty or not one-dimensional.

    Example:
        >>> kf.evaluation.median_db([1.0, 10.0, np.inf])
        10.0
    """
    median = np.median(per_trajectory("median_db", mses))
    return float(to_db(median))


def paired_db(mses: PerTrajectory, reference: PerTrajectory, *, level: float = 0.95) -> Interval:
    """Return by how many dB a filter is worse than another on the same trajectories.

    10 log10(mean(a) / mean(b)), with the confidence interval of the delta method, which takes the
    covariance of the pairs into account:

        +- (10 / ln 10) t s / sqrt(N),   s^2 = variance of a_i / mean(a) - b_i / mean(b).

    Args:
        mses: MSE a_i of every trajectory [N].
        reference: MSE b_i of the other filter on the same trajectories [N].
        level: probability of the interval.

    Returns:
        `Interval` in dB; above 0 if worse than the reference, (nan, nan, nan) if a trajectory of
        either failed.

    Raises:
        ValueError: if the numbers of trajectories differ, or are 0.

    Example:
        >>> [
        ...     round(float(x), 2)
        ...     for x in kf.evaluation.paired_db([1.0, 2.0, 4.0], [0.5, 1.0, 2.0])
        ... ]
        [3.01, 3.01, 3.01]
    """
    a = per_trajectory("paired_db", mses)
    b = per_trajectory("paired_db", reference)
    if a.shape != b.shape:
        raise ValueError(
            f"paired_db: got {a.size} and {b.size} trajectories; expected the same trajectories for"
            " both filters, in the same order."
        )
    finite = np.isfinite(a).all() and np.isfinite(b).all()
    if not (finite and a.mean() > 0 and b.mean() > 0):
        return Interval(np.nan, np.nan, np.nan)
    value = to_db(a.mean() / b.mean())
    # The delta method for log(a / b), in terms of each trajectory: what makes a trajectory hard for
    # both filters cancels.
    relative = a / a.mean() - b / b.mean()
    half = DB * _half_width(relative, level)
    return Interval(value, value - half, value + half)


def check_level(level: float) -> None:
    """Raise unless `level` is a probability between 0 and 1."""
    check_number("level", level, above=0, below=1)


def per_trajectory(who: str, values: PerTrajectory) -> np.ndarray:
    """Return the values [N] in double precision; raise unless they are one-dimensional."""
    array = real_numbers(who, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{who}: got shape {array.shape}; expected [N], one value per trajectory, at least one."
        )
    return array


def _half_width(values: np.ndarray, level: float) -> float:
    """Return half the width of Student's interval for the mean; infinite for one value."""
    check_level(level)
    if values.size == 1:
        return np.inf
    quantile = special.stdtrit(values.size - 1, (1 + level) / 2)
    return quantile * values.std(ddof=1) / np.sqrt(values.size)
