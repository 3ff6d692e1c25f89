"""Trajectories as paths in the plane and in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib.axes import Axes

from kfjax._support.types import Nested
from kfjax.plotting.components import check_trajectory, check_variances, line_style
from kfjax.plotting.ellipses import plot_ellipses
from kfjax.plotting.style import BAND, COLOURS, TRUTH, map_axes, style

__all__ = ["plot_path"]

ELLIPSES = 12  # ellipses along a path, by default


def plot_path(
    mean: Real[ArrayLike, "T n"] | Nested,
    cov: Real[ArrayLike, "T n n"] | Nested | None = None,
    truth: Real[ArrayLike, "T n"] | Nested | None = None,
    *,
    observations: Real[ArrayLike, "K d"] | Nested | None = None,
    components: Sequence[int] = (0, 1),
    every: int | None = None,
    probability: float = 0.95,
    label: str = "estimate",
    colour: str = COLOURS[0],
    ax: Axes | None = None,
) -> Axes:
    """Draw an estimated path in the plane or in space, with ellipses of its covariance.

    Args:
        mean: estimates [T, n].
        cov: their covariances [T, n, n], or None for no ellipses.
        truth: true states [T, n] (NaN where not known), or None.
        observations: measured positions [K, 2] or [K, 3], drawn as points, or None.
        components: indices of the two or three components of the state that are the coordinates;
            three give a figure in space.
        every: number of steps from one ellipse to the next; default about a dozen ellipses.
        probability: probability with which an ellipse holds the true position.
        label: name of the estimate in the legend.
        colour: colour of the estimate.
        ax: axes to draw into, of projection "3d" in space; default a new figure. Pass them again
            for more paths.

    Returns:
        The axes, with equal scales; `ax.set_aspect("auto")` undoes that if the units differ.

    Raises:
        ValueError: if the shapes differ, or components are not two or three.

    Example:
        >>> from kfjax.plotting import plot_path
        >>> model = kf.systems.constant_velocity(2)  # x = (p_x, v_x, p_y, v_y)
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> estimate = kf.run(kf.kalman(), model, ys).outputs
        >>> ax = plot_path(estimate.mean, estimate.cov, xs, observations=ys, components=(0, 2))
        >>> [line.get_label() for line in ax.lines]
        ['measured', 'true', 'estimate']
    """
    mean = check_trajectory("plot_path", mean, cov, truth)
    check_variances("plot_path", mean, cov)
    chosen = list(components)
    if len(chosen) not in (2, 3) or not all(0 <= j < mean.shape[1] for j in chosen):
        raise ValueError(
            f"plot_path: components are {chosen}; expected two or three, from 0 to"
            f" {mean.shape[1] - 1}."
        )
    if observations is not None and np.shape(observations)[1:] != (len(chosen),):
        raise ValueError(
            f"plot_path: observations have shape {np.shape(observations)}; expected [K,"
            f" {len(chosen)}], positions in the coordinates of the path. Leave out observations of"
            " other quantities."
        )
    ax = map_axes(ax, len(chosen))
    if observations is not None:
        ax.plot(*np.asarray(observations).T, ".", color=BAND, ms=3, label="measured")
    if truth is not None:
        ax.plot(*np.asarray(truth)[:, chosen].T, color=TRUTH, lw=1.6, label="true")
    dashes = line_style(over_truth=truth is not None)
    ax.plot(*mean[:, chosen].T, color=colour, lw=1.2, ls=dashes, label=label)
    if cov is not None:
        at = slice(None, None, every or max(1, len(mean) // ELLIPSES))
        centres = mean[at][:, chosen]
        blocks = np.asarray(cov)[at][:, chosen][:, :, chosen]
        region = f"{100 * probability:g} %"
        plot_ellipses(centres, blocks, probability=probability, colour=colour, label=region, ax=ax)
    _frame(ax, chosen)
    return ax


def _frame(ax: Axes, chosen: list[int]) -> None:
    """Give the axes equal scales and the names of the coordinates."""
    for axis, j in zip("xyz", chosen, strict=False):
        ax.set(**{f"{axis}label": f"$x_{{{j + 1}}}$"})
    style(ax)
    ax.set_aspect("equal", adjustable="datalim")
