"""Mutants make the change that they state, and each of them compiles."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
import mutate  # noqa: E402  # after the path
import swapped_code  # noqa: E402
from covering_tests import COVERED_BY, modules  # noqa: E402
from forked_tests import Outcome  # noqa: E402
from mutants import mutants_of, variants  # noqa: E402


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
        ("jnp.maximum(a, b)", []),
        ("max(a, b)", []),
        ("a if b else c", ["a", "c"]),
        ("'text'", []),
    ],
)
def test_every_operation_is_changed_in_one_way(text, expected):
    found = variants(ast.parse(text, mode="eval").body)
    assert [ast.unparse(node) for node in found] == expected


def test_mutants_compile_and_differ_from_the_module():
    for path in modules(["linalg", "resampling", "runner"]):
        original = ast.unparse(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        for mutant in mutants_of(path):
            assert ast.unparse(ast.parse(mutant.source)) != original, mutant.name


def test_covering_tests_exist():
    for tests in COVERED_BY.values():
        for test in tests:
            path = test.removeprefix("--ignore=").partition("::")[0]
            assert (ROOT / path).exists(), path


def test_listed_changes_are_changes_and_have_reasons():
    listed = mutate.equivalents()
    paths = {path for path, _, _ in listed}
    assert listed <= {mutant.place for path in paths for mutant in mutants_of(path)}


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


SWAPPING = """
import json, sys
from pathlib import Path
import collected_tests, swapped_code
sys.path.insert(0, sys.argv[1])
tree, text = Path(sys.argv[1]), (Path(sys.argv[1]) / "kfjax/__init__.py").read_text()
def work(collected):
    functions = swapped_code.functions_below(tree / "kfjax")
    for sign in "><":
        changes = swapped_code.changes(functions, "kfjax", text, text.replace(">", sign))
        outcome = collected.run(["test_it.py"], lambda: swapped_code.swap(changes))
        print(json.dumps([outcome.failed, sorted(outcome.measured)]))
collected_tests.collect(tree, ["test_it.py"], work)
"""


def test_functions_are_changed_in_place_between_forks(tmp_path):
    (tmp_path / "kfjax").mkdir()
    (tmp_path / "kfjax" / "__init__.py").write_text(PACKAGE + "unused = 0\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-c", SWAPPING, str(tmp_path)],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        check=True,
    )
    slow, larger = "test_it.py::test_slow", "test_it.py::test_larger"
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert list(map(json.loads, lines)) == [["", [larger, slow]], [larger, [slow]]]


@pytest.mark.parametrize(
    ("after", "can"),
    [
        (PACKAGE.replace("a > b", "(a >=\n b)"), True),
        (PACKAGE.replace("b):", "b=0):"), False),
        (PACKAGE + "unused = 0\n", False),
    ],
)
def test_only_bodies_of_functions_are_changed_in_place(after, can):
    assert swapped_code.can_swap(PACKAGE, after) == can


def test_a_sample_is_part_of_a_larger_one():
    every = list(mutants_of("kfjax/moments/rounding.py"))
    larger = mutate.sample(every, 20, seed=1)
    assert mutate.sample(every, 10, seed=1) == larger[:10]
    assert mutate.sample(every[:-5], 10, seed=1) == [m for m in larger if m in every[:-5]][:10]
    assert mutate.sample(every, 10, seed=2) != larger[:10]


def test_the_interval_of_the_share_that_dies_is_that_of_clopper_and_pearson():
    np.testing.assert_allclose(mutate.interval(9, 10), (0.5550, 0.9975), atol=1e-4)
    np.testing.assert_allclose(mutate.interval(10, 10), (0.025**0.1, 1), rtol=1e-12)


def test_results_stay_out_of_the_repository():
    with pytest.raises(SystemExit, match="inside the repository"):
        mutate.Results(ROOT / "mutants")
