"""Errors: of many trajectories in decibels, and of one against its own bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from kfjax.plotting.components import check_trajectory, deviations
from kfjax.plotting.style import COLOURS, TRUTH, colours_of, column, new_axes, steps_of, style

__all__ = ["plot_error_bounds", "plot_errors"]

SPAN_DB = (
    40.0  # what a plot of errors shows above the best filter; a diverged one leaves through the top
)


def plot_errors(
    curves: Mapping[str, Any],
    *,
    floor: float | Any = None,
    first: int = 1,
    ylabel: str = "MSE [dB]",
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw errors over time in decibels, one line per filter.

    Args:
        curves: error in dB of every step [T] by name, as from `Evaluation.error_over_time`.
        floor: a bound in dB to draw as a dashed line, one number or [T], or None.
        first: the number of the first step.
        ylabel: of the axis.
        colours: by name; default one after the other.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes, which show at most 40 dB above the best filter; names of filters that are off
        scale say so.
    """
    ax = new_axes() if ax is None else ax
    colours = colours_of(curves) if colours is None else colours
    curves = {name: np.asarray(curve, np.float64) for name, curve in curves.items()}
    top = min((median(curve) for curve in curves.values()), default=0.0) + SPAN_DB
    for name, curve in curves.items():
        off = not np.any(curve < top)
        ax.plot(
            steps_of(curve, first),
            curve,
            color=colours[name],
            lw=1.4,
            label=f"{name} (off scale)" if off else name,
        )
    if floor is not None:
        steps = steps_of(next(iter(curves.values())), first)
        ax.plot(
            steps, np.broadcast_to(floor, steps.shape), color=TRUTH, lw=1, ls="--", label="floor"
        )
    style(ax, xlabel="step", ylabel=ylabel)
    if ax.get_ylim()[1] > top:
        ax.set_ylim(top=top)
    return ax


def plot_error_bounds(
    truth: Any,
    mean: Any,
    cov: Any,
    *,
    sigmas: float = 2.0,
    components: Iterable[int] | None = None,
    difference: Callable[[Any, Any], Any] | None = None,
    times: Any = None,
    colour: str = COLOURS[0],
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw the error of one trajectory between the bounds that the filter claims.

    Components are drawn below each other.

    e_t = x_t - m_t against +- sigmas sqrt(P_jj); 95 % of the errors of a consistent filter are
    within two sigmas.

    Args:
        truth: true states [T, n], NaN where not known.
        mean: estimates [T, n].
        cov: their covariances [T, n, n].
        sigmas: how many standard deviations the bounds are away from zero.
        components: which components; default the first three.
        difference: `(x, m) -> [n]` for states on curved spaces, as
            `model.state_space.difference`.
        times: [T]; default 1..T.
        colour: of the error.
        axes: one per component; default a new figure.

    Returns:
        The axes; the legends tell which part of the known errors is within the bounds.

    Raises:
        ValueError: if the shapes differ, or there are fewer axes than components.

    Example:
        >>> from kfjax.plotting import plot_error_bounds
        >>> truth, mean, cov = np.array([[1.0], [4.0]]), np.zeros((2, 1)), np.ones((2, 1, 1))
        >>> [line.get_label() for line in plot_error_bounds(truth, mean, cov)[0].lines]
        ['error, 50 % within']
    """
    mean = check_trajectory("plot_error_bounds", mean, cov, truth)
    error = (
        np.asarray(truth) - mean
        if difference is None
        else np.asarray(jax.vmap(difference)(truth, mean))
    )
    chosen = list(range(min(3, error.shape[1]))) if components is None else list(components)
    axes = column(len(chosen), axes, "plot_error_bounds")
    times = np.arange(1, len(error) + 1) if times is None else np.asarray(times)
    for ax, j in zip(axes, chosen, strict=False):
        bound, e = sigmas * deviations(cov)[:, j], error[:, j]
        known = np.isfinite(e)
        within = (
            f"error, {100 * np.mean(np.abs(e[known]) <= bound[known]):.0f} % within"
            if known.any()
            else "error"
        )
        ax.fill_between(
            times, -bound, bound, color="#999999", alpha=0.3, lw=0, label=f"± {sigmas:g} sigma"
        )
        ax.plot(times, e, color=colour, lw=1.2, label=within)
        style(ax, ylabel=f"error of $x_{{{j + 1}}}$")
        ax.legend(loc="upper right", ncols=2)
    axes[len(chosen) - 1].set_xlabel("step")
    return axes


def median(curve: Any) -> float:
    """Return the median of what is finite, inf if nothing is."""
    finite = np.asarray(curve)[np.isfinite(curve)]
    return float(np.median(finite)) if finite.size else np.inf
