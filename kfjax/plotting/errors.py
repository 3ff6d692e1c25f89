"""Errors: of many trajectories in decibels, and of one trajectory against its own bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib.axes import Axes

from kfjax._support.arguments import check_count, check_number
from kfjax._support.types import Nested
from kfjax.evaluation.errors import Difference
from kfjax.plotting.checks import (
    check_colour,
    check_texts,
    chosen_components,
    curves_by_name,
    level_of,
    names_of,
)
from kfjax.plotting.components import check_trajectory, deviations
from kfjax.plotting.limits import mark_beyond
from kfjax.plotting.style import (
    BAND,
    COLOURS,
    colours_of,
    column,
    curve_axes,
    draw_curve,
    ink,
    style,
    widths,
)
from kfjax.plotting.times import Times, clock_of
from kfjax.plotting.wraps import broken, pauses_of

__all__ = ["plot_error_bounds", "plot_errors"]

# Range that a plot of errors shows above the best filter; a diverged filter is cut off at the top.
SPAN_DB = 40.0


def plot_errors(
    curves: Mapping[str, Real[ArrayLike, " T"] | Nested],
    *,
    floor: Real[ArrayLike, "*T"] | Nested | None = None,
    first: int = 1,
    times: Times | None = None,
    ylabel: str = "MSE [dB]",
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw errors over time in decibels, one line per filter.

    Args:
        curves: error in dB of every step [T] by name, as from `Evaluation.error_over_time`.
        floor: a bound in dB to draw as a dashed line, one number or [T], or None.
        first: number of the first step.
        times: times of the steps [T], numbers, numpy dates or time differences; default their
            numbers.
        ylabel: label of the y axis.
        colours: colours by name; default one after the other.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes, which show at most 40 dB above the best filter: triangles at the top mark where
        curves go on, and names of filters that are off scale say so.

    Example:
        >>> from kfjax.plotting import plot_errors
        >>> ax = plot_errors({"EKF": [0.0, -3.0], "lost": [50.0, 90.0]}, floor=-4.0)
        >>> [line.get_label() for line in ax.lines]
        ['EKF', 'lost (off scale)', 'floor', 'beyond the axis']
    """
    errors = curves_by_name("plot_errors: curves", curves)
    check_texts("plot_errors", ylabel=ylabel)
    ax = curve_axes(ax)
    colours = colours_of(errors, colours)
    top = min(map(median, errors.values()), default=0.0) + SPAN_DB
    check_count("plot_errors: first", first, least=0)
    size = len(next(iter(errors.values()), ()))
    clock = clock_of("plot_errors", size, times, first=first)
    for (name, curve), width in zip(errors.items(), widths(len(errors)), strict=True):
        label = name if np.any(curve < top) else f"{name} (off scale)"
        draw_curve(ax, clock.values, curve, color=colours[name], lw=width, label=label)
    if floor is not None:
        if not errors:
            raise ValueError("plot_errors: got a floor without curves; expected at least one.")
        level = level_of("plot_errors: floor", floor, (size,))
        ax.plot(clock.values, level, color=ink(ax), lw=1, ls="--", label="floor")
    style(ax, ylabel=ylabel)
    clock.prepare(ax)
    if ax.get_ylim()[1] > top:
        ax.set_ylim(top=top)
    for name, curve in errors.items():
        mark_beyond(ax, clock.values, curve, colours[name])
    return ax


def plot_error_bounds(
    truth: Real[ArrayLike, "T n"] | Nested,
    mean: Real[ArrayLike, "T n"] | Nested,
    cov: Real[ArrayLike, "T d d"] | Nested,
    *,
    sigmas: float = 2.0,
    components: Iterable[int] | None = None,
    difference: Difference | None = None,
    names: Iterable[str] | None = None,
    times: Times | None = None,
    colour: str = COLOURS[0],
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw the error of one trajectory between the bounds that the filter claims.

    e_t = x_t - m_t against +- sigmas sqrt(P_jj), one component below another; 95 % of the errors of
    a consistent filter are within two sigmas.

    Args:
        truth: true states [T, n], NaN where not known.
        mean: estimates [T, n].
        cov: their covariances [T, n, n]; on a curved space, of its tangent space.
        sigmas: number of standard deviations from zero to the bounds.
        components: indices of the components to draw; default the first three.
        difference: `(x, m) -> [d]` for states on curved spaces, as
            `model.state_space.difference`; None for x - m.
        names: names of the components of the error, with units if they have any.
        times: times of the steps [T], numbers, numpy dates or time differences; default 1..T.
        colour: colour of the error.
        axes: axes to draw into, one per component; default a new figure.

    Returns:
        The axes; the legends give the share of known errors within the bounds.

    Raises:
        ValueError: if the shapes differ, or there are fewer axes than components.

    Example:
        >>> from kfjax.plotting import plot_error_bounds
        >>> truth = np.array([[1.0], [4.0]])
        >>> mean, cov = np.zeros((2, 1)), np.ones((2, 1, 1))
        >>> (ax,) = plot_error_bounds(truth, mean, cov)
        >>> [line.get_label() for line in ax.lines]
        ['error, 50 % within']
    """
    who = "plot_error_bounds"
    mean, covs, true = check_trajectory(who, mean, cov, truth)
    if covs is None or true is None:
        raise ValueError(f"{who}: truth or cov is None; expected both. Or use plot_trajectory.")
    check_number(f"{who}: sigmas", sigmas, above=0)
    check_colour(f"{who}: colour", colour)
    error = _subtracted(true, mean, difference)
    # NaN means unknown in the truth, and an error in the estimate
    known = ~np.isnan(_subtracted(true, true, difference))
    bounds = sigmas * deviations(covs)
    chosen = chosen_components(who, components, error.shape[1])
    if max(chosen) >= bounds.shape[1]:
        raise ValueError(
            f"{who}: cov has shape {covs.shape} and the error {error.shape}; expected a variance of"
            " every component. On a curved space pass difference=, as model.state_space.difference."
        )
    axes = column(len(chosen), axes, who)
    labels = names_of(who, names, error.shape[1], "x")
    clock = clock_of(who, len(error), times)
    pauses = pauses_of(clock.values)
    for ax, j in zip(axes, chosen, strict=False):
        at, bound, curve = broken(pauses, clock.values, bounds[:, j], error[:, j])
        claimed = f"± {sigmas:g} sigma"
        ax.fill_between(at, -bound, bound, color=BAND, alpha=0.3, lw=0, label=claimed)
        share = _within(error[:, j], bounds[:, j], known[:, j])
        ax.plot(at, curve, color=colour, lw=1.2, label=share)
        style(ax, ylabel=f"error of {labels[j]}", named=names is not None)
        ax.legend(loc="upper right", ncols=2)
    clock.prepare(axes[len(chosen) - 1])
    return axes


def _subtracted(x: np.ndarray, m: np.ndarray, difference: Difference | None) -> np.ndarray:
    """Return the differences of states, [T, d]."""
    if difference is None:
        return x - m
    each = jax.vmap(difference)
    return np.asarray(each(jnp.asarray(x), jnp.asarray(m)))


def _within(error: np.ndarray, bound: np.ndarray, known: np.ndarray) -> str:
    """Return the label of an error: the share within the bounds."""
    if not known.any():
        return "error"
    part = np.mean(np.abs(error[known]) <= bound[known])
    return f"error, {100 * part:.0f} % within"


def median(curve: Real[ArrayLike, " T"]) -> float:
    """Return the median of the finite entries, or inf if no entry is finite."""
    values = np.asarray(curve)
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else np.inf
