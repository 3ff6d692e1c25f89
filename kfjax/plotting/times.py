"""The axis of time: numbers of steps, or the times of the data as numbers, dates or durations."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib import dates
from matplotlib.axes import Axes

from kfjax._support.arguments import real_numbers
from kfjax._support.types import Nested
from kfjax.data import Labels
from kfjax.plotting.checks import array_or_none

__all__: list[str] = []

# the longest duration in seconds that is shown in a unit, and the seconds of that unit
UNITS = {"s": (600.0, 1.0), "min": (3 * 3600.0, 60.0), "h": (4 * 86400.0, 3600.0)}
DAY = 86400.0
TICKS = 8  # dates along an axis, at most, so that they do not overlap


class Clock(NamedTuple):
    """Times of the steps of a curve, as they are drawn.

    Attributes:
        values: numbers [T]; of dates, days since 1970.
        label: label of the axis.
        zone: time zone of dates, or None for other times.
    """

    values: np.ndarray
    label: str
    zone: tzinfo | None = None

    def rows(self, index: slice) -> Clock:
        """Return the times of some of the steps."""
        return self._replace(values=self.values[index])

    def prepare(self, ax: Axes) -> None:
        """Label the axis, with dates that do not overlap."""
        ax.set_xlabel(self.label)
        if self.zone is None:
            return
        locator = dates.AutoDateLocator(tz=self.zone, minticks=3, maxticks=TICKS)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=self.zone))


Times: TypeAlias = Real[ArrayLike, " T"] | Nested | Clock | Any
"""Times of steps: numbers, numpy dates or time differences; None for 1..T."""


def clock_of(who: str, steps: int, times: Times | None, *, first: int = 1) -> Clock:
    """Return the times of steps; by default their numbers from `first` on."""
    if times is None:
        return Clock(np.arange(first, first + steps), "step")
    if isinstance(times, Clock):
        return times
    array = array_or_none(times)
    if array.dtype.kind not in "mM":
        array = real_numbers(f"{who}: times", times)
    if array.shape != (steps,):
        raise ValueError(
            f"{who}: times has shape {array.shape}; expected ({steps},), one for each step."
        )
    return _clock(array)


def clock_of_labels(labels: Labels | None, length: int) -> Clock | None:
    """Return the times of the first trajectory up to its length, or None if they are not known."""
    if labels is None or labels.times is None:
        return None
    return clock_in_labels(labels.times[0, :length], labels)


def clock_in_labels(times: np.ndarray, labels: Labels) -> Clock:
    """Return times [T] as they are drawn, under the name and in the zone of labels."""
    name = labels.time or "time"
    clock = _clock(times, labels.zone, name)
    if times.dtype.kind in "mM":
        return clock
    return clock._replace(label=labels.with_unit(name))


def _clock(times: np.ndarray, zone: str | None = None, name: str = "time") -> Clock:
    """Return dates, time differences or numbers as they are drawn."""
    if times.dtype.kind == "M":
        shown = name if zone is None else f"{name} ({zone})"
        return Clock(dates.date2num(times), shown, _zone(zone))
    if times.dtype.kind != "m":
        return Clock(times, name)
    seconds = times / np.timedelta64(1, "s")
    span = np.ptp(seconds) if seconds.size else 0.0
    for unit, (longest, size) in UNITS.items():
        if span <= longest:
            return Clock(seconds / size, f"{name} [{unit}]")
    return Clock(seconds / DAY, f"{name} [d]")


def _zone(name: str | None) -> tzinfo:
    """Return the time zone of a name as pandas has it, such as Europe/Berlin or UTC+02:00."""
    if name is None:
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, zoneinfo.ZoneInfoNotFoundError):
        pass
    try:
        return datetime.strptime(name.removeprefix("UTC"), "%z").tzinfo or UTC
    except ValueError:
        return UTC
