"""Arguments that say what the columns of a csv or parquet file mean."""

from __future__ import annotations

import argparse
import csv
from typing import Any

__all__: list[str] = []


def add_columns(parser: argparse.ArgumentParser, *, recorded: bool = False) -> None:
    """Add the arguments that say what the columns of a table mean.

    Args:
        parser: of the command.
        recorded: whether estimates of a filter were recorded, in place of true states.
    """
    add = parser.add_argument_group("columns of a csv or parquet file").add_argument
    add(
        "--time",
        metavar="COLUMN",
        type=_time,
        help="times, also in several columns (year,quarter); the time since the previous row is the"
        " input dt",
    )
    add("--ys", metavar="A,B", type=columns, help="the observations")
    if recorded:
        add("--targets", metavar="A,B", type=columns, dest="xs", help="the recorded estimates")
    else:
        add(
            "--xs",
            metavar="A,-,B",
            type=_states,
            help="the true state in the model's order, - for an unknown component",
        )
    add("--us", metavar="A,B", type=columns, help="inputs, which the model has as u['A'], u['B']")
    add("--by", metavar="COLUMN", help="tells several series apart, which may have any lengths")
    add(
        "--gps",
        metavar="LAT,LON[,ALT]",
        type=columns,
        help="degrees (and metres), converted to columns east, north and up in metres",
    )
    add(
        "--time-format",
        metavar="FORMAT",
        help="s, ms, us or ns for numbers, or how dates are written, such as '%%d.%%m.%%Y %%H:%%M'",
    )
    add(
        "--missing",
        metavar="-999",
        type=_numbers,
        help="numbers that stand for a missing observation, with commas between (--missing=-999)",
    )


def table_columns(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments say of the columns of a table, for the readers of data."""
    names = ("ys", "xs", "us", "time", "by", "gps", "time_format", "missing")
    given = {name: getattr(args, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def columns(text: str) -> list[str]:
    """Return names of columns; one that has commas in it stands in a csv line's quotes."""
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not names or not all(names):
        raise argparse.ArgumentTypeError(
            f"got {text!r}; expected names of columns with commas between, such as east,north"
        )
    return names


def _time(text: str) -> str | list[str]:
    names = columns(text)
    return names if len(names) > 1 else names[0]


def name_of_time(args: argparse.Namespace) -> str:
    """Return what the column of times in a table of results is called."""
    return args.time if isinstance(args.time, str) else "time"


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; expected numbers with commas between, such as -999,9999"
        ) from None


def _states(text: str) -> list[str | None]:
    return [None if name == "-" else name for name in columns(text)]
