"""The results of a study as one JSON file, saved row by row, and the page of all of them."""

import importlib
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import files
from benchmarks.learned.plotting import PICTURE, SHOWN, draw
from benchmarks.reporting import cell, table, versions

MACHINE = "two shared x86 cores"
PAGE = "RESULTS.md"
HEAD = """\
# Learned filters beside tuned classical ones

Written by `python -m benchmarks.learned`; do not edit.

* **Errors.** MSE in dB is 10 log10 of the mean squared error over trajectories, steps and state \
dimensions; lower is better.
* **Seeds.** Networks are trained from several random keys (seeds) and tested on the same data. \
Results are given as median (lowest .. highest), and targets refer to medians.
* **Data.** All choices were made on validation data, unless a note says otherwise. Official data \
sets are those that the authors of KalmanNet published.
* **Symbols.** Q = q² I and R = r² I are the covariances of process and observation noise, T is \
the number of steps, and J the order of the Taylor series in the f of the Lorenz attractor.
* **Filters.** KF, EKF and UKF are the Kalman, extended and unscented Kalman filters. KalmanNet \
#1 and #2 are its two architectures, C1 and C4 published configurations of them. The gain that \
starts at the EKF is a network that corrects the gain of an EKF.
"""
SHOWING = f"""\
![Errors of learned and of classical filters in three studies]({PICTURE})

Orange: with something learned from the training set; blue: by hand, or with tuned Q and R alone; \
grey: the floor.
"""


class Measured(NamedTuple):
    """The result of a row.

    Attributes:
        values: a number, or a list with one per seed, by column.
        settings: settings that were chosen to get them.
    """

    values: dict[str, Any]
    settings: dict[str, Any] | None = None


class Values:
    """The stored values of a study; `values(row, column)` is the median over seeds.

    Attributes:
        rows: the values of every row, by column.
    """

    def __init__(self, stored: dict[str, Any]):
        self.rows = {name: row["values"] for name, row in stored["rows"].items()}

    def __call__(self, row: str, column: str) -> float:
        """Return a median; a row or column that is not stored is a KeyError."""
        return float(np.median(self.rows[row][column]))

    def columns(self, row: str) -> list[str]:
        """Return the columns of a row that have values."""
        return [column for column, value in self.rows[row].items() if value is not None]


class Target(NamedTuple):
    """A goal set in advance.

    Attributes:
        text: the goal as a sentence, without the full stop.
        holds: `(values) -> bool`; it may raise a KeyError if rows are missing.
    """

    text: str
    holds: Callable[[Values], bool]


class Study(NamedTuple):
    """One table.

    Attributes:
        title: its heading.
        text: the setting: what is measured, and on what data.
        columns: the names of its values.
        rows: `(quick) -> {name: () -> Measured}`, in the order of the table.
        targets: goals set in advance.
        notes: what was tried without success, or is missing; one that depends on stored values is
            `(values) -> text`, "" where it does not apply.
        digits: number of decimals.
    """

    title: str
    text: str
    columns: tuple[str, ...]
    rows: Callable[[bool], dict[str, Callable[[], Measured]]]
    targets: tuple[Target, ...] = ()
    notes: tuple[str | Callable[[Values], str], ...] = ()
    digits: int = 3


def measure(name: str, study: Study, folder: Path, *, quick: bool, again: bool, only: str) -> None:
    """Measure the missing rows of a study, and save after each one.

    Args:
        name: the name of the study.
        study: the study.
        folder: the folder of the results.
        quick: whether to show only that everything runs.
        again: whether to measure stored rows again.
        only: a text that the names of measured rows contain.
    """
    path = folder / f"{name}.json"
    rows = study.rows(quick)
    for row, make in rows.items():
        if only not in row or (row in _finished(path, quick) and not again):
            continue
        print(f"{name}: {row} ...", flush=True)
        new = _timed(make)
        cells = _cells(study.columns, new["values"], study.digits)
        print(f"{name}: {row}: {cells}, {new['seconds']} s", flush=True)
        # read again, since another run may have added rows
        done = _finished(path, quick) | {row: new}
        _save(path, name, {key: done[key] for key in rows if key in done}, quick)


def _timed(make: Callable[[], Measured]) -> dict[str, Any]:
    """Measure a row, and return it as it is stored."""
    begin = time.perf_counter()
    values, settings = make()
    return {
        "values": values,
        "settings": settings or {},
        "seconds": round(time.perf_counter() - begin, 1),
        "versions": versions(),
    }


def study_of(name: str) -> Study:
    """Return a study by the name of its module."""
    return importlib.import_module(f"benchmarks.learned.{name}").STUDY


def write_page(folder: Path) -> None:
    """Write the page of all results in a folder, and its picture."""
    stored = _stored(folder)
    draw(folder, stored, {study["study"]: study_of(study["study"]).title for study in stored})
    (folder / PAGE).write_text(page(folder))


def page(folder: Path) -> str:
    """Return the page of all results in a folder, in markdown."""
    stored = _stored(folder)
    shown = [SHOWING] if any(study["study"] in SHOWN for study in stored) else []
    sections = (_section(study_of(result["study"]), result) for result in stored)
    return "\n".join([HEAD, *shown, *sections])


def _stored(folder: Path) -> list[dict[str, Any]]:
    """Return the stored studies of a folder."""
    return [files.read(path) for path in sorted(folder.glob("*.json"))]


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
    if study.targets:
        lines += [*(_target(target, Values(result)) for target in study.targets), ""]
    entries = [
        (name, _cells(study.columns, row["values"], study.digits), f"{row['seconds']:.0f}")
        for name, row in rows.items()
    ]
    lines += table(("", *study.columns, "seconds"), entries)
    minutes = sum(row["seconds"] for row in rows.values()) / 60
    command = f"python -m benchmarks.learned {result['study']}"
    if result["quick"]:
        command += " --quick"
    unit = "minute" if round(minutes) == 1 else "minutes"
    lines += ["", f"`{command}`, {minutes:.0f} {unit} on {result['machine']}.", ""]
    told = [note(Values(result)) if callable(note) else note for note in study.notes]
    if any(told):
        lines += [*(f"* {note}" for note in told if note), ""]
    return "\n".join(lines)


def _target(target: Target, values: Values) -> str:
    """Return the line of a target."""
    try:
        word = "holds" if target.holds(values) else "does not hold"
    except KeyError:
        word = "not measured yet"
    return f"* {target.text}: **{word}**."


def _cells(columns: list[str] | tuple[str, ...], values: dict[str, Any], digits: int) -> str:
    return " | ".join(cell(values.get(column), digits) for column in columns)
