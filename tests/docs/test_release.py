"""A release has one version everywhere, and a complete source distribution."""

import re
import tomllib
from pathlib import Path

import jax
from packaging.specifiers import SpecifierSet

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


def test_pages_state_the_versions_of_python_and_jax_that_are_required():
    """The oldest JAX runs on the oldest Python, and the newest needs a later one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    needed = [SpecifierSet(n.removeprefix("jax")) for n in project["dependencies"] if "jax>" in n]
    (range_of_jax,) = needed
    assert jax.__version__ in range_of_jax
    found = [v for v in ("0.9.9", "0.10.0", "0.11.2", "0.12.0") if v in range_of_jax]
    assert found == ["0.10.0", "0.11.2"]
    install, readme = (
        " ".join((ROOT / p).read_text().split()) for p in ("docs/install.md", "README.md")
    )
    assert "Python 3.11 or later and JAX 0.10 or 0.11, of which 0.11 needs Python 3.12" in install
    assert "JAX 0.10 or 0.11, Python 3.11 or later" in readme
