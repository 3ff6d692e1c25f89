"""How a training went."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kfjax.plotting.style import COLOURS, new_axes, style

__all__ = ["plot_history"]


def plot_history(history: Any, *, ylabel: str = "loss", ax: Axes | None = None) -> Axes:
    """Draw how a training went.

    The training and the validation loss, of several runs one faint line each.

    Args:
        history: a `kfjax.training.History`, as in `Fitted.history`.
        ylabel: of the axis; logarithmic if all losses are positive.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes.

    Example:
        >>> from kfjax.plotting import plot_history
        >>> updates, nothing = np.array([0, 10, 20]), np.full(3, np.nan)
        >>> loss = np.array([np.nan, 2.0, 1.0])
        >>> history = kf.training.History(updates, loss, nothing, nothing, 0 * updates)
        >>> [line.get_label() for line in plot_history(history).lines]
        ['training']
    """
    ax = new_axes() if ax is None else ax
    updates = np.atleast_2d(history.update)
    for label, losses, colour in (
        ("training", history.loss, COLOURS[0]),
        ("validation", history.validation, COLOURS[1]),
    ):
        rows = np.atleast_2d(losses)
        rows = rows[np.isfinite(rows).any(-1)]
        for number, (x, y) in enumerate(zip(updates, rows, strict=False)):
            ax.plot(
                x,
                y,
                color=colour,
                lw=1.2,
                alpha=1 if len(rows) == 1 else 0.5,
                label="_" * (number > 0) + label,
            )
    drawn = np.concatenate([line.get_ydata() for line in ax.lines]) if ax.lines else np.zeros(1)
    if np.nanmin(drawn) > 0:
        ax.set_yscale("log")
    ax.legend(loc="best")
    style(ax, xlabel="number of updates", ylabel=ylabel)
    return ax
