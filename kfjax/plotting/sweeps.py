"""Errors against the level of noise, with the floor below which no filter can go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib.axes import Axes

from kfjax._support.arguments import check_mapping, items_of, real_numbers
from kfjax._support.types import Nested
from kfjax.evaluation.intervals import Interval
from kfjax.plotting.checks import check_texts, level_of
from kfjax.plotting.style import colours_of, curve_axes, ink, style

__all__ = ["plot_noise_sweep"]

Levels: TypeAlias = Interval | Iterable[Interval | float]
"""Errors at each level of noise: an interval of arrays, or intervals or numbers."""


def plot_noise_sweep(
    noise: Real[ArrayLike, " K"] | Nested,
    curves: Mapping[str, Levels],
    *,
    floor: Real[ArrayLike, "*K"] | Nested | None = None,
    xlabel: str = r"$1 / r^2$ [dB]",
    ylabel: str = "MSE [dB]",
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw errors against the level of noise, one line per filter, and the floor.

    Args:
        noise: levels of noise [K], in decibels or any unit of the x axis.
        curves: errors in dB by name: [K], or one `Interval` per level as from `Evaluation.mse_db`
            (or one of arrays), drawn with its bars.
        floor: lower bound [K] of the errors in dB, or one number, or None.
        xlabel: label of the x axis.
        ylabel: label of the y axis.
        colours: colours by name; default one after the other.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if a curve and noise have different numbers of levels.

    Example:
        >>> from kfjax.plotting import plot_noise_sweep
        >>> from kfjax.evaluation import Interval
        >>> ekf = [Interval(-9.0, -9.5, -8.5), Interval(-19.0, -19.4, -18.6)]
        >>> curves = {"EKF": ekf, "UKF": [-9.2, -19.1]}
        >>> ax = plot_noise_sweep([10, 20], curves, floor=[-10.0, -20.0])
        >>> ax.get_legend_handles_labels()[1]
        ['floor', 'EKF', 'UKF']
    """
    at = real_numbers("plot_noise_sweep: noise", noise)
    check_mapping("plot_noise_sweep: curves", curves, "errors in dB [K] by name")
    check_texts("plot_noise_sweep", xlabel=xlabel, ylabel=ylabel)
    ax = curve_axes(ax)
    colours = colours_of(curves, colours)
    for name, curve in curves.items():
        value, low, high = _levels(name, curve, at)
        bars = np.stack([value - low, high - value])
        colour = colours[name]
        ax.errorbar(at, value, bars, color=colour, lw=1.4, marker="o", ms=4, capsize=3, label=name)
    if floor is not None:
        least = level_of("plot_noise_sweep: floor", floor, at.shape)
        ax.plot(at, least, color=ink(ax), lw=1, ls="--", label="floor")
    ax.legend(loc="best")
    style(ax, xlabel=xlabel, ylabel=ylabel)
    return ax


def _levels(name: str, curve: Levels, noise: np.ndarray) -> np.ndarray:
    """Return values with the ends of their intervals, [3, K]; plain numbers have width 0."""
    if isinstance(curve, Interval):
        rows = np.stack([np.asarray(end, np.float64) for end in curve], axis=-1)
    else:
        levels = items_of(f"plot_noise_sweep: {name}", curve, "an error for each level of noise")
        triples = [tuple(row) if isinstance(row, Interval) else (row, row, row) for row in levels]
        rows = real_numbers(f"plot_noise_sweep: {name}", triples)
    if rows.shape != (noise.size, 3) or noise.ndim != 1:
        raise ValueError(
            f"plot_noise_sweep: {name} has {len(rows)} values and noise the shape {noise.shape};"
            " expected one value per level."
        )
    # one trajectory has no interval
    ends = rows[:, 1:]
    rows[:, 1:] = np.where(np.isfinite(ends), ends, rows[:, :1])
    return rows.T
