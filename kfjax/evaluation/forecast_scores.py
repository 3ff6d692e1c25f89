"""Scores of forecasts, and the naive forecasts that they are compared with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Real
from scipy import special

from kfjax._support.arguments import real_numbers
from kfjax._support.values import check_finite
from kfjax.evaluation.intervals import Interval, check_level

__all__ = ["gaussian_crps"]


class Gaussians(NamedTuple):
    """Forecasts as normal distributions.

    Attributes:
        mean: [origins, H].
        std: [origins, H].
    """

    mean: np.ndarray
    std: np.ndarray


def gaussian_crps(
    mean: Real[ArrayLike, " *shape"], std: Real[ArrayLike, " *shape"], y: Real[ArrayLike, " *shape"]
) -> Float[np.ndarray, " *shape"]:
    """Return the continuous ranked probability score of a normal distribution.

    CRPS = integral (F(x) - [x >= y])^2 dx = std (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)),
    z = (y - mean) / std; lower is better. For a point forecast (std = 0) it is the absolute error.

    Args:
        mean: means, of any shape.
        std: standard deviations, of the same shape or one that broadcasts.
        y: what was observed.

    Returns:
        The scores, in the unit of y.

    Raises:
        ValueError: if a standard deviation is negative, a number is not finite, or the shapes do
            not broadcast.

    Example:
        >>> round(float(kf.evaluation.gaussian_crps(0.0, 1.0, 0.0)), 4)
        0.2337

    References:
        T. Gneiting, A. E. Raftery, J. Am. Stat. Assoc. 102 (2007), eq. 21.
    """
    given = {"mean": mean, "std": std, "y": y}
    arrays = {name: real_numbers(f"gaussian_crps: {name}", a) for name, a in given.items()}
    for name, array in arrays.items():
        check_finite(f"gaussian_crps: {name}", array, remedy=" Leave out what is missing.")
    _check_broadcast({name: array.shape for name, array in arrays.items()})
    if (arrays["std"] < 0).any():
        least = arrays["std"].min()
        raise ValueError(f"gaussian_crps: std is {least} somewhere; expected 0 or more.")
    return crps_of(**arrays)


def _check_broadcast(shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise unless shapes broadcast."""
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError as error:
        raise ValueError(
            f"gaussian_crps: got shapes {shapes}; expected equal ones, or shapes that broadcast."
        ) from error


def crps_of(mean: np.ndarray, std: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return `gaussian_crps` without its checks, NaN where something is not known."""
    error = y - mean
    scale = np.asarray(std)
    z = error / np.where(scale > 0, scale, 1)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    # the probability within |z|, with the sign of z
    within = 2 * special.ndtr(z) - 1
    score = z * within + 2 * density - 1 / np.sqrt(np.pi)
    return np.where(scale == 0, np.abs(error), scale * score)


def naive_forecasts(ys: np.ndarray, origins: np.ndarray, horizon: int, period: int) -> Gaussians:
    """Forecast each step as the last value observed a whole number of periods before it.

    The variance is the mean square of past changes over one period, times the number of periods.

    Args:
        ys: the series [T], NaN where missing.
        origins: how many values are known [O].
        horizon: H.
        period: steps of a period; 1 for the last value.

    Returns:
        `Gaussians` [O, H], NaN where no such value is known.
    """
    mean = np.full((origins.size, horizon), np.nan)
    std = np.full((origins.size, horizon), np.nan)
    for row, origin in enumerate(origins):
        past = ys[:origin]
        changes = past[period:] - past[:-period]
        size = np.sqrt(mean_of(changes**2))
        for ahead in range(horizon):
            step = origin + ahead
            last = _last_known(past, step, period)
            if last is None:
                continue
            periods = (step - last) / period
            mean[row, ahead] = past[last]
            std[row, ahead] = size * np.sqrt(periods)
    return Gaussians(mean, std)


def _last_known(past: np.ndarray, step: int, period: int) -> int | None:
    """Return the last step with a value that is whole periods before a step, or None."""
    at = np.arange(step, -1, -period)
    at = at[at < past.size]
    known = at[~np.isnan(past[at])]
    return int(known[0]) if known.size else None


def naive_scales(ys: np.ndarray, origins: np.ndarray, period: int) -> np.ndarray:
    """Return the mean absolute change over a period before each origin [O], NaN for none."""
    changes = np.abs(ys[period:] - ys[:-period])
    # a change is known from the end of its period on
    counts = origins - period
    return np.array([mean_of(changes[:count]) for count in counts])


def mean_of(values: np.ndarray) -> float:
    """Return the mean of the values that are known, NaN for none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan


def mean_of_overlapping(values: np.ndarray, overlap: int, level: float = 0.95) -> Interval:
    """Return the mean over origins with its confidence interval.

    Forecasts from neighbouring origins share future steps, so that their scores are correlated. The
    variance of the mean counts the autocovariances g_k of these lags, as in the test of Diebold and
    Mariano with the correction of Harvey, Leybourne and Newbold (1997) for short series:

    var = (g_0 + 2 sum_{k < overlap} g_k) / N * N^2 / (N^2 + N - 2 N overlap + overlap^2 - overlap).

    Where it is not positive, g_k is weighted with 1 - k / overlap.

    Args:
        values: one score for each origin [N].
        overlap: how many neighbouring origins share steps, at least 1.
        level: probability of the interval.

    Returns:
        `Interval`, infinite for fewer than three times as many origins as overlap.
    """
    check_level(level)
    count = values.size
    mean = float(values.mean()) if count else np.nan
    if not np.isfinite(mean):
        return Interval(mean, np.nan, np.nan)
    if count < max(3 * overlap, 3):
        return Interval(mean, -np.inf, np.inf)
    about = values - mean
    doubled = np.empty(overlap)
    for lag in range(overlap):
        product = float(about[lag:] @ about[: count - lag])
        doubled[lag] = 2 * product / count
    doubled[0] /= 2
    variance = doubled.sum()
    if variance <= 0:
        weights = 1 - np.arange(overlap) / overlap
        variance = doubled @ weights
    within = overlap * (overlap - 1) / count
    correction = (count + 1 - 2 * overlap + within) / count
    variance_of_mean = variance / count / correction
    upper = (1 + level) / 2
    quantile = special.stdtrit(count - 1, upper)
    half = quantile * np.sqrt(variance_of_mean)
    return Interval(mean, mean - half, mean + half)
