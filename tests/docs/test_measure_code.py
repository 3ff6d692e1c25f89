"""The tool that measures code counts what its docstring says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "measure_code.py"
SOURCE = '''"""Docstring."""

from typing import Any

from jaxtyping import Float

# a comment
a, b = 1, 2


def f(x: Any, y: int) -> dict[str, Any]:
    """Docstring
    of two lines.
    """
    z = x.y[0] + 1  # 3 operations

    return {"z": z if z > 0 else (1 if z else 2)}
'''


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package"
    (folder / "tests").mkdir(parents=True)
    (folder / "one.py").write_text(SOURCE)
    (folder / "two_test.py").write_text("x" * 200)
    (folder / "tests" / "three.py").write_text("y = 3")
    return folder


def measured(folder):
    spec = importlib.util.spec_from_file_location("measure_code", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure_code"] = module
    spec.loader.exec_module(module)
    return module.figures(module.measure(str(folder)))


def test_counts(package):
    values = measured(package)
    expected = {
        "files": 1,
        "lines": SOURCE.count("\n"),
        "functions": 1,
        "function body, largest": 3,
        "operations per code line": 5 / 6,
        "lines over 100 columns": 0,
        "tuple assignments per 1000 code lines": 1000 / 6,
        "conditional expressions per 1000 code lines": 2000 / 6,
        "nested conditional expressions": 1,
        "comments per 1000 code lines": 2000 / 6,
        "annotations with Any, %": 200 / 3,
        "files with jaxtyping": 1,
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected)


def test_check_fails_beyond_a_limit(package):
    command = [sys.executable, TOOL, "--check", package]
    bad = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "nested conditional expressions: 1; expected at most 0" in bad.stderr
    (package / "one.py").write_text("def f(x: int) -> int:\n    return x\n")
    bare = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bare.returncode == 1
    assert "comments per 1000 code lines: 0; expected at least 32" in bare.stderr
    (package / "one.py").write_text("# the same\ndef f(x: int) -> int:\n    return x\n")
    good = subprocess.run(command, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr


def test_folders_without_functions_or_files_are_measured(tmp_path):
    assert measured(tmp_path)["functions"] == 0
    (tmp_path / "constants.py").write_text("# nothing but a constant\nONE = 1\n")
    values = measured(tmp_path)
    assert values["lines"] == 2
    assert values["functions"] == values["function body, largest"] == 0
