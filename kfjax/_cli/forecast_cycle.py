"""A cycle for `kfjax forecast --model auto`: whether residuals have one, and of what period."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kfjax.data import Dataset
from kfjax.evaluation import residual_checks
from kfjax.filters import exact_diffuse
from kfjax.structural.sums import Structural

__all__: list[str] = []

CORRELATED = 0.01  # p-value of the Ljung-Box test below which something is missing
SHORTEST = 3.0  # steps of a cycle
LEAST = 4  # cycles in a series
CLEAR = 4.0  # times the mean of the periodogram
APART = 1.5  # cycles in a series: the peak of a period between two frequencies is at either
WEIGHTS = (0.25, 0.5, 0.25)  # of neighbouring frequencies


def missing_cycle(
    model: Structural, data: Dataset, skip: int, seasonal: Sequence[float]
) -> float | None:
    """Return the period in steps of a cycle that a fitted sum leaves out, or None without one.

    Args:
        model: the fitted sum.
        data: one series of one channel.
        skip: number of leading steps that do not count.
        seasonal: periods of the waves of a season that is a candidate already.
    """
    checks = residual_checks(exact_diffuse(), model, data, skip=skip)
    if checks.channels[0].ljung_box_p >= CORRELATED:
        return None
    residuals = checks.residuals[0, skip:, 0]
    period = peak_of(residuals)
    if period is None or is_one_of(period, seasonal, residuals.size):
        return None
    return period


def is_one_of(period: float, periods: Sequence[float], steps: int) -> bool:
    """Return whether so many steps do not tell a period from one of the others."""
    return any(abs(steps / period - steps / other) <= APART for other in periods)


def peak_of(residuals: np.ndarray) -> float | None:
    """Return the period in steps at which the periodogram of residuals [T] has a clear peak."""
    steps = residuals.size
    centred = np.nan_to_num(residuals - np.nanmean(residuals))
    power = np.abs(np.fft.rfft(centred)) ** 2
    smooth = np.convolve(power, WEIGHTS, "same")
    cycles = np.arange(power.size)  # in the whole series
    possible = (cycles >= LEAST) & (cycles * SHORTEST <= steps)
    if not possible.any():
        return None
    at = int(np.argmax(np.where(possible, smooth, 0.0)))
    longer = smooth[at - 1]
    if smooth[at] < max(longer, CLEAR * power[1:].mean()):
        return None
    return steps / at
