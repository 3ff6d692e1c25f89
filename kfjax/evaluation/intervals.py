"""Numbers with intervals, from one value per trajectory.

Trajectories are independent, steps of one trajectory are not: so every confidence interval here is
over trajectories. Two kinds of interval share one type. *Confidence* intervals hold the true value
with the stated probability (`mse_db`, `paired_db`, `mean_interval`). *Acceptance* intervals hold
the value itself if the filter is consistent (`anees`, `anis`). With one trajectory a confidence
interval is (-inf, inf).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import special

__all__ = [
    "Interval",
    "Whiteness",
    "anees",
    "anis",
    "chi_square_interval",
    "mean_interval",
    "median_db",
    "mse_db",
    "paired_db",
    "rmse_interval",
    "to_db",
    "whiteness",
]

DB = 10 / np.log(10)  # decibels per unit of relative change


class Interval(NamedTuple):
    """A value and an interval; see the function that made it for what the interval means.

    Attributes:
        value: the estimate.
        low: lower end.
        high: upper end.
    """

    value: Any
    low: Any
    high: Any


class Whiteness(NamedTuple):
    """Autocorrelation of whitened innovations, and a test that there is none.

    Attributes:
        autocorrelation: r_k for k = 1..K, [K].
        bound: [K]; |r_k| stays below it with the stated probability if the innovations are white.
        statistic: sum_k c_k r_k^2 (Ljung-Box), c_k the number of pairs at lag k; chi-square with K
            degrees of freedom.
        p_value: probability of a larger statistic if the innovations are white.
    """

    autocorrelation: np.ndarray
    bound: np.ndarray
    statistic: float
    p_value: float


def to_db(x: Any) -> Any:
    """Return 10 log10(x); -inf for 0."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(np.asarray(x, np.float64))[()]


def mean_interval(values: Any, *, level: float = 0.95) -> Interval:
    """Mean over trajectories with its confidence interval, mean +- t s / sqrt(N) (Student, N - 1 degrees of freedom).

    Args:
        values: one per trajectory [N].
        level: probability of the interval.

    Returns:
        `Interval(value, low, high)`.

    Raises:
        ValueError: if values is empty or not one-dimensional.

    Example:
        >>> [round(float(x), 3) for x in kf.evaluation.mean_interval([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484]
    """
    values = _per_trajectory("mean_interval", values)
    half = _half_width(values, level)
    return Interval(values.mean(), values.mean() - half, values.mean() + half)


def mse_db(mses: Any, *, level: float = 0.95) -> Interval:
    """MSE in dB, 10 log10 of the mean over trajectories, with its confidence interval.

    The interval is that of the mean, carried to decibels by the delta method: +- (10 / ln 10) t s /
    (sqrt(N) mean).

    Args:
        mses: MSE of every trajectory (over steps and state dimensions) [N], as from `mse`; inf for
            one that failed.
        level: probability of the interval.

    Returns:
        `Interval` in dB; (inf, nan, nan) if a trajectory failed.

    Raises:
        ValueError: if mses is empty or not one-dimensional.

    Example:
        >>> [round(float(x), 2) for x in kf.evaluation.mse_db([0.9, 1.0, 1.1])]
        [0.0, -1.08, 1.08]
    """
    mses = _per_trajectory("mse_db", mses)
    mean = mses.mean()
    if not np.isfinite(mean) or mean == 0:
        return Interval(to_db(mean), *(2 * [np.nan if mean else -np.inf]))
    half = DB * _half_width(mses / mean, level)
    return Interval(to_db(mean), to_db(mean) - half, to_db(mean) + half)


def rmse_interval(mses: Any, *, level: float = 0.95) -> Interval:
    """Root of the mean over trajectories of the MSE, with its confidence interval by the delta method.

    Args:
        mses: MSE of every trajectory [N].
        level: probability of the interval.

    Returns:
        `Interval` in units of the state; (inf, nan, nan) if a trajectory failed.

    Raises:
        ValueError: if mses is empty or not one-dimensional.
    """
    mses = _per_trajectory("rmse_interval", mses)
    root = np.sqrt(mses.mean())
    if not np.isfinite(root) or root == 0:
        return Interval(root, *(2 * [np.nan if root else 0.0]))
    half = _half_width(mses, level) / (2 * root)
    return Interval(root, root - half, root + half)


def median_db(mses: Any) -> float:
    """Median over trajectories of the MSE, in dB; failed trajectories (inf) count as the worst.

    Args:
        mses: MSE of every trajectory [N].

    Raises:
        ValueError: if mses is empty or not one-dimensional.
    """
    return float(to_db(np.median(_per_trajectory("median_db", mses))))


def paired_db(mses: Any, reference: Any, *, level: float = 0.95) -> Interval:
    """How much worse (in dB) one filter is than another on the same trajectories, with its confidence interval.

    10 log10(mean(a) / mean(b)), and by the delta method, with the covariance of the pairs,

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
        >>> [round(float(x), 2) for x in kf.evaluation.paired_db([1.0, 2.0, 4.0], [0.5, 1.0, 2.0])]
        [3.01, 3.01, 3.01]
    """
    a, b = _per_trajectory("paired_db", mses), _per_trajectory("paired_db", reference)
    if a.shape != b.shape:
        raise ValueError(
            f"paired_db: got {a.size} and {b.size} trajectories; expected the same ones for both"
            " filters."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all() and a.mean() > 0 and b.mean() > 0):
        return Interval(np.nan, np.nan, np.nan)
    value = to_db(a.mean() / b.mean())
    half = DB * _half_width(a / a.mean() - b / b.mean(), level)
    return Interval(value, value - half, value + half)


def chi_square_interval(dof: Any, *, level: float = 0.95) -> tuple[Any, Any]:
    """Return (low, high) between which a chi-square variable *divided by its degrees of freedom* lies.

    Args:
        dof: degrees of freedom [...], above 0 (NaN where not).
        level: probability of the interval.

    Example:
        >>> [round(float(x), 3) for x in kf.evaluation.chi_square_interval(100)]
        [0.742, 1.296]
    """
    check_level(level)
    dof = np.asarray(dof, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (
            2 * special.gammaincinv(dof / 2, p) / dof for p in ((1 - level) / 2, (1 + level) / 2)
        )
    return low, high


def anis(totals: Any, dofs: Any, *, level: float = 0.95) -> Interval:
    """Mean normalised innovation squared per degree of freedom, with its chi-square acceptance interval.

    The innovations of a consistent filter are independent in time, so that all observed channels
    count.

    Args:
        totals: sum over time of NIS [N].
        dofs: number of observed channels [N].
        level: probability with which a consistent filter's value lies in the interval.

    Returns:
        `Interval`; the value should be near 1 and within (low, high).

    References:
        Bar-Shalom, Li, Kirubarajan (2001), eq. (5.4.2-5).
    """
    total, dof = (np.sum(np.asarray(x, np.float64)) for x in (totals, dofs))
    return Interval(total / dof if dof else np.nan, *chi_square_interval(dof, level=level))


def anees(totals: Any, dofs: Any, steps: Any, *, level: float = 0.95) -> Interval:
    """Average NEES divided by n (by rank, for singular P), with its chi-square acceptance interval.

    Errors of one trajectory are correlated in time, so that its T n squares are worth fewer degrees
    of freedom. The interval uses the effective number, that for which chi-square has the spread
    seen between the trajectories, 2 mean^2 N / s^2 (Satterthwaite), kept between what full
    correlation (N n) and independence (N T n) would give; with one trajectory, N n.

    Args:
        totals: sum over time of NEES [N].
        dofs: sum over time of its degrees of freedom [N].
        steps: how many steps were summed [N].
        level: probability with which a consistent filter's value lies in the interval.

    Returns:
        `Interval`; the value should be near 1 and within (low, high), above for an overconfident
        filter.

    Raises:
        ValueError: if the arrays are empty or not one-dimensional.

    References:
        Bar-Shalom, Li, Kirubarajan (2001), section 5.4.2.
    """
    totals, dofs, steps = (_per_trajectory("anees", x) for x in (totals, dofs, steps))
    value = totals.sum() / dofs.sum() if dofs.sum() else np.nan
    least, most = np.sum(dofs / steps), dofs.sum()
    if totals.size == 1 or not np.isfinite(value) or value == 0:
        return Interval(value, *chi_square_interval(least, level=level))
    # the relative variance of a ratio of sums
    spread = np.var((totals / value - dofs) / dofs.mean(), ddof=1) / totals.size
    effective = np.clip(2 / spread if spread > 0 else most, least, most)
    return Interval(value, *chi_square_interval(effective, level=level))


def whiteness(products: Any, counts: Any, *, level: float = 0.95) -> Whiteness:
    """Normalised autocorrelation of whitened innovations, r_k = (p_k / c_k) / (p_0 / c_0), and its test.

    Args:
        products: sums of products at lags 0..K, [K + 1] or [N, K + 1], as from
            `innovation_products`.
        counts: numbers of pairs, of the same shape.
        level: probability of the bound.

    Returns:
        `Whiteness`; NaN at lags without pairs, which the statistic leaves out.

    References:
        G. M. Ljung, G. E. P. Box, On a measure of lack of fit in time series models, Biometrika 65
        (1978).
    """
    check_level(level)
    p, c = (
        np.asarray(x, np.float64).reshape(-1, np.shape(x)[-1]).sum(0) for x in (products, counts)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (p[1:] / c[1:]) / (p[0] / c[0])
        bound = special.ndtri((1 + level) / 2) / np.sqrt(c[1:])
    pairs = c[1:] > 0
    statistic = np.sum(c[1:][pairs] * r[pairs] ** 2)
    return Whiteness(
        r,
        np.where(pairs, bound, np.nan),
        float(statistic),
        float(special.chdtrc(pairs.sum(), statistic)),
    )


def check_level(level: float) -> None:
    """Refuse what is no probability."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a probability between 0 and 1, such as 0.95.")


def _per_trajectory(who: str, values: Any) -> np.ndarray:
    """Return [N] in double precision, or raise."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{who}: got shape {array.shape}; expected [N], one value per trajectory, at least one."
        )
    return array


def _half_width(values: np.ndarray, level: float) -> float:
    """Half of Student's interval for the mean; infinite for one value."""
    check_level(level)
    if values.size == 1:
        return np.inf
    return (
        special.stdtrit(values.size - 1, (1 + level) / 2)
        * values.std(ddof=1)
        / np.sqrt(values.size)
    )
