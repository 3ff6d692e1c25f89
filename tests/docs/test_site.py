"""The API pages show every public name once, and every page is in the navigation."""

import importlib
import re
import types
from pathlib import Path

import pytest

import kfjax as kf

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = ["kfjax"]
PACKAGES += [f"kfjax.{n}" for n in kf.__all__ if isinstance(getattr(kf, n), types.ModuleType)]


def entries():
    """Return the dotted path of every object that an API page shows, in order."""
    text = "\n".join(page.read_text() for page in sorted((DOCS / "api").glob("*.md")))
    return re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE)


ENTRIES = entries()


def split(path):
    """Return the module and the name of a dotted path."""
    package, _, name = path.rpartition(".")
    return importlib.import_module(package), name


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_on_a_page(package):
    module = importlib.import_module(package)
    shown = {id(getattr(*split(path))) for path in ENTRIES}
    names = [n for n in module.__all__ if not isinstance(getattr(module, n), types.ModuleType)]
    missing = [
        name
        for name in names
        if f"{package}.{name}" not in ENTRIES and id(getattr(module, name)) not in shown
    ]
    assert not missing, f"add to docs/api/: {missing}"


def test_every_entry_is_public():
    private = [path for path in ENTRIES if split(path)[1] not in split(path)[0].__all__]
    assert not private
    assert {path.rpartition(".")[0] for path in ENTRIES} <= set(PACKAGES)


def test_no_entry_is_a_module():
    assert not [p for p in ENTRIES if isinstance(getattr(*split(p)), types.ModuleType)]


def test_no_entry_is_shown_twice():
    shown = [id(getattr(*split(path))) for path in ENTRIES if callable(getattr(*split(path)))]
    assert len(set(ENTRIES)) == len(ENTRIES)
    assert len(set(shown)) == len(shown)


def test_the_navigation_has_every_page():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"(\S+\.md)$", navigation, flags=re.MULTILINE)
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    notebooks = {f"notebooks/{script.stem}.md" for script in (ROOT / "notebooks").glob("[0-9]*.py")}
    assert len(set(listed)) == len(listed)
    assert pages | notebooks <= set(listed)
    generated = {"contributing.md", "changelog.md", "notebooks/index.md"}
    assert {p for p in set(listed) - pages - notebooks - generated if "results/" not in p} == set()
