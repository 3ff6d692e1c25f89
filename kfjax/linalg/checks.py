"""Checks of the shapes of matrices."""

from __future__ import annotations

from typing import Any

from kfjax._support.naming import described
from kfjax._support.values import ARRAYS

__all__: list[str] = []


def check(who: str, **arrays: tuple[Any, str]) -> None:
    """Raise unless arrays have the axes that letters name, the same letter for the same size.

    Shapes are known while a function is traced, so that this costs nothing when it runs.
    """
    sizes: dict[str, int] = {}
    for name, (array, axes) in arrays.items():
        if not fits(array, axes, sizes):
            got = described(array)
            expected = [f"{key} [{given}]" for key, (_, given) in arrays.items()]
            raise ValueError(
                f"{who}: {name} is {got}; expected real arrays {' and '.join(expected)}, where one"
                " letter is one size. Convert lists with jnp.asarray."
            )


def fits(array: object, axes: str, sizes: dict[str, int]) -> bool:
    """Return whether an array of numbers has these axes, and note their sizes."""
    if not isinstance(array, ARRAYS) or array.dtype.kind in "OSUc":
        return False
    letters = axes.replace("...", "").split()
    if array.ndim < len(letters) or (array.ndim > len(letters) and "..." not in axes):
        return False
    shape = array.shape[-len(letters) :] if axes.startswith("...") else array.shape
    pairs = zip(letters, shape, strict=False)
    return all(sizes.setdefault(letter, size) == size for letter, size in pairs)
