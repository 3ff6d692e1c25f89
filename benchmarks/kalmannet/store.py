"""The results of a study as one JSON file, saved row by row.

A row is measured once and kept as long as the code of its study and the size stay the same.
"""

import ast
import hashlib
import importlib
import inspect
import time

from benchmarks import files
from benchmarks.files import plain
from benchmarks.reporting import machine, versions

# names at the top of a study's module on which no number depends
WORDS = {
    "STUDY",
    "PAPER",
    "REFERENCE",
    "WHY",
    "TARGETS",
    "NOTES",
    "verdict",
    "verdicts",
    "details",
    "against_searched",
    "from_truth",
    "draw",
}


def study_of(name):
    """Return the module of a study."""
    return importlib.import_module(f"benchmarks.kalmannet.{name}")


def code_of(module):
    """Return a fingerprint of the code of a study, of which its stored rows carry a copy.

    It covers the study's module and the modules of this package that it imports as modules, such
    as `lorenz`: their statements without comments, docstrings, annotations, imports, and without
    the words and pictures of the page (`WORDS`). A renaming changes it, and `accept` then marks
    the rows as up to date.
    """
    shared = (
        found
        for found in vars(module).values()
        if inspect.ismodule(found) and __package__ in found.__name__
    )
    text = "\n".join(line for found in (module, *shared) for line in _statements(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _statements(module):
    """Return the source of the statements on which numbers depend."""
    tree = _Stripped().visit(ast.parse(inspect.getsource(module)))
    return [ast.unparse(node) for node in tree.body if WORDS.isdisjoint(_names(node))]


class _Stripped(ast.NodeTransformer):
    """Remove docstrings, annotations and imports from a syntax tree."""

    def visit_Expr(self, node):
        return None if isinstance(node.value, ast.Constant) else node

    def visit_Import(self, node):
        del node

    visit_ImportFrom = visit_Import

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_FunctionDef(self, node):
        node.returns = None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_ClassDef(self, node):
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_AnnAssign(self, node):
        node.annotation = ast.Constant(None)
        return node


def _names(node):
    """Return the names that a statement at the top of a module defines."""
    targets = getattr(node, "targets", [])
    assigned = {target.id for target in targets if isinstance(target, ast.Name)}
    return assigned | {getattr(node, "name", None)}


def load(folder, name):
    """Return what is stored of a study, or None."""
    return files.read(folder / f"{name}.json")


def finished(folder, name, size, code):
    """Return the stored rows that are up to date."""
    stored = load(folder, name)
    if stored is None or stored["size"] != plain(size):
        return {}
    return {key: row for key, row in stored["rows"].items() if row["code"] == code}


def save(folder, name, size, rows, missing):
    """Write the rows of a study, and the names of those that are not measured yet."""
    stored = {"study": name, "size": size, "missing": missing, "rows": rows}
    files.write(folder / f"{name}.json", stored, rows="rows")


def measure(name, folder, size, *, again=False, only=""):
    """Measure the missing rows of a study, and save after each one.

    Args:
        name: the study.
        folder: the folder of the results.
        size: the `Size` of the study.
        again: whether to measure rows that are up to date as well.
        only: a text that the names of measured rows contain.

    Returns:
        How many rows were asked for.
    """
    module = study_of(name)
    code = code_of(module)
    rows = module.STUDY.rows(size)
    chosen = [row for row in rows if only in row]
    if only and not chosen:
        print(f"{name}: no row contains {only!r}; its rows are: {'; '.join(rows)}", flush=True)
    done = finished(folder, name, size, code)
    wanted = [row for row in chosen if again or row not in done]
    for number, row in enumerate(wanted):
        print(f"{name}: {row} ({number + 1} of {len(wanted)}) ...", flush=True)
        begin = time.process_time()  # other programs may use the machine, too
        measured = _rounded(plain(rows[row]()))
        seconds = round(time.process_time() - begin, 1)
        measured |= {"seconds": seconds, "code": code, "machine": machine(), "versions": versions()}
        # read again, since another run may have added rows
        done = finished(folder, name, size, code) | {row: measured}
        missing = [key for key in rows if key not in done]
        save(folder, name, size, {key: done[key] for key in rows if key in done}, missing)
        print(f"{name}: {row}: {_told(measured)}, {seconds} s", flush=True)
    return len(chosen)


def accept(name, folder):
    """Mark all stored rows of a study as up to date, after a change of code that keeps numbers."""
    stored = load(folder, name)
    if stored is None:
        return
    code = code_of(study_of(name))
    rows = {key: row | {"code": code} for key, row in stored["rows"].items()}
    save(folder, name, stored["size"], rows, stored["missing"])


def _told(measured):
    """Return the figures of a row for the log."""
    return ", ".join(f"{name} {cell['value']}" for name, cell in measured["cells"].items())


def _rounded(value):
    """Round floats that are not whole numbers to six significant digits, more than a page shows."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float) and not value.is_integer():
        return float(f"{value:.6g}")
    return value
