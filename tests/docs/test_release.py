"""A release has one version everywhere, and a complete source distribution."""

import re
import tomllib
from pathlib import Path

import kfjax as kf

ROOT = Path(__file__).parents[2]


def test_one_semantic_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+|\.dev\d+)?", kf.__version__)
    assert f"\nversion: {kf.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(
        rf"^## (Unreleased|{re.escape(kf.__version__)})",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )


def test_the_source_distribution_holds_what_the_tests_read():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = set(project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    needed = {"kfjax", "tests", "benchmarks", "docs", "tools", "notebooks", "mkdocs.yml"}
    needed |= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE"}
    assert {name for name in needed if (ROOT / name).exists()} <= included
