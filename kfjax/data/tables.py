"""Trajectories from tables: pandas data frames and xarray datasets, which are optional packages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kfjax._support.naming import described
from kfjax.data.dataset import Dataset
from kfjax.models.discretisation import time_steps

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["from_pandas", "from_xarray"]

Time: TypeAlias = float | datetime | timedelta | np.datetime64 | np.timedelta64
"""A timestamp in the unit of the table; a `pandas.Timestamp` is a datetime."""


def from_pandas(
    frame: pd.DataFrame,
    ys: Sequence[str],
    *,
    xs: Sequence[str] | None = None,
    us: Sequence[str] = (),
    time: str | None = None,
    trajectory: str | None = None,
    start: Time | None = None,
) -> Dataset:
    """Return the rows of a data frame as a `Dataset`, one row per step.

    Args:
        frame: the rows, in order of time.
        ys: columns of the observations; NaN is missing.
        xs: columns of the true state, or None.
        us: columns of inputs, each under its name in `Dataset.us`.
        time: column (or name of the index, "index" if it has none) of timestamps: numbers, dates
            with or without a time zone, or time differences. `us` then has "dt", the time since the
            row before, in seconds unless they are numbers. None if all steps are equal.
        trajectory: column that identifies the trajectory of a row; trajectories may differ in
            length. None for one trajectory.
        start: the time of x_0, like those of the rows; default that of the first row, whose dt is
            then 0.

    Returns:
        The `Dataset`, trajectories in the order of their first rows.

    Raises:
        ValueError: if a column is missing, a time is missing or goes backwards, times are text, or
            start is of another kind, and as `Dataset`.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"t": [0.0, 0.5, 2.0], "range": [3.1, np.nan, 3.4]})
        >>> data = kf.from_pandas(frame, ["range"], time="t")
        >>> data.us["dt"].tolist(), data.observed[0, :, 0].tolist()
        ([[0.0, 0.5, 1.5]], [True, False, True])
    """
    if isinstance(ys, str) or not isinstance(ys, Sequence):
        raise ValueError(f"from_pandas: ys is {ys!r}; expected a list of columns. Write [{ys!r}].")
    if not hasattr(frame, "columns"):
        raise ValueError(
            f"from_pandas: frame is {described(frame)}; expected a pandas.DataFrame. For a Series,"
            " pass series.to_frame()."
        )
    frame = _with_index(frame, time, trajectory)
    _check_columns(frame, [*ys, *(xs or ()), *us, time, trajectory])
    parts = [frame]
    if trajectory is not None:
        _check_names(trajectory, frame[trajectory])
        parts = [part for _, part in frame.groupby(trajectory, sort=False)]

    def series(columns: Sequence[str]) -> np.ndarray:
        return _padded([_numbers(part[list(columns)]) for part in parts])

    inputs = {name: _padded([part[name].to_numpy() for part in parts]) for name in us}
    if time is not None:
        inputs["dt"] = _padded([_steps("from_pandas", part[time], start) for part in parts])
    states = None if xs is None else series(xs)
    return Dataset(series(ys), states, inputs or None, length=[len(part) for part in parts])


def from_xarray(
    data: xr.Dataset,
    ys: str,
    *,
    xs: str | None = None,
    us: Sequence[str] = (),
    time: str = "time",
    trajectory: str | None = None,
    start: Time | None = None,
) -> Dataset:
    """Return variables of an xarray dataset as a `Dataset`.

    Args:
        data: the variables.
        ys: the variable of the observations, with dimensions (trajectory,) time and channel; NaN is
            missing.
        xs: the variable of the true state, likewise, or None.
        us: variables of inputs, each under its name in `Dataset.us`.
        time: the dimension of time; if it has a coordinate, `us` has "dt", in seconds if the
            coordinate is of dates.
        trajectory: the dimension of trajectories, or None for one trajectory.
        start: the time of x_0; default the first time, whose dt is then 0.

    Returns:
        The `Dataset`.

    Raises:
        ValueError: if a variable or a dimension is missing or time goes backwards, and as
            `Dataset`.

    Example:
        >>> import xarray as xr
        >>> columns = {"y": (("time", "channel"), np.ones((3, 2)))}
        >>> data = xr.Dataset(columns, {"time": [0.0, 0.5, 2.0]})
        >>> kf.from_xarray(data, "y").us["dt"].tolist()
        [[0.0, 0.5, 1.5]]
    """
    if not hasattr(data, "data_vars"):
        raise ValueError(f"from_xarray: data is {described(data)}; expected an xarray.Dataset.")
    leading = [time] if trajectory is None else [trajectory, time]
    if ys is None:
        raise ValueError("from_xarray: ys is None; expected the name of a variable.")
    _check_variables(data, [ys, xs, *us], leading)

    def series(name: str) -> np.ndarray:
        array = data[name].transpose(*leading, ...).to_numpy()
        return array[None] if trajectory is None else array

    observations = series(ys)
    inputs = {name: series(name) for name in us}
    if time in data.coords:
        steps = _steps("from_xarray", data[time].to_series(), start)
        inputs["dt"] = np.tile(steps, (len(observations), 1))
    states = None if xs is None else series(xs)
    return Dataset(observations, states, inputs or None)


def _check_columns(frame: pd.DataFrame, names: Sequence[str | None]) -> None:
    """Raise unless a data frame has these columns, of which None stands for no column."""
    absent = [name for name in names if name is not None and name not in frame.columns]
    if absent:
        raise ValueError(
            f"from_pandas: no columns {absent}; expected some of {list(frame.columns)}."
        )


def _check_variables(
    data: xr.Dataset, names: Sequence[str | None], dimensions: Sequence[str]
) -> None:
    """Raise unless a dataset has these variables (None stands for none) with these dimensions."""
    names = [name for name in names if name is not None]
    absent = [name for name in names if name not in data]
    if absent:
        raise ValueError(
            f"from_xarray: no variables {absent}; expected some of {list(data.data_vars)}."
        )
    incomplete = [name for name in names if not set(dimensions) <= set(data[name].dims)]
    if incomplete:
        raise ValueError(
            f"from_xarray: {incomplete} lack a dimension; expected {list(dimensions)}. Rename"
            " dimensions with data.rename."
        )


def _numbers(columns: pd.DataFrame) -> np.ndarray:
    """Return columns as floats, NaN where missing."""
    try:
        return columns.to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"from_pandas: columns {list(columns)} hold values that are not numbers ({error});"
            " expected numbers, NaN where missing. Convert them with pandas.to_numeric."
        ) from error


def _with_index(frame: pd.DataFrame, *names: str | None) -> pd.DataFrame:
    """Return a data frame with its index as columns, if one of the names is in the index."""
    unnamed = frame.index.nlevels == 1 and frame.index.name is None
    levels = ["index"] if unnamed else list(frame.index.names)
    wanted = [name for name in names if name in levels and name not in frame.columns]
    return frame.reset_index() if wanted else frame


def _check_names(trajectory: str, column: pd.Series) -> None:
    """Raise if a row belongs to no trajectory: pandas would drop it."""
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise ValueError(
            f"from_pandas: column {trajectory!r} is missing in row {row}; expected a trajectory in"
            " every row."
        )


def _steps(who: str, column: pd.Series, start: Time | None) -> np.ndarray:
    """Return the steps between timestamps, in seconds for dates and time differences."""
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise ValueError(f"{who}: the time of row {row} is missing; expected a time in every row.")
    try:
        times, first = _since_first(column, column.iloc[0] if start is None else start)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{who}: times are {column.dtype} such as {column.iloc[0]!r}, start is {start!r}"
            f" ({error}); expected numbers, dates or time differences, all alike, time zones"
            " included. Convert text with pandas.to_datetime or pandas.to_timedelta."
        ) from error
    return np.asarray(time_steps(times, first))


def _since_first(column: pd.Series, start: Any) -> tuple[np.ndarray, float]:
    """Return times and the start, in seconds since the first time unless they are numbers."""
    if column.dtype.kind in "fiu":
        return column.to_numpy(np.float64), float(start)
    if column.dtype.kind not in "mM":
        raise TypeError("neither numbers, dates nor time differences")
    if isinstance(start, (int, float)):
        raise TypeError("a number is neither a date nor a time difference")
    since = column.iloc[0]
    if column.dtype.kind == "m":
        start = type(since)(start)
    if column.dtype.kind == "M" and not hasattr(start, "tzinfo"):
        start = type(since)(start)
    seconds = (column - since).dt.total_seconds().to_numpy(np.float64)
    return seconds, (start - since).total_seconds()


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    """Stack arrays of different lengths, with zeros after the end (which never count)."""
    longest = max(map(len, rows))
    return np.stack([_extended(array, longest) for array in rows])


def _extended(array: np.ndarray, length: int) -> np.ndarray:
    """Append zeros along the first axis."""
    widths = [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths)
