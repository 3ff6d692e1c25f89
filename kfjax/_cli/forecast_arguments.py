"""The arguments of `kfjax forecast`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from kfjax._cli.argument_types import components, count, probability, whole
from kfjax._cli.pictures import add_series, add_style
from kfjax.filters import FILTERS
from kfjax.training import COVARIANCES

__all__: list[str] = []


def add_forecast(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command that other commands do not have."""
    add = parser.add_argument
    add("data_file", metavar="DATA", nargs="?", help="the same as --data DATA")
    add("--season", metavar="S", type=count, help="number of steps of a season, for --model auto")
    add(
        "--choose",
        choices=("aic", "backtest"),
        default="aic",
        help="how --model auto chooses (default aic)",
    )
    add("--steps", metavar="K", type=count, help="number of steps ahead")
    _add_fit(add)
    add(
        "--holdout",
        metavar="K",
        type=count,
        help="hold out the last K steps, forecast them, and report the errors",
    )
    add(
        "--level",
        metavar="P",
        type=probability,
        default=0.95,
        help="probability of the intervals (default 0.95)",
    )
    add(
        "--out",
        metavar="FILE",
        default="forecast.csv",
        help="csv or parquet file to write (default forecast.csv)",
    )
    figure = parser.add_argument_group("figure")
    add_series(figure)
    add_style(figure)


def _add_fit(add: Callable[..., Any]) -> None:
    """Add the arguments of a fit of the model, and of its start."""
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
        type=components,
        help="start the state, or these components (numbered from 0), exactly diffuse (default:"
        " the diffuse states of a sum of kf.structural)",
    )
    add(
        "--skip",
        metavar="N",
        type=whole,
        default=0,
        help="leading steps whose likelihood does not count, as with a diffuse prior (default 0)",
    )
    add(
        "--starts",
        metavar="N",
        type=count,
        default=4,
        help="number of starts of the fit (default 4)",
    )
