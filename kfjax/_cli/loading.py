"""Models from users' files, given as `FILE.py:NAME`."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax

from kfjax._support.naming import suggest
from kfjax.base import Filter
from kfjax.learned.registry import LEARNED_FILTERS, Kind, check_learned_name
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def load_model(place: str) -> StateSpaceModel:
    """Load a model from a Python file.

    It is a `StateSpaceModel`, or a function without arguments that returns one.

    The file is run as Python would run it, with its folder on the path.

    Args:
        place: "FILE.py:NAME".

    Raises:
        ValueError: if the file is missing or fails, has no such name (the text names the nearest),
            or the name is neither a model nor makes one.
    """
    path, name, value = _load(place)
    if callable(value) and not isinstance(value, StateSpaceModel):
        value = _shielded(f"{path}: {name}() failed", path, value)
    if not isinstance(value, StateSpaceModel):
        raise ValueError(
            f"{path}: {name} is or gives {type(value).__name__}; expected a kfjax.StateSpaceModel,"
            " or a function without arguments that returns one."
        )
    return value


class Parametric(NamedTuple):
    """A function of a user's file that returns a model, and its arguments that are numbers.

    Attributes:
        build: the function, with its arguments by name.
        defaults: their default values.
    """

    build: Callable[..., StateSpaceModel]
    defaults: dict[str, float]


def load_parametric(place: str) -> Parametric | None:
    """Load a model that is a function of numbers, all with defaults; None if it is not.

    Args:
        place: "FILE.py:NAME".

    Raises:
        ValueError: as `load_model`.
    """
    path, name, value = _load(place)
    if isinstance(value, StateSpaceModel) or not callable(value):
        return None
    parameters = inspect.signature(value).parameters.values()
    defaults = {
        parameter.name: float(parameter.default)
        for parameter in parameters
        if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool)
    }
    if not defaults:
        return None

    def build(**values: Any) -> StateSpaceModel:
        try:
            return value(**values)
        except jax.errors.TracerArrayConversionError as error:
            raise ValueError(
                f"{path}: {name} turns an argument that is fitted into an array of numpy"
                f" ({error.args[0].splitlines()[0]}); expected jax.numpy. Import jax.numpy as jnp,"
                " and use jnp.diag, jnp.array and so on where arguments enter."
            ) from error

    return Parametric(build, defaults)


def _load(place: str) -> tuple[Path, str, Any]:
    """Run the file of "FILE.py:NAME"; return its path, the name and its value."""
    file, _, name = place.rpartition(":")
    path = Path(file or place)
    if not path.is_file():
        raise ValueError(f"there is no model file {path}; expected FILE.py:NAME, got {place!r}.")
    module = _run(path)
    candidates = [key for key, value in vars(module).items() if _is_candidate(module, value)]
    if not file:
        raise ValueError(
            f"got {place!r} without the name of a model; {suggest('', candidates)} Write"
            " FILE.py:NAME."
        )
    if not hasattr(module, name):
        raise ValueError(f"{path} has no {name!r}; {suggest(name, candidates)}")
    return path, name, getattr(module, name)


def learned_kind(name: str) -> Kind:
    """Return a learned filter by name, or one that a Python file makes, `FILE.py:NAME`.

    There, NAME is a function of n and m that returns a filter with a network, with features and
    layers of one's own.

    Raises:
        ValueError: if there is no such name, or the file has no such function.
    """
    file, _, function = name.rpartition(":")
    if not file:
        check_learned_name(name)
        return LEARNED_FILTERS[name]
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; expected --filter NAME or FILE.py:NAME.")
    make = getattr(_run(path), function, None)
    if not callable(make):
        raise ValueError(
            f"{path} has no function {function!r}; expected one of n and m that returns a learned"
            " filter, such as kf.learned.kalman_net(...)."
        )

    def build(n: int, m: int) -> Filter:
        found = _shielded(f"{path}: {function}({n}, {m}) failed", path, lambda: make(n, m))
        if not isinstance(found, Filter):
            raise ValueError(
                f"{path}: {function}({n}, {m}) returns {type(found).__name__}; expected a learned"
                " filter, such as kf.learned.kalman_net(...)."
            )
        return found

    return Kind(build, ())


def _run(path: Path) -> ModuleType:
    """Import a file as a separate module."""
    name = f"kfjax_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file; expected FILE.py:NAME.")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent.resolve())
    sys.modules[name] = module  # dataclasses look up their module
    sys.path.insert(0, folder)
    try:
        _shielded(f"{path} cannot be run", path, lambda: spec.loader.exec_module(module))
    finally:
        sys.path.remove(folder)
    return module


def _shielded(what: str, path: Path, call: Any) -> Any:
    """Call a user's code; any error in it becomes a ValueError that says where it was raised."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).name == path.name]
        where = f", line {lines[-1]}" if lines else ""
        raise ValueError(f"{what} ({type(error).__name__}{where}: {error}).") from error


def _is_candidate(module: ModuleType, value: object) -> bool:
    """Return whether a value is a model, or a function of the module that may return one."""
    if isinstance(value, StateSpaceModel):
        return True
    return (
        inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not any(p.default is p.empty for p in inspect.signature(value).parameters.values())
    )
