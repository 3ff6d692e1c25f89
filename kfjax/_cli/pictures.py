"""Figures of the commands: what is shown in them, and how they become files."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure, SubFigure

from kfjax._support.naming import suggest
from kfjax.data import Dataset, Labels
from kfjax.models.state_space import StateSpaceModel
from kfjax.plotting.records import index_of

__all__: list[str] = []

DPI = 150
MENTIONED = 8  # names of series in an error text, at most


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what figures show, and in which style."""
    group = parser.add_argument_group("figures")
    add = group.add_argument
    add(
        "--show",
        metavar="A,B",
        type=_states,
        help="the states to draw, by name (the names of the model) or number from 0",
    )
    add_series(group)
    add_style(group)


def add_style(parser: Any) -> None:
    """Add the argument that says in which style figures are drawn."""
    parser.add_argument(
        "--style",
        metavar="NAME",
        type=_style,
        help="a style of matplotlib, such as dark_background, or the path of a style file",
    )


def add_series(parser: Any) -> None:
    """Add the argument that says which of several series a figure shows."""
    parser.add_argument(
        "--series",
        metavar="NAME",
        help="the series to draw, by its name in the column of --by, or without names by its number"
        " from 1; default the first",
    )


def index_of_series(args: argparse.Namespace, data: Dataset) -> int:
    """Return the index of the series to draw, the first by default."""
    if args.series is None:
        return 0
    names = [str(name) for name in (data.labels or Labels()).series or ()]
    if args.series in names:
        return names.index(args.series)
    if names:
        few = ", ".join(names[:MENTIONED]) + (", ..." if len(names) > MENTIONED else "")
        raise ValueError(
            f"--series: there is no {args.series!r} among the {len(names)} series; expected one of"
            f" {few}."
        )
    if args.series.isdecimal() and 1 <= int(args.series) <= data.size:
        return int(args.series) - 1
    raise ValueError(
        f"--series: got {args.series!r}; expected a number from 1 to {data.size}. To choose series"
        " by name, say with --by which column has their names."
    )


def name_of_series(data: Dataset, index: int) -> str:
    """Return the name of a series, or its number."""
    series = (data.labels or Labels()).series
    return f"trajectory {index + 1}" if series is None else str(series[index])


def check_states(args: argparse.Namespace, model: StateSpaceModel, data: Dataset) -> None:
    """Raise before any work unless the model has the states that are to be drawn."""
    labels = data.labels or Labels()
    if model.names is not None:
        labels = labels.naming_states(model.names)
    for state in args.show or ():
        index_of("--show", state, labels.xs or (), model.proper_prior.mean.shape[0])


@contextmanager
def in_style(args: argparse.Namespace) -> Iterator[None]:
    """Draw in the style of the arguments."""
    with matplotlib.style.context(args.style or []):
        yield


def title_of(args: argparse.Namespace, part: str | None = None) -> str:
    """Return the file, the part of it that is shown, and the model."""
    places = [Path(args.data).name, part, args.model and Path(args.model).name]
    return ", ".join(place for place in places if place)


def picture_bytes(figure: Figure | SubFigure, kind: str = "png") -> bytes:
    """Return a figure as a file of this kind, such as png or svg."""
    content = io.BytesIO()
    figure.canvas.print_figure(content, format=kind, dpi=DPI)
    return content.getvalue()


def pages_bytes(figures: Iterable[Figure]) -> bytes:
    """Return figures as the pages of a PDF file."""
    content = io.BytesIO()
    with PdfPages(content) as pages:
        for figure in figures:
            pages.savefig(figure, dpi=DPI)
    return content.getvalue()


def _states(text: str) -> list[int | str]:
    """Return names or numbers of states."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(
            f"got {text!r}; expected names or numbers from 0 with commas between, such as 0,2"
        )
    return [int(part) if part.isdecimal() else part for part in parts]


def _style(text: str) -> str:
    """Return a style that matplotlib has."""
    known = matplotlib.style.available
    if text in (*known, "default") or Path(text).is_file():
        return text
    raise argparse.ArgumentTypeError(f"got {text!r}; {suggest(text, known)}")
