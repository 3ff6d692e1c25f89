"""Change one operation of the package at a time, and check whether a test detects it.

    python tools/mutate.py --out ~/mutants --sample 100      # seconds for each; thousands in all
    python tools/mutate.py --out ~/mutants --only moments runner # modules whose paths contain these
    python tools/mutate.py --out ~/mutants --report          # the results so far

The tests run in a copy of the tree. Of the tests that cover a module, those run first that execute
the changed line, are quick, and have detected other changes; this is measured on the way. Results
are lines of JSON in the folder, which is outside the repository. A second call continues where the
first one stopped, except for modules that have changed since.

Changes that no test can detect because results stay the same are listed with their reasons in
`tools/equivalent_mutants.toml`, and left out.
"""

import argparse
import ast
import collections
import hashlib
import json
import os
import random
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import forked_tests

ROOT = Path(__file__).parents[1]

# Tests that cover a module, by the start of its path; the first match counts.
CORE = "tests/core/"
RECORDS = "test_random_records_have_the_moments_of_their_joint_gaussian"
ORACLE = f"{CORE}test_joint_gaussian.py::{RECORDS}[varying]"
ALGEBRA = [f"{CORE}test_linalg.py", f"{CORE}test_products.py", f"{CORE}test_noise_free.py", ORACLE]
COVERED_BY = {
    "kfjax/linalg/": ALGEBRA,
    "kfjax/_support/dense/": ALGEBRA,
    "kfjax/moments/": [
        f"{CORE}test_noise_free.py", f"{CORE}test_identities.py", f"{CORE}test_oracles.py", ORACLE,
    ],
    "kfjax/runner.py": [
        f"{CORE}test_streaming.py", f"{CORE}test_log_likelihood.py", f"{CORE}test_missing.py",
        f"{CORE}test_values.py", "tests/models/test_first.py", ORACLE, f"{CORE}test_errors.py",
    ],
    "kfjax/filters/particles/": [
        "tests/filters/test_resampling.py", "tests/filters/test_particles.py",
        "tests/filters/test_rao_blackwell.py", "tests/smoothers/test_backward_simulation.py",
    ],
    "kfjax/filters/ensembles/": ["tests/filters/test_ensembles.py"],
    "kfjax/filters/combinators/mixtures.py": ["tests/filters/test_imm.py"],
    "kfjax/filters/combinators/interacting_models.py": ["tests/filters/test_imm.py"],
    "kfjax/filters/combinators/robust.py": ["tests/filters/test_robust.py"],
    "kfjax/filters/combinators/constraints.py": ["tests/filters/test_constraints.py"],
    "kfjax/filters/combinators/inequalities.py": ["tests/filters/test_constraints.py"],
    "kfjax/filters/combinators/lags.py": ["tests/filters/test_fixed_lag.py"],
    "kfjax/filters/combinators/several_sensors.py": ["tests/filters/test_sequential.py"],
    "kfjax/filters/combinators/": [
        "tests/filters/test_combinators.py", "tests/filters/test_robust.py",
        "tests/filters/test_imm.py",
    ],
    "kfjax/filters/": [
        f"{CORE}test_noise_free.py", ORACLE, f"{CORE}test_identities.py", f"{CORE}test_missing.py",
        "tests/filters/test_square_roots.py",
    ],
    "kfjax/smoothers/posterior_draws.py": [
        "tests/smoothers/test_posterior_sampling.py", "tests/smoothers/test_backward_simulation.py",
    ],
    "kfjax/smoothers/iterated.py": ["tests/smoothers/test_parallel.py"],
    "kfjax/smoothers/": ["tests/smoothers/test_smoothers_family.py",
        "tests/smoothers/test_parallel.py", ORACLE],
    "kfjax/models/observing.py": [
        f"{CORE}test_noise_free.py", f"{CORE}test_missing.py", f"{CORE}test_values.py",
        f"{CORE}test_laws.py::test_info_of_unobserved_channels_is_zero",
        f"{CORE}test_laws.py::test_an_unobserved_update_changes_no_bit",
    ],
    "kfjax/models/": [
        "tests/models/test_models.py", "tests/models/test_augmentation.py",
        "tests/models/test_priors.py", f"{CORE}test_missing.py", f"{CORE}test_errors.py",
        f"{CORE}test_values.py", "tests/models/test_noise_in_state.py",
    ],
    "kfjax/evaluation/metrics.py": ["tests/evaluation/test_metrics.py"],
    "kfjax/evaluation/normalised_errors.py": ["tests/evaluation/test_metrics.py"],
    "kfjax/evaluation/errors.py": ["tests/evaluation/test_metrics.py"],
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
    text: str  # of the line
    source: str  # of the module, changed

    @property
    def name(self) -> str:
        """The key of a mutant: path of the module, position and change."""
        return f"{self.path}:{self.line}:{self.column}: {self.before} -> {self.after}"

    @property
    def place(self) -> tuple[str, str, str]:
        """The key in a list of mutants, independent of line numbers: path, text and change."""
        return self.path, self.text, f"{self.before} -> {self.after}"


def variants(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the changes of an expression."""
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
    """Yield the negated boolean, or shifted numbers."""
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)


def other_calls(node: ast.Call) -> Iterator[ast.expr]:
    """Yield the branches of a `where`, and a call with its first two arguments swapped."""
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
            here = lines[node.lineno - 1].strip()
            yield Mutant(*place, ast.unparse(node), after, here, whole.decode())


def selection(path: str) -> list[str]:
    """Return the tests that cover a module."""
    return next(tests for start, tests in COVERED_BY.items() if path.startswith(start))


def modules(parts: list[str]) -> list[str]:
    """Return the covered modules whose paths contain one of these texts, or all modules."""
    paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "kfjax").rglob("*.py"))
    covered = [path for path in paths if path.startswith(tuple(COVERED_BY))]
    return [path for path in covered if not parts or any(part in path for part in parts)]


def version(tree: Path) -> str:
    """Return a digest of the package and its tests."""
    sources = sorted([*tree.glob("kfjax/**/*.py"), *tree.glob("tests/**/*.py")])
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return content.hexdigest()[:12]


def copied_tree(tree: Path) -> Path:
    """Copy the files that the tests need, unless an unchanged copy exists."""
    if version(tree) == version(ROOT):
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    for part in ("kfjax", "tests", "docs", "benchmarks", "notebooks", "tools"):
        ignored = shutil.ignore_patterns("__pycache__", "*.ipynb", "*.png")
        shutil.copytree(ROOT / part, tree / part, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tree / name)
    return tree


class Tests:
    """The tests of a tree, with measurements of those that passed.

    Args:
        tree: the copy of the repository.
        file: where the measurements are stored for later calls.
    """

    def __init__(self, tree: Path, file: Path) -> None:
        self.tree, self.file = tree, file
        self.version = version(tree)
        self.known: dict[str, forked_tests.Measured] = {}
        if file.exists():
            known = json.loads(file.read_text(encoding="utf-8")).get(self.version, {})
            self.known = {test: forked_tests.Measured(*found) for test, found in known.items()}

    def learn(self, found: dict[str, forked_tests.Measured]) -> None:
        """Store measurements."""
        if not found:
            return
        self.known |= found
        known = {test: (m.seconds, sorted(m.lines)) for test, m in self.known.items()}
        self.file.write_text(json.dumps({self.version: known}), encoding="utf-8")

    def confirm(self, test: str) -> None:
        """Exit unless a test passes without a change."""
        if "::" not in test or test in self.known:
            return
        outcome = forked_tests.run(self.tree, [test])
        if outcome.failed or outcome.slow:
            raise SystemExit(f"{test} fails without any change.")
        self.learn(outcome.measured)

    def notice(
        self, mutant: Mutant, kills: collections.Counter[str], patience: float
    ) -> forked_tests.Outcome:
        """Run the tests that cover a mutant until one fails."""
        here = f"{mutant.path}:{mutant.line}"

        def rank(test: str) -> tuple[bool, float]:
            if test not in self.known:
                return False, 100 / (1 + kills[test])
            seconds, lines = self.known[test]
            return here not in lines, (0.2 + seconds) / (1 + kills[test])

        place = self.tree / mutant.path
        original, times = place.read_bytes(), place.stat()
        place.write_text(mutant.source, encoding="utf-8")
        os.utime(place, (0, 0))  # no compiled file has this time
        try:
            return forked_tests.run(
                self.tree,
                selection(mutant.path),
                order=rank,
                patience=patience,
                known=self.known,
            )
        finally:
            place.write_bytes(original)
            os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))


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

    def tried(self, mutant: Mutant) -> bool:
        """Return whether a mutant has a result."""
        return mutant.name + digest(mutant) in self.known

    def decided(self, mutant: Mutant) -> bool:
        """Return whether a mutant is known to die or to survive."""
        row = self.known.get(mutant.name + digest(mutant))
        return row is not None and row["outcome"] != "undecided"

    def add(self, mutant: Mutant, outcome: str, failed: str, seconds: float) -> None:
        """Store the outcome of a mutant, and the test that detected it."""
        row = {"mutant": mutant.name, "path": mutant.path, "outcome": outcome, "by": failed}
        row |= {"seconds": round(seconds, 1), "digest": digest(mutant)}
        self.known[mutant.name + digest(mutant)] = row
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def report(self) -> None:
        """Print the survivors, and the number of mutants that die in each module."""
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for row in self.known.values():
            counts[str(row["path"])][str(row["outcome"])] += 1
            if row["outcome"] == "lives":
                print("lives:", row["mutant"])
        totals: collections.Counter[str] = sum(counts.values(), collections.Counter())
        for path, count in [*sorted(counts.items()), ("all", totals)]:
            died = count["dies"] + count["too slow"]
            decided = count.total() - count["undecided"]
            print(f"{path:48s} {died:4d} of {decided:4d} die, {count['undecided']} undecided")


def equivalents() -> set[tuple[str, str, str]]:
    """Return the listed changes: path, text of the line, change."""
    text = (ROOT / "tools" / "equivalent_mutants.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text).get("mutant", [])
    return {(row["path"], row["line"], row["change"]) for row in rows}


def word_for(outcome: forked_tests.Outcome) -> str:
    """Return the outcome of a mutant in words."""
    if outcome.slow:
        return "too slow"
    if outcome.failed:
        return "dies"
    return "undecided" if outcome.unfinished else "lives"


def digest(mutant: Mutant) -> str:
    """Return a digest of the text of a changed module."""
    return hashlib.sha256(mutant.source.encode()).hexdigest()[:12]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the paths of modules")
    parser.add_argument("--sample", type=int, help="how many mutants, at random; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--patience",
        type=float,
        default=60.0,
        help="processor seconds for a mutant's tests;"
        " if they end before all tests that may run the line, it is undecided, and tried again",
    )
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def main() -> int:
    """Run mutants that have no result yet, and print the report."""
    args = arguments()
    results = Results(args.out.expanduser())
    if args.report:
        results.report()
        return 0
    listed = equivalents()
    every = [mutant for path in modules(args.only) for mutant in mutants_of(path)]
    every = [mutant for mutant in every if mutant.place not in listed]
    print(f"{len(every)} mutants", flush=True)
    if args.sample is not None:
        every = random.Random(args.seed).sample(every, min(args.sample, len(every)))
    run(every, results, args.patience)
    results.report()
    return 0


def run(mutants: list[Mutant], results: Results, patience: float) -> None:
    """Test mutants one after another."""
    home = results.file.parent
    tree = copied_tree(home.resolve() / "tree")
    forked_tests.preload(tree, home / "compiled")
    if not list(tree.glob("kfjax/__pycache__")):
        every = {name.partition("::")[0] for mutant in mutants for name in selection(mutant.path)}
        forked_tests.run(tree, ["--collect-only", *sorted(every)], compiled=True)
    tests = Tests(tree, home / "tests.json")
    kills = collections.Counter(str(row.get("by", "")) for row in results.known.values())
    for mutant in sorted(mutants, key=results.tried):
        if results.decided(mutant):
            continue
        begin = time.monotonic()
        outcome = tests.notice(mutant, kills, patience)
        tests.learn(outcome.measured)
        tests.confirm(outcome.failed)
        kills[outcome.failed] += bool(outcome.failed)
        word = word_for(outcome)
        results.add(mutant, word, outcome.failed, time.monotonic() - begin)
        print(f"{word:9s} {mutant.name}  {outcome.failed}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
