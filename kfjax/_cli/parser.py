"""The command line: `kfjax compare`, `filter`, `forecast`, `train`, `distil` and `bench`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import jax

from kfjax import __version__
from kfjax._cli import help_texts, options
from kfjax._cli.bench import run_bench
from kfjax._cli.columns import add_columns
from kfjax._cli.compare import run_compare
from kfjax._cli.compilation_cache import keep_compiled
from kfjax._cli.distil import run_distil
from kfjax._cli.filter import run_filter
from kfjax._cli.forecast import run_forecast
from kfjax._cli.forecast_arguments import add_forecast
from kfjax._cli.output import print_anywhere
from kfjax._cli.pictures import add_pictures
from kfjax._cli.train import run_train
from kfjax._cli.training_arguments import add_distil, add_train
from kfjax._support import interrupts

__all__: list[str] = []


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
    compare = _command(commands, "compare", run_compare, help_texts.COMPARE)
    options.add_data(compare.add_argument, required=False)
    add_columns(compare)
    options.add_compare(compare.add_argument)
    add_pictures(compare)
    options.add_cache(compare)
    filtering = _command(commands, "filter", run_filter, help_texts.FILTER)
    options.add_data(filtering.add_argument, model_required=False)
    add_columns(filtering)
    options.add_filter(filtering)
    add_pictures(filtering)
    options.add_cache(filtering)
    forecasting = _command(commands, "forecast", run_forecast, help_texts.FORECAST)
    options.add_data(forecasting.add_argument, required=False)
    forecasting.set_defaults(model="auto")
    add_columns(forecasting)
    add_forecast(forecasting)
    options.add_cache(forecasting)
    training = _command(commands, "train", run_train, help_texts.TRAIN)
    options.add_data(training.add_argument)
    add_columns(training)
    add_train(training.add_argument)
    options.add_cache(training)
    imitating = _command(commands, "distil", run_distil, help_texts.DISTIL)
    add_distil(imitating.add_argument)
    add_columns(imitating, recorded=True)
    options.add_cache(imitating)
    bench = _command(commands, "bench", run_bench, help_texts.BENCH)
    options.add_bench(bench.add_argument)
    bench.set_defaults(compilation_cache=False)  # it measures compilation, too
    return parser


def _command(commands: Any, name: str, run: Any, text: help_texts.Help) -> argparse.ArgumentParser:
    """Add a command, with the arguments that all have."""
    parser = commands.add_parser(
        name,
        help=text.summary,
        description=text.description,
        epilog=text.examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--x64", action="store_true", help="compute in double precision (default single)"
    )
    return parser


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show warnings as one line each, without the source line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(
            f"kfjax: note: {message}", file=sys.stderr
        )
        yield
