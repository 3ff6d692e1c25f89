"""Trajectories with bands, one component below another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib.axes import Axes

from kfjax._support.arguments import real_numbers
from kfjax._support.types import Nested
from kfjax.plotting.checks import Numbers, check_colour, check_texts, chosen_components, names_of
from kfjax.plotting.limits import View, usual_edges
from kfjax.plotting.style import COLOURS, column, ink, shade, style
from kfjax.plotting.times import Times, clock_of
from kfjax.plotting.wraps import breaks_of, broken

__all__ = ["plot_trajectory"]

DASHED = (0, (4, 1.5))  # an estimate over the truth


def plot_trajectory(
    mean: Real[ArrayLike, "T n"] | Nested,
    cov: Real[ArrayLike, "T n n"] | Nested | None = None,
    truth: Real[ArrayLike, "T n"] | Nested | None = None,
    *,
    components: Iterable[int] | None = None,
    names: Iterable[str] | None = None,
    times: Times | None = None,
    label: str = "estimate",
    colour: str = COLOURS[0],
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw an estimated trajectory with its 2-sigma band, and the true one.

    Components are drawn one below another. The curve of an angle breaks where it wraps, and every
    curve where there are no steps for long. Where the band is so wide that nothing else could be
    seen, it is cut off, and triangles at the edge say so.

    Args:
        mean: estimates [T, n].
        cov: their covariances [T, n, n], or None for no band.
        truth: true states [T, n] (NaN where not known), or None.
        components: indices of the components to draw; default the first three.
        names: n names of the components, with units if they have any, such as "east [m]".
        times: times of the steps [T], numbers, numpy dates or time differences; default 1..T.
        label: name of the estimate in the legend.
        colour: colour of the estimate.
        axes: axes to draw into, one per component; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes differ (also of a covariance in a tangent space), or there are
            fewer axes than components.

    Example:
        >>> from kfjax.plotting import plot_trajectory
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> estimate = kf.run(kf.kalman(), model, ys).outputs
        >>> axes = plot_trajectory(estimate.mean, estimate.cov, xs)
        >>> len(axes)
        2
    """
    who = "plot_trajectory"
    mean, cov, truth = check_trajectory(who, mean, cov, truth)
    check_variances(who, mean, cov)
    check_colour(f"{who}: colour", colour)
    check_texts(who, label=label)
    chosen = chosen_components(who, components, mean.shape[1])
    axes = column(len(chosen), axes, who)
    labels = names_of(who, names, mean.shape[1], "x")
    clock = clock_of(who, len(mean), times)
    x = clock.values
    for ax, j in zip(axes, chosen, strict=False):
        breaks = breaks_of(x, mean[:, j])
        at, centre = broken(breaks, x, mean[:, j])
        if cov is not None:
            known = [mean[:, j]] if truth is None else [mean[:, j], truth[:, j]]
            (spread,) = broken(breaks, 2 * deviations(cov)[:, j])
            _draw_band(ax, at, centre, spread, known, colour)
        if truth is not None:
            true = broken(breaks_of(x, truth[:, j]), x, truth[:, j])
            ax.plot(*true, color=ink(ax), lw=1.6, label="true")
        dashes = line_style(over_truth=truth is not None)
        ax.plot(at, centre, color=colour, lw=1.2, ls=dashes, label=label)
        style(ax, ylabel=labels[j], named=names is not None)
    clock.prepare(axes[len(chosen) - 1])
    return axes


def _draw_band(
    ax: Axes,
    x: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray,
    known: list[np.ndarray],
    colour: str,
) -> None:
    """Draw a band, clipped so that it leaves room for the curves."""
    low = mean - spread
    high = mean + spread
    view = View.of([*known, usual_edges(low, high)])
    how: dict[str, Any] = {"color": colour, "alpha": shade(ax), "lw": 0, "label": "± 2 sigma"}
    ax.fill_between(x, view.clip(low), view.clip(high), **how)
    for edge in (low, high):
        view.mark(ax, x, edge, colour)


def line_style(*, over_truth: bool) -> str | tuple[int, tuple[float, float]]:
    """Return the dashes of an estimate, or a solid line if there is no truth below it."""
    return DASHED if over_truth else "-"


def check_trajectory(
    who: str,
    mean: Numbers,
    cov: Numbers | None = None,
    truth: Numbers | None = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return one trajectory of means [T, n], covariances and truth, if the shapes fit together."""
    mean = real_numbers(f"{who}: mean", mean)
    true = None if truth is None else real_numbers(f"{who}: truth", truth)
    shape = mean.shape if true is None else true.shape
    if mean.ndim != 2 or shape != mean.shape:
        raise ValueError(
            f"{who}: mean has shape {mean.shape} and truth {shape}; expected one trajectory [T, n]"
            " for both. Select one of a batch with mean[0]."
        )
    if cov is None:
        return mean, None, true
    covs = real_numbers(f"{who}: cov", cov)
    if covs.ndim != 3 or covs.shape[0] != mean.shape[0]:
        raise ValueError(
            f"{who}: cov has shape {covs.shape}; expected {(*mean.shape, mean.shape[1])}, as mean."
        )
    return mean, covs, true


def check_variances(who: str, mean: np.ndarray, cov: np.ndarray | None) -> None:
    """Raise unless every component of the estimates [T, n] has its variance in cov."""
    n = mean.shape[1]
    if cov is not None and cov.shape[1:] != (n, n):
        raise ValueError(
            f"{who}: cov has shape {cov.shape}; expected {(*mean.shape, n)}, as mean. A"
            " covariance in a tangent space of another dimension is drawn by plot_error_bounds, or"
            " leave cov out."
        )


def deviations(cov: np.ndarray) -> np.ndarray:
    """Return the standard deviations [T, n], 0 for variances that rounding made negative."""
    variances = np.diagonal(cov, axis1=-2, axis2=-1)
    return np.sqrt(np.maximum(variances, 0))
