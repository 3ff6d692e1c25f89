"""Checks of the values of arguments, as far as they are known: outside of a trace.

Errors name the array and the place of its first entry that is wrong.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from kfjax._support.arguments import first_not_finite, is_concrete, is_floating
from kfjax._support.naming import described
from kfjax._support.pytrees import Pytree
from kfjax._support.types import PyTree

__all__: list[str] = []

ARRAYS = (np.ndarray, np.generic, jax.Array)
NUMBERS = (int, float, *ARRAYS)
REAL = (jnp.floating, jnp.integer, jnp.bool_)


def as_arrays(name: str, value: PyTree) -> PyTree:
    """Return a pytree of arrays of real numbers, in which a list has become one array.

    Args:
        name: the function and its argument, for error texts.
        value: an array, a number, nested lists of numbers, or a pytree of arrays.
    """
    if value is None or (isinstance(value, ARRAYS) and _is_real(value)):
        check_not_masked(name, value)
        return value  # fast path, since every streamed step comes through here
    if isinstance(value, Pytree):
        raise ValueError(
            f"{name} is a {type(value).__name__}; expected an array. Check the order of the"
            " arguments."
        )
    if isinstance(value, list):
        value = _stacked(name, value)
    for index, leaf in enumerate(jax.tree.leaves(value)):
        check_not_masked(f"{name}{path_of(value, index)}", leaf)
        if not _is_real(leaf):
            _refuse(f"{name}{path_of(value, index)}", leaf)
    if isinstance(value, (int, float)):
        return np.asarray(value)
    return value


def check_not_masked(name: str, value: object) -> None:
    """Raise if a value is a masked array of numpy, whose mask would be lost."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array of numpy; expected an ordinary one. Pass value.data, and"
            " observed=~np.ma.getmaskarray(value) where the function takes it."
        )


def _stacked(name: str, value: list[Any]) -> Any:
    """Return nested lists of numbers as one array."""
    numpy: Any = np if all(map(is_concrete, jax.tree.leaves(value))) else jnp
    try:
        return numpy.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is a list that cannot be made an array ({error}); expected rows of equal"
            " length."
        ) from error


def _is_real(leaf: object) -> bool:
    """Return whether a leaf is an array of real numbers, or a number."""
    if not isinstance(leaf, NUMBERS):
        return False
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    if getattr(dtype, "kind", "") in tuple("fiub"):
        return True  # a random key has a dtype without kind
    return any(jnp.issubdtype(dtype, kind) for kind in REAL)


def _refuse(name: str, leaf: object) -> None:
    """Raise for a leaf that is not an array of real numbers."""
    remedy = ""
    if hasattr(leaf, "to_numpy"):
        remedy = " Pass .to_numpy() of it, or make a kf.Dataset with kf.from_pandas."
    raise ValueError(f"{name} is {described(leaf)}; expected an array of real numbers.{remedy}")


def path_of(tree: PyTree, index: int) -> str:
    """Return the path of a leaf in a pytree as code; an empty string for a single array."""
    return keystr(tree_leaves_with_path(tree)[index][0])


def real_array(name: str, value: object, *, ndim: int | None = None, finite: bool = True) -> Any:
    """Return an argument as one array of real numbers; raise a ValueError if it is not one.

    Args:
        name: the function and its argument, for error texts.
        value: an array, a number, or nested lists of numbers.
        ndim: the number of axes, or None for any.
        finite: whether to raise for NaN and infinities, where values are known.
    """
    if isinstance(value, tuple):
        value = list(value)
    array = as_arrays(name, value)
    if not isinstance(array, ARRAYS):
        _refuse(name, array)
    if ndim is not None and np.ndim(array) != ndim:
        raise ValueError(f"{name} has shape {np.shape(array)}; expected {ndim} axes.")
    if finite:
        check_finite(name, array)
    return array


def check_belief(name: str, value: object, *, cov: bool = True) -> None:
    """Raise unless a value has a mean and (unless `cov` is false) a covariance."""
    wanted = ("mean", "cov") if cov else ("mean",)
    for field in wanted:
        if not isinstance(getattr(value, field, None), ARRAYS):
            raise ValueError(
                f"{name} is {described(value)}; expected one with a {' and '.join(wanted)}, such as"
                " kf.Gaussian(mean, cov)."
            )


def check_finite(name: str, tree: PyTree, *, length: Any = None, remedy: str = "") -> None:
    """Raise if there is NaN or an infinity in a pytree, where its values are known.

    Args:
        name: the function and its argument, for error texts.
        tree: a pytree of arrays and numbers.
        length: the number of leading rows that count, or None for all.
        remedy: text on what to do.
    """
    if tree is None:
        return
    leaves = jax.tree.leaves(tree)
    if not all(map(is_concrete, [*leaves, length])):
        return
    for index, leaf in enumerate(leaves):
        array = np.asarray(leaf)
        counted = array if length is None or not array.ndim else array[: int(length)]
        if found := first_not_finite(counted):
            where = f"{name}{path_of(tree, index)}"
            raise ValueError(f"{where} has {' '.join(found)}; expected finite numbers.{remedy}")


def has_nan(leaf: object) -> bool:
    """Return whether there is NaN in an array or number, as far as values are known."""
    if not is_concrete(leaf) or not _is_real(leaf):
        return False
    array = np.asarray(leaf)
    return is_floating(array.dtype) and bool(np.isnan(array).any())


def check_not_nan(name: str, tree: PyTree) -> None:
    """Raise if there is NaN in a pytree, where its values are known; infinities may be bounds."""
    if any(map(has_nan, jax.tree.leaves(tree))):
        refuse_nan(name, tree)


def refuse_nan(name: str, tree: PyTree) -> None:
    """Raise for the first leaf with NaN."""
    index = [has_nan(leaf) for leaf in jax.tree.leaves(tree)].index(True)
    raise ValueError(
        f"{name}{path_of(tree, index)} has NaN; expected numbers. Did training or fitting diverge?"
    )
