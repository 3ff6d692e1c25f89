"""Identities of runs: digests of arrays, settings and functions.

A function is identified by what it does and not by where it is: by its name, bytecode, constants,
defaults and closure, and, unless it belongs to an installed package, by the functions and constants
that it uses from its module. Comments, docstrings and the file name do not count.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import platform
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kfjax._support.persistence import as_words

__all__: list[str] = []

DEPTH = 2  # depth to which an identity names the fields of a value
ARRAYS = (np.ndarray, np.generic, jax.Array)
CONSTANTS = (type(None), bool, int, float, complex, str, bytes, types.EllipsisType)
STEADY = (*CONSTANTS, *ARRAYS, types.FunctionType, types.MethodType, functools.partial, type)
DESCRIPTORS = (types.FunctionType, staticmethod, classmethod, property)
PACKAGES = [sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")]
INSTALLED = (
    *(os.path.realpath(path) + os.sep for path in PACKAGES),
    str(Path(__file__).resolve().parents[1]) + os.sep,  # kfjax itself
)


def identity(**parts: Any) -> dict[str, str]:
    """Return a digest of every part of a run by name, fields of values one by one.

    They are the same in every process with the same version of Python, on whose bytecode they
    depend.
    """
    named = {"the version of Python": ".".join(platform.python_version_tuple()[:2])}
    for name, value in parts.items():
        for field, inside in _fields(name, value, DEPTH):
            named[field] = fingerprint(inside)
    return named


def differences(stored: dict[str, str], own: dict[str, str]) -> str:
    """Return the names of the parts that differ, in words."""
    every = [name for name in own | stored if own.get(name) != stored.get(name)]
    names = [name for name in every if not any(name.startswith(f"{other}.") for other in every)]
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return ", ".join(names)


def fingerprint(value: object) -> str:
    """Return a digest of a value, which may hold arrays, settings and functions."""
    return _Digest().of(value)


def _fields(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield a value, or its type and its fields by name if it has fields."""
    inside: dict[str, Any] = {}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = {name: getattr(value, name) for name in _fields_that_count(value)}
    elif hasattr(value, "_fields"):
        inside = dict(zip(value._fields, value, strict=True))
    elif isinstance(value, dict):
        inside = {str(key): item for key, item in value.items()}
    if depth == 0 or not inside:
        yield name, value
        return
    yield name, type(value)
    for field, item in inside.items():
        yield from _fields(f"{name}.{field}", item, depth - 1)


def _fields_that_count(value: Any) -> list[str]:
    """Return the fields of a dataclass that affect what is computed."""
    return [f.name for f in dataclasses.fields(value) if not f.metadata.get("outside")]


class _Digest:
    """One pass over a value that visits every object once, so that cycles end."""

    def __init__(self) -> None:
        self.done: dict[int, str] = {}
        self.open: dict[int, int] = {}
        self.kept: list[Any] = []  # keeps objects alive, so that their ids are not reused

    def of(self, value: Any) -> str:
        """Return the digest of a value."""
        number = id(value)
        if number in self.done:
            return self.done[number]
        if number in self.open:
            return f"around {len(self.open) - self.open[number]}"
        self.open[number] = len(self.open)
        digest = _hash(self.parts(value))
        del self.open[number]
        self.done[number] = digest
        self.kept.append(value)
        return digest

    def all(self, values: Iterable[Any]) -> list[str]:
        """Return the digests of several values."""
        return [self.of(value) for value in values]

    @functools.singledispatchmethod
    def parts(self, value: object) -> Sequence[str | bytes]:
        """Return strings and bytes that identify a value."""
        if hasattr(value, "__wrapped__"):  # such as the result of jax.jit
            return self.all((type(value), value.__wrapped__))
        if dataclasses.is_dataclass(value):
            fields = [getattr(value, name, None) for name in _fields_that_count(value)]
            return self.all((type(value), *fields))
        return self.object(value)

    def object(self, value: Any) -> Sequence[str | bytes]:
        """Return the class and content of any other object, as far as it can be copied."""
        try:
            made = value.__reduce_ex__(4)
        except Exception:  # an object that cannot be copied is identified by its name
            return [self.of(type(value)), getattr(value, "__name__", "")]
        if isinstance(made, str):
            return ["global", made]
        return self.all(list(part) if isinstance(part, Iterator) else part for part in made)

    @parts.register(type(None) | bool | int | float | complex | str | bytes | types.EllipsisType)
    def _(self, value: Any) -> Sequence[str | bytes]:
        return [type(value).__name__, repr(value)]

    @parts.register(np.ndarray | np.generic | jax.Array)
    def _(self, value: Any) -> Sequence[str | bytes]:
        words = np.asarray(as_words(value))
        kind = f"{value.dtype} {words.shape}"
        if words.dtype.hasobject:
            return [kind, *self.all(words.ravel().tolist())]
        return [kind, np.ascontiguousarray(words).tobytes()]

    @parts.register(tuple | list)
    def _(self, value: Any) -> Sequence[str | bytes]:
        return self.all((type(value), *value))

    @parts.register(set | frozenset)
    def _(self, value: Any) -> Sequence[str | bytes]:
        return ["set", *sorted(self.all(value))]

    @parts.register
    def _(self, value: dict) -> Sequence[str | bytes]:
        pairs = [self.of(key) + self.of(item) for key, item in value.items()]
        return ["dict", *sorted(pairs)]

    @parts.register
    def _(self, code: types.CodeType) -> Sequence[str | bytes]:
        constants = list(code.co_consts)
        if constants and isinstance(constants[0], str):  # the docstring, if there is one
            constants[0] = None
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return [code.co_name, code.co_code, repr(names), *self.all(constants)]

    @parts.register
    def _(self, function: types.FunctionType) -> Sequence[str | bytes]:
        cells = function.__closure__ or ()
        parts = [function.__code__, function.__defaults__, function.__kwdefaults__]
        parts += [cell.cell_contents for cell in cells if cell != types.CellType()]
        parts.append(getattr(function, "__wrapped__", None))
        if not _installed(function):
            parts += _from_module(function)
        return [_name(function), *self.all(parts)]

    @parts.register
    def _(self, method: types.MethodType) -> Sequence[str | bytes]:
        return self.all((types.MethodType, method.__func__, method.__self__))

    @parts.register
    def _(self, call: functools.partial) -> Sequence[str | bytes]:  # as is Partial of JAX
        return self.all((functools.partial, call.func, call.args, call.keywords))

    @parts.register(staticmethod | classmethod)
    def _(self, method: Any) -> Sequence[str | bytes]:
        return self.all((type(method), method.__func__))

    @parts.register
    def _(self, value: property) -> Sequence[str | bytes]:
        return self.all((property, value.fget, value.fset))

    @parts.register
    def _(self, module: types.ModuleType) -> Sequence[str | bytes]:
        return ["module", module.__name__]

    @parts.register
    def _(self, kind: type) -> Sequence[str | bytes]:
        if _installed(kind):
            return ["class", _name(kind)]
        own = dict(_defined(kind))
        return ["class", _name(kind), *self.all((*kind.__bases__, *own, *own.values()))]


def _hash(parts: Iterable[str | bytes]) -> str:
    """Return the digest of strings and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _name(value: Any) -> str:
    """Return the name of a function or class, with its module if it is from an installed package.

    A user's file may be run as a script at one time and imported at another.
    """
    return f"{value.__module__}.{value.__qualname__}" if _installed(value) else value.__qualname__


def _installed(value: Any) -> bool:
    """Return whether a function or class is from Python, kfjax or another installed package."""
    if isinstance(value, types.FunctionType):
        return _in_packages(value.__code__.co_filename)
    module = sys.modules.get(value.__module__)
    path = getattr(module, "__file__", None)
    if path is None:  # built into Python, or typed in
        return value.__module__ in sys.builtin_module_names
    return _in_packages(path)


@functools.lru_cache(maxsize=1024)
def _in_packages(path: str) -> bool:
    """Return whether a file belongs to an installed package."""
    return os.path.realpath(path).startswith(INSTALLED)


def _from_module(function: types.FunctionType) -> Iterator[Any]:
    """Yield what a function uses from its module and from modules that are not installed."""
    names = sorted(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType):
            yield from _of_module(value, names)
        elif name in function.__globals__ and _steady(value):
            yield from (name, value)


def _of_module(module: types.ModuleType, names: list[str]) -> Iterator[Any]:
    """Yield the objects of these names in a module that is not installed."""
    path = getattr(module, "__file__", None)
    if path is None or _in_packages(path):
        return
    for name in names:
        if name in vars(module) and _steady(vars(module)[name]):
            yield from (name, vars(module)[name])


def _names(code: types.CodeType) -> set[str]:
    """Return the names that a body and the functions defined in it look up."""
    inside = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*map(_names, inside))


def _steady(value: object) -> bool:
    """Return whether a global is a function or a constant, and not a value that may change."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(_steady, value))
    return isinstance(value, STEADY) or hasattr(value, "__wrapped__")


def _defined(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods and constants of a class, without additions by Python or `dataclass`."""
    for name, value in vars(kind).items():
        code = getattr(value, "__code__", None)
        generated = code is not None and code.co_filename == "<string>"
        special = name.startswith("__") and isinstance(value, CONSTANTS)
        known = isinstance(value, (*DESCRIPTORS, *CONSTANTS)) or hasattr(value, "__wrapped__")
        if known and not generated and not special:
            yield name, value
