"""Results as JSON files, one per study and saved row by row, and the page that is generated from them."""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.reporting import cell, table, versions

MACHINE = "two shared x86 cores"
PAGE = "RESULTS.md"


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
            print(
                f"{name}: {row}: {_cells(study.columns, values, study.digits)}, {seconds} s",
                flush=True,
            )
            done = _finished(path, quick) | {
                row: new
            }  # read again: another run may have added rows
            _save(path, name, study, {key: done[key] for key in rows if key in done}, quick)
    if done := _finished(path, quick):  # words may have changed
        _save(path, name, study, {key: done[key] for key in rows if key in done}, quick)


def write_page(folder: Path) -> None:
    """Write the page of all results in a folder."""
    (folder / PAGE).write_text(page(folder))


def page(folder: Path) -> str:
    """Return the page of all results in a folder, in markdown."""
    parts = [_section(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    head = "# Learned filters: what they reach\n\nWritten by `python -m benchmarks.learned`; do not edit.\n"
    guide = (
        "MSE in dB is 10 log10 of the mean over trajectories, steps and state dimensions. Several"
        " seeds are given as"
        " median (lowest .. highest); they share the test data. Everything chosen was chosen on"
        " validation data, unless"
        " a note says otherwise.\n"
    )
    return "\n".join([head, guide, *parts])


def _finished(path: Path, quick: bool) -> dict[str, Any]:
    """The rows of a file, if they are of the same kind."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    return kept["rows"] if kept.get("quick") == quick else {}


def _save(path: Path, name: str, study: Study, rows: dict[str, Any], quick: bool) -> None:
    about = {"study": name, "quick": quick, "machine": MACHINE, "platform": platform.machine()}
    shown = {key: getattr(study, key) for key in ("title", "text", "columns", "notes", "digits")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about | shown | {"rows": rows}, indent=1) + "\n")


def _section(result: dict[str, Any]) -> str:
    columns, rows = result["columns"], result["rows"]
    command = (
        f"python -m benchmarks.learned {result['study']}{' --quick' if result['quick'] else ''}"
    )
    seconds = sum(row["seconds"] for row in rows.values())
    lines = [f"## {result['title']}", "", result["text"], ""]
    cells = (
        (name, _cells(columns, row["values"], result["digits"]), row) for name, row in rows.items()
    )
    lines += table(
        ("", *columns, "seconds"),
        [(name, values, f"{row['seconds']:.0f}") for name, values, row in cells],
    )
    lines += ["", f"`{command}`, {seconds / 60:.0f} minutes on {result['machine']}.", ""]
    return "\n".join(
        [*lines, *(f"* {note}" for note in result["notes"]), *([""] if result["notes"] else [])]
    )


def _cells(columns: list[str] | tuple[str, ...], values: dict[str, Any], digits: int) -> str:
    return " | ".join(cell(values.get(column), digits) for column in columns)
