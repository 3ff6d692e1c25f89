"""Measure the size and density of a package's code.

    python tools/measure_code.py [--check] [PACKAGE ...]

A package is a folder or the name of an installed package; the default is `kfjax`. Tests inside a
package do not count. `--check` exits with 1 if a figure is above its limit in `MOST` or below that
in `LEAST`.

* A code line holds code: not a blank line, a comment or a docstring.
* A function body is its lines without signature and docstring, blank lines included.
* An operation is a call, a binary operation, a subscript, an attribute or a comparison.
* A tuple assignment has tuples on both sides: `a, b = f(), g()`.
* Annotations are those of arguments and returns; one counts as `Any` if `Any` occurs in it.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = 100
LONG_BODY = 50
OPERATIONS = (ast.Call, ast.BinOp, ast.Subscript, ast.Attribute, ast.Compare)
WITHOUT_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
# The largest and the smallest value of a figure that `--check` accepts, by its row in the table.
MOST = {
    "operations per code line": 1.4,
    "lines over 100 columns": 0,
    "nested conditional expressions": 0,
    "annotations with Any, %": 10,
}
# That of cuthbert, the least commented package that kfjax is measured beside.
LEAST = {
    "comments per 1000 code lines": 32,
}


@dataclass
class Totals:
    """Counts over the files of a package, and the lengths of its files and function bodies."""

    files: list[int] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)
    code_lines: int = 0
    long_lines: int = 0
    long_code_lines: int = 0
    operations: int = 0
    tuple_assignments: int = 0
    conditionals: int = 0
    nested_conditionals: int = 0
    comments: int = 0
    annotations: int = 0
    annotations_with_any: int = 0
    files_with_jaxtyping: int = 0


def source_files(package: str) -> list[Path]:
    """Return the modules of a package, which is not imported, without its tests."""
    folder = Path(package)
    if not folder.is_dir():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"{package} is neither a folder nor an installed package.")
        folder = Path(spec.submodule_search_locations[0])
    return [path for path in sorted(folder.rglob("*.py")) if not is_test(path, folder)]


def is_test(path: Path, folder: Path) -> bool:
    """Return whether a file of a package is one of its tests."""
    in_tests = {"test", "tests", "_tests"} & set(path.relative_to(folder).parts)
    return bool(in_tests) or path.stem.startswith("test_") or path.stem.endswith("_test")


def measure(package: str) -> Totals:
    """Count what is in a package; without files or functions their figures are 0."""
    totals = Totals()
    for path in source_files(package):
        count_file(path.read_text(encoding="utf-8"), totals)
    return totals


def count_file(text: str, totals: Totals) -> None:
    """Add the counts of one file."""
    lines = text.splitlines()
    tree = ast.parse(text)
    code, comments = classified_lines(text, tree)
    totals.files.append(len(lines))
    totals.code_lines += len(code)
    totals.comments += comments
    totals.long_lines += sum(len(line) > COLUMNS for line in lines)
    totals.long_code_lines += sum(len(lines[number - 1]) > COLUMNS for number in code)
    totals.files_with_jaxtyping += imports_jaxtyping(tree)
    for node in ast.walk(tree):
        count_node(node, totals)


def classified_lines(text: str, tree: ast.Module) -> tuple[set[int], int]:
    """Return the numbers of the lines with code, and how many comments there are."""
    code: set[int] = set()
    comments = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments += 1
        if token.type not in WITHOUT_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        docstring = docstring_of(node)
        if docstring is not None:
            code.difference_update(range(docstring.lineno, ends_at(docstring) + 1))
    return code, comments


def docstring_of(node: ast.AST) -> ast.stmt | None:
    """Return the statement that is the docstring of a module, class or function."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return node.body[0] if ast.get_docstring(node, clean=False) is not None else None


def ends_at(node: ast.stmt) -> int:
    """Return the number of the last line of a statement."""
    return node.end_lineno or node.lineno


def imports_jaxtyping(tree: ast.Module) -> bool:
    """Return whether a module imports jaxtyping."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    return any(module.split(".")[0] == "jaxtyping" for module in modules)


def count_node(node: ast.AST, totals: Totals) -> None:
    """Add the counts of one node of a syntax tree."""
    totals.operations += isinstance(node, OPERATIONS)
    if isinstance(node, ast.Assign):
        totals.tuple_assignments += packs_statements(node)
    if isinstance(node, ast.IfExp):
        totals.conditionals += 1
        inner = (child for part in ast.iter_child_nodes(node) for child in ast.walk(part))
        totals.nested_conditionals += any(isinstance(child, ast.IfExp) for child in inner)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        totals.bodies.append(body_length(node))
        for annotation in annotations_of(node):
            totals.annotations += 1
            totals.annotations_with_any += mentions_any(annotation)


def packs_statements(node: ast.Assign) -> bool:
    """Return whether an assignment has tuples on both sides."""
    both = (*node.targets, node.value)
    return len(node.targets) == 1 and all(isinstance(side, ast.Tuple) for side in both)


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has without signature and docstring."""
    first = 1 if docstring_of(node) is not None else 0
    body = node.body[first:]
    return ends_at(body[-1]) - body[0].lineno + 1 if body else 0


def annotations_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.expr]:
    """Yield the annotations of the arguments, and of what is returned."""
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg) and argument.annotation is not None:
            yield argument.annotation
    if node.returns is not None:
        yield node.returns


def mentions_any(annotation: ast.expr) -> bool:
    """Return whether `Any` occurs in an annotation."""
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))


def figures(totals: Totals) -> dict[str, float]:
    """Return the rows of the table."""
    files = totals.files or [0]
    bodies = sorted(totals.bodies) or [0]
    code_lines = max(totals.code_lines, 1)
    per_thousand = 1000 / code_lines
    return {
        "files": len(totals.files),
        "lines": sum(totals.files),
        "lines of a file, median": statistics.median(files),
        "lines of a file, largest": max(files),
        "functions": len(totals.bodies),
        "function body, median": statistics.median(bodies),
        "function body, mean": statistics.mean(bodies),
        "function body, 90 %": bodies[int(0.90 * len(bodies))],
        "function body, 99 %": bodies[int(0.99 * len(bodies))],
        "function body, largest": bodies[-1],
        f"function bodies over {LONG_BODY} lines": sum(length > LONG_BODY for length in bodies),
        "operations per code line": totals.operations / code_lines,
        f"lines over {COLUMNS} columns": totals.long_lines,
        f"code lines over {COLUMNS} columns, %": 100 * totals.long_code_lines / code_lines,
        "tuple assignments per 1000 code lines": per_thousand * totals.tuple_assignments,
        "conditional expressions per 1000 code lines": per_thousand * totals.conditionals,
        "nested conditional expressions": totals.nested_conditionals,
        "comments per 1000 code lines": per_thousand * totals.comments,
        "annotations with Any, %": 100 * totals.annotations_with_any / max(totals.annotations, 1),
        "files with jaxtyping": totals.files_with_jaxtyping,
    }


def table(columns: dict[str, dict[str, float]]) -> str:
    """Return the figures of several packages side by side."""
    rows = list(next(iter(columns.values())))
    names = max(map(len, rows))
    widths = {package: max(10, len(package)) for package in columns}
    header = "  ".join(f"{package:>{width}}" for package, width in widths.items())
    lines = [f"{'':{names}}  {header}"]
    for row in rows:
        cells = [f"{written(columns[package][row]):>{widths[package]}}" for package in columns]
        lines.append(f"{row:{names}}  {'  '.join(cells)}")
    return "\n".join(lines)


def written(value: float) -> str:
    """Return a count as an integer, and anything else to two decimal places."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


def excesses(package: str, values: dict[str, float]) -> list[str]:
    """Return a line for every figure of a package beyond its limit."""
    too_large = [
        f"{package}: {row}: {written(values[row])}; expected at most {written(limit)}."
        for row, limit in MOST.items()
        if values[row] > limit
    ]
    too_small = [
        f"{package}: {row}: {written(values[row])}; expected at least {written(limit)}."
        for row, limit in LEAST.items()
        if values[row] < limit
    ]
    return too_large + too_small


def main() -> int:
    """Print the table, and check the limits if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "packages", nargs="*", metavar="PACKAGE", help="folder or installed package"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 beyond the limits")
    options = parser.parse_args()
    packages = options.packages or [str(Path(__file__).parents[1] / "kfjax")]
    columns = {Path(package).name: figures(measure(package)) for package in packages}
    print(table(columns))
    failures = [text for package, values in columns.items() for text in excesses(package, values)]
    if options.check and failures:
        print("\n".join(["", *failures]), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
