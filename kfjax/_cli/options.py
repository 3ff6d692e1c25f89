"""The arguments of commands that compare, filter and measure, and of all that read data."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from kfjax import systems
from kfjax._cli.argument_types import components, count
from kfjax._cli.workloads import WORKLOADS
from kfjax.data.npz import SPLITS
from kfjax.filters import FILTERS
from kfjax.learned.registry import LEARNED_FILTERS
from kfjax.training import OBJECTIVES, STRUCTURES

__all__: list[str] = []


def add_data(
    add: Callable[..., Any], *, required: bool = True, model_required: bool = True
) -> None:
    """Add the arguments of the commands that read data."""
    add(
        "--data",
        metavar="DATA",
        required=required,
        help="csv, parquet or npz file, or folder of a known data set",
    )
    add(
        "--model",
        metavar="FILE.py:NAME",
        required=required and model_required,
        help="the model to filter with",
    )
    add(
        "--split", choices=tuple(SPLITS), help="part of an npz file that holds parts (default test)"
    )
    add("--seed", type=int, default=0, help="seed of all random numbers (default 0)")


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add the argument of the commands that keep what they compile."""
    parser.add_argument(
        "--no-compilation-cache",
        dest="compilation_cache",
        action="store_false",
        help="compile everything again; by default compiled programs, at most about 256 MB, are"
        " kept in the folder kfjax of the user's cache folder (XDG_CACHE_HOME, or ~/.cache), or in"
        " JAX_COMPILATION_CACHE_DIR",
    )


def add_compare(add: Callable[..., Any]) -> None:
    add("--system", metavar="NAME", help=f"simulate a system: {', '.join(systems.names())}")
    add("--filters", metavar="A,B", help=f"common (default), all, or some of {', '.join(FILTERS)}")
    add(
        "--components",
        metavar="I,J",
        type=components,
        help="only count errors of these state components, numbered from 0",
    )
    add(
        "--tune",
        choices=STRUCTURES,
        help="also tune Q and R: one factor each, or one per state and channel",
    )
    add("--objective", choices=OBJECTIVES, help="what --tune improves (default likelihood)")
    add(
        "--learned",
        metavar="A,B",
        nargs="?",
        const="kalman_net,corrected_gain",
        help="also train filters quickly, kalman_net,corrected_gain or some of "
        f"{', '.join(LEARNED_FILTERS)}",
    )
    add(
        "--load",
        metavar="DIR",
        action="append",
        default=[],
        help="also compare the filter trained in this folder; may be repeated",
    )
    add(
        "--trajectories",
        metavar="N",
        type=count,
        help="number of simulated trajectories (default 300)",
    )
    add("--steps", metavar="T", type=count, help="steps of each simulated trajectory (default 100)")
    add(
        "--quick",
        action="store_true",
        help="a small study of two filters, to check that everything works",
    )
    add(
        "--out",
        metavar="FOLDER",
        default="results",
        help="folder for compare.json, compare.png and compare.pdf (all states and channels)"
        " (default results)",
    )
    add("--json", action="store_true", help="print JSON instead of the tables")


def add_filter(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--filter", metavar="NAME", help=f"one of {', '.join(FILTERS)}")
    which.add_argument(
        "--load",
        metavar="DIR",
        help="the filter that `kfjax train` saved there, or (without --model) the network of"
        " `kfjax distil`",
    )
    add = parser.add_argument
    add(
        "--smooth",
        action="store_true",
        help="also smooth (Rauch-Tung-Striebel, with the filter's own moment rule)",
    )
    add("--out", metavar="FILE", default="est.npz", help="the file to write (default est.npz)")
    add(
        "--plot",
        metavar="FILE",
        help="also draw the estimates: into a pdf file the first 20 trajectories on pages, into a"
        " png or svg file the first one",
    )


def add_bench(add: Callable[..., Any]) -> None:
    add("--workload", metavar="A,B", help=f"only some of {', '.join(WORKLOADS)}")
    add("--quick", action="store_true", help="small sizes, to check that everything works")
    add(
        "--rounds",
        metavar="N",
        type=count,
        default=15,
        help="samples of each workload (default 15)",
    )
    add("--core", metavar="N", type=int, help="the core to stay on (default the last)")
    add("--out", metavar="FILE", help="the JSON file to write")
