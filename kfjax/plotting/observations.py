"""Measured channels beside what a filter predicted of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Real
from matplotlib.axes import Axes

from kfjax._support.arguments import check_kind, real_numbers
from kfjax._support.naming import described
from kfjax._support.types import Nested
from kfjax.base import Info
from kfjax.plotting.checks import array_or_none, check_colour, chosen_components, names_of
from kfjax.plotting.components import deviations
from kfjax.plotting.limits import View, usual_edges
from kfjax.plotting.style import BAND, COLOURS, REJECTED, column, points, shade, style
from kfjax.plotting.times import Times, clock_of
from kfjax.plotting.wraps import breaks_of, pauses_of

__all__ = ["plot_observations"]

GAP = 1.5  # usual steps between two observations of a channel, above which there is a gap
USUAL = (0.02, 0.98)  # quantiles of predictions, or of observations, that have to be seen
FAR = 6.0  # standard deviations from the prediction at which an observation may leave the axis


def plot_observations(
    ys: Real[ArrayLike, "T m"] | Nested,
    info: Info | None = None,
    *,
    observed: Bool[ArrayLike, "T m"] | Bool[ArrayLike, " T"] | None = None,
    components: Iterable[int] | None = None,
    names: Sequence[str] | None = None,
    times: Times | None = None,
    colour: str = COLOURS[0],
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw measured channels, and what the filter predicted of each one a step ahead.

    Channels are drawn one below another: observations as points, predictions y_t - innovation_t as
    a line with their 2-sigma band, which breaks where an angle wraps. Gaps are shaded, and
    observations that the filter rejected are crossed. Outliers that would make the axis useless are
    triangles at its edge.

    Args:
        ys: observations [T, m], NaN where missing.
        info: the filter's `Info` of every step, as from `emit=kf.estimate_and_info`; None draws the
            observations alone. Where it reports `accepted`, rejected observations are known.
        observed: booleans [T, m] or [T], or None; NaN is never observed.
        components: indices of the channels to draw; default the first three.
        names: m names of the channels, with units if they have any, such as "east [m]".
        times: times of the steps [T], numbers, numpy dates or time differences; default 1..T.
        colour: colour of the predictions.
        axes: axes to draw into, one per channel; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes differ, or there are fewer axes than channels.

    Example:
        >>> from kfjax.plotting import plot_observations
        >>> model = kf.systems.constant_velocity()
        >>> _, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> _, info = kf.run(
        ...     kf.kalman(), model, ys, emit=kf.estimate_and_info
        ... ).outputs
        >>> (ax,) = plot_observations(ys, info, names=["position [m]"])
        >>> [line.get_label() for line in ax.lines]
        ['predicted', 'measured']
    """
    who = "plot_observations"
    named = names is not None
    values = real_numbers(f"{who}: ys", ys)
    if values.ndim != 2:
        raise ValueError(
            f"{who}: ys has shape {values.shape}; expected one trajectory [T, m]. Select one of a"
            " batch with ys[0]."
        )
    if info is not None:
        check_kind(f"{who}: info", info, Info)
    check_colour(f"{who}: colour", colour)
    seen = _seen(who, values, observed)
    predicted, spread = _predictions(who, values, info)
    steps, channels = values.shape
    accepted = _accepted(info, steps)
    chosen = chosen_components(who, components, channels)
    labels = names_of(who, names, channels, "y")
    axes = column(len(chosen), axes, who)
    clock = clock_of(who, steps, times)
    for ax, j in zip(axes, chosen, strict=False):
        channel = _Channel(
            clock.values,
            values[:, j],
            seen[:, j],
            predicted[:, j],
            spread[:, j],
            accepted,
        )
        _draw_gaps(ax, channel)
        view = _view(channel)
        _draw_predictions(ax, channel, view, colour)
        _draw_measured(ax, channel, view)
        style(ax, ylabel=labels[j], named=named)
    lowest = axes[len(chosen) - 1]
    clock.prepare(lowest)
    return axes


class _Channel(NamedTuple):
    """One channel; all arrays are [T].

    Attributes:
        times: times as they are drawn.
        values: observations.
        seen: whether they were observed.
        predicted: what the filter predicted, NaN if it does not say.
        spread: standard deviations of that, NaN if it does not say.
        accepted: the share of the channels of every step that the filter used.
    """

    times: np.ndarray
    values: np.ndarray
    seen: np.ndarray
    predicted: np.ndarray
    spread: np.ndarray
    accepted: np.ndarray


def _seen(who: str, values: np.ndarray, observed: ArrayLike | None) -> np.ndarray:
    """Return which entries were observed, [T, m]."""
    known = np.isfinite(values)
    if observed is None:
        return known
    mask = array_or_none(observed)
    if mask.dtype != bool or mask.shape not in (values.shape, values.shape[:1]):
        raise ValueError(
            f"{who}: observed is {described(observed)}; expected booleans {values.shape}, as ys, or"
            f" {values.shape[:1]}."
        )
    return known & mask.reshape(len(mask), -1)


def _predictions(who: str, values: np.ndarray, info: Info | None) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted observations [T, m] and their standard deviations, NaN if not known."""
    unknown = np.full(values.shape, np.nan)
    if info is None or info.innovation is None:
        return unknown, unknown
    innovation = np.asarray(info.innovation, np.float64)
    if innovation.shape != values.shape:
        raise ValueError(
            f"{who}: info.innovation has shape {innovation.shape} and ys {values.shape}; expected"
            " the same, of one trajectory."
        )
    predicted = values - innovation
    if info.innovation_cov is None:
        return predicted, unknown
    covs = np.asarray(info.innovation_cov, np.float64)
    return predicted, deviations(covs)


def _accepted(info: Info | None, steps: int) -> np.ndarray:
    """Return the share of the channels of every step that was used, [T]."""
    extra = {} if info is None else info.extra or {}
    return np.asarray(extra.get("accepted", np.ones(steps)), np.float64)


def _draw_gaps(ax: Axes, channel: _Channel) -> None:
    """Shade where a channel was observed less often than usual."""
    at = np.flatnonzero(channel.seen)
    edges = [*_gaps(at), *_ends(at, len(channel.seen))]
    spans = [_span(channel.times, first, last) for first, last in edges]
    times = channel.times.astype(float)[at]
    without_rows = [k for k in pauses_of(times) if (at[k - 1] + 1, at[k] - 1) not in edges]
    spans += [(times[k - 1], times[k] - times[k - 1]) for k in without_rows]
    if not spans:
        return
    how: dict[str, Any] = {"color": BAND, "alpha": 0.25, "lw": 0, "label": "not observed"}
    ax.broken_barh(spans, (0, 1), transform=ax.get_xaxis_transform(), **how)


def _gaps(at: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and last steps of gaps between observed steps."""
    if at.size < 2:
        return []
    apart = np.diff(at)
    wide = np.flatnonzero(apart > GAP * np.median(apart))
    return [(int(at[k]) + 1, int(at[k + 1]) - 1) for k in wide]


def _ends(at: np.ndarray, steps: int) -> list[tuple[int, int]]:
    """Return the first and last steps of gaps before and after all observed steps."""
    if at.size == 0:
        return [(0, steps - 1)]
    usual = np.median(np.diff(at)) if at.size > 1 else 1.0
    first, last = int(at[0]), int(at[-1])
    ends = []
    if first + 1 > GAP * usual:
        ends.append((0, first - 1))
    if steps - last > GAP * usual:
        ends.append((last + 1, steps - 1))
    return ends


def _span(times: np.ndarray, first: int, last: int) -> tuple[float, float]:
    """Return the start and the width of steps, half-way to their neighbours."""
    edges = 0.5 * (times[1:] + times[:-1])
    start = edges[first - 1] if first > 0 else times[0]
    end = edges[last] if last < len(times) - 1 else times[-1]
    return float(start), float(end - start)


def _view(channel: _Channel) -> View:
    """Return the range of a channel to show: usual predictions, and observations near them."""
    values = channel.values[channel.seen]
    predicted = channel.predicted[channel.seen]
    known = predicted[np.isfinite(predicted)]
    if known.size == 0:
        usual_values = np.quantile(values, USUAL) if values.size else values
        return View.of([usual_values])
    usual = np.quantile(known, USUAL)
    spread = channel.spread[channel.seen]
    far = FAR * np.nan_to_num(spread, nan=np.inf)
    near = np.abs(values - predicted) <= far
    band = usual_edges(predicted - 2 * spread, predicted + 2 * spread)
    return View.of([values[near], usual, band])


def _draw_predictions(ax: Axes, channel: _Channel, view: View, colour: str) -> None:
    """Draw the predictions of a channel with their band, broken where there is a gap."""
    at = np.flatnonzero(channel.seen)
    if not np.isfinite(channel.predicted[at]).any():
        return
    first_steps = [first for first, _ in _gaps(at)]
    starts = [
        *np.searchsorted(at, first_steps),
        *breaks_of(channel.times.astype(float)[at], channel.predicted[at]),
    ]
    breaks = np.unique(starts).astype(int)
    parts = (channel.times.astype(float), channel.predicted, channel.spread)
    x, mean, std = (np.insert(part[at], breaks, np.nan) for part in parts)
    low = mean - 2 * std
    high = mean + 2 * std
    if np.isfinite(std).any():
        how: dict[str, Any] = {"color": colour, "alpha": shade(ax), "lw": 0, "label": "± 2 sigma"}
        ax.fill_between(x, view.clip(low), view.clip(high), **how)
    ax.plot(x, view.clip(mean), color=colour, lw=1.2, label="predicted")
    for beyond in (low, high):
        view.mark(ax, x, beyond, colour)


def _draw_measured(ax: Axes, channel: _Channel, view: View) -> None:
    """Draw the observations of a channel: used, partly used and rejected ones."""
    seen = channel.seen
    values = channel.values
    whole = channel.accepted >= 1
    some = channel.accepted > 0
    dots = points(ax, len(values))
    circles = {"marker": "o", "color": REJECTED, "ms": 4, "mfc": "none"}
    crosses = {"marker": "x", "color": REJECTED, "ms": 5}
    kinds: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "measured": (seen & whole, dots),
        "partly rejected": (seen & some & ~whole, circles),
        "rejected": (seen & ~some, crosses),
    }
    for name, (which, how) in kinds.items():
        if not which.any():
            continue
        of_kind = np.where(which, values, np.nan)
        is_inside = view.clip(of_kind) == of_kind
        inside = np.where(is_inside, of_kind, np.nan)
        ax.plot(channel.times, inside, ls="none", label=name, **how)
        view.mark(ax, channel.times, of_kind, how["color"])
