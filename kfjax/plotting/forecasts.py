"""Plots of forecasts beside the series that they continue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kfjax._support.arguments import check_count, check_kind
from kfjax.data import Dataset, Labels
from kfjax.evaluation.forecasts import SeriesForecast
from kfjax.plotting.style import BAND, COLOURS, column, ink, shade, share_x, style
from kfjax.plotting.times import Clock, clock_in_labels
from kfjax.plotting.wraps import breaks_of, broken

__all__ = ["plot_forecast"]


def plot_forecast(
    data: Dataset,
    forecast: SeriesForecast,
    *,
    actual: Dataset | None = None,
    trajectory: int = 0,
    last: int | None = None,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw a series, its forecast and the interval of each future observation.

    One panel for each channel; lines break where observations are missing.

    Args:
        data: the series that was forecast.
        forecast: what `kfjax.evaluation.forecast_series` returned for it.
        actual: what was observed afterwards, such as the second part of `kfjax.data.split_time`,
            or None.
        trajectory: which of several series.
        last: number of steps of the series to draw, its last ones; default all.
        axes: axes to draw into, one for each channel; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no such series, or too few axes.

    Example:
        >>> from kfjax.plotting import plot_forecast
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=60)
        >>> train, test = kf.data.split_time(kf.Dataset(ys[None]), 50, 10)
        >>> ahead = kf.evaluation.forecast_series(
        ...     kf.kalman(), model, train, steps=10
        ... )
        >>> (ax,) = plot_forecast(train, ahead, actual=test)
        >>> [line.get_label() for line in ax.lines]
        ['observed', 'observed later', 'forecast']
    """
    who = "plot_forecast"
    check_kind(f"{who}: data", data, Dataset)
    check_kind(f"{who}: forecast", forecast, SeriesForecast)
    if actual is not None:
        check_kind(f"{who}: actual", actual, Dataset)
    check_count(f"{who}: trajectory", trajectory, least=0, most=data.size - 1)
    if last is not None:
        check_count(f"{who}: last", last)
    _, _, channels = forecast.mean.shape
    panels = column(channels, axes, who)
    times, values = _series(data, trajectory, 1)
    times, values = times[-(last or 0) :], values[-(last or 0) :]
    length = int(data.lengths[trajectory])
    if forecast.future.times is None:
        ahead = np.arange(length + 1, length + 1 + forecast.future.steps)
    else:
        ahead = forecast.future.times[trajectory]
    later = None if actual is None else _series(actual, trajectory, length + 1)
    parts = [times, ahead] if later is None else [times, ahead, later[0]]
    clock = _clock(np.concatenate(parts), data.labels)
    ends_of_parts = np.cumsum([len(part) for part in parts])[:-1]
    at_past, at_ahead, *at_later = np.split(clock.values, ends_of_parts)
    for j, (ax, name) in enumerate(zip(panels, forecast.channels, strict=False)):
        _draw_series(ax, at_past, values[:, j], color=ink(ax), label="observed")
        if later is not None:
            _draw_series(ax, at_later[0], later[1][:, j], color=BAND, label="observed later")
        ends = (forecast.low[trajectory, :, j], forecast.high[trajectory, :, j])
        region = f"{100 * forecast.level:g} %"
        ax.fill_between(at_ahead, *ends, color=COLOURS[0], alpha=shade(ax), lw=0, label=region)
        ax.plot(
            at_ahead, forecast.mean[trajectory, :, j], color=COLOURS[0], lw=1.6, label="forecast"
        )
        units = {} if data.labels is None else data.labels.units
        style(ax, ylabel=f"{name} [{units[name]}]" if name in units else name)
        clock.prepare(ax)
    # above the axes, where it hides nothing; their title is on the left
    above: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 4}
    panels[0].legend(fontsize="small", frameon=False, **above)
    share_x(panels[:channels])
    return panels


def _clock(times: np.ndarray, labels: Labels | None) -> Clock:
    """Return the times of past and later steps as they are drawn."""
    if labels is None or labels.times is None:
        return Clock(times, "step")
    return clock_in_labels(times, labels)


def _series(data: Dataset, trajectory: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times [T] and values [T, m] of one series, NaN where nothing was observed."""
    length = int(data.lengths[trajectory])
    values = np.array(data.ys[trajectory][:length], np.float64)
    if data.observed is not None:
        values[~np.asarray(data.observed[trajectory][:length])] = np.nan
    times = np.arange(first, first + length)
    if data.labels is not None and data.labels.times is not None:
        times = data.labels.times[trajectory][:length]
    return times, values


def _draw_series(ax: Axes, times: np.ndarray, values: np.ndarray, **how: Any) -> None:
    """Draw observations as points on a line, which breaks at gaps and where an angle wraps."""
    ax.plot(*broken(breaks_of(times, values), times, values), ".-", lw=0.8, ms=3, **how)
