"""Where curves break: where nothing was recorded for long, and where an angle wraps."""

from __future__ import annotations

import numpy as np

__all__: list[str] = []

PAUSE = 10.0  # usual times between two rows, above which nothing was recorded
TURNS = (2 * np.pi, 360.0)  # a whole turn in the units of angles
# turns that a curve that wraps spans; predictions, y - innovation, go a little beyond one
SPANS = (0.8, 1.25)
USUAL = 0.9  # quantile of the steps around the circle, above a few times which nothing wraps
TIMES = 4.0
SMALL = 0.2  # of a turn: a larger step may go either way


def wraps_of(curve: np.ndarray) -> np.ndarray:
    """Return the indices [K] of the points before which a curve [T] of an angle wraps."""
    return turn_and_wraps(curve)[1]


def turn_and_wraps(curve: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the whole turn of a curve [T] of an angle, and the points before which it wraps.

    A jump is a wrap if the curve spans about a turn, the jump is of more than half a turn, and the
    step the other way round the circle is as small as the others.
    """
    known = np.flatnonzero(np.isfinite(curve))
    if known.size < 3:
        return np.nan, known[:0]
    steps = np.diff(curve[known])
    span = np.ptp(curve[known])
    for turn in TURNS:
        if not SPANS[0] <= span / turn <= SPANS[1]:
            continue
        around = np.abs(steps - turn * np.round(steps / turn))
        small = around <= min(TIMES * np.quantile(around, USUAL), SMALL * turn)
        return turn, known[1:][(np.abs(steps) > turn / 2) & small]
    return np.nan, known[:0]


def breaks_of(times: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Return the indices [K] of the points before which a curve [T] of any kind breaks.

    It breaks where nothing was recorded for long, and where an angle wraps. Each
    stretch without a pause is judged by itself: after a pause an angle may count its turns.
    """
    pauses = pauses_of(times)
    starts = [0, *pauses]
    parts = np.split(curve, pauses)
    wraps = [start + wraps_of(part) for start, part in zip(starts, parts, strict=True)]
    return np.unique(np.concatenate([pauses, *wraps]))


def pauses_of(times: np.ndarray) -> np.ndarray:
    """Return the indices [K] of the times [T] before which nothing was recorded for long."""
    apart = np.diff(times)
    if apart.size == 0:
        return np.zeros(0, int)
    return np.flatnonzero(apart > PAUSE * np.median(apart)) + 1


def broken(at: np.ndarray, *curves: np.ndarray) -> list[np.ndarray]:
    """Return curves [T] with a NaN before every index in `at`, so that a line breaks there."""
    if at.size == 0:
        return list(curves)
    return [np.insert(curve.astype(float), at, np.nan) for curve in curves]
