"""What all pictures share: colours, axes, and how they look."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "TRUTH"]

TRUTH = "#222222"
COLOURS = (
    *(
        "#0072b2",
        "#d55e00",
        "#009e73",
        "#cc79a7",
        "#e69f00",
        "#56b4e9",
    ),  # distinct for all kinds of colour vision
    *("#7f3c8d", "#80ba5a", "#a5694f", "#666666"),
)


def column(rows: int, axes: Iterable[Axes] | None = None, who: str = "") -> list[Axes]:
    """Return axes below each other, in a new figure or those given, if they are enough."""
    if axes is None:
        figure = Figure(figsize=(8, 1 + 2.2 * rows), layout="constrained")
        return list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    axes = list(axes)
    if len(axes) < rows:
        raise ValueError(f"{who}: got {len(axes)} axes; expected {rows}, one per component.")
    return axes


def new_axes() -> Axes:
    """Return axes of a new figure for curves over time."""
    return column(1)[0]


def map_axes(dimension: int) -> Axes:
    """Return axes of a new figure for a picture of the plane or of space."""
    projection = "3d" if dimension == 3 else None
    return Figure(figsize=(7, 6), layout="constrained").add_subplot(projection=projection)


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for every name, one after the other."""
    return dict(zip(names, itertools.cycle(COLOURS), strict=False))


def steps_of(curve: Any, first: int) -> np.ndarray:
    """Return the numbers of the steps of a curve."""
    return np.arange(first, first + len(curve))


def share_x(axes: list[Axes]) -> None:
    """One step axis for axes below each other."""
    for ax in axes[1:]:
        ax.sharex(axes[0])
    for ax in axes[:-1]:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    axes[0].margins(x=0.01)


def style(ax: Axes, *, xlabel: str | None = None, ylabel: str | None = None) -> None:
    """Few lines, light grid."""
    ax.set(
        **{
            name: text
            for name, text in (("xlabel", xlabel), ("ylabel", ylabel))
            if text is not None
        }
    )
    if ax.name == "3d":
        return
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
