"""Colours, axes and their style, which all figures share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import ArrayLike
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from kfjax._support.arguments import check_count, check_mapping, items_of
from kfjax.plotting.checks import check_axes, check_colour

__all__ = ["COLOURS", "TRUTH"]

TRUTH = "#222222"
BAND = "#999999"  # colour of intervals and measurements
REJECTED = "#e8112d"  # colour of observations that a filter did not use

DARK = 0.4  # brightness below which a ground is dark

COLOURS = (
    # distinguishable with every kind of colour vision
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    # for more than six curves
    "#7f3c8d",
    "#80ba5a",
    "#a5694f",
    "#666666",
)


def column(rows: int, axes: Iterable[Axes] | None = None, who: str = "") -> list[Axes]:
    """Return axes below each other: enough given ones, or those of a new figure."""
    if axes is None:
        figure = Figure(figsize=(8, 1 + 2.2 * rows), layout="constrained")
        return list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    axes = items_of(f"{who}: axes", axes, "axes of matplotlib, one per component")
    for ax in axes:
        check_axes(f"{who}: axes", ax)
    if len(axes) < rows:
        raise ValueError(f"{who}: got {len(axes)} axes; expected {rows}, one per component.")
    return axes


def curve_axes(ax: Axes | None) -> Axes:
    """Return the given axes, or those of a new figure for curves over time."""
    if ax is None:
        return column(1)[0]
    check_axes("ax", ax)
    return ax


def map_axes(ax: Axes | None, dimension: int) -> Axes:
    """Return the given axes, or those of a new figure of the plane or of space."""
    if ax is not None:
        check_axes("ax", ax)
        return ax
    projection = "3d" if dimension == 3 else None
    figure = Figure(figsize=(7, 6), layout="constrained")
    return figure.add_subplot(projection=projection)


def colours_of(names: Iterable[str], chosen: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the chosen colours, or one colour per name in sequence."""
    if chosen is None:
        return dict(zip(names, itertools.cycle(COLOURS), strict=False))
    check_mapping("colours", chosen, "colours by the names of the curves")
    if missing := [name for name in names if name not in chosen]:
        raise ValueError(
            f"colours lack {', '.join(map(str, missing))}; expected a colour for every curve."
        )
    for name in names:
        check_colour(f"colours[{name!r}]", chosen[name])
    return chosen


def ink(ax: Axes) -> str:
    """Return the colour of the truth and of lines that guide: dark, or light on a dark ground."""
    red, green, blue, alpha = to_rgba(ax.get_facecolor())
    dark = alpha > 0 and 0.3 * red + 0.6 * green + 0.1 * blue < DARK
    return str(rcParams["text.color"]) if dark else TRUTH


def shade(ax: Axes) -> float:
    """Return how opaque a band is, so that it is seen on a dark ground, too."""
    return 0.25 if ink(ax) == TRUTH else 0.4


def points(ax: Axes, count: int) -> dict[str, Any]:
    """Return how observations are drawn: below the curves, and smaller if there are many."""
    size = float(np.clip(900 / count, 1.0, 3.0))
    return {"marker": ".", "color": ink(ax), "ms": size, "zorder": 1.5}


def widths(count: int) -> np.ndarray:
    """Return widths of curves, the first ones wider so that those that agree can be seen."""
    return np.linspace(2.0, 1.0, count) if count > 1 else np.full(count, 1.4)


def steps_of(curve: ArrayLike, first: int) -> np.ndarray:
    """Return the numbers of the steps of a curve, along its leading axis."""
    check_count("first", first, least=0)
    return np.arange(first, first + np.shape(curve)[0])


def draw_curve(ax: Axes, steps: np.ndarray, curve: ArrayLike, **how: Any) -> None:
    """Draw a curve; where it is infinite, since a filter broke, crosses at the top say so."""
    values = np.asarray(curve)
    broken = np.isposinf(values)
    if broken.any():
        how["label"] = f"{how['label']} (infinite in {broken.sum()} of {broken.size} steps)"
        top = np.ones(broken.sum())
        place = ax.get_xaxis_transform()  # steps along x, 0 to 1 along y
        ax.plot(steps[broken], top, "x", color=how["color"], ms=5, transform=place, clip_on=False)
    ax.plot(steps, values, **how)


def share_x(axes: Sequence[Axes]) -> None:
    """Make axes below each other share one axis of steps."""
    for ax in axes[1:]:
        ax.sharex(axes[0])
    for ax in axes[:-1]:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
        ax.xaxis.offsetText.set_visible(False)  # the year or day of dates
    axes[0].margins(x=0.01)


def style(
    ax: Axes, *, xlabel: str | None = None, ylabel: str | None = None, named: bool = False
) -> None:
    """Draw few lines and a light grid, and label the axes; `named` has a longer, smaller label."""
    if xlabel is not None:
        ax.set_xlabel(xlabel)
    if ylabel is not None:
        ax.set_ylabel(ylabel, fontsize="small" if named else None)
    if ax.name == "3d":
        return
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=ink(ax), alpha=0.15, lw=0.6)
    ax.set_axisbelow(True)
