"""Imports point one way, names are public or private, and `import kfjax` is light."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import kfjax as kf

ROOT = Path(__file__).parents[2]
# A place may import from itself and from those above it, but not from others in its group.
ORDER = [
    ["_support"],
    ["base"],
    ["linalg"],
    ["models"],
    ["moments"],
    ["filters"],
    ["runner"],
    ["streaming"],
    ["smoothers"],
    ["linear"],
    ["data"],
    ["systems"],
    ["structural"],
    ["training"],
    ["learned"],
    ["evaluation"],
    ["plotting", "exporting"],
    ["_cli"],
]
# The first of each pair knows nothing of the second, although the order would allow it.
APART = {("learned", "systems"), ("evaluation", "training"), ("evaluation", "learned")}
FLOOR = {place: floor for floor, group in enumerate(ORDER) for place in group}
PUBLIC = {"kfjax"} | {
    f"kfjax.{name}" for name in kf.__all__ if isinstance(getattr(kf, name), types.ModuleType)
}
# Packages that `import kfjax` must not load unless JAX does; they load on first use.
HEAVY = ["matplotlib", "rich", "orbax", "flatbuffers", "pandas", "xarray", "flax", "optax", "scipy"]
SPEED = ROOT / "benchmarks" / "speed"  # shares the workloads of `kfjax bench`
STUDIES = [path for path in (ROOT / "benchmarks").rglob("*.py") if SPEED not in path.parents]


def module_of(path: Path) -> str:
    """Return the dotted name of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for path in sorted((ROOT / "kfjax").rglob("*.py"))}
MODULES = [name for name in FILES if name != "kfjax.__main__"]


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for every import from kfjax in a file, with no name for `import a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if is_ours(alias.name))
        if isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_ours(module: str) -> bool:
    """Return whether a module is of kfjax."""
    return module == "kfjax" or module.startswith("kfjax.")


def arrows(path: Path) -> set[str]:
    """Return the modules that a file imports: a package if the imported name is not a module.

    kfjax itself does not count; `test_every_import_says_where_it_points` looks at it.
    """
    found = set()
    for module, name in imports_of(path):
        inner = f"{module}.{name}"
        found.add(inner if inner in FILES else module)
    return found if path == FILES["kfjax"] else found - {"kfjax"}


def place_of(module: str) -> str:
    """Return the folder or file of the package that a module is in, empty for the package."""
    return [*module.split("."), ""][1]


ARROWS = {module: arrows(path) for module, path in FILES.items()}


def test_every_module_has_its_place_in_the_order():
    assert {place_of(module) for module in MODULES} - {""} == set(FLOOR)


def test_imports_point_one_way():
    up = [
        f"{module} -> {target}"
        for module in MODULES
        for target in ARROWS[module]
        if points_up(place_of(module), place_of(target))
    ]
    assert not up


def test_places_that_know_nothing_of_each_other_do_not_import():
    pairs = {
        (place_of(module), place_of(target)) for module in MODULES for target in ARROWS[module]
    }
    assert not pairs & APART


def points_up(here: str, there: str) -> bool:
    """Return whether a place may not import from another; the package itself may from all."""
    return bool(here) and here != there and FLOOR[there] >= FLOOR[here]


@pytest.mark.parametrize("line", ["from kfjax import run", "import kfjax"])
def test_imports_that_do_not_say_where_they_point_are_found(line, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(f"def late():\n    {line}\n")
    assert pointless(path)


def test_every_import_says_where_it_points():
    """A name of `import kfjax` has no place in the order, nor has one that a string names."""
    assert not {name: pointless(FILES[name]) for name in MODULES if pointless(FILES[name])}
    by_string = re.compile(r"import_module\(|__import__\(")
    assert [name for name, path in FILES.items() if by_string.search(path.read_text())] == ["kfjax"]


def pointless(path: Path) -> list[str]:
    """Return the names that a file imports from kfjax itself, but for modules and the version."""
    names = [name for module, name in imports_of(path) if module == "kfjax"]
    return [name or "kfjax" for name in names if not has_place(name)]


def has_place(name: str) -> bool:
    """Return whether a name of kfjax is a module, or the version, which depends on nothing."""
    return f"kfjax.{name}" in FILES or name == "__version__"


def test_no_modules_import_each_other_in_a_circle():
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle of imports: {' -> '.join(error.args[1])}")


def test_names_in_all_exist():
    absent = [
        f"{module}.{name}"
        for module in MODULES
        for name in public_names(module)
        if not hasattr(importlib.import_module(module), name)
    ]
    assert not absent


def public_names(module: str) -> list[str]:
    """Return the `__all__` of a module."""
    return getattr(importlib.import_module(module), "__all__", [])


def test_no_public_function_has_the_name_of_its_module():
    assert not [m for m in MODULES if m.rpartition(".")[2] in public_names(m)]


@pytest.mark.parametrize("package", sorted(PUBLIC))
def test_no_public_name_hides_a_module(package):
    loaded = importlib.import_module(package)
    hidden = [
        name
        for name in loaded.__all__
        if f"{package}.{name}" in FILES and not inspect.ismodule(getattr(loaded, name))
    ]
    assert not hidden


@pytest.mark.parametrize("package", sorted(PUBLIC))
def test_public_names_differ_by_more_than_case(package):
    """Except for a function that returns the class of its name, as `run` returns a `Run`."""
    loaded = importlib.import_module(package)
    by_lower: dict[str, list[str]] = {}
    for name in public_names(package):
        by_lower.setdefault(name.lower(), []).append(name)
    alike = [names for names in by_lower.values() if len(names) > 1]
    assert not [names for names in alike if not is_result(loaded, *sorted(names))]


def is_result(module: types.ModuleType, Result: str, function: str, *more: str) -> bool:
    """Return whether the second name is of a function that returns the first."""
    annotation = inspect.signature(getattr(module, function)).return_annotation
    named = getattr(annotation, "__name__", str(annotation)).partition("[")[0]
    return not more and inspect.isclass(getattr(module, Result)) and named == Result


@pytest.mark.parametrize("path", STUDIES, ids=module_of)
def test_studies_use_public_names_only(path):
    private = [
        f"{module}: {name}"
        for module, name in imports_of(path)
        if module not in PUBLIC or (name and name not in public_names(module))
    ]
    assert not private


def test_importing_kfjax_is_light():
    code = "import sys, {}; print(*{{name.split('.')[0] for name in sys.modules}})"
    jax, both = (loaded_after(code.format(names)) for names in ("jax", "jax, kfjax"))
    assert not set(HEAVY) & (both - jax)


def loaded_after(code: str) -> set[str]:
    """Return the words that a new Python process prints."""
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


WRITING = re.compile(
    r"\.(write_text|write_bytes|unlink|rename|rmtree|tofile)\(|open\([^)]*[\"'][wax]|os\.(replace|remove)\("
)
# The first writes whole files and folders; the second fills a folder that is not in its place yet;
# the third deletes old checkpoints.
WRITERS = {"kfjax._support.files", "kfjax.data.folder", "kfjax.training.checkpoints"}
# Functions of arrays alone, with one program for each shape.
JITTED = {
    "kfjax.evaluation.normalised_errors",
    "kfjax.models.discretisation",
    "kfjax.models.runtime_checks",
    "kfjax.streaming",  # a program for each stepper, which lives as long as it
}


def test_one_place_writes_and_deletes():
    assert {name for name, path in FILES.items() if WRITING.search(path.read_text())} == WRITERS


def test_functions_of_models_and_filters_have_bounded_caches():
    """`jax.jit` keeps the programs of all past models; `compiling.jit` does not."""
    plain = re.compile(r"@jax\.jit|partial\(jax\.jit,")
    assert {name for name, path in FILES.items() if plain.search(path.read_text())} == JITTED
