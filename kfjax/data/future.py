"""The steps after the end of data: their times, in the data's own spacing, and their inputs."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped

from kfjax._support.arguments import check_count, check_kind, real_numbers
from kfjax._support.naming import described
from kfjax.data.cutting import first_steps
from kfjax.data.dataset import Dataset

__all__ = ["Future", "split_future"]

REGULAR = 0.01  # steps that vary by less are alike
SECONDS = np.timedelta64(1, "s")


class Future(NamedTuple):
    """Steps after the end of every trajectory.

    Attributes:
        steps: their number K.
        us: their inputs, a pytree of [N, K, ...], or None.
        times: their times [N, K], as `Labels` has them, or None if the data have none.
        spacing: how the times continue, in words.
    """

    steps: int
    us: Any
    times: Shaped[np.ndarray, "N K"] | None
    spacing: str


def split_future(data: Dataset, steps: int | None = None) -> tuple[Dataset, Future]:
    """Split data where the observations end, and continue their times and inputs.

    If there is a single trajectory, rows at its end in which nothing was observed are steps to be
    forecast: a table can thus state their times and inputs. If there are none, or fewer than
    `steps`, the times continue in the spacing of the data: that of a calendar (months, business
    days), or the median of the steps. The input "dt" continues with them.

    Args:
        data: trajectories; with inputs other than "dt", a single one that ends with such rows.
        steps: number of steps K; default that of these rows.

    Returns:
        (the data up to the last observation, `Future`).

    Raises:
        ValueError: if the number of steps is not known, or inputs of future steps are not.

    Example:
        >>> dt = np.array([[1.0, 2.0, 2.0]])
        >>> data = kf.Dataset(np.ones((1, 3, 1)), us={"dt": dt})
        >>> kf.data.split_future(data, 2)[1].us["dt"].tolist()
        [[2.0, 2.0]]
    """
    return future_of("split_future", data, steps)


def future_of(who: str, data: Dataset, steps: int | None, us: Any = None) -> tuple[Dataset, Future]:
    """Split data where the observations end, as `split_future`, with the inputs us if given."""
    check_kind(f"{who}: data", data, Dataset)
    if us is not None:
        us, count = _given_inputs(who, data, us)
        if steps not in (None, count):
            raise ValueError(f"{who}: steps is {steps}, and us has {count}; expected the same.")
        steps = count
    known, rows = _unobserved_end(data)
    if us is not None and rows is not None:
        raise ValueError(
            f"{who}: got us, and {rows.steps} rows at the end of the data without observations,"
            " which have inputs of their own; expected one of them. Leave out us, or the rows."
        )
    if steps is None and rows is None:
        raise ValueError(
            f"{who}: steps is None, and the data end with an observation; expected a number"
            " of steps, or rows at the end without observations."
        )
    if steps is None:
        steps = data.steps - known.steps
    check_count(f"{who}: steps", steps)
    given = 0 if rows is None else min(rows.steps, steps)
    times, spacing = _later_times(who, known, rows, given, steps)
    if us is None:
        us = _later_inputs(who, known, rows, given, steps, times)
    return known, Future(steps, us, times, spacing)


def _given_inputs(who: str, data: Dataset, us: Any) -> tuple[Any, int]:
    """Return inputs of later steps [N, K, ...], and K; raise unless they are like those of data."""
    if data.us is None:
        raise ValueError(
            f"{who}: got us, and the data have no inputs; expected those of the past in the data,"
            " kf.Dataset(ys, us=...)."
        )
    given, wanted = (str(jax.tree.structure(inputs)) for inputs in (us, data.us))
    if given != wanted:
        raise ValueError(
            f"{who}: us is {_names_in(us)}; expected {_names_in(data.us)}, as the inputs of the"
            " data."
        )
    past = jax.tree.leaves(jax.tree.map(np.asarray, data.us))
    leaves = jax.tree.leaves(jax.tree.map(lambda a: real_numbers(f"{who}: us", a), us))
    if data.size == 1:  # of one series, also without the axis of series
        pairs = zip(leaves, past, strict=True)
        leaves = [a[None] if a.ndim == old.ndim - 1 else a for a, old in pairs]
    counts = {a.shape[1] if a.ndim > 1 else 0 for a in leaves}
    count = max(counts)
    shapes_wanted = [(data.size, count, *old.shape[2:]) for old in past]
    if count == 0 or [a.shape for a in leaves] != shapes_wanted:
        size = "" if data.size == 1 else f"{data.size}, "
        shapes = [a.shape for a in jax.tree.leaves(jax.tree.map(np.asarray, us))]
        expected = [f"[{size}K{''.join(f', {n}' for n in old.shape[2:])}]" for old in past]
        raise ValueError(
            f"{who}: us has the shape {', '.join(map(str, shapes))}; expected"
            f" {', '.join(expected)} for K steps ahead, as the inputs of the data."
        )
    return jax.tree.unflatten(jax.tree.structure(us), leaves), count


def _names_in(us: Any) -> str:
    """Return what inputs are, for error texts."""
    return f"a dict of {', '.join(map(str, us))}" if isinstance(us, dict) else described(us)


def _unobserved_end(data: Dataset) -> tuple[Dataset, Future | None]:
    """Return the data up to the last observation, and the rows after it, if there are any."""
    if data.size > 1 or data.observed is None:
        return data, None
    length = int(data.lengths[0])
    observed = np.asarray(data.observed)[0, :length]
    seen = np.flatnonzero(observed.any(-1))
    last = int(seen[-1]) + 1 if seen.size else length
    if last == length:
        return data, None
    us = jax.tree.map(lambda a: np.asarray(a)[:, last:length], data.us)
    times = None
    if data.labels is not None and data.labels.times is not None:
        times = data.labels.times[:, last:length]
    return first_steps(data, last), Future(length - last, us, times, "as in the data")


def _later_times(
    who: str, data: Dataset, rows: Future | None, given: int, steps: int
) -> tuple[np.ndarray | None, str]:
    """Return the times [N, K] of later steps, and how they continue."""
    labels = data.labels
    if labels is None or labels.times is None:
        return None, "steps"
    start = [] if rows is None or rows.times is None else [rows.times[:, :given]]
    count = steps - given
    if count == 0:
        return start[0], "as in the data"
    series = []
    spacing = ""
    for row, length in zip(labels.times, data.lengths, strict=True):
        past = np.concatenate([row[:length], *(part[0] for part in start)])
        later, spacing = _continued(who, past, count, labels.zone)
        series.append(later)
    return np.concatenate([*start, np.stack(series)], axis=1), spacing


def _continued(who: str, past: np.ndarray, count: int, zone: str | None) -> tuple[np.ndarray, str]:
    """Return the times after those of one trajectory, and how they continue."""
    if past.size < 2:
        raise ValueError(
            f"{who}: a trajectory has one time; expected at least two, which tell how they go on."
        )
    if past.dtype.kind == "M" and (frequency := calendar_frequency(past, zone)) is not None:
        return _on_the_calendar(past[-1], count, frequency, zone), frequency
    steps = np.diff(past)
    step = np.median(steps) if steps.dtype.kind != "m" else _median(steps)
    even = _ptp(steps) <= REGULAR * step
    later = past[-1] + np.arange(1, count + 1) * step
    words = f"steps of {_in_words(step)}"
    return later, words if even else f"{words}, the median"


def calendar_frequency(times: np.ndarray, zone: str | None = None) -> str | None:
    """Return how dates follow each other, such as "MS" for months, or None if irregularly."""
    import pandas as pd

    if times.dtype.kind != "M" or times.size < 3:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas announces that it will return an offset
        try:
            found: Any = pd.infer_freq(_dates(times, zone))
        except ValueError:  # dates that do not rise
            return None
    return getattr(found, "freqstr", found)


def _dates(times: np.ndarray, zone: str | None) -> Any:
    """Return dates in a local time zone."""
    import pandas as pd

    dates = pd.DatetimeIndex(times)
    return dates if zone is None else dates.tz_localize("UTC").tz_convert(zone)


def _on_the_calendar(
    last: np.datetime64, count: int, frequency: str, zone: str | None
) -> np.ndarray:
    """Return the dates that follow a given one."""
    import pandas as pd

    start = _dates(np.array([last]), zone)[0]
    dates = pd.date_range(start, periods=count + 1, freq=frequency)
    if zone is not None:
        dates = dates.tz_convert(None)
    later = dates[1:].to_numpy()
    return later.astype(last.dtype)


def _later_inputs(
    who: str,
    data: Dataset,
    rows: Future | None,
    given: int,
    steps: int,
    times: np.ndarray | None,
) -> Any:
    """Return the inputs of later steps."""
    if data.us is None:
        return None
    only_dt = isinstance(data.us, dict) and set(data.us) == {"dt"}
    if given == steps and rows is not None:
        return jax.tree.map(lambda a: a[:, :steps], rows.us)
    if not only_dt:
        raise ValueError(
            f"{who}: the data have inputs, and those of {steps - given} of {steps} later steps are"
            " not known; expected them in rows at the end of the only trajectory, where nothing is"
            " observed, or as us= of kf.evaluation.forecast_series."
        )
    return {"dt": _later_dt(data, times, steps)}


def _later_dt(data: Dataset, times: np.ndarray | None, steps: int) -> np.ndarray:
    """Return dt [N, K] of later steps, in the data's unit."""
    labels = data.labels
    if times is None or labels is None:
        rows = zip(np.asarray(data.us["dt"]), data.lengths, strict=True)
        # the first dt depends on when the record starts
        dt = [np.median(row[min(1, length - 1) : length]) for row, length in rows]
        return np.tile(np.asarray(dt, data.dtype)[:, None], (1, steps))
    last = labels.times[np.arange(data.size), data.lengths - 1]
    with_last = np.concatenate([last[:, None], times], axis=1)
    differences = np.diff(with_last, axis=1)
    if differences.dtype.kind == "m":
        differences = differences / SECONDS
    return differences.astype(data.dtype)


def _median(steps: np.ndarray) -> np.timedelta64:
    """Return the median of time differences."""
    counts = steps.astype(np.int64)
    median = np.median(counts).astype(np.int64)
    return median.astype(steps.dtype)


def _ptp(steps: np.ndarray) -> Any:
    return steps.max() - steps.min()


def _in_words(step: Any) -> str:
    """Return a step as text."""
    if isinstance(step, np.timedelta64):
        return f"{step / SECONDS:.6g} s"
    return f"{step:.6g}"
