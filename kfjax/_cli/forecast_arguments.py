"""The arguments of `kfjax forecast`."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from kfjax._cli.pictures import add_series
from kfjax.filters import FILTERS
from kfjax.training import COVARIANCES

__all__: list[str] = []


def add_forecast(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command that other commands do not have."""
    add = parser.add_argument
    add_series(parser)
    add("data_file", metavar="DATA", nargs="?", help="the same as --data DATA")
    add("--season", metavar="S", type=_steps, help="number of steps of a season, for --model auto")
    add(
        "--choose",
        choices=("aic", "backtest"),
        default="aic",
        help="how --model auto chooses (default aic)",
    )
    add("--steps", metavar="K", type=_steps, help="number of steps ahead")
    add(
        "--fit",
        metavar="WHAT",
        nargs="?",
        const="",
        help=f"fit first: arguments of MODEL, or Q and R as {', '.join(COVARIANCES)}",
    )
    add(
        "--filter",
        metavar="NAME",
        help=f"one of {', '.join(FILTERS)} (default kalman for linear models, else extended)",
    )
    add(
        "--diffuse",
        metavar="I,J",
        nargs="?",
        const=(),
        type=_components,
        help="start the state, or these components (numbered from 0), exactly diffuse",
    )
    add(
        "--skip",
        metavar="N",
        type=_whole,
        default=0,
        help="leading steps whose likelihood does not count, as with a diffuse prior (default 0)",
    )
    add(
        "--starts",
        metavar="N",
        type=_steps,
        default=4,
        help="number of starts of the fit (default 4)",
    )
    add(
        "--holdout",
        metavar="K",
        type=_steps,
        help="hold out the last K steps, forecast them, and report the errors",
    )
    add(
        "--level",
        metavar="P",
        type=_probability,
        default=0.95,
        help="probability of the intervals (default 0.95)",
    )
    add(
        "--out",
        metavar="FILE",
        default="forecast.csv",
        help="csv or parquet file to write (default forecast.csv)",
    )


def _components(text: str) -> tuple[int, ...]:
    """Return indices of components."""
    return tuple(_whole(number.strip()) for number in text.split(","))


def _steps(text: str) -> int:
    return _from(text, 1)


def _whole(text: str) -> int:
    return _from(text, 0)


def _from(text: str, least: int) -> int:
    """Return a whole number that is not too small."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; expected a whole number of at least {least}"
        )
    return int(text)


def _probability(text: str) -> Any:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"got {text!r}; expected a number between 0 and 1")
