"""Checks of the values of arguments, as far as they are known: outside of a trace.

Errors name the array and the place of its first entry that is wrong.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from kfjax._support.arguments import first_not_finite, is_concrete
from kfjax._support.naming import described
from kfjax._support.pytrees import Pytree
from kfjax._support.types import PyTree
from kfjax.base import Mask, State

__all__: list[str] = []

NUMBERS = (int, float, np.ndarray, np.generic, jax.Array)
MARGIN = 16.0  # how far observations have to be below the largest number: it is a usual "no data"
REAL = (jnp.floating, jnp.integer, jnp.bool_)


def as_arrays(name: str, value: PyTree) -> PyTree:
    """Return a pytree of arrays of real numbers, in which a list has become one array.

    Args:
        name: the function and its argument, for error texts.
        value: an array, a number, nested lists of numbers, or a pytree of arrays.
    """
    if isinstance(value, Pytree):
        raise ValueError(
            f"{name} is a {type(value).__name__}; expected an array. Check the order of the"
            " arguments."
        )
    if isinstance(value, list):
        value = _stacked(name, value)
    for index, leaf in enumerate(jax.tree.leaves(value)):
        if not _is_real(leaf):
            _refuse(f"{name}{_path(value, index)}", leaf)
    if isinstance(value, (int, float)):
        return np.asarray(value)
    return value


def _stacked(name: str, value: list[Any]) -> Any:
    """Return nested lists of numbers as one array."""
    numpy: Any = np if all(map(is_concrete, jax.tree.leaves(value))) else jnp
    try:
        return numpy.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is a list that makes no array ({error}); expected rows of equal length."
        ) from error


def _is_real(leaf: Any) -> bool:
    """Return whether a leaf is an array of real numbers, or a number."""
    if not isinstance(leaf, NUMBERS):
        return False
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    return any(jnp.issubdtype(dtype, kind) for kind in REAL)


def _refuse(name: str, leaf: Any) -> None:
    """Raise for a leaf that is no array of real numbers."""
    remedy = ""
    if hasattr(leaf, "to_numpy"):
        remedy = " Pass .to_numpy() of it, or make a kf.Dataset with kf.from_pandas."
    raise ValueError(f"{name} is {described(leaf)}; expected an array of real numbers.{remedy}")


def _path(tree: PyTree, index: int) -> str:
    """Return where a leaf is in a pytree, as code; nothing for a single array."""
    return keystr(tree_leaves_with_path(tree)[index][0])


def check_finite(name: str, tree: PyTree, *, length: Any = None, remedy: str = "") -> None:
    """Raise if there is NaN or an infinity in a pytree, where its values are known.

    Args:
        name: the function and its argument, for error texts.
        tree: a pytree of arrays and numbers.
        length: the number of leading rows that count, or None for all.
        remedy: what to do.
    """
    leaves = jax.tree.leaves(tree)
    if not all(map(is_concrete, [*leaves, length])):
        return
    for index, leaf in enumerate(leaves):
        array = np.asarray(leaf)
        counted = array if length is None or not array.ndim else array[: int(length)]
        if found := first_not_finite(counted):
            where = f"{name}{_path(tree, index)}"
            raise ValueError(f"{where} has {' '.join(found)}; expected finite numbers.{remedy}")


def _seen(word: str, name: str) -> str:
    """Return the mask for observations of which one that was not finite reads `word`."""
    if word == "NaN":
        return f"~jnp.isnan({name})"
    if "inf" in word:
        return f"jnp.isfinite({name})"
    return f"jnp.abs({name}) < limit"


def check_not_nan(name: str, tree: PyTree) -> None:
    """Raise if there is NaN in a pytree, where its values are known; infinities may be bounds."""
    for index, leaf in enumerate(jax.tree.leaves(tree)):
        if not is_concrete(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        if np.isnan(np.asarray(leaf)).any():
            raise ValueError(
                f"{name}{_path(tree, index)} has NaN; expected numbers. Did training or fitting"
                " diverge?"
            )


def check_observed(who: str, name: str, ys: PyTree, observed: Mask, length: Any) -> None:
    """Raise if an observation that counts is NaN or infinite, where values are known.

    Args:
        who: the function whose arguments these are, for error texts.
        name: the name of the observations.
        ys: observations, a pytree of arrays.
        observed: the mask, of arrays.
        length: the number of steps that count.
    """
    leaves, masks = jax.tree.leaves(ys), jax.tree.leaves(observed)
    if not all(map(is_concrete, [*leaves, *masks, length])):
        return
    masks = masks or [True] * len(leaves)
    if len(masks) != len(leaves):
        raise ValueError(
            f"{who}: observed has {len(masks)} parts; expected {len(leaves)}, in the structure of"
            f" {name}."
        )
    for index, (leaf, seen) in enumerate(zip(leaves, masks, strict=True)):
        # in numpy: inside of a trace, jax operations on constants would give tracers
        y, mask = np.asarray(leaf), np.asarray(seen, bool)
        if mask.shape != y.shape[: mask.ndim]:
            continue  # the check of shapes will say so
        if length is not None:
            y, mask = y[: int(length)], mask[: int(length)] if mask.ndim else mask
        found = first_not_finite(
            y, mask.reshape(mask.shape + (1,) * (y.ndim - mask.ndim)), margin=MARGIN
        )
        if found:
            word, place = found
            where = f"{who}: {name}{_path(ys, index)}"
            raise ValueError(
                f"{where} has {word} where it counts as observed{place and f', first {place}'};"
                f" expected numbers. For missing data pass observed={_seen(word, name)};"
                " kf.split_missing does so for a pytree of sensors."
            )


def check_start(who: str, state: State) -> None:
    """Raise unless a state that a user gave has a mean, and finite numbers as far as is known."""
    if getattr(state, "mean", None) is None:
        raise ValueError(
            f"{who}: state is {described(state)}; expected one with a mean. Start from filter.init"
            " or the final state of a run."
        )
    check_finite(f"{who}: state.mean", state.mean)
    if getattr(state, "cov", None) is not None:
        check_finite(f"{who}: state.cov", state.cov)
