"""Gains over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kfjax.plotting.style import TRUTH, colours_of, column, style

__all__ = ["plot_gain"]


def plot_gain(
    gains: Mapping[str, Any],
    *,
    entries: Iterable[tuple[int, int]] | None = None,
    steady: Any = None,
    colours: Mapping[str, str] | None = None,
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw entries of gains over time, one below the other, one line per filter.

    Args:
        gains: by name, gains [T, n, m], as from `kfjax.evaluation.gains`, or `Info.extra["gain"]`
            of a learned filter.
        entries: which (i, j): how much channel j of y moves component i of x; default the first
            three.
        steady: the gain that a Kalman filter settles at [n, m], `kfjax.steady_state(model).gain`,
            or None.
        colours: by name; default one after the other.
        axes: one per entry; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if gains is empty, or of shapes that differ, or there are fewer axes than
            entries.

    Example:
        >>> from kfjax.plotting import plot_gain
        >>> model = kf.systems.constant_velocity()
        >>> _, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> gains = {"KF": kf.evaluation.gains(kf.kalman(), model, ys)}
        >>> axes = plot_gain(gains, steady=kf.steady_state(model).gain)
        >>> [line.get_label() for line in axes[0].lines]
        ['steady state', 'KF']
    """
    if not isinstance(gains, Mapping):
        raise ValueError(
            f"plot_gain: gains is {type(gains).__name__}; expected gains by name,"
            f" {{'KF': [T, n, m]}}."
        )
    gains = {name: np.asarray(gain) for name, gain in gains.items()}
    shapes = {gain.shape[1:] for gain in gains.values()}
    if len(shapes) != 1 or any(gain.ndim != 3 for gain in gains.values()):
        raise ValueError(
            f"plot_gain: got gains of shapes {[gain.shape for gain in gains.values()]}; expected"
            " some, all [T, n, m]."
            " Take one of a batch with gain[0]."
        )
    colours = colours_of(gains) if colours is None else colours
    chosen = list(np.ndindex(*shapes.pop()))[:3] if entries is None else list(entries)
    axes = column(len(chosen), axes, "plot_gain")
    for ax, (i, j) in zip(axes, chosen, strict=False):
        if steady is not None:
            ax.axhline(np.asarray(steady)[i, j], color=TRUTH, lw=1, ls="--", label="steady state")
        for name, gain in gains.items():
            ax.plot(
                np.arange(1, len(gain) + 1), gain[:, i, j], color=colours[name], lw=1.2, label=name
            )
        style(ax, ylabel=f"$K_{{{i + 1},{j + 1}}}$")
    axes[0].legend(loc="best")
    axes[len(chosen) - 1].set_xlabel("step")
    return axes
