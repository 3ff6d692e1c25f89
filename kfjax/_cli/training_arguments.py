"""The arguments of commands that train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfjax._cli.argument_types import count, positive, sizes, whole
from kfjax._cli.classical import LEARN
from kfjax._cli.columns import columns
from kfjax._cli.imitation import Imitation
from kfjax._cli.recipes import LOSSES, Settings
from kfjax.learned.recurrent_networks.cells import CELLS
from kfjax.learned.registry import LEARNED_FILTERS

__all__: list[str] = []


def add_train(add: Callable[..., Any]) -> None:
    """Add the arguments of `kfjax train` alone."""
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
    _add_folder(add)
    add(
        "--loss",
        choices=LOSSES,
        help="mse: squared error of the states; nll: then also their likelihood; innovation: the"
        " likelihood of the observations, which needs no true states (default mse, or innovation"
        " without true states)",
    )
    _add_updates(add, Settings(), "trajectories")
    add(
        "--seeds",
        metavar="N",
        type=count,
        default=1,
        help="train N runs at once and keep the best (default 1)",
    )
    _add_patience(add, "end a stage")
    add(
        "--window",
        metavar="N",
        type=count,
        help="length of a window of backpropagation; the state is carried from window to window"
        " (default 100 for trajectories of more than 200 steps, otherwise whole trajectories)",
    )


def add_distil(add: Callable[..., Any]) -> None:
    """Add the arguments of `kfjax distil` alone."""
    default = Imitation()
    add("--data", metavar="DATA", required=True, help="csv, parquet or npz file of the recording")
    _add_folder(add)
    _add_predictions(add)
    add(
        "--hidden",
        metavar="N,M",
        type=sizes,
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
    _add_updates(add, default, "records or pieces of records")
    _add_patience(add, "stop")
    add(
        "--burn-in",
        metavar="N",
        type=whole,
        default=0,
        help="number of leading rows that do not count",
    )
    add("--seed", type=int, default=0, help="seed of all random numbers (default 0)")


def _add_predictions(add: Callable[..., Any]) -> None:
    """Add the arguments that diagnose a network which was trained elsewhere."""
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
        type=count,
        help="with --predictions: the number of rows that your network sees at once",
    )


def _add_folder(add: Callable[..., Any]) -> None:
    add(
        "--out",
        metavar="FOLDER",
        required=True,
        help="the folder to write, for this training alone",
    )


def _add_updates(add: Callable[..., Any], default: Settings | Imitation, of_batch: str) -> None:
    """Add the arguments of an optimiser."""
    add(
        "--updates",
        metavar="N",
        type=count,
        default=default.updates,
        help=f"number of updates by the optimiser (default {default.updates})",
    )
    add(
        "--batch-size",
        metavar="N",
        type=count,
        default=default.batch_size,
        help=f"{of_batch} per update (default {default.batch_size})",
    )
    add(
        "--learning-rate",
        metavar="X",
        type=positive,
        default=default.learning_rate,
        help=f"largest learning rate (default {default.learning_rate})",
    )


def _add_patience(add: Callable[..., Any], end: str) -> None:
    add(
        "--patience",
        metavar="N",
        type=count,
        help=f"{end} after N of its 20 reports without a better validation loss",
    )
