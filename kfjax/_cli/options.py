"""The options of the commands."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable
from typing import Any

from kfjax import systems
from kfjax._cli.classical import LEARN
from kfjax._cli.columns import columns
from kfjax._cli.imitation import Imitation
from kfjax._cli.recipes import LOSSES, Settings
from kfjax._cli.workloads import WORKLOADS
from kfjax.data.npz import SPLITS
from kfjax.filters import FILTERS
from kfjax.learned.recurrent_networks.cells import CELLS
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
        type=_components,
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
        type=_count,
        help="number of simulated trajectories (default 300)",
    )
    add(
        "--steps", metavar="T", type=_count, help="steps of each simulated trajectory (default 100)"
    )
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


def add_train(add: Callable[..., Any]) -> None:
    default = Settings()
    add(
        "--learn",
        choices=LEARN,
        default=LEARN[0],
        help="gain: a network (default); noise, f or h: the model of a classical filter",
    )
    add(
        "--filter",
        metavar="NAME",
        help=f"one of {', '.join(LEARNED_FILTERS)}, or FILE.py:NAME, a function of n and m that"
        " makes one, with features and layers of your own; with --learn noise, f or h a classical"
        " filter (default extended)",
    )
    add(
        "--out",
        metavar="FOLDER",
        required=True,
        help="the folder to write, for this training alone",
    )
    add(
        "--loss",
        choices=LOSSES,
        help="mse: squared error of the states; nll: then also their likelihood; innovation: the"
        " likelihood of the observations, which needs no true states (default mse, or innovation"
        " without true states)",
    )
    add(
        "--updates",
        metavar="N",
        type=_count,
        default=default.updates,
        help=f"number of updates by the optimiser (default {default.updates})",
    )
    add(
        "--batch-size",
        metavar="N",
        type=_count,
        default=default.batch_size,
        help="trajectories per update (default 32)",
    )
    add(
        "--learning-rate",
        metavar="X",
        type=_positive,
        default=default.learning_rate,
        help="largest learning rate (default 0.001)",
    )
    add(
        "--seeds",
        metavar="N",
        type=_count,
        default=1,
        help="train N runs at once and keep the best (default 1)",
    )
    add(
        "--patience",
        metavar="N",
        type=_count,
        help="end a stage after N of its 20 reports without a better validation loss",
    )
    add(
        "--window",
        metavar="N",
        type=_count,
        help="length of a window of backpropagation; the state is carried from window to window"
        " (default 100 for trajectories of more than 200 steps, otherwise whole trajectories)",
    )


def add_distil(add: Callable[..., Any]) -> None:
    default = Imitation()
    add("--data", metavar="DATA", required=True, help="csv, parquet or npz file of the recording")
    add(
        "--out",
        metavar="FOLDER",
        required=True,
        help="the folder to write, for this training alone",
    )
    add(
        "--predictions",
        metavar="A,B",
        type=columns,
        help="columns with the predictions of your own network, which are diagnosed instead of"
        " training one",
    )
    add(
        "--window-seen",
        metavar="N",
        type=_count,
        help="with --predictions: the number of rows that your network sees at once",
    )
    add(
        "--hidden",
        metavar="N,M",
        type=_sizes,
        default=default.hidden,
        help="units of every layer (default 64)",
    )
    add(
        "--cell",
        choices=tuple(CELLS),
        default=default.cell,
        help="type of the layers (default lstm)",
    )
    add(
        "--level",
        action="store_true",
        help="learn the level of the estimates, without feedback; by default the network sees its"
        " last estimate, and learns what to add to a linear recursion",
    )
    add(
        "--updates",
        metavar="N",
        type=_count,
        default=default.updates,
        help="number of updates by the optimiser (default 3000)",
    )
    add(
        "--batch-size",
        metavar="N",
        type=_count,
        default=default.batch_size,
        help="records or pieces of records per update (default 32)",
    )
    add(
        "--learning-rate",
        metavar="X",
        type=_positive,
        default=default.learning_rate,
        help="largest learning rate (default 0.003)",
    )
    add(
        "--patience",
        metavar="N",
        type=_count,
        help="stop after N reports of twenty without a better validation loss",
    )
    add(
        "--burn-in",
        metavar="N",
        type=_from_zero,
        default=0,
        help="number of leading rows that do not count",
    )
    add("--seed", type=int, default=0, help="seed of all random numbers (default 0)")


def add_bench(add: Callable[..., Any]) -> None:
    add("--workload", metavar="A,B", help=f"only some of {', '.join(WORKLOADS)}")
    add("--quick", action="store_true", help="small sizes, to check that everything works")
    add(
        "--rounds",
        metavar="N",
        type=_count,
        default=15,
        help="samples of each workload (default 15)",
    )
    add("--core", metavar="N", type=int, help="the core to stay on (default the last)")
    add("--out", metavar="FILE", help="the JSON file to write")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number of at least 1")
    return int(text)


def _from_zero(text: str) -> int:
    return 0 if text.strip("0") == "" and text else _count(text)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_count(size.strip()) for size in text.split(","))


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"got {text!r}; expected a positive number")


def _components(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(
            f"got {text!r}; expected numbers from 0 with commas between, such as 0,1"
        )
    return tuple(int(number) for number in numbers)
