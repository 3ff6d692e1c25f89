"""Times that a table spreads over several columns: year and quarter, date and time of day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from kfjax.data.columns import Table

__all__: list[str] = []

CALENDAR = "%Y%m%d"  # of dates written as numbers, such as 20240501
CENTURIES = (19000101, 21001231)
PARTS = ("year", "quarter", "month", "day", "hour", "minute", "second")
MONTHS_OF_QUARTER = 3


def columns_of_time(time: str | Sequence[str] | None) -> list[str]:
    """Return the columns that are named as times."""
    if time is None:
        return []
    if isinstance(time, str) or not isinstance(time, Sequence):
        return [time]
    return list(time)


def time_column(
    table: Table, time: str | Sequence[str], time_format: str | None
) -> tuple[pd.Series, str]:
    """Return the times of a table, and what they are called.

    Args:
        table: the table.
        time: a column, or several that together make times: numbers in columns called year, month,
            ..., or text.
        time_format: how text is read, or None.

    Raises:
        ValueError: if the columns do not make times together.
    """
    names = columns_of_time(time)
    if len(names) == 1:
        return table.column(names[0]), table.bare(names)[0]
    if not names:
        raise table.error(
            "time is an empty list; expected a column, or columns that are times together, such as"
            " ['year', 'quarter']."
        )
    columns = {name.lower(): table.column(name) for name in table.bare(names)}
    numeric = all(column.dtype.kind in "fiu" for column in columns.values())
    if not numeric:
        return _joined(list(columns.values())), "time"
    if len(columns) == 2 and time_format is None:
        moments = _moments(*columns.values())
        if moments is not None:
            return moments, "time"
    if "year" not in columns or not set(columns) <= set(PARTS) or time_format is not None:
        beside = "" if time_format is None else f" and time_format is {time_format!r}"
        raise table.error(
            f"time is {names}{beside}; expected numbers in columns called"
            f" {', '.join(PARTS)}, the year among them, without a time_format; a date and a time of"
            " day as numbers, such as 20240501 and 133000; or columns of text."
        )
    return _assembled(table, columns), "time"


def hint_of_date(table: Table, time: str | Sequence[str]) -> str:
    """Return a sentence that names the columns of whose dates `time` is a part, or nothing."""
    given = table.bare(columns_of_time(time))
    named = {name.lower(): name for name in table.bare(map(str, table.frame))}
    parts = [named[part] for part in PARTS if part in named]
    missing = [part for part in parts if part not in given]
    if not missing or not set(given) <= set(parts) or "year" not in named:
        return ""
    return f" Dates in several columns are time={parts} (on the command line {','.join(parts)})."


def is_calendar(column: pd.Series) -> bool:
    """Return whether whole numbers are dates such as 20240501."""
    import pandas as pd

    numbers = column.dropna()
    earliest, latest = CENTURIES
    if numbers.dtype.kind not in "iu" or not numbers.between(earliest, latest).all():
        return False
    dates = pd.to_datetime(numbers.astype(str), format=CALENDAR, errors="coerce")
    return bool(dates.notna().all())


def _moments(date: pd.Series, clock: pd.Series) -> pd.Series | None:
    """Return times from numbers such as 20240501 and 133000.5, or None for others."""
    import pandas as pd

    hours = clock // 10_000
    minutes = clock // 100 % 100
    seconds = clock % 100
    if not (is_calendar(date) and clock.min() >= 0 and hours.max() < 24):
        return None
    if not (minutes.max() < 60 and seconds.max() < 60):
        return None
    since = pd.to_timedelta(3600 * hours + 60 * minutes + seconds, unit="s")
    days = pd.to_datetime(date.astype(str), format=CALENDAR)
    return days + since.dt.round("us")


def _assembled(table: Table, columns: dict[str, pd.Series]) -> pd.Series:
    """Return dates from columns of numbers by their names."""
    import pandas as pd

    parts = {"month": 1, "day": 1} | columns
    quarter = parts.pop("quarter", None)
    if quarter is not None:
        parts["month"] = MONTHS_OF_QUARTER * quarter - (MONTHS_OF_QUARTER - 1)
    known = pd.concat(columns, axis=1).notna().all(axis=1)
    dates = pd.Series(pd.NaT, index=known.index, dtype="datetime64[ns]")
    try:
        dates[known] = pd.to_datetime(pd.DataFrame(parts)[known])
    except ValueError as error:
        raise table.error(
            f"columns {list(columns)} are no dates ({error}); expected numbers such as year 1959,"
            " quarter 1 to 4, month 1 to 12."
        ) from error
    return dates


def _joined(columns: Sequence[pd.Series]) -> pd.Series:
    """Return text of several columns with blanks between, missing where one is missing."""
    import pandas as pd

    known = pd.concat(columns, axis=1).notna().all(axis=1)
    texts = [_as_text(column) for column in columns]
    return texts[0].str.cat(texts[1:], sep=" ").where(known)


def _as_text(column: pd.Series) -> pd.Series:
    """Return a column as text; numbers such as years without a fraction."""
    numbers = column.dtype.kind == "f" and (column.dropna() % 1 == 0).all()
    return (column.astype("Int64") if numbers else column).astype(str).str.strip()
