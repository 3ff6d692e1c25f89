"""Checks of what is drawn: numbers, curves by name, components, names and colours."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like

from kfjax._support.arguments import check_count, check_mapping, items_of, real_numbers
from kfjax._support.naming import described
from kfjax._support.types import Nested
from kfjax.data.labels import without_unit

__all__: list[str] = []

WIDTH = 14  # characters of a line beside an axis, which is about as long

Numbers: TypeAlias = ArrayLike | Nested
"""An array, or numbers in nested lists."""


def curves_by_name(name: str, curves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return curves [T] by name, all of one length."""
    check_mapping(name, curves, "numbers [T] by name, such as {'KF': [0.1, 0.2]}")
    arrays = {key: real_numbers(f"{name}[{key!r}]", curve) for key, curve in curves.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise ValueError(
            f"{name} has curves of shapes {sorted(shapes)}; expected [T], of one length. A batch is"
            " averaged first."
        )
    return arrays


def level_of(name: str, values: Numbers, shape: tuple[int, ...]) -> np.ndarray:
    """Return one number or [T] as a curve of this shape."""
    array = real_numbers(name, values)
    if array.shape not in ((), shape):
        raise ValueError(f"{name} has shape {array.shape}; expected one number or {shape}.")
    return np.broadcast_to(array, shape)


def chosen_components(who: str, components: Iterable[int] | None, n: int) -> list[int]:
    """Return the components to draw, the first three of n by default."""
    if components is None:
        return list(range(min(3, n)))
    name = f"{who}: components"
    chosen = items_of(name, components, f"indices from 0 to {n - 1}")
    for j in chosen:
        check_count(name, j, least=0, most=n - 1)
    return chosen


def names_of(who: str, names: Iterable[str] | None, n: int, sign: str) -> list[str]:
    """Return n names as labels of axes, in lines that fit; by default a sign with an index."""
    if names is None:
        return [f"${sign}_{{{j + 1}}}$" for j in range(n)]
    given = items_of(f"{who}: names", names, f"{n} names, one for each component")
    if len(given) != n or not all(isinstance(name, str) for name in given):
        raise ValueError(
            f"{who}: names is {given!r:.80}; expected {n} names, one for each component."
        )
    return [_in_lines(*without_unit(name)).replace("$", r"\$") for name in given]


def _in_lines(name: str, unit: str | None) -> str:
    """Break a name into lines that fit, but not within its unit."""
    lines = textwrap.wrap(name, WIDTH) or [""]
    if unit is None:
        return "\n".join(lines)
    between = " " if len(f"{lines[-1]} [{unit}]") <= WIDTH else "\n"
    return "\n".join(lines) + f"{between}[{unit}]"


def array_or_none(value: Any) -> np.ndarray:
    """Return a value as an array; one of None, which fits nothing, if it is ragged."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.asarray(None)


def check_axes(name: str, ax: Any) -> None:
    """Raise unless `ax` are axes of matplotlib."""
    if not isinstance(ax, Axes):
        raise ValueError(
            f"{name} is {described(ax)}; expected axes of matplotlib, such as plt.figure().gca()."
        )


def check_texts(who: str, **texts: object) -> None:
    """Raise unless all of these are strings, or None for the default."""
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{who}: {name} is {described(text)}; expected a string.")


def check_colour(name: str, colour: Any) -> None:
    """Raise unless matplotlib knows a colour."""
    if not is_color_like(colour):
        raise ValueError(
            f"{name} is {described(colour)}; expected a colour of matplotlib, such as '#0072b2'."
        )
