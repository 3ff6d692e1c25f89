"""Jitted functions whose caches are bounded.

What `jax.jit` compiled stays in memory for as long as the function, a few megabytes for each
filter: in a process that keeps building models, since functions of models and filters are a part of
what a program is known by, that grows without end.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from kfjax._support.explicit_axes import left_to_the_compiler

__all__: list[str] = []

Result = TypeVar("Result")
PROGRAMS = 32  # of each function
REMEMBERED = 1024  # of those forgotten, what they were traced for


def jit(
    function: Callable[..., Result],
    *,
    static_argnums: int | Sequence[int] = (),
    donate_argnums: int | Sequence[int] = (),
) -> Jitted[Result]:
    """Return a function jitted as by `jax.jit`, which forgets its programs when they are too many.

    Forgotten programs that are called again are compiled once more. If half of them come back,
    there is room for more: programs that are in use all the time are forgotten once.

    Args:
        function: the function.
        static_argnums: as in `jax.jit`.
        donate_argnums: as in `jax.jit`.
    """
    options = {"static_argnums": static_argnums, "donate_argnums": donate_argnums}
    return Jitted(function, options)


class Jitted(Generic[Result]):
    """What `jit` returns."""

    def __init__(self, function: Callable[..., Result], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        programs = self.programs = Programs()

        @functools.wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Result:
            programs.add((args, kwargs))  # Python comes here only to trace something new
            return left_to_the_compiler(function, *args, **kwargs)

        self._jitted: Any = jax.jit(traced, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Result:
        """Return what the function returns."""
        result = self._jitted(*args, **kwargs)
        if self.programs.too_many():
            self._jitted.clear_cache()
        return result

    def lower(self, *args: Any, **kwargs: Any) -> jax.stages.Lowered:
        """Return the function as lowered for these arguments, to be compiled."""
        lowered = self._jitted.lower(*args, **kwargs)
        if self.programs.too_many():
            self._jitted.clear_cache()
        return lowered


class Programs:
    """The programs of a function by what they are traced for, and those forgotten last."""

    def __init__(self) -> None:
        self.limit = PROGRAMS
        self.present: set[Hashable] = set()
        self.forgotten: dict[Hashable, None] = {}  # in the order in which they were

    def add(self, arguments: Any) -> None:
        """Note a program by the arguments that it is traced with."""
        leaves, structure = jax.tree.flatten(arguments)
        self.present.add((structure, *map(_kind, leaves)))

    def too_many(self) -> bool:
        """Return whether all are to be forgotten now; if half of them came back, there is room."""
        if len(self.present) <= self.limit:
            return False
        back = self.present & self.forgotten.keys()
        if 2 * len(back) > self.limit:
            self.limit = 2 * len(back)
            return False
        known = [*self.forgotten, *self.present]
        self.forgotten = dict.fromkeys(known[-REMEMBERED:])
        self.limit = PROGRAMS
        self.present = set()
        return True


def _kind(leaf: Any) -> Hashable:
    """Return shape and dtype of an array, and anything else as it is."""
    if isinstance(leaf, jax.Array) or hasattr(leaf, "dtype"):
        return jnp.shape(leaf), leaf.dtype
    return leaf
