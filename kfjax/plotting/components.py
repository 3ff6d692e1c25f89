"""Trajectories, one component below the other, with bands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kfjax.plotting.style import COLOURS, TRUTH, column, style

__all__ = ["plot_trajectory"]


def plot_trajectory(
    mean: Any,
    cov: Any = None,
    truth: Any = None,
    *,
    components: Iterable[int] | None = None,
    times: Any = None,
    label: str = "estimate",
    colour: str = COLOURS[0],
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw an estimated trajectory with its 2-sigma band, and the true one.

    Components are drawn below each other.

    Args:
        mean: estimates [T, n].
        cov: their covariances [T, n, n], or None for no band.
        truth: true states [T, n] (NaN where not known), or None.
        components: which components; default the first three.
        times: [T]; default 1..T.
        label: name of the estimate in the legend.
        colour: of the estimate.
        axes: one per component; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes differ, or there are fewer axes than components.

    Example:
        >>> from kfjax.plotting import plot_trajectory
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> estimate = kf.run(kf.kalman(), model, ys).outputs
        >>> axes = plot_trajectory(estimate.mean, estimate.cov, xs)
        >>> len(axes)
        2
    """
    mean = check_trajectory("plot_trajectory", mean, cov, truth)
    chosen = list(range(min(3, mean.shape[1]))) if components is None else list(components)
    axes = column(len(chosen), axes, "plot_trajectory")
    times = np.arange(1, mean.shape[0] + 1) if times is None else np.asarray(times)
    for ax, j in zip(axes, chosen, strict=False):
        if cov is not None:
            spread = 2 * deviations(cov)[:, j]
            low, high = mean[:, j] - spread, mean[:, j] + spread
            ax.fill_between(times, low, high, color=colour, alpha=0.25, lw=0, label="± 2 sigma")
        if truth is not None:
            ax.plot(times, np.asarray(truth)[:, j], color=TRUTH, lw=1.6, label="true")
        ax.plot(
            times,
            mean[:, j],
            color=colour,
            lw=1.2,
            ls="-" if truth is None else (0, (4, 1.5)),
            label=label,
        )
        style(ax, ylabel=f"$x_{{{j + 1}}}$")
    axes[len(chosen) - 1].set_xlabel("step")
    return axes


def check_trajectory(who: str, mean: Any, cov: Any = None, truth: Any = None) -> np.ndarray:
    """Return the estimates of one trajectory [T, n], if the shapes fit together."""
    mean = np.asarray(mean)
    if mean.ndim != 2 or (truth is not None and np.shape(truth) != mean.shape):
        raise ValueError(
            f"{who}: mean has shape {mean.shape} and truth {np.shape(truth)}; expected one"
            " trajectory [T, n]"
            " both. Take one of a batch with mean[0]."
        )
    if cov is not None and (np.ndim(cov) != 3 or np.shape(cov)[0] != mean.shape[0]):
        raise ValueError(
            f"{who}: cov has shape {np.shape(cov)}; expected {(*mean.shape, mean.shape[1])}, as"
            " mean."
        )
    return mean


def deviations(cov: Any) -> np.ndarray:
    """Return the standard deviations [T, n] of covariances [T, n, n].

    They are 0 for variances that rounding made negative.
    """
    return np.sqrt(np.maximum(np.diagonal(np.asarray(cov), axis1=-2, axis2=-1), 0))
