"""Times of tables, in any usual form: as seconds for the model, and as dates for people."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kfjax._support.naming import described, suggest
from kfjax.data.date_columns import CALENDAR, is_calendar

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # how many in a second
FINE = {"ms": "ms", "us": "us", "µs": "us", "ns": "ns"}  # as names of columns state them
DATES = (1e9, 4.2e9)  # seconds since 1970 of dates from 2001 to 2103
QUARTER = r"(\d{4})[-: ]?[Qq]([1-4])"  # 1959Q1
MONTH = r"(\d{4})[-: ]?[Mm](\d{1,2})"  # 1959M03
WEEK = r"(\d{4})-?W(\d{2})"  # 2024-W05, of ISO 8601
DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d.%m.%y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
EXAMPLE = "%d.%m.%Y %H:%M:%S"
OFFSET = r"(Z|[+-]\d\d:?\d\d)$"  # the time zone of a date as text
# "0:01:02.5", "1 days 0:00:00", "90 s" and "PT90S"; pandas also takes bare numbers for nanoseconds,
# and "01.05.2024 13:00" for a little more than 13 hours
ELAPSED = r"[+-]?(\d+ days? \+?)?\d+:\d\d:\d\d(\.\d+)?|[+-]?\d+(\.\d+)? ?[a-zA-Z]+|P[0-9.DTHMS]+"


class Times(NamedTuple):
    """Times of the rows of a table, as the model and as people need them.

    Attributes:
        seconds: [rows], since the first row, or numbers as the table has them.
        start: the time of x_0 likewise, or None for that of the first row of a trajectory.
        shown: [rows], dates in UTC or without a zone, time differences, or numbers.
        zone: name of the time zone, or None.
    """

    seconds: np.ndarray
    start: float | None
    shown: np.ndarray
    zone: str | None


def read_times(
    who: str, column: pd.Series, time_format: str | None, start: Any, unit: str | None = None
) -> Times:
    """Return the times of all rows of a table.

    Args:
        who: the function, for error texts.
        column: times.
        time_format: as in `kfjax.from_pandas`.
        start: the time of x_0 in any form that times have, or None.
        unit: the unit that the name of the column states, or None.
    """
    import pandas as pd

    missing = column.isna().to_numpy()
    if missing.any():
        row = missing.argmax()
        raise ValueError(f"{who}: the time of row {row} is missing; expected one in every row.")
    _check_format(who, column, time_format)
    if time_format is None and _is_numeric(column):
        time_format = FINE.get(unit or "") or _guessed_unit(who, column)
    dates = _are_dates(column, time_format)
    begin = None
    try:
        times = _converted(column, time_format, dates=dates)
        seconds = _seconds(times, times)
        if start is not None:
            given = _converted(pd.Series([start]), time_format, dates=dates)
            (begin,) = _seconds(given, times)
    except (TypeError, ValueError, OverflowError) as error:
        beginning = "" if start is None else f", start is {start!r}"
        reason, _, _ = str(error).partition(
            ". You might"
        )  # pandas continues with a list of its arguments
        raise ValueError(
            f"{who}: times are {column.dtype} such as {column.iloc[0]!r}{beginning} ({reason});"
            " expected numbers, dates (as text ISO 8601, or 1959Q1) or time differences, all alike,"
            " time zones included. Say how other text is read with time_format (on the command line"
            f" --time-format), such as {_fitting_formats(column)}."
        ) from error
    zone = None
    if times.dtype.kind == "M" and times.dt.tz is not None:
        zone = str(times.dt.tz)
        times = times.dt.tz_convert(None)  # to UTC
    return Times(seconds, begin, times.to_numpy(), zone)


def steps_of(who: str, times: Times, rows: np.ndarray, hint: str = "") -> np.ndarray:
    """Return dt of the rows of one trajectory, the time since the previous row.

    Args:
        who: the function, for error texts.
        times: those of all rows.
        rows: the numbers of its rows.
        hint: a sentence for the error text.

    Raises:
        ValueError: if the times go back.
    """
    seconds = times.seconds[rows]
    start = seconds[0] if times.start is None else times.start
    steps = np.diff(seconds, prepend=start)
    back = steps < 0
    if not back.any():
        return steps
    at = int(back.argmax())
    shown = times.shown[rows]
    before = shown[at - 1] if at else "start"
    raise ValueError(
        f"{who}: times go back from {before} to {shown[at]} in row {rows[at]}; expected rows in"
        " order of time. Sort them, or name the column that tells several series apart (by)."
        f"{hint}"
    )


def _converted(column: pd.Series, time_format: str | None, *, dates: bool) -> pd.Series:
    """Return times as numbers, dates or time differences."""
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if dtype.kind in "mM":
        return column
    if dtype.kind in "bc":
        raise TypeError("these are not times")
    numeric = _is_numeric(column)
    if numeric and time_format is None:
        return column.astype(np.float64)
    if not numeric or time_format not in UNITS:
        return _from_text(column.astype(str), time_format)
    if dates:
        return pd.to_datetime(column, unit=time_format, utc=True)
    return pd.to_timedelta(column, unit=time_format)


def _is_numeric(column: pd.Series) -> bool:
    """Return whether times are numbers."""
    return column.dtype.kind in "fiu"


def _check_format(who: str, column: pd.Series, time_format: Any) -> None:
    """Raise unless a format is known, and fits numbers or text."""
    if time_format is None:
        return
    if not isinstance(time_format, str):
        raise ValueError(
            f"{who}: time_format is {described(time_format)}; expected one of {', '.join(UNITS)},"
            " or a format of dates such as '%d.%m.%Y %H:%M:%S'."
        )
    if time_format.startswith("%"):
        return
    if time_format not in UNITS:
        raise ValueError(
            f"{who}: time_format is {time_format!r}; {suggest(time_format, UNITS)} Formats of dates"
            " begin with %."
        )
    if not _is_numeric(column):
        raise ValueError(
            f"{who}: time_format is {time_format!r}, and times are {column.dtype} such as"
            f" {column.iloc[0]!r}; expected numbers. Leave time_format out, or give that of dates."
        )


def _guessed_unit(who: str, column: pd.Series) -> str | None:
    """Return the unit of numbers that count since 1970, the format of dates, or None for others.

    Seconds need no unit, and a warning says what else was taken.
    """
    if is_calendar(column) and column.nunique() > 1:
        warnings.warn(
            f"{who}: times such as {column.iloc[0]} are taken to be dates, year, month and day. Say"
            f" so with time_format={CALENDAR!r} (on the command line --time-format {CALENDAR}).",
            stacklevel=2,
        )
        return CALENDAR
    low = column.min()
    high = column.max()
    earliest, latest = DATES
    fitting = [
        unit for unit, count in UNITS.items() if earliest <= low / count and high / count <= latest
    ]
    if not fitting:
        return None
    (unit,) = fitting
    if unit != "s":
        date = np.datetime64(int(low / UNITS[unit]), "s")
        warnings.warn(
            f"{who}: times of {low:.4g} are taken to be {unit} since 1970: the first is {date}."
            f" Say so with time_format={unit!r}, or time_format='s' for seconds.",
            stacklevel=2,
        )
    return unit


def _fitting_formats(column: pd.Series) -> str:
    """Return the usual formats that read all of a column, with "or" between, or an example."""
    import pandas as pd

    text = column.astype(str)
    fitting = [
        form
        for form in (day + clock for day in DAYS for clock in CLOCKS)
        if pd.to_datetime(text, format=form, errors="coerce").notna().all()
    ]
    return " or ".join(map(repr, fitting or [EXAMPLE]))


def _are_dates(column: pd.Series, unit: str | None) -> bool:
    """Return whether numbers in a unit count since 1970; smaller ones are time differences."""
    if unit not in UNITS or not _is_numeric(column):
        return False
    earliest, _ = DATES
    return bool(column.min() / UNITS[unit] >= earliest)


def _from_text(column: pd.Series, time_format: str | None) -> pd.Series:
    """Return dates or time differences that are written as text."""
    import pandas as pd

    if time_format is not None:
        return pd.to_datetime(column, format=time_format)
    if column.str.fullmatch(QUARTER).all():
        quarters = column.str.replace(QUARTER, r"\1Q\2", regex=True)
        return pd.Series(pd.PeriodIndex(quarters, freq="Q").to_timestamp())
    for pattern, plain, form in ((MONTH, r"\1-\2", "%Y-%m"), (WEEK, r"\1-\2-1", "%G-%V-%u")):
        if column.str.fullmatch(pattern).all():
            return pd.to_datetime(column.str.replace(pattern, plain, regex=True), format=form)
    offsets = set(column.str.extract(OFFSET, expand=False))
    several = len(offsets) > 1 and all(isinstance(offset, str) for offset in offsets)
    try:  # several offsets, as before and after a change of clocks, need UTC
        return pd.to_datetime(column, format="ISO8601", utc=several)
    except ValueError as error:
        if not column.str.fullmatch(ELAPSED).all():
            raise
        try:
            return pd.to_timedelta(column)
        except ValueError:
            raise error from None


def _seconds(times: pd.Series, origin: pd.Series) -> np.ndarray:
    """Return times in seconds since the first of others of their kind; numbers as they are."""
    kind = times.dtype.kind
    if kind != origin.dtype.kind:
        raise TypeError("start is of another kind")
    if kind == "f":
        return times.to_numpy()
    since = times - origin.iloc[0]
    return since.dt.total_seconds().to_numpy()
