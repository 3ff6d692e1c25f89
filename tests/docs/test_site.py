"""The pages of the site: every public name has its place in the API, and every page its place in the navigation."""

import importlib
import pkgutil
import re
import types
from pathlib import Path

import pytest

import kfjax as kf

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "kfjax",
    *(
        f"kfjax.{info.name}"
        for info in pkgutil.iter_modules(kf.__path__)
        if info.ispkg and info.name in kf.__all__
    ),
]
PACKAGES += ["kfjax.linalg", "kfjax.moments"]


def documented():
    """Every object whose docstring a page of the API shows."""
    text = "\n".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    return set(re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE))


def value(path):
    """The object that a dotted path leads to."""
    package, _, name = path.rpartition(".")
    return getattr(importlib.import_module(package), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_api(package):
    module = importlib.import_module(package)
    paths = documented()
    shown = {id(value(path)) for path in paths}
    names = [
        name for name in module.__all__ if not isinstance(getattr(module, name), types.ModuleType)
    ]
    missing = [
        n for n in names if f"{package}.{n}" not in paths and id(getattr(module, n)) not in shown
    ]
    assert not missing, f"add to docs/api/: {missing}"


def test_the_api_shows_what_exists():
    parts = [path.rpartition(".") for path in documented()]
    assert not [
        name for package, _, name in parts if not hasattr(importlib.import_module(package), name)
    ]


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("**/*.md")}
    notebooks = {f"notebooks/{script.stem}.md" for script in (ROOT / "notebooks").glob("[0-9]*.py")}
    assert pages | notebooks <= listed
