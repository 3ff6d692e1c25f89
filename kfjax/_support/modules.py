"""Modules of other libraries: callable pytrees, such as those of Equinox and Flax nnx.

A module is split into its arrays, which are parameters, and a static value that holds the rest and
puts them together again. Only the interface of pytrees is used, so that no library is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from kfjax._support.types import PyTree

__all__: list[str] = []


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A module without its arrays; hashable, if what is left is.

    Attributes:
        structure: the structure of the pytree.
        names: the names of the arrays, which are their paths, in order.
        fixed: the other leaves, such as activation functions, with their positions in order.
    """

    structure: Any
    names: tuple[str, ...]
    fixed: tuple[tuple[int, Any], ...]

    def module(self, arrays: Mapping[str, PyTree]) -> PyTree:
        """Return the module with these arrays."""
        leaves = [arrays[name] for name in self.names]
        for position, value in self.fixed:
            leaves.insert(position, value)
        return jax.tree.unflatten(self.structure, leaves)

    def __call__(self, arrays: Mapping[str, PyTree], *arguments: PyTree) -> PyTree:
        """Call the module with these arrays."""
        return self.module(arrays)(*arguments)


def split(module: PyTree, is_fixed: Callable[[object], bool]) -> tuple[Skeleton, dict[str, Any]]:
    """Return the skeleton of a module, and its arrays by name.

    Args:
        module: any pytree.
        is_fixed: which leaves stay in the skeleton.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(module)
    fixed = tuple((at, leaf) for at, (_, leaf) in enumerate(paths) if is_fixed(leaf))
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in paths
        if not is_fixed(leaf)
    }
    if len(arrays) + len(fixed) != len(paths):
        raise ValueError(
            f"a {type(module).__name__} has two leaves of the same path; expected names without"
            " '/'. Rename the keys of its dictionaries."
        )
    return Skeleton(structure, tuple(arrays), fixed), arrays
