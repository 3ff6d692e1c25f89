"""Runs of the tests that cover a mutant, in a copy of the tree, until one detects it."""

import ast
import collections
import functools
import gc
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import collected_tests
import forked_tests
import swapped_code
from covering_tests import RUN_FIRST, first_tests, selection
from mutants import ROOT, Mutant


def digest_of(*files: Iterable[Path]) -> str:
    """Return a digest of files."""
    paths = sorted(path for some in files for path in some)
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def copied_tree(tree: Path) -> Path:
    """Copy the files that the tests need, unless an unchanged copy exists."""
    parts = ("kfjax/**/*.py", "tests/**/*.py")
    if digest_of(*map(tree.glob, parts)) == digest_of(*map(ROOT.glob, parts)):
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    for part in ("kfjax", "tests", "docs", "benchmarks", "notebooks", "tools"):
        ignored = shutil.ignore_patterns("__pycache__", "*.ipynb", "*.png")
        shutil.copytree(ROOT / part, tree / part, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tree / name)
    return tree


@functools.cache
def public_names(path: str) -> list[str]:
    """Return the public names that a module defines."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    defined = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [name for name in defined if not name.startswith("_")]


@functools.cache
def functions_in(path: Path) -> dict[str, str]:
    """Return the text of every function of a module."""
    text = path.read_text(encoding="utf-8")
    body = ast.parse(text).body
    return {
        node.name: ast.get_source_segment(text, node) or ""
        for node in body
        if isinstance(node, ast.FunctionDef)
    }


class Run(Protocol):
    """Run tests against a changed module, or against the package as it is."""

    def __call__(
        self, mutant: Mutant | None, tests: list[str], **options: Any
    ) -> forked_tests.Outcome:
        """Return the outcome; `options` are those of `forked_tests.run`."""


class Tests:
    """The tests of a tree, with measurements of those that passed.

    Args:
        tree: the copy of the repository.
        file: where the measurements are stored for later calls.
    """

    def __init__(self, tree: Path, file: Path) -> None:
        self.tree, self.file = tree, file
        self.version = digest_of(tree.glob("kfjax/**/*.py"), tree.glob("tests/**/*.py"))
        self.support = digest_of(tree.glob("tests/support/*.py"))
        self.known: dict[str, forked_tests.Measured] = {}
        if file.exists():
            for test, (seconds, lines, key) in json.loads(file.read_text(encoding="utf-8")).items():
                measured = forked_tests.Measured(seconds, frozenset(lines))
                if key == self._key(test, measured):
                    self.known[test] = measured

    @functools.cache  # noqa: B019  # one object in a process
    def _digest(self, path: str) -> str:
        return digest_of([self.tree / path]) if (self.tree / path).exists() else ""

    def _key(self, test: str, measured: forked_tests.Measured) -> str:
        """Return a digest of the files that a test runs, on which its measurement depends."""
        run = {line.rpartition(":")[0] for line in measured.lines}
        digests = map(self._digest, sorted({test.partition("::")[0], *run}))
        return hashlib.sha256("".join([self.support, *digests]).encode()).hexdigest()[:12]

    def learn(self, found: dict[str, forked_tests.Measured]) -> None:
        """Store measurements."""
        if not found:
            return
        self.known |= found
        known = {
            test: (m.seconds, sorted(m.lines), self._key(test, m)) for test, m in self.known.items()
        }
        self.file.write_text(json.dumps(known), encoding="utf-8")

    def __contains__(self, test: str) -> bool:
        """Return whether the lines of a test are known, or not needed since it runs first."""
        return test in self.known or test.partition("[")[0] in RUN_FIRST

    def confirm(self, tests: Iterable[str], run: Run) -> None:
        """Exit unless tests that detected a change pass without it."""
        unknown = [test for test in tests if "::" in test and test not in self.known]
        if not unknown:
            return
        outcome = run(None, unknown)
        if outcome.failed or outcome.slow:
            raise SystemExit(f"{outcome.failed or unknown} fails without any change.")
        self.learn(outcome.measured)

    def notice(
        self, mutant: Mutant, kills: collections.Counter[str], patience: float, run: Run
    ) -> forked_tests.Outcome:
        """Run the tests that cover a mutant until one fails."""
        here, listed = f"{mutant.path}:{mutant.line}", selection(mutant.path)
        names, first = public_names(mutant.path), first_tests(mutant.path)
        place = {name.partition("::")[0]: 20.0 * i for i, name in reversed([*enumerate(listed, 1)])}

        def rank(test: str) -> tuple[bool, float]:
            function = test.partition("[")[0]
            if function in first:
                return False, 0.001 * first.index(function)
            if test not in self.known:
                path, _, name = function.partition("::")
                mentioned = any(n in functions_in(self.tree / path).get(name, "") for n in names)
                return False, place[path] / (1 + kills[test]) / (1 + 9 * mentioned)
            seconds, lines = self.known[test]
            return here not in lines, (0.2 + seconds) / (1 + kills[test])

        outcome = run(mutant, listed, order=rank, patience=patience, known=self)
        self.learn(outcome.measured)
        return outcome

    def run(self, mutant: Mutant | None, tests: list[str], **options: Any) -> forked_tests.Outcome:
        """Run tests in a process that imports everything."""
        if mutant is None:
            return forked_tests.run(self.tree, tests, **options)
        place = self.tree / mutant.path
        original, times = place.read_bytes(), place.stat()
        place.write_text(mutant.source, encoding="utf-8")
        os.utime(place, (0, 0))  # no compiled file has this time
        try:
            return forked_tests.run(self.tree, tests, **options)
        finally:
            place.write_bytes(original)
            os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))


class Swapping:
    """Runs of collected tests in which functions of a module are changed in place.

    Args:
        tree: the copy of the repository.
        collected: its tests.
    """

    def __init__(self, tree: Path, collected: collected_tests.Collected) -> None:
        self.tree, self.collected = tree, collected
        self.functions = swapped_code.functions_below(tree / "kfjax")
        gc.freeze()  # forks share what no collection of garbage touches

    def run(self, mutant: Mutant | None, tests: list[str], **options: Any) -> forked_tests.Outcome:
        """Run tests."""
        changes = [] if mutant is None else self._changes(mutant)
        return self.collected.run(tests, lambda: swapped_code.swap(changes), **options)

    def _changes(self, mutant: Mutant) -> swapped_code.Changes:
        module = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        before = (self.tree / mutant.path).read_text(encoding="utf-8")
        return swapped_code.changes(self.functions, module, before, mutant.source)
