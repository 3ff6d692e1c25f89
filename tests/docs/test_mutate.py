"""Mutants are what they say, and each of them can be compiled."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("mutate", ROOT / "tools" / "mutate.py")
mutate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutate)


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


def test_results_stay_out_of_the_repository():
    with pytest.raises(SystemExit, match="inside the repository"):
        mutate.Results(ROOT / "mutants")
