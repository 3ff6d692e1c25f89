"""Errors against the level of noise, with what cannot be beaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kfjax.evaluation.intervals import Interval
from kfjax.plotting.style import TRUTH, colours_of, new_axes, style

__all__ = ["plot_noise_sweep"]


def plot_noise_sweep(
    noise: Any,
    curves: Mapping[str, Any],
    *,
    floor: Any = None,
    xlabel: str = r"$1 / r^2$ [dB]",
    ylabel: str = "MSE [dB]",
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw errors against the level of noise, one line per filter, and the floor.

    Args:
        noise: levels [K], in decibels or any unit of the x axis.
        curves: by name, errors in dB [K], or one `Interval` per level as from `Evaluation.mse_db`
            (or one of arrays), drawn with its bars.
        floor: errors in dB that no filter can be below [K], or one number, or None.
        xlabel: of the axis.
        ylabel: of the axis.
        colours: by name; default one after the other.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if a curve has another number of levels than noise.

    Example:
        >>> from kfjax.plotting import plot_noise_sweep
        >>> Interval = kf.evaluation.Interval
        >>> ekf = [Interval(-9.0, -9.5, -8.5), Interval(-19.0, -19.4, -18.6)]
        >>> errors = {"EKF": ekf, "UKF": [-9.2, -19.1]}
        >>> ax = plot_noise_sweep([10, 20], errors, floor=[-10.0, -20.0])
        >>> ax.get_legend_handles_labels()[1]
        ['floor', 'EKF', 'UKF']
    """
    noise = np.asarray(noise, np.float64)
    ax = new_axes() if ax is None else ax
    colours = colours_of(curves) if colours is None else colours
    for name, curve in curves.items():
        value, low, high = _levels(name, curve, noise)
        bars = np.stack([value - low, high - value])
        ax.errorbar(
            noise, value, bars, color=colours[name], lw=1.4, marker="o", ms=4, capsize=3, label=name
        )
    if floor is not None:
        ax.plot(
            noise, np.broadcast_to(floor, noise.shape), color=TRUTH, lw=1, ls="--", label="floor"
        )
    ax.legend(loc="best")
    style(ax, xlabel=xlabel, ylabel=ylabel)
    return ax


def _levels(name: str, curve: Sequence[Any], noise: np.ndarray) -> np.ndarray:
    """Values with the ends of their intervals, [3, K]; numbers alone have intervals of width 0."""
    if isinstance(curve, Interval):
        triples: Any = tuple(curve)
        curve = list(map(Interval, *triples))
    rows = np.asarray(
        [row if isinstance(row, Interval) else (row, row, row) for row in curve], np.float64
    )
    if rows.shape != (noise.size, 3) or noise.ndim != 1:
        raise ValueError(
            f"plot_noise_sweep: {name} has {len(rows)} values and noise the shape {noise.shape};"
            " expected one each."
        )
    rows[:, 1:] = np.where(
        np.isfinite(rows[:, 1:]), rows[:, 1:], rows[:, :1]
    )  # one trajectory has no interval
    return rows.T
