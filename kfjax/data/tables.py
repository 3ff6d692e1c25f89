"""Trajectories from tables: pandas data frames and xarray datasets, which are optional packages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from kfjax._support.arguments import real_numbers
from kfjax._support.naming import described, suggest
from kfjax.data.columns import Table
from kfjax.data.dataset import Dataset
from kfjax.data.date_columns import columns_of_time, hint_of_date, time_column
from kfjax.data.labels import Labels
from kfjax.data.suspicious_rows import warn_of_codes, warn_of_repeats
from kfjax.data.times import read_times, steps_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["from_pandas", "from_xarray"]

Time: TypeAlias = float | str | datetime | timedelta | np.datetime64 | np.timedelta64
"""A timestamp as those of the table; a `pandas.Timestamp` is a datetime."""


class TableColumns(TypedDict, total=False):
    """Meaning of the columns of a table other than the observations; see `from_pandas`."""

    xs: Sequence[str | None] | None
    us: Sequence[str]
    time: str | Sequence[str] | None
    by: str | None
    start: Time | None
    time_format: str | None
    gps: Sequence[str] | None
    missing: Sequence[float]


def from_pandas(
    frame: pd.DataFrame,
    ys: Sequence[str],
    *,
    xs: Sequence[str | None] | None = None,
    us: Sequence[str] = (),
    time: str | Sequence[str] | None = None,
    by: str | None = None,
    start: Time | None = None,
    time_format: str | None = None,
    gps: Sequence[str] | None = None,
    missing: Sequence[float] = (),
) -> Dataset:
    """Return the rows of a data frame as a `Dataset`, one row per step.

    A column may be named without its unit: "east" is the column "east [m]" or "east (m)", too.
    Names, units and times are kept in `Dataset.labels`.

    Args:
        frame: the rows, in order of time.
        ys: columns of the observations; NaN is missing.
        xs: columns of the true state in the order of the model, None for a component that is not
            known; or None.
        us: columns of inputs, each under its name in `Dataset.us`.
        time: column (or name of the index, "index" if it has none) of times: dates with or without
            a time zone, time differences, or numbers; dates may be text (ISO 8601, "1959Q1"), and
            time differences, too ("0:01:02.5"). Several columns are read together:
            ["year", "quarter"], ["year", "month", "day"], or text such as ["date", "clock"]. `us`
            then has "dt", the time since the previous row, in seconds unless they are numbers. None
            if all steps are alike.
        by: column that tells trajectories apart, which may be of different lengths; None for one
            trajectory.
        start: the time of x_0, like those of the rows; default that of the first row, whose dt is
            then 0.
        time_format: unit of times that are numbers ("s", "ms", "us" or "ns"), or how dates are
            written, such as "%d.%m.%Y %H:%M". By default the unit is that in the name of the
            column ("t [ms]"); without one, numbers that fit dates after 2001 in one of the units
            count since 1970, and others stay as they are.
        gps: columns of latitude and longitude in degrees, and if there is one of the height in
            metres, which become columns "east", "north" and "up" in metres from their first row
            (see `kfjax.data.LocalFrame`); name these in ys or xs.
        missing: numbers that stand for an observation that is missing, such as [-999].

    Returns:
        The `Dataset`, trajectories in the order of their first rows.

    Raises:
        ValueError: if a column is missing or not of numbers, a time is missing, cannot be read or
            goes backwards, or start is of another kind, and as `Dataset`.
        ImportError: if gps is given and pyproj is not installed.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame(
        ...     {"t": [0.0, 0.5, 2.0], "range [m]": [3.1, np.nan, 3.4]}
        ... )
        >>> data = kf.from_pandas(frame, ["range"], time="t")
        >>> data.us["dt"].tolist()
        [[0.0, 0.5, 1.5]]
        >>> data.observed[0, :, 0].tolist(), data.labels.units
        ([True, False, True], {'range': 'm'})
    """
    if not hasattr(frame, "columns"):
        raise ValueError(
            f"from_pandas: frame is {described(frame)}; expected a pandas.DataFrame. For a Series,"
            " pass series.to_frame()."
        )
    columns: TableColumns = {"xs": xs, "us": us, "time": time, "by": by, "start": start}
    columns |= {"time_format": time_format, "gps": gps, "missing": missing}
    return from_frame("from_pandas", frame, ys, **columns)


def from_frame(
    who: str,
    frame: pd.DataFrame,
    ys: Sequence[str],
    *,
    xs: Sequence[str | None] | None = None,
    us: Sequence[str] = (),
    time: str | Sequence[str] | None = None,
    by: str | None = None,
    start: Time | None = None,
    time_format: str | None = None,
    gps: Sequence[str] | None = None,
    missing: Sequence[float] = (),
) -> Dataset:
    """Return the rows of a data frame as `from_pandas` does; errors begin with `who`."""
    for name, names in {"ys": ys, "xs": xs, "us": us, "gps": gps}.items():
        _check_list(who, name, names)
    table = Table(who, _with_index(frame, *columns_of_time(time), by))
    local = None if gps is None else table.add_local(gps)
    rows, series = table.rows_of_trajectories(by)
    labels: dict[str, Any] = {"frame": local, "series": series}
    labels["ys"] = table.bare(ys)
    states = None
    if xs is not None:
        states = _padded(table.numbers(xs), rows)
        labels["xs"] = table.bare(name or f"x{j + 1}" for j, name in enumerate(xs))
    given = {table.bare([name])[0]: table.inputs(name) for name in us}
    inputs = {name: _padded(column, rows) for name, column in given.items()}
    measured = table.numbers(ys)
    measured[np.isin(measured, real_numbers(f"{who}: missing", missing))] = np.nan
    warn_of_codes(who, labels["ys"], measured)
    if time is not None:
        column, labels["time"] = time_column(table, time, time_format)
        times = read_times(who, column, time_format, start, table.units.get(labels["time"]))
        hint = hint_of_date(table, time)
        steps = [steps_of(who, times, some, hint) for some in rows]
        warn_of_repeats(who, steps, rows, measured, given, hint)
        inputs["dt"] = _stacked(steps)
        nothing = "NaT" if times.shown.dtype.kind in "mM" else np.nan
        labels |= {"times": _padded(times.shown, rows, nothing), "zone": times.zone}
    named = {*labels["ys"], *labels.get("xs", ()), *inputs, labels.get("time")}
    labels["units"] = {name: unit for name, unit in table.units.items() if name in named}
    ends = [len(some) for some in rows]
    return Dataset(
        _padded(measured, rows), states, inputs or None, length=ends, labels=Labels(**labels)
    )


def from_xarray(
    data: xr.Dataset,
    ys: str,
    *,
    xs: str | None = None,
    us: Sequence[str] = (),
    time: str = "time",
    by: str | None = None,
    start: Time | None = None,
    time_format: str | None = None,
) -> Dataset:
    """Return variables of an xarray dataset as a `Dataset`.

    Args:
        data: the variables.
        ys: the variable of the observations, of dimensions (by,) time and channels; NaN is missing.
        xs: the variable of the true state, likewise, or None.
        us: variables of inputs, each under its name in `Dataset.us`.
        time: the dimension of time; if it has a coordinate, `us` has "dt", in seconds unless they
            are numbers.
        by: the dimension of trajectories, or None for one trajectory.
        start: the time of x_0; default the first time, whose dt is then 0.
        time_format: as in `from_pandas`.

    Returns:
        The `Dataset`; the coordinates of channels, states and trajectories, and the attribute
        "units" of the observations, are its labels.

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
    who = "from_xarray"
    if not hasattr(data, "data_vars"):
        raise ValueError(f"{who}: data is {described(data)}; expected an xarray.Dataset.")
    leading = [time] if by is None else [by, time]
    if not isinstance(us, Sequence):
        raise ValueError(f"{who}: us is {described(us)}; expected a list of variables.")
    for name, value in {"ys": ys, "xs": xs, "by": by}.items():
        if not isinstance(value, str) and (value is not None or name == "ys"):
            raise ValueError(f"{who}: {name} is {described(value)}; expected a name.")
    _check_variables(data, [ys, *([] if xs is None else [xs]), *us], leading)

    def series(name: str) -> np.ndarray:
        array = data[name].transpose(*leading, ...).to_numpy()
        return array[None] if by is None else array

    def names(dimension: str | None) -> list[str] | None:
        known = dimension is not None and dimension in data.coords
        return [str(name) for name in data[dimension].to_numpy()] if known else None

    def names_of(variable: str | None) -> list[str] | None:
        own = [] if variable is None else [d for d in data[variable].dims if d not in leading]
        return names(str(own[0])) if len(own) == 1 else None

    observations = series(ys)
    inputs = {name: series(name) for name in us}
    labels: dict[str, Any] = {"ys": names_of(ys), "xs": names_of(xs), "series": names(by)}
    unit = data[ys].attrs.get("units")
    if unit is not None:
        labels["units"] = dict.fromkeys(labels["ys"] or (), str(unit))
    if time in data.coords:
        times = read_times(who, data[time].to_series(), time_format, start)
        steps = steps_of(who, times, np.arange(len(times.seconds)))
        inputs["dt"] = np.tile(steps, (len(observations), 1))
        labels |= {"times": np.tile(times.shown, (len(observations), 1)), "zone": times.zone}
        labels["time"] = time
    states = None if xs is None else series(xs)
    return Dataset(observations, states, inputs or None, labels=Labels(**labels))


def _check_list(who: str, name: str, value: object) -> None:
    """Raise unless an argument is a list of columns, or None where that is possible."""
    if value is None and name in ("xs", "gps"):
        return
    if isinstance(value, str) or not isinstance(value, Sequence):
        remedy = f" Write [{value!r}]." if isinstance(value, str) else ""
        raise ValueError(
            f"{who}: {name} is {described(value)}; expected a list of columns.{remedy}"
        )


def _check_variables(data: xr.Dataset, names: Sequence[str], dimensions: Sequence[str]) -> None:
    """Raise unless a dataset has these variables with these dimensions."""
    for name in names:
        if not isinstance(name, str) or name not in data:
            raise ValueError(
                f"from_xarray: there is no variable {name!r};"
                f" {suggest(name, map(str, data.data_vars))}"
            )
    incomplete = [name for name in names if not set(dimensions) <= set(data[name].dims)]
    if incomplete:
        raise ValueError(
            f"from_xarray: {incomplete} lack a dimension; expected {list(dimensions)}. Rename"
            " dimensions with data.rename."
        )


def _with_index(frame: pd.DataFrame, *names: str | None) -> pd.DataFrame:
    """Return a data frame with its index as columns, if one of the names is in the index."""
    unnamed = frame.index.nlevels == 1 and frame.index.name is None
    levels = ["index"] if unnamed else list(frame.index.names)
    wanted = [name for name in names if name in levels and name not in frame.columns]
    return frame.reset_index() if wanted else frame


def _padded(values: np.ndarray, rows: Sequence[np.ndarray], fill: Any = 0) -> np.ndarray:
    """Return values [rows, ...] by trajectory [N, T, ...]; what follows its end never counts."""
    return _stacked([values[some] for some in rows], fill)


def _stacked(parts: Sequence[np.ndarray], fill: Any = 0) -> np.ndarray:
    """Stack arrays of different lengths, filled up at their ends."""
    first = parts[0]
    stacked = np.full((len(parts), max(map(len, parts)), *first.shape[1:]), fill, first.dtype)
    for row, part in zip(stacked, parts, strict=True):
        row[: len(part)] = part
    return stacked
