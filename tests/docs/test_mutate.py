"""Mutants make the change that they state, and each of them compiles."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
import mutate  # noqa: E402  # after the path
from forked_tests import Outcome  # noqa: E402


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b", ["a <= b"]),
        ("a - b", ["a + b"]),
        ("a and b", ["a or b"]),
        ("not a", ["a"]),
        ("3", ["4"]),
        ("True", ["False"]),
        ("0.5", ["1.0"]),
        ("jnp.where(a, b, c)", ["b", "c"]),
        ("f(a, b)", ["f(b, a)"]),
        ("a if b else c", ["a", "c"]),
        ("'text'", []),
    ],
)
def test_every_operation_is_changed_in_one_way(text, expected):
    found = mutate.variants(ast.parse(text, mode="eval").body)
    assert [ast.unparse(node) for node in found] == expected


def test_mutants_compile_and_differ_from_the_module():
    for path in mutate.modules(["linalg", "resampling", "runner"]):
        original = ast.unparse(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        for mutant in mutate.mutants_of(path):
            assert ast.unparse(ast.parse(mutant.source)) != original, mutant.name


def test_covering_tests_exist():
    for tests in mutate.COVERED_BY.values():
        for test in tests:
            path = test.removeprefix("--ignore=").partition("::")[0]
            assert (ROOT / path).exists(), path


def test_listed_changes_are_changes_and_have_reasons():
    listed = mutate.equivalents()
    paths = {path for path, _, _ in listed}
    assert listed <= {mutant.place for path in paths for mutant in mutate.mutants_of(path)}


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome("", slow=True, unfinished=False, measured={}), "too slow"),
        (Outcome("test", slow=False, unfinished=False, measured={}), "dies"),
        (Outcome("", slow=False, unfinished=True, measured={}), "undecided"),
        (Outcome("", slow=False, unfinished=False, measured={}), "lives"),
    ],
)
def test_a_mutant_lives_only_if_all_its_tests_ran(outcome, word):
    assert mutate.word_for(outcome) == word


PACKAGE = """
def larger(a, b):
    if a > b:
        return a
    return b
"""
TESTS = """
from kfjax import larger, unused
def test_slow():
    assert sum(range(2_000_000)) > 0
def test_larger():
    assert larger(1, 2) == 2
"""
PROGRAM = """
import json, sys
from pathlib import Path
import forked_tests
sys.path.insert(0, sys.argv[1])
first = forked_tests.run(Path(sys.argv[1]), ["test_it.py"])
order = lambda test: ("slow" in test, 0.0)
second = forked_tests.run(Path(sys.argv[1]), ["test_it.py"], order=order, patience=0.0)
print(json.dumps([first.failed, sorted(first.measured), [sorted(m.lines) for m in
    first.measured.values()], second.failed, second.unfinished, len(second.measured)]))
"""


@pytest.mark.parametrize("broken", [False, True])
def test_forks_tell_what_failed_and_which_lines_ran(tmp_path, broken):
    (tmp_path / "kfjax").mkdir()
    text = PACKAGE.replace(">", "<") if broken else PACKAGE
    (tmp_path / "kfjax" / "__init__.py").write_text(text + "unused = 0\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        check=True,
    )
    failed, measured, lines, again, unfinished, count = json.loads(done.stdout)
    name = "test_it.py::test_larger"
    assert failed == again == (name if broken else "")
    assert (name in measured) == (not broken)
    assert ["kfjax/__init__.py:3", "kfjax/__init__.py:5"] in lines or broken
    assert not unfinished
    assert count == 1 - broken


def test_results_stay_out_of_the_repository():
    with pytest.raises(SystemExit, match="inside the repository"):
        mutate.Results(ROOT / "mutants")
