"""The results of a study as one JSON file, saved row by row, and the page of all of them."""

import importlib
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import files
from benchmarks.reporting import cell, table, versions

MACHINE = "two shared x86 cores"
PAGE = "RESULTS.md"
HEAD = """# Learned filters: what they reach

Written by `python -m benchmarks.learned`; do not edit.

MSE in dB is 10 log10 of the mean over trajectories, steps and state dimensions. Several seeds are \
given as median (lowest .. highest); they share the test data. Everything chosen was chosen on \
validation data, unless a note says otherwise.
"""


class Measured(NamedTuple):
    """What a row holds.

    Attributes:
        values: by column, a number, or a list with one per seed.
        settings: what was chosen to get them.
    """

    values: dict[str, Any]
    settings: dict[str, Any] | None = None


class Study(NamedTuple):
    """One table.

    Attributes:
        title: its heading.
        text: what is measured, on what data, and what it should reach.
        columns: the names of its values.
        rows: `(quick) -> {name: () -> Measured}`, in the order of the table.
        notes: what was tried and did not help, or is still missing.
        digits: after the point.
    """

    title: str
    text: str
    columns: tuple[str, ...]
    rows: Callable[[bool], dict[str, Callable[[], Measured]]]
    notes: tuple[str, ...] = ()
    digits: int = 3


def measure(name: str, study: Study, folder: Path, *, quick: bool, again: bool, only: str) -> None:
    """Measure the rows that are missing, and save after each one."""
    path = folder / f"{name}.json"
    rows = study.rows(quick)
    for row, thunk in rows.items():
        if only in row and (again or row not in _finished(path, quick)):
            print(f"{name}: {row} ...", flush=True)
            begin = time.perf_counter()
            values, settings = thunk()
            seconds = round(time.perf_counter() - begin, 1)
            new = {
                "values": values,
                "settings": settings or {},
                "seconds": seconds,
                "versions": versions(),
            }
            cells = _cells(study.columns, values, study.digits)
            print(f"{name}: {row}: {cells}, {seconds} s", flush=True)
            # read again, since another run may have added rows
            done = _finished(path, quick) | {row: new}
            _save(path, name, {key: done[key] for key in rows if key in done}, quick)


def study_of(name: str) -> Study:
    """Return a study by the name of its module."""
    return importlib.import_module(f"benchmarks.learned.{name}").STUDY


def write_page(folder: Path) -> None:
    """Write the page of all results in a folder."""
    (folder / PAGE).write_text(page(folder))


def page(folder: Path) -> str:
    """Return the page of all results in a folder, in markdown."""
    stored = [files.read(path) for path in sorted(folder.glob("*.json"))]
    return "\n".join([HEAD, *(_section(study_of(result["study"]), result) for result in stored)])


def _finished(path: Path, quick: bool) -> dict[str, Any]:
    """Return the rows of a file if they are of this size."""
    kept = files.read(path) or {}
    return kept["rows"] if kept.get("quick") == quick else {}


def _save(path: Path, name: str, rows: dict[str, Any], quick: bool) -> None:
    about = {"study": name, "quick": quick, "machine": MACHINE, "platform": platform.machine()}
    files.write(path, about | {"rows": rows}, rows="rows")


def _section(study: Study, result: dict[str, Any]) -> str:
    """Return the section of one study."""
    rows = result["rows"]
    lines = [f"## {study.title}", "", study.text, ""]
    entries = [
        (name, _cells(study.columns, row["values"], study.digits), f"{row['seconds']:.0f}")
        for name, row in rows.items()
    ]
    lines += table(("", *study.columns, "seconds"), entries)
    minutes = sum(row["seconds"] for row in rows.values()) / 60
    command = f"python -m benchmarks.learned {result['study']}"
    if result["quick"]:
        command += " --quick"
    lines += ["", f"`{command}`, {minutes:.0f} minutes on {result['machine']}.", ""]
    if study.notes:
        lines += [*(f"* {note}" for note in study.notes), ""]
    return "\n".join(lines)


def _cells(columns: list[str] | tuple[str, ...], values: dict[str, Any], digits: int) -> str:
    return " | ".join(cell(values.get(column), digits) for column in columns)
