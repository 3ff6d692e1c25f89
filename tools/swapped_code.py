"""Change functions of imported modules in place, so that nothing has to be imported again."""

import gc
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import TypeAlias

Functions: TypeAlias = dict[CodeType, list[FunctionType]]
Changes: TypeAlias = list[tuple[FunctionType, CodeType]]


def functions_below(folder: Path) -> Functions:
    """Return all functions of imported modules in a folder, by their code."""
    found: Functions = {}
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType) and thing.__code__.co_filename.startswith(f"{folder}/"):
            found.setdefault(thing.__code__, []).append(thing)
    return found


def can_swap(before: str, after: str) -> bool:
    """Return whether only bodies of functions differ, so that what an import does stays the same.

    A default value or a constant of a module differs in the code that runs at the import.
    """
    old, new = (list(_codes(compile(text, "module", "exec"))) for text in (before, after))
    if [code.co_qualname for code in old] != [code.co_qualname for code in new]:
        return False
    at_import = [not code.co_flags & _OPTIMISED for code in old]
    pairs = zip(old, new, at_import, strict=True)
    return all(_own(a) == _own(b) for a, b, imports in pairs if imports)


def changes(functions: Functions, module: str, before: str, after: str) -> Changes:
    """Return functions of a module with their code in its changed text.

    Raises:
        LookupError: if `before` is not the text that was imported.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"no module {module}")
    # hooks that change modules as they are imported have loaders of their own
    compiled = (spec.loader.source_to_code(text.encode(), spec.origin) for text in (before, after))
    found = [
        (function, new)
        for old, new in zip(*map(_codes, compiled), strict=True)
        for function in functions.get(old, [])
    ]
    if not found:
        raise LookupError(f"no function of {module} has been imported from this text")
    return found


def swap(changes: Changes) -> None:
    """Give functions their new code."""
    for function, new in changes:
        function.__code__ = new


_OPTIMISED = 1  # the flag of functions; modules and classes do not have it


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all code objects inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _own(code: CodeType) -> tuple[object, ...]:
    """Return what a code object does by itself, ignoring line numbers."""
    constants = [None if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code, repr(constants), code.co_names, code.co_varnames
