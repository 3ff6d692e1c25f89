"""Change one operation of the package at a time, and see whether a test notices.

    python tools/mutate.py --out ~/mutants --sample 100      # a minute for each; thousands in all
    python tools/mutate.py --out ~/mutants --only moments runner # modules whose paths have these
    python tools/mutate.py --out ~/mutants --report          # what is known so far

The tests run in a copy of the tree. Results are lines of JSON in the folder, which is outside the
repository; a second call goes on where the first one stopped, unless the changed module is another.
"""

import argparse
import ast
import collections
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TIMEOUT = 600.0  # seconds; a mutant that takes longer is noticed

# What covers a module, by the beginning of its path: the first that fits, quick tests first.
CORE = "tests/core/"
RECORDS = "test_random_records_have_the_moments_of_their_joint_gaussian"
ORACLE = f"{CORE}test_joint_gaussian.py::{RECORDS}[varying]"
COVERED_BY = {
    "kfjax/linalg.py": [
        f"{CORE}test_linalg.py", f"{CORE}test_products.py", f"{CORE}test_noise_free.py", ORACLE,
    ],
    "kfjax/_support/dense/": [
        f"{CORE}test_linalg.py", f"{CORE}test_products.py", f"{CORE}test_noise_free.py", ORACLE,
    ],
    "kfjax/moments/": [
        f"{CORE}test_noise_free.py", f"{CORE}test_identities.py", f"{CORE}test_oracles.py", ORACLE,
    ],
    "kfjax/runner.py": [
        f"{CORE}test_streaming.py", f"{CORE}test_log_likelihood.py", f"{CORE}test_missing.py",
        "tests/models/test_first.py", ORACLE, f"{CORE}test_errors.py",
    ],
    "kfjax/filters/particles/": [
        "tests/filters/test_resampling.py", "tests/filters/test_particles.py",
        "tests/filters/test_rao_blackwell.py", "tests/smoothers/test_backward_simulation.py",
    ],
    "kfjax/filters/ensembles/": ["tests/filters/test_ensembles.py"],
    "kfjax/filters/combinators/": ["tests/filters", "--ignore=tests/filters/test_particles.py"],
    "kfjax/filters/": [
        f"{CORE}test_noise_free.py", ORACLE, f"{CORE}test_identities.py", f"{CORE}test_missing.py",
        "tests/filters/test_square_roots.py",
    ],
    "kfjax/smoothers/posterior_draws.py": [
        "tests/smoothers/test_posterior_sampling.py", "tests/smoothers/test_backward_simulation.py",
    ],
    "kfjax/smoothers/iterated.py": ["tests/smoothers/test_parallel.py"],
    "kfjax/smoothers/": [ORACLE, "tests/smoothers/test_smoothers_family.py"],
    "kfjax/models/": ["tests/models", f"{CORE}test_missing.py", f"{CORE}test_errors.py"],
    "kfjax/evaluation/": [
        "tests/evaluation/test_metrics.py", "tests/evaluation/test_monte_carlo.py",
        "tests/evaluation/test_comparison.py",
    ],
}  # fmt: skip

SWAPPED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change of one module."""

    path: str
    line: int
    column: int
    before: str
    after: str
    source: str  # of the module, changed

    @property
    def name(self) -> str:
        """What tells it from others: the module's path, the place, the change."""
        return f"{self.path}:{self.line}:{self.column}: {self.before} -> {self.after}"


def variants(node: ast.expr) -> Iterator[ast.expr]:
    """Yield what an expression is changed into."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        other = SWAPPED[type(node.ops[0])]()
        yield ast.Compare(node.left, [other, *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(SWAPPED[type(node.op)](), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.Constant):
        yield from other_constants(node.value)
    elif isinstance(node, ast.Call):
        yield from other_calls(node)


def other_constants(value: object) -> Iterator[ast.expr]:
    """Yield a boolean negated, a number moved."""
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)


def other_calls(node: ast.Call) -> Iterator[ast.expr]:
    """Yield the branches of a `where`, a call with its first two arguments swapped."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name == "where" and len(node.args) == 3:
        yield node.args[1]
        yield node.args[2]
    elif len(node.args) > 1 and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
        first, second, *others = node.args
        yield ast.Call(node.func, [second, first, *others], node.keywords)


def expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that run: no annotations, decorators, docstrings or error texts."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.expr):
        yield node
    skipped = {"annotation", "returns", "decorator_list", "type_params"}
    for field, value in ast.iter_fields(node):
        if field in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from expressions(child)


def mutants_of(path: str) -> Iterator[Mutant]:
    """Yield all mutants of a module, in the order of its text."""
    source = (ROOT / path).read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    text = source.encode()
    for node in expressions(ast.parse(source)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        for changed in variants(node):
            after = ast.unparse(ast.fix_missing_locations(changed))
            whole = text[:begin] + f"({after})".encode() + text[end:]
            place = (path, node.lineno, node.col_offset + 1)
            yield Mutant(*place, ast.unparse(node), after, whole.decode())


def selection(path: str) -> list[str]:
    """Return the tests that cover a module."""
    return next(tests for start, tests in COVERED_BY.items() if path.startswith(start))


def modules(parts: list[str]) -> list[str]:
    """Return the covered modules with one of these texts in their paths; all without texts."""
    paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "kfjax").rglob("*.py"))
    covered = [path for path in paths if path.startswith(tuple(COVERED_BY))]
    return [path for path in covered if not parts or any(part in path for part in parts)]


def copied_tree(folder: Path) -> Path:
    """Copy what the tests need."""
    tree = folder / "tree"
    for part in ("kfjax", "tests", "docs", "benchmarks", "notebooks", "tools"):
        ignored = shutil.ignore_patterns("__pycache__", "*.ipynb", "*.png")
        shutil.copytree(ROOT / part, tree / part, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tree / name)
    return tree


def passes(tree: Path, tests: list[str], cache: Path) -> bool | None:
    """Run tests in a tree; return whether they pass, None if they take too long."""
    quiet = ["-x", "-q", "--no-header", "-p", "no:xdist", "-p", "no:cacheprovider"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    command = [sys.executable, "-m", "pytest", *quiet, *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode == 0


class Results:
    """The lines of JSON in a folder."""

    def __init__(self, folder: Path) -> None:
        if folder.resolve().is_relative_to(ROOT):
            raise SystemExit(f"--out {folder} is inside the repository; expected another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "results.jsonl"
        self.known: dict[str, dict[str, object]] = {}
        if self.file.exists():
            rows = map(json.loads, self.file.read_text(encoding="utf-8").splitlines())
            self.known = {row["mutant"] + row["digest"]: row for row in rows}

    def add(self, mutant: Mutant, outcome: str, seconds: float) -> None:
        """Store the outcome of a mutant."""
        row = {"mutant": mutant.name, "path": mutant.path, "outcome": outcome}
        row |= {"seconds": round(seconds, 1), "digest": digest(mutant)}
        self.known[mutant.name + digest(mutant)] = row
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def report(self) -> None:
        """Print the survivors, and how many die in each module."""
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for row in self.known.values():
            counts[str(row["path"])][str(row["outcome"])] += 1
            if row["outcome"] == "lives":
                print("lives:", row["mutant"])
        totals: collections.Counter[str] = sum(counts.values(), collections.Counter())
        for path, count in [*sorted(counts.items()), ("all", totals)]:
            died = count["dies"] + count["too slow"]
            print(f"{path:48s} {died:4d} of {count.total():4d} die")


def digest(mutant: Mutant) -> str:
    """Return what tells versions of a changed module apart."""
    return hashlib.sha256(mutant.source.encode()).hexdigest()[:12]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the paths of modules")
    parser.add_argument("--sample", type=int, help="how many mutants, at random; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def main() -> int:
    """Run mutants that have no result yet, and print the report."""
    args = arguments()
    results = Results(args.out.expanduser())
    if args.report:
        results.report()
        return 0
    every = [mutant for path in modules(args.only) for mutant in mutants_of(path)]
    print(f"{len(every)} mutants", flush=True)
    if args.sample is not None:
        every = random.Random(args.seed).sample(every, min(args.sample, len(every)))
    with tempfile.TemporaryDirectory() as folder:
        run(every, Path(folder), results)
    results.report()
    return 0


def run(mutants: list[Mutant], folder: Path, results: Results) -> None:
    """Test mutants one after another."""
    tree, sound = copied_tree(folder), set[str]()
    cache = results.file.parent / "compiled"
    for mutant in mutants:
        if mutant.name + digest(mutant) in results.known:
            continue
        tests = selection(mutant.path)
        if " ".join(tests) not in sound:
            if not passes(tree, tests, cache):
                raise SystemExit(f"pytest {' '.join(tests)} fails without any change.")
            sound.add(" ".join(tests))
        place = tree / mutant.path
        original = place.read_text(encoding="utf-8")
        place.write_text(mutant.source, encoding="utf-8")
        begin = time.monotonic()
        outcome = {True: "lives", False: "dies", None: "too slow"}[passes(tree, tests, cache)]
        results.add(mutant, outcome, time.monotonic() - begin)
        place.write_text(original, encoding="utf-8")
        print(f"{outcome:8s} {mutant.name}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
