"""Trajectories as paths in the plane and in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib.axes import Axes

from kfjax._support.arguments import check_count, check_number, real_numbers
from kfjax._support.types import Nested
from kfjax.plotting.checks import Numbers, check_colour, check_texts, chosen_components, names_of
from kfjax.plotting.components import check_trajectory, check_variances, line_style
from kfjax.plotting.ellipses import plot_ellipses
from kfjax.plotting.style import BAND, COLOURS, ink, map_axes, style

__all__ = ["plot_path"]

ELLIPSES = 12  # ellipses along a path, by default


def plot_path(
    mean: Real[ArrayLike, "T n"] | Nested,
    cov: Real[ArrayLike, "T n n"] | Nested | None = None,
    truth: Real[ArrayLike, "T n"] | Nested | None = None,
    *,
    observations: Real[ArrayLike, "K d"] | Nested | None = None,
    components: Sequence[int] = (0, 1),
    names: Sequence[str] | None = None,
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
        names: n names of the components, with units if they have any, such as "east [m]".
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
        >>> ax = plot_path(
        ...     estimate.mean, estimate.cov, xs, observations=ys, components=(0, 2)
        ... )
        >>> [line.get_label() for line in ax.lines]
        ['measured', 'true', 'estimate']
    """
    who = "plot_path"
    mean, covs, true = check_trajectory(who, mean, cov, truth)
    check_variances(who, mean, covs)
    check_number(f"{who}: probability", probability, above=0, below=1)
    check_colour(f"{who}: colour", colour)
    check_texts(who, label=label)
    chosen = _coordinates(who, components, mean.shape[1])
    measured = _positions(who, observations, len(chosen))
    labels = names_of(who, names, mean.shape[1], "x")
    every = _between_ellipses(who, every, len(mean))
    ax = map_axes(ax, len(chosen))
    if measured is not None:
        ax.plot(*measured.T, ".", color=BAND, ms=3, label="measured")
    if true is not None:
        ax.plot(*true[:, chosen].T, color=ink(ax), lw=1.6, label="true")
    dashes = line_style(over_truth=true is not None)
    ax.plot(*mean[:, chosen].T, color=colour, lw=1.2, ls=dashes, label=label)
    if covs is not None:
        centres = mean[::every][:, chosen]
        blocks = covs[::every][:, chosen][:, :, chosen]
        region = f"{100 * probability:g} %"
        plot_ellipses(centres, blocks, probability=probability, colour=colour, label=region, ax=ax)
    _frame(ax, [labels[j] for j in chosen])
    return ax


def _coordinates(who: str, components: Sequence[int], n: int) -> list[int]:
    """Return the two or three components of the state that are the coordinates."""
    if components is None or len(chosen := chosen_components(who, components, n)) not in (2, 3):
        raise ValueError(
            f"{who}: components are {components}; expected two or three, from 0 to {n - 1}."
        )
    return chosen


def _positions(who: str, observations: Numbers | None, d: int) -> np.ndarray | None:
    """Return the measured positions [K, d]."""
    if observations is None:
        return None
    array = real_numbers(f"{who}: observations", observations)
    if array.shape[1:] != (d,):
        raise ValueError(
            f"{who}: observations have shape {array.shape}; expected [K, {d}], positions in the"
            " coordinates of the path. Leave out what measures something else."
        )
    return array


def _between_ellipses(who: str, every: int | None, steps: int) -> int:
    """Return the number of steps from one ellipse to the next."""
    if every is None:
        return max(1, steps // ELLIPSES)
    check_count(f"{who}: every", every)
    return every


def _frame(ax: Axes, labels: list[str]) -> None:
    """Give the axes equal scales and the names of the coordinates."""
    for axis, label in zip("xyz", labels, strict=False):
        ax.set(**{f"{axis}label": label})
    style(ax)
    ax.set_aspect("equal", adjustable="datalim")
