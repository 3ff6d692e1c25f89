"""Trajectories from tables: pandas data frames and xarray datasets, which are optional packages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kfjax.data.dataset import Dataset
from kfjax.models.discretisation import time_steps

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["from_pandas", "from_xarray"]

Time: TypeAlias = float | datetime | np.datetime64
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
        time: column (or name of the index) of timestamps, numbers or dates; `us` then has "dt",
            the time since the row before, in seconds for dates. None if all steps are alike.
        trajectory: column that tells trajectories apart, which may be of different lengths; None
            for one trajectory.
        start: the time of x_0; default that of the first row, whose dt is then 0.

    Returns:
        The `Dataset`, trajectories in the order of their first rows.

    Raises:
        ValueError: if a column is missing or time goes backwards, and as `Dataset`.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"t": [0.0, 0.5, 2.0], "range": [3.1, np.nan, 3.4]})
        >>> data = kf.from_pandas(frame, ["range"], time="t")
        >>> data.us["dt"].tolist(), data.observed[0, :, 0].tolist()
        ([[0.0, 0.5, 1.5]], [True, False, True])
    """
    if isinstance(ys, str):
        raise ValueError(f"from_pandas: ys is {ys!r}; expected a list of columns. Write [{ys!r}].")
    if time is not None and time == frame.index.name:
        frame = frame.reset_index()
    _check_columns(frame, [*ys, *(xs or ()), *us, time, trajectory])
    parts = [frame]
    if trajectory is not None:
        parts = [part for _, part in frame.groupby(trajectory, sort=False)]

    def series(columns: Sequence[str]) -> np.ndarray:
        return _padded([_numbers(part[list(columns)]) for part in parts])

    inputs = {name: _padded([part[name].to_numpy() for part in parts]) for name in us}
    if time is not None:
        inputs["dt"] = _padded([_steps(part[time].to_numpy(), start) for part in parts])
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
        ys: the variable of the observations, of dimensions (trajectory,) time and channels; NaN is
            missing.
        xs: the variable of the true state, likewise, or None.
        us: variables of inputs, each under its name in `Dataset.us`.
        time: the dimension of time; if it has a coordinate, `us` has "dt", in seconds for dates.
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
    leading = [time] if trajectory is None else [trajectory, time]
    _check_variables(data, [ys, xs, *us], leading)

    def series(name: str) -> np.ndarray:
        array = data[name].transpose(*leading, ...).to_numpy()
        return array[None] if trajectory is None else array

    observations = series(ys)
    inputs = {name: series(name) for name in us}
    if time in data.coords:
        steps = _steps(data[time].to_numpy(), start)
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


def _steps(times: np.ndarray, start: Time | None) -> np.ndarray:
    """Return the steps between timestamps, in seconds for dates."""
    first: Any = times[0] if start is None else start
    if times.dtype.kind == "M":
        second = np.timedelta64(1, "s")
        since = times[0]
        times = (times - since) / second
        first = (first - since) / second
    return np.asarray(time_steps(times.astype(np.float64), float(first)))


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    """Stack arrays of different lengths, with zeros after the end (which never count)."""
    longest = max(map(len, rows))
    return np.stack([_extended(array, longest) for array in rows])


def _extended(array: np.ndarray, length: int) -> np.ndarray:
    """Append zeros along the first axis."""
    widths = [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths)
