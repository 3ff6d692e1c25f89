"""Normalised errors against chi-square: tests of consistency.

A filter is consistent if its errors have the covariances that it reports. The intervals here are
*acceptance* intervals: for a consistent filter, they hold the value itself with the stated
probability.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Float, Real
from scipy import special

from kfjax._support.arguments import real_numbers
from kfjax.evaluation.intervals import Interval, PerTrajectory, check_level, per_trajectory

__all__ = ["anees", "anis", "chi_square_interval"]


def chi_square_interval(
    dof: Real[ArrayLike, " ..."] | Sequence[float], *, level: float = 0.95
) -> tuple[float | Float[np.ndarray, " ..."], float | Float[np.ndarray, " ..."]]:
    """Return the central interval of a chi-square variable *divided by its degrees of freedom*.

    Args:
        dof: degrees of freedom [...], above 0; NaN where there are none.
        level: probability of the interval.

    Returns:
        The ends (low, high), each [...]; NaN where `dof` is.

    Raises:
        ValueError: if level is not between 0 and 1, or dof is negative.

    Example:
        >>> [round(float(x), 3) for x in kf.evaluation.chi_square_interval(100)]
        [0.742, 1.296]
    """
    check_level(level)
    dof = real_numbers("chi_square_interval: dof", dof)
    if (dof < 0).any():
        raise ValueError(
            f"chi_square_interval: dof is {dof.min()} somewhere; expected degrees of freedom above"
            " 0, or NaN where there are none."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        low = 2 * special.gammaincinv(dof / 2, (1 - level) / 2) / dof
        high = 2 * special.gammaincinv(dof / 2, (1 + level) / 2) / dof
    return low, high


def anis(totals: PerTrajectory, dofs: PerTrajectory, *, level: float = 0.95) -> Interval:
    """Return the mean normalised innovation squared per degree of freedom.

    Its interval is the chi-square acceptance interval. The innovations of a consistent filter are
    independent in time, so every observed channel counts as a degree of freedom.

    Args:
        totals: sum over time of NIS, for each trajectory [N]; NaN, from a filter that broke down,
            counts as infinite.
        dofs: number of observed channels, over time [N].
        level: probability with which a consistent filter's value lies in the interval.

    Returns:
        `Interval`; the value should be near 1 and within (low, high). NaN if nothing was observed.

    Raises:
        ValueError: if level is not between 0 and 1, an array is empty or not one-dimensional, their
            shapes differ, or a number of channels is negative.

    Example:
        >>> [
        ...     round(float(x), 2)
        ...     for x in kf.evaluation.anis([96.0, 108.0], [100, 100])
        ... ]
        [1.02, 0.81, 1.21]

    References:
        Bar-Shalom, Li, Kirubarajan (2001), eq. (5.4.2-5).
    """
    total, dof = _alike("anis", {"totals": totals, "dofs": dofs})
    value = total.sum() / dof.sum() if dof.sum() else np.nan
    return Interval(value, *chi_square_interval(dof.sum(), level=level))


def anees(
    totals: PerTrajectory, dofs: PerTrajectory, steps: PerTrajectory, *, level: float = 0.95
) -> Interval:
    """Return the average NEES divided by n (by rank, for singular P).

    Its interval is a chi-square acceptance interval. The errors of one trajectory are correlated in
    time, so its T n squares have fewer degrees of freedom. The interval uses the effective number,
    for which chi-square has the spread seen between trajectories: 2 mean^2 N / s^2 (Satterthwaite),
    limited by full correlation (N n) and independence (N T n); with one trajectory, N n.

    Args:
        totals: sum over time of NEES, for each trajectory [N]; NaN, from a filter that broke down,
            counts as infinite.
        dofs: sum over time of its degrees of freedom [N].
        steps: number of steps that were summed [N], above 0 where there are degrees of freedom.
        level: probability with which a consistent filter's value lies in the interval.

    Returns:
        `Interval`; the value should be near 1 and within (low, high), above for an overconfident
        filter.

    Raises:
        ValueError: if level is not between 0 and 1, an array is empty or not one-dimensional, their
            shapes differ, or a count is negative, or zero where it may not be.

    Example:
        >>> value, low, high = kf.evaluation.anees([18.0, 24.0], [20, 20], [10, 10])
        >>> round(float(value), 2), bool(low < value < high)
        (1.05, True)

    References:
        Bar-Shalom, Li, Kirubarajan (2001), section 5.4.2.
    """
    total, dof, count = _alike("anees", {"totals": totals, "dofs": dofs, "steps": steps})
    if (count[dof > 0] == 0).any():
        raise ValueError(
            "anees: steps is 0 where dofs is not; expected the steps that were summed."
        )
    value = total.sum() / dof.sum() if dof.sum() else np.nan
    least = np.sum(dof / np.maximum(count, 1))
    most = dof.sum()
    if total.size == 1 or not np.isfinite(value) or value == 0:
        return Interval(value, *chi_square_interval(least, level=level))
    # The value is a ratio of sums, R = sum_i t_i / sum_i d_i. To first order its relative variance
    # is var(t_i / R - d_i) / (N mean(d)^2). Chi-square with v degrees of freedom, divided by v, has
    # the variance 2 / v: so the effective number is v = 2 / spread.
    spread = np.var((total / value - dof) / dof.mean(), ddof=1) / total.size
    effective = 2 / spread if spread > 0 else most
    return Interval(value, *chi_square_interval(np.clip(effective, least, most), level=level))


def _alike(who: str, arrays: dict[str, PerTrajectory]) -> list[np.ndarray]:
    """Return the arrays [N]; raise unless they have one shape and counts are not negative.

    A total that is not a number is infinite: the filter broke.
    """
    values = [per_trajectory(f"{who}: {name}", array) for name, array in arrays.items()]
    shapes = {name: value.shape for name, value in zip(arrays, values, strict=True)}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"{who}: got shapes {shapes}; expected [N] for all, for the same trajectories."
        )
    for name, value in list(zip(arrays, values, strict=True))[1:]:
        if not (np.isfinite(value) & (value >= 0)).all():
            raise ValueError(f"{who}: {name} is {value.min()} somewhere; expected 0 or more.")
    total, dof = values[:2]
    broken = np.where(dof > 0, np.inf, 0)
    return [np.where(np.isnan(total), broken, total), *values[1:]]
