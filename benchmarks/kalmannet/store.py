"""Results as one JSON file per study, saved row by row; rows whose code and size are the present ones are kept."""

import ast
import hashlib
import importlib
import inspect
import json
import time

import jax
import numpy as np

from benchmarks.reporting import machine, versions
from kfjax._support.saving import plain, write_whole

# what no number depends on
WORDS = {
    "STUDY",
    "PAPER",
    "REFERENCE",
    "WHY",
    "TARGETS",
    "NOTES",
    "verdict",
    "against_searched",
    "draw",
}


def study_of(name):
    """Return the module of a study."""
    return importlib.import_module(f"benchmarks.kalmannet.{name}")


def code_of(module):
    """Return a fingerprint of a study's module, and of those modules here that it names, such as `lorenz`.

    It is that of their syntax trees without comments, words and pictures.
    """
    shared = (
        found
        for found in vars(module).values()
        if inspect.ismodule(found) and __package__ in found.__name__
    )
    text = "\n".join(line for found in (module, *shared) for line in _tree(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tree(module):
    """The statements that numbers depend on."""
    kept = [
        node for node in ast.parse(inspect.getsource(module)).body if WORDS.isdisjoint(_names(node))
    ]
    words = (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in kept)
    return [ast.dump(node) for node, word in zip(kept, words, strict=True) if not word]


def _names(node):
    """The names that a statement at the top of a module defines."""
    targets = getattr(node, "targets", [])
    return {
        getattr(node, "name", None),
        *(target.id for target in targets if isinstance(target, ast.Name)),
    }


def load(folder, name):
    """Return what is stored of a study, or None."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def finished(folder, name, size, code):
    """Return the rows that need not be measured again."""
    stored = load(folder, name)
    if stored is None or stored["size"] != plain(size):
        return {}
    return {key: row for key, row in stored["rows"].items() if row["code"] == code}


def save(folder, name, size, rows, missing):
    """Write the rows of a study, and which are not measured yet."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"study": name, "size": plain(size), "missing": missing, "rows": rows}
    text = json.dumps(stored, indent=1, allow_nan=False)
    write_whole(folder / f"{name}.json", text.encode() + b"\n")


def measure(name, folder, size, *, again=False, only=""):
    """Measure the rows of a study that are missing, and save after each one."""
    module = study_of(name)
    code, rows = code_of(module), module.STUDY.rows(size)
    wanted = [
        row
        for row in rows
        if only in row and (again or row not in finished(folder, name, size, code))
    ]
    for number, row in enumerate(wanted):
        print(f"{name}: {row} ({number + 1} of {len(wanted)}) ...", flush=True)
        begin = time.perf_counter()
        measured = _rounded(plain(rows[row]()))
        seconds = round(time.perf_counter() - begin, 1)
        measured |= {"seconds": seconds, "code": code, "machine": machine(), "versions": versions()}
        done = finished(folder, name, size, code) | {
            row: measured
        }  # another run may have added rows
        missing = [key for key in rows if key not in done]
        save(folder, name, size, {key: done[key] for key in rows if key in done}, missing)
        print(f"{name}: {row}: {_told(measured)}, {seconds} s", flush=True)


def accept(name, folder):
    """Mark stored rows as those of the present code, whose change did not touch them."""
    if stored := load(folder, name):
        code = code_of(study_of(name))
        rows = {key: row | {"code": code} for key, row in stored["rows"].items()}
        save(folder, name, stored["size"], rows, stored["missing"])


def _told(measured):
    """The figures of a row, for the log."""
    return ", ".join(f"{name} {cell['value']}" for name, cell in measured["cells"].items())


def _rounded(value):
    """Floats that are no whole numbers to six significant digits: what a page can say."""
    if isinstance(value, jax.Array):
        value = plain(np.asarray(value))
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) and not value.is_integer() else value
