"""The command line: `kfjax compare`, `kfjax filter`, `kfjax train` and `kfjax bench`."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import jax

from kfjax import __version__, systems
from kfjax._cli.bench import run_bench
from kfjax._cli.columns import add_columns
from kfjax._cli.compare import run_compare
from kfjax._cli.compilation_cache import keep_compiled
from kfjax._cli.filter import run_filter
from kfjax._cli.output import print_anywhere
from kfjax._cli.recipes import LOSSES, Settings
from kfjax._cli.train import run_train
from kfjax._cli.workloads import WORKLOADS
from kfjax._support import interrupts
from kfjax.data.npz import SPLITS
from kfjax.filters import FILTERS
from kfjax.learned.registry import LEARNED_FILTERS
from kfjax.training import OBJECTIVES, STRUCTURES

__all__: list[str] = []

COMPARE = """\
Compare filters on the same trajectories: how good, how honest, how fast.

Without --data, trajectories are simulated: from a Lorenz attractor with correct and incorrect
models, from a system by name (--system), or from a model of your own (--model alone).

DATA is
  a table          csv, tsv or parquet, one row per step; --ys, --time and so on say what its
                   columns mean. Times of any usual form become the input dt, in seconds; where
                   nothing stands, an observation is missing.
  an npz file      obs [N, T, m] (NaN where missing), and if you have them state [N, T, n] (NaN
                   where unknown), inputs [N, T, ...] (or several arrays inputs_NAME, which make a
                   dict), length [N], initial [N, n]; one trajectory may leave out N. Or parts:
                   train_obs, val_obs, test_obs, train_state and so on, of which the test part is
                   reported.
  a folder         of the Labyrinth data set, recognised by its Indoor_UWB_Input.txt.
MODEL is a kfjax.StateSpaceModel in a Python file, or a function without arguments that returns one.

--tune finds factors on Q and R on the training part, and chooses among them on the validation part.
A file without parts is split 60 : 20 : 20, by trajectory, or in time if it holds only one or two.

--learned trains filters quickly, on the training part or on as many simulated trajectories as are
compared, and chooses on the validation part; better ones come from `kfjax train`. --load adds
these; where they were trained on a part of DATA, the test part is reported."""

COMPARE_EXAMPLES = """\
examples:
  kfjax compare
  kfjax compare --system pendulum --filters extended,unscented
  kfjax compare --quick --learned
  kfjax compare --data track.csv --time stamp --ys east,north --model mine.py:tracker
  kfjax compare --data walks.parquet --time utc --gps lat,lon --ys east,north --by walk \\
    --model mine.py:tracker
  kfjax compare --data mine.npz --model mine.py:model --tune diagonal
  kfjax compare --data ../shared/data/indoor_uwb --components 0,1 \\
    --model benchmarks/models/indoor_uwb.py:model"""

FILTER = """\
Run one filter over data and write its estimates. DATA and MODEL are as in `kfjax compare --help`.

The file written is an npz file, or a csv or parquet file with a row per step: times as in
the data, x1, x1_std and so on, and with --smooth x1_smoothed, x1_smoothed_std. The npz file has
  mean [N, T, n], cov [N, T, n, n]                      x_t given y_1..y_t
  log_likelihood [N, T]                                 log p(y_t | y_1..y_t-1)
  smoothed_mean [N, T, n], smoothed_cov [N, T, n, n]    x_t given y_1..y_T, with --smooth
  length [N]                                            if the data have it; later entries repeat
                                                        the last estimate"""

FILTER_EXAMPLES = """\
examples:
  kfjax filter --data track.csv --time stamp --ys east,north --model mine.py:tracker \\
    --filter kalman --smooth --out estimates.csv
  kfjax filter --data mine.npz --model mine.py:model --filter unscented --smooth --out est.npz"""

TRAIN = """\
Train a learned filter on the training part of the data, and choose its parameters on the validation
part. DATA and MODEL are as in `kfjax compare --help`; a file without parts is split as there. The
test part is not used.

The folder written has training.json (what was trained, and its error on the validation part beside
that of the extended Kalman filter, as it is and tuned), history.png, the parameters, and
checkpoints: an interrupted training resumes with the same command. `kfjax compare --load` and
`kfjax filter --load` use the folder."""

TRAIN_EXAMPLES = """\
example:
  kfjax train --data mine.npz --model mine.py:model --filter kalman_net --out runs/kalman_net
  kfjax compare --data mine.npz --model mine.py:model --load runs/kalman_net"""

BENCH = """\
Time kfjax on its own workloads: filters, smoothers, particles, networks and a training step, as a
user would run them.

The process stays on one core, and all workloads are timed in turn, so that other load on the
machine affects all of them alike. `python -m benchmarks.speed` in a checkout times them beside
other libraries."""

BENCH_EXAMPLES = """\
examples:
  kfjax bench --quick
  kfjax bench --workload W2,W3 --x64 --out bench.json"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; default those of the process.

    Returns:
        The exit status: 0, or 2 after an error of one line on stderr, or 130 if interrupted. Files
        are written whole and only at the end: until then earlier ones stay as they were.
    """
    interrupts.imported()
    print_anywhere()
    try:
        args = _parser().parse_args(argv)
        own_process = argv is None
        with _one_line_warnings(), jax.enable_x64(True) if args.x64 else contextlib.nullcontext():
            if own_process and args.compilation_cache:
                keep_compiled()
            args.run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"kfjax: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if argv is None:  # this process is the command line's own
            interrupts.end()
        print(interrupts.TEXT, file=sys.stderr)
        return interrupts.STATUS
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions of one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="kfjax", description="Filtering toolkit for JAX.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"kfjax {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    compare = _command(
        commands, "compare", run_compare, "compare filters", COMPARE, COMPARE_EXAMPLES
    )
    _add_data(compare.add_argument, required=False)
    add_columns(compare)
    _add_compare(compare.add_argument)
    _add_cache(compare)
    filtering = _command(
        commands, "filter", run_filter, "write a filter's estimates", FILTER, FILTER_EXAMPLES
    )
    _add_data(filtering.add_argument)
    add_columns(filtering)
    _add_filter(filtering)
    _add_cache(filtering)
    training = _command(
        commands, "train", run_train, "train a learned filter", TRAIN, TRAIN_EXAMPLES
    )
    _add_data(training.add_argument)
    add_columns(training)
    _add_train(training.add_argument)
    _add_cache(training)
    bench = _command(
        commands, "bench", run_bench, "time kfjax on its workloads", BENCH, BENCH_EXAMPLES
    )
    _add_bench(bench.add_argument)
    bench.set_defaults(compilation_cache=False)  # it measures compilation, too
    return parser


def _command(
    commands: Any, name: str, run: Any, summary: str, text: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command, with the arguments that all have."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--x64", action="store_true", help="compute in double precision (default single)"
    )
    return parser


def _add_data(add: Callable[..., Any], *, required: bool = True) -> None:
    """Add the arguments of the commands that read data."""
    add(
        "--data",
        metavar="DATA",
        required=required,
        help="csv, parquet or npz file, or folder of a known data set",
    )
    add("--model", metavar="FILE.py:NAME", required=required, help="the model to filter with")
    add(
        "--split", choices=tuple(SPLITS), help="part of an npz file that holds parts (default test)"
    )
    add("--seed", type=int, default=0, help="of everything random (default 0)")


def _add_cache(parser: argparse.ArgumentParser) -> None:
    """Add the argument of the commands that keep what they compile."""
    parser.add_argument(
        "--no-compilation-cache",
        dest="compilation_cache",
        action="store_false",
        help="compile everything anew; without it, compiled programs are kept in a folder kfjax of"
        " the user's cache folder (XDG_CACHE_HOME, or ~/.cache), at most some 256 MB of them, or"
        " where JAX_COMPILATION_CACHE_DIR says",
    )


def _add_compare(add: Callable[..., Any]) -> None:
    add("--system", metavar="NAME", help=f"simulate a system: {', '.join(systems.names())}")
    add("--filters", metavar="A,B", help=f"common (default), all, or some of {', '.join(FILTERS)}")
    add(
        "--components",
        metavar="I,J",
        type=_components,
        help="count errors of these state components only, from 0",
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
        help="also the filter trained there; may be repeated",
    )
    add("--trajectories", metavar="N", type=_count, help="how many to simulate (default 300)")
    add("--steps", metavar="T", type=_count, help="of each simulated trajectory (default 100)")
    add(
        "--quick",
        action="store_true",
        help="a small study of two filters, to see that everything works",
    )
    add(
        "--out",
        metavar="FOLDER",
        default="results",
        help="for compare.json and compare.png (default results)",
    )
    add("--json", action="store_true", help="print the JSON in place of the tables")


def _add_filter(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--filter", metavar="NAME", help=f"one of {', '.join(FILTERS)}")
    which.add_argument("--load", metavar="DIR", help="the filter that `kfjax train` trained there")
    add = parser.add_argument
    add(
        "--smooth",
        action="store_true",
        help="also smooth (Rauch-Tung-Striebel, with the filter's own moment rule)",
    )
    add("--out", metavar="FILE", default="est.npz", help="the file to write (default est.npz)")


def _add_train(add: Callable[..., Any]) -> None:
    default = Settings()
    add("--filter", metavar="NAME", required=True, help=f"one of {', '.join(LEARNED_FILTERS)}")
    add(
        "--out", metavar="FOLDER", required=True, help="the folder to write, of this training alone"
    )
    add(
        "--loss",
        choices=LOSSES,
        help="squared error of the states, their likelihood after it, or the observations'"
        " likelihood, which needs no true states (default mse, or innovation without true states)",
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
        help="its largest (default 0.001)",
    )
    add(
        "--seeds",
        metavar="N",
        type=_count,
        default=1,
        help="train N runs at once and keep the best (default 1)",
    )


def _add_bench(add: Callable[..., Any]) -> None:
    add("--workload", metavar="A,B", help=f"only some of {', '.join(WORKLOADS)}")
    add("--quick", action="store_true", help="small sizes, to see that everything works")
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


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show warnings as one line each, without the source line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(
            f"kfjax: note: {message}", file=sys.stderr
        )
        yield
