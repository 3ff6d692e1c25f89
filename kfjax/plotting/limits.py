"""Limits of axes, and marks where they leave something out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

__all__: list[str] = []

BEYOND = 0.6  # how far an axis goes beyond what has to be seen, as a share of that
LABEL = "beyond the axis"


def usual_edges(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return edges between which a band is at most steps; it may be wider at a few, as at first."""
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return np.zeros(0)
    return np.array([np.quantile(low[known], 0.1), np.quantile(high[known], 0.9)])


class View(tuple[float, float]):
    """The lowest and the highest value that are drawn."""

    __slots__ = ()

    @classmethod
    def of(cls, needed: Iterable[np.ndarray]) -> View:
        """Return a view with room around what has to be seen."""
        parts = [np.ravel(part) for part in needed]
        values = np.concatenate(parts) if parts else np.zeros(0)
        values = values[np.isfinite(values)]
        if values.size == 0:
            return cls((-np.inf, np.inf))
        low = float(values.min())
        high = float(values.max())
        room = BEYOND * (high - low) or np.inf
        return cls((low - room, high + room))

    def clip(self, values: np.ndarray) -> np.ndarray:
        """Return values inside the view; those beyond it are at its edge."""
        return np.clip(values, *self)

    def mark(self, ax: Axes, x: np.ndarray, values: np.ndarray, colour: str) -> None:
        """Draw a triangle at the edge where values begin to be beyond it."""
        for beyond, edge, sign in (
            (values > self[1], self[1], "^"),
            (values < self[0], self[0], "v"),
        ):
            at = _begins(beyond)
            if at.any():
                level = np.full(at.sum(), edge)
                ax.plot(x[at], level, sign, color=colour, ms=5, label=_label_once(ax))


def mark_beyond(ax: Axes, x: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Draw a triangle at the top or bottom where a curve leaves the limits of the axes."""
    low, high = ax.get_ylim()
    place = ax.get_xaxis_transform()  # steps along x, 0 to 1 along y
    for beyond, edge, sign in ((values > high, 1.0, "^"), (values < low, 0.0, "v")):
        at = _begins(beyond & np.isfinite(values))
        if at.any():
            level = np.full(at.sum(), edge)
            how: dict[str, Any] = {"color": colour, "ms": 5, "transform": place, "clip_on": False}
            ax.plot(x[at], level, sign, label=_label_once(ax), **how)


def _begins(beyond: np.ndarray) -> np.ndarray:
    """Return where runs of true entries begin."""
    return beyond & ~np.concatenate([[False], beyond[:-1]])


def _label_once(ax: Axes) -> str:
    """Return the label of the marks, which a legend shows once."""
    given = any(line.get_label() == LABEL for line in ax.lines)
    return f"_{LABEL}" if given else LABEL
