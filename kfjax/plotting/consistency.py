"""Consistency: normalised errors over time against chi-square intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Int, Real
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from kfjax._support.arguments import check_count, check_mapping, check_number, real_numbers
from kfjax._support.naming import described
from kfjax._support.types import Nested
from kfjax.evaluation.consistency import chi_square_interval
from kfjax.evaluation.errors import Difference
from kfjax.evaluation.intervals import Interval
from kfjax.evaluation.metrics import nees_and_coverage
from kfjax.plotting.checks import check_texts, curves_by_name
from kfjax.plotting.errors import median
from kfjax.plotting.limits import mark_beyond
from kfjax.plotting.style import (
    BAND,
    colours_of,
    curve_axes,
    draw_curve,
    ink,
    style,
    widths,
)
from kfjax.plotting.times import Times, clock_of

__all__ = ["plot_consistency", "plot_nees", "plot_nis"]

DECADE = 8.0  # ratio of the limits below which numbers beside all ticks have room


def plot_consistency(
    curves: Mapping[str, Interval],
    *,
    first: int = 1,
    times: Times | None = None,
    ylabel: str = "ANEES",
    level: float = 0.95,
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw normalised errors over time, one line per filter.

    They are drawn against the interval in which those of a consistent filter lie.

    Args:
        curves: value, low and high of every step, each [T], by name, as from
            `Evaluation.nees_over_time`.
        first: number of the first step.
        times: times of the steps [T], numbers, numpy dates or time differences; default their
            numbers.
        ylabel: label of the y axis.
        level: probability of the intervals, for the legend.
        colours: colours by name; default a fixed sequence.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes; the scale is logarithmic and shows at most 0.05 to 100, with triangles at the edge
        where curves continue beyond it. Where a value is infinite, since a filter broke down, there
        is a cross at the top, and the legend says so.

    Raises:
        ValueError: if curves differ in length, or one has no colour.

    Example:
        >>> from kfjax.plotting import plot_consistency
        >>> model, key = kf.systems.constant_velocity(), jax.random.key(0)
        >>> result = kf.monte_carlo(
        ...     key, model, kf.kalman(), model, trials=20, steps=10
        ... )
        >>> ax = plot_consistency({"KF": result.nees_over_time()})
        >>> ax.get_legend_handles_labels()[1]
        ['95 % if consistent', 'KF']
    """
    check_number("plot_consistency: level", level, above=0, below=1)
    check_texts("plot_consistency", ylabel=ylabel)
    ratios = _intervals("plot_consistency: curves", curves)
    ax = curve_axes(ax)
    colours = colours_of(ratios, colours)
    check_count("plot_consistency: first", first, least=0)
    size = max((np.size(curve.value) for curve in ratios.values()), default=0)
    clock = clock_of("plot_consistency", size, times, first=first)
    if ratios:
        # the intervals differ only where a filter fails, and that of the failed one means nothing
        usual = min(ratios.values(), key=lambda curve: median(curve.high))
        band = f"{100 * level:g} % if consistent"
        ax.fill_between(
            clock.values, usual.low, usual.high, color=BAND, alpha=0.3, lw=0, label=band
        )
    ax.axhline(1, color=ink(ax), lw=0.8)
    for (name, curve), width in zip(ratios.items(), widths(len(ratios)), strict=True):
        draw_curve(ax, clock.values, curve.value, color=colours[name], lw=width, label=name)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    low, high = max(min(low, 0.5), 0.05), min(max(high, 2.0), 1e2)
    ax.set_ylim(low, high)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}" if high < DECADE * low else NullFormatter())
    for name, curve in ratios.items():
        mark_beyond(ax, clock.values, np.asarray(curve.value), colours[name])
    style(ax, ylabel=ylabel)
    clock.prepare(ax)
    return ax


def plot_nees(
    truth: Real[ArrayLike, "*N T n"],
    mean: Real[ArrayLike, "*N T n"],
    cov: Real[ArrayLike, "*N T d d"],
    *,
    length: Int[ArrayLike, "*N"] | None = None,
    difference: Difference | None = None,
    times: Times | None = None,
    level: float = 0.95,
    label: str = "filter",
    ax: Axes | None = None,
) -> Axes:
    """Draw the normalised estimation error squared per dimension.

    It is that of one trajectory, or the mean over many.

    Args:
        truth: true states [T, n] or [N, T, n], NaN where not known.
        mean: estimates of the same shape.
        cov: their covariances [..., T, n, n]; on a curved space, of its tangent space.
        length: number of steps that count, or [N], or None.
        difference: `(x, m) -> [d]` for states on curved spaces, as
            `model.state_space.difference`; None for x - m.
        times: times of the steps [T], numbers, numpy dates or time differences; default 1..T.
        level: probability with which a consistent filter's value of one step lies within the band.
        label: name of the filter.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> from kfjax.plotting import plot_nees
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> estimate = kf.run(kf.kalman(), model, ys).outputs
        >>> plot_nees(xs, estimate.mean, estimate.cov).get_ylabel()
        'NEES per dimension'
    """
    check_texts("plot_nees", label=label)
    sums, _ = nees_and_coverage(
        "plot_nees", truth, mean, cov, probability=0.95, length=length, difference=difference
    )
    curve = _pooled(sums.total, sums.count, level)
    how: dict[str, Any] = {"ylabel": "NEES per dimension", "level": level, "times": times}
    return plot_consistency({label: curve}, **how, ax=ax)


def plot_nis(
    nis: Real[ArrayLike, "*N T"] | Nested,
    dof: Int[ArrayLike, "*N T"] | Nested,
    *,
    times: Times | None = None,
    level: float = 0.95,
    label: str = "filter",
    ax: Axes | None = None,
) -> Axes:
    """Draw the normalised innovation squared per observed channel.

    It is that of one trajectory, or the mean over many, and needs no true states.

    Args:
        nis: [T] or [N, T], as in `Info.nis`. NaN, from a filter that broke down, counts as infinite
            and is drawn as a cross at the top.
        dof: number of observed channels, of the same shape, as in `Info.dof`. Steps without any are
            left out.
        times: times of the steps [T], numbers, numpy dates or time differences; default 1..T.
        level: probability with which a consistent filter's value of one step lies within the band.
        label: name of the filter.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes differ or there is no time axis.

    Example:
        >>> from kfjax.plotting import plot_nis
        >>> ax = plot_nis(np.array([1.5, 0.0, 3.0]), np.array([2, 0, 2]))
        >>> ax.lines[1].get_ydata().tolist()
        [0.75, nan, 1.5]
    """
    check_texts("plot_nis", label=label)
    total = real_numbers("plot_nis: nis", nis)
    count = real_numbers("plot_nis: dof", dof)
    if total.shape != count.shape or total.ndim < 1 or total.size == 0:
        raise ValueError(
            f"plot_nis: nis has shape {np.shape(nis)} and dof {np.shape(dof)}; expected [T] or [N,"
            " T] for both. Keep them with kf.run(..., emit=kf.estimate_and_info)."
        )
    broken = np.isnan(total) & (count > 0)
    curve = _pooled(np.where(broken, np.inf, total), count, level)
    how: dict[str, Any] = {"ylabel": "NIS per channel", "level": level, "times": times}
    return plot_consistency({label: curve}, **how, ax=ax)


def _intervals(name: str, curves: Mapping[str, Interval]) -> dict[str, Interval]:
    """Return intervals of arrays [T] by name, all of one length."""
    check_mapping(name, curves, "intervals by name, as from Evaluation.nees_over_time")
    for key, curve in curves.items():
        if not isinstance(curve, Interval):
            raise ValueError(
                f"{name}[{key!r}] is {described(curve)}; expected a kfjax.evaluation.Interval, as"
                " from Evaluation.nees_over_time. Draw other curves with plot_errors."
            )
    value, low, high = (
        curves_by_name(name, {key: curve[i] for key, curve in curves.items()}) for i in range(3)
    )
    return {key: Interval(value[key], low[key], high[key]) for key in curves}


def _pooled(total: ArrayLike | Nested, count: ArrayLike | Nested, level: float) -> Interval:
    """Return the ratio of every step over all trajectories, with its acceptance interval.

    It is NaN at steps where nothing counts.
    """
    numerator = _over_trajectories(total)
    counted = _over_trajectories(count)
    dof = np.where(counted > 0, counted, np.nan)
    return Interval(numerator / dof, *chi_square_interval(dof, level=level))


def _over_trajectories(values: ArrayLike | Nested) -> np.ndarray:
    """Return the sums of every step over all trajectories, [T]."""
    array = np.asarray(values, np.float64)
    return array.reshape(-1, array.shape[-1]).sum(0)
