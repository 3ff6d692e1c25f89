"""Trajectories with bands, one component below another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib.axes import Axes

from kfjax._support.types import Nested
from kfjax.plotting.style import COLOURS, TRUTH, column, style

__all__ = ["plot_trajectory"]

Numbers: TypeAlias = ArrayLike | Nested
"""An array, or numbers in nested lists."""

DASHED = (0, (4, 1.5))  # dashes of an estimate drawn over the truth


def plot_trajectory(
    mean: Real[ArrayLike, "T n"] | Nested,
    cov: Real[ArrayLike, "T n n"] | Nested | None = None,
    truth: Real[ArrayLike, "T n"] | Nested | None = None,
    *,
    components: Iterable[int] | None = None,
    times: Real[ArrayLike, " T"] | Nested | None = None,
    label: str = "estimate",
    colour: str = COLOURS[0],
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw an estimated trajectory with its 2-sigma band, and the true one.

    Components are drawn one below another.

    Args:
        mean: estimates [T, n].
        cov: their covariances [T, n, n], or None for no band.
        truth: true states [T, n] (NaN where not known), or None.
        components: indices of the components to draw; default the first three.
        times: times of the steps [T]; default 1..T.
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
    mean = check_trajectory("plot_trajectory", mean, cov, truth)
    check_variances("plot_trajectory", mean, cov)
    chosen = chosen_components(components, mean.shape[1])
    axes = column(len(chosen), axes, "plot_trajectory")
    times = times_of(mean, times)
    for ax, j in zip(axes, chosen, strict=False):
        if cov is not None:
            spread = 2 * deviations(cov)[:, j]
            low = mean[:, j] - spread
            high = mean[:, j] + spread
            ax.fill_between(times, low, high, color=colour, alpha=0.25, lw=0, label="± 2 sigma")
        if truth is not None:
            ax.plot(times, np.asarray(truth)[:, j], color=TRUTH, lw=1.6, label="true")
        dashes = line_style(over_truth=truth is not None)
        ax.plot(times, mean[:, j], color=colour, lw=1.2, ls=dashes, label=label)
        style(ax, ylabel=f"$x_{{{j + 1}}}$")
    axes[len(chosen) - 1].set_xlabel("step")
    return axes


def chosen_components(components: Iterable[int] | None, n: int) -> list[int]:
    """Return the components to draw, the first three of n by default."""
    return list(range(min(3, n))) if components is None else list(components)


def times_of(curve: np.ndarray, times: Numbers | None) -> np.ndarray:
    """Return the times of the steps, 1..T by default."""
    return np.arange(1, len(curve) + 1) if times is None else np.asarray(times)


def line_style(*, over_truth: bool) -> str | tuple[int, tuple[float, float]]:
    """Return the dashes of an estimate, or a solid line if there is no truth below it."""
    return DASHED if over_truth else "-"


def check_trajectory(
    who: str,
    mean: Numbers,
    cov: Numbers | None = None,
    truth: Numbers | None = None,
) -> np.ndarray:
    """Return the estimates of one trajectory [T, n], if the shapes fit together."""
    mean = np.asarray(mean)
    shape = mean.shape if truth is None else np.shape(truth)
    if mean.ndim != 2 or shape != mean.shape:
        raise ValueError(
            f"{who}: mean has shape {mean.shape} and truth {shape}; expected one trajectory [T, n]"
            " for both. Select one of a batch with mean[0]."
        )
    if cov is not None and (np.ndim(cov) != 3 or np.shape(cov)[0] != mean.shape[0]):
        raise ValueError(
            f"{who}: cov has shape {np.shape(cov)}; expected {(*mean.shape, mean.shape[1])}, as"
            " mean."
        )
    return mean


def check_variances(who: str, mean: np.ndarray, cov: Numbers | None) -> None:
    """Raise unless every component of the estimates [T, n] has its variance in cov."""
    n = mean.shape[1]
    if cov is not None and np.shape(cov)[1:] != (n, n):
        raise ValueError(
            f"{who}: cov has shape {np.shape(cov)}; expected {(*mean.shape, n)}, as mean. A"
            " covariance in a tangent space of another dimension is drawn by plot_error_bounds, or"
            " leave cov out."
        )


def deviations(cov: Numbers) -> np.ndarray:
    """Return the standard deviations [T, n], 0 for variances that rounding made negative."""
    variances = np.diagonal(np.asarray(cov), axis1=-2, axis2=-1)
    return np.sqrt(np.maximum(variances, 0))
