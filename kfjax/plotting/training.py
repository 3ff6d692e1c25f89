"""Losses over the updates of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from kfjax._support.naming import described
from kfjax.plotting.checks import check_texts
from kfjax.plotting.style import COLOURS, curve_axes, style

if TYPE_CHECKING:  # importing training takes longer than drawing a plot
    from kfjax.training import History

__all__ = ["plot_history"]


def plot_history(history: History, *, ylabel: str = "loss", ax: Axes | None = None) -> Axes:
    """Draw the training and the validation loss of a training.

    Each of several runs is a faint line.

    Args:
        history: a `kfjax.training.History`, as in `Fitted.history`.
        ylabel: label of the y axis, which is logarithmic if all losses are positive.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes.

    Example:
        >>> from kfjax.plotting import plot_history
        >>> updates, nothing = np.array([0, 10, 20]), np.full(3, np.nan)
        >>> loss = np.array([np.nan, 2.0, 1.0])
        >>> history = kf.training.History(
        ...     updates, loss, nothing, nothing, 0 * updates
        ... )
        >>> [line.get_label() for line in plot_history(history).lines]
        ['training']
    """
    if not all(hasattr(history, field) for field in ("update", "loss", "validation")):
        raise ValueError(
            f"plot_history: history is {described(history)}; expected a kfjax.training.History."
            " For the result of fit, pass its .history."
        )
    check_texts("plot_history", ylabel=ylabel)
    ax = curve_axes(ax)
    updates = np.atleast_2d(history.update)
    _draw(ax, updates, history.loss, "training", COLOURS[0])
    _draw(ax, updates, history.validation, "validation", COLOURS[1])
    losses = [line.get_ydata() for line in ax.lines]
    if losses and np.nanmin(np.concatenate(losses)) > 0:
        ax.set_yscale("log")
    ax.legend(loc="best")
    style(ax, xlabel="number of updates", ylabel=ylabel)
    return ax


def _draw(ax: Axes, updates: np.ndarray, losses: np.ndarray, label: str, colour: str) -> None:
    """Draw the losses of all runs that have any; the legend names the first of them."""
    rows = np.atleast_2d(losses)
    rows = rows[np.isfinite(rows).any(-1)]
    alpha = 1 if len(rows) == 1 else 0.5
    for x, y in zip(updates, rows, strict=False):
        ax.plot(x, y, color=colour, lw=1.2, alpha=alpha, label=label)
        label = f"_{label}"  # not in the legend
