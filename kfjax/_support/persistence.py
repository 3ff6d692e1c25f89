"""States to bytes and back, for streaming applications that stop and resume.

A state is a complete sufficient statistic, so only its leaves need saving. They are written to an
npz file in memory under their names in the state, and read without pickle into the structure of a
template.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support.saving import npz_bytes
from kfjax._support.types import PyTree

__all__ = ["from_bytes", "to_bytes"]

Tree = TypeVar("Tree")
Path: TypeAlias = tuple[Any, ...]  # the keys of a leaf in a pytree


def to_bytes(state: PyTree) -> bytes:
    """Return the state of a filter as bytes: an npz file of its leaves, equal for equal states.

    Args:
        state: a state, or any pytree of arrays and random keys: an `Estimate`, a pair (state, time
            of the last observation), a batch of states.

    Returns:
        What `from_bytes` reads; also a valid file for `numpy.load`.

    Raises:
        ValueError: if a leaf is not an array that an npz file can hold.

    Example:
        >>> state = kf.kalman().init(kf.systems.constant_velocity())
        >>> kf.from_bytes(kf.to_bytes(state), like=state).mean.tolist()
        [0.0, 0.0]
    """
    arrays: dict[str, Any] = named_leaves(state, _with_generator)
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise ValueError(
                f"to_bytes: the leaf {name} has dtype {array.dtype}; expected a boolean or number"
                " dtype of numpy. Convert it, or keep it outside the state."
            )
    return npz_bytes(arrays)


def from_bytes(data: bytes, like: Tree) -> Tree:
    """Return the state that `to_bytes` wrote.

    Args:
        data: the bytes that `to_bytes` returned.
        like: a template of the same structure, shapes and dtypes, such as `filter.init(params,
            key)` or an earlier state. Its values do not matter.

    Returns:
        The state, bit for bit; a run that continues from it gives the results of an uninterrupted
        one.

    Raises:
        ValueError: if the data are damaged, are of another kind, or do not fit the template.
    """
    arrays = _read(data)
    template = named_leaves(like, _with_generator)
    if arrays.keys() != template.keys():
        raise ValueError(
            f"from_bytes: the data hold {_listed(arrays)}; expected {_listed(template)}, the leaves"
            " of `like`. Make `like` with the filter and the params whose state was saved."
        )
    leaves, structure = jax.tree.flatten(like)
    names = zip(template, leaves, strict=True)
    restored = [_restored(name, arrays[name], template[name], leaf) for name, leaf in names]
    return jax.tree.unflatten(structure, restored)


def read_arrays(file: io.BufferedIOBase) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file, without pickle; raise a ValueError if it cannot be read."""
    try:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is not an npz file, or is incomplete")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:  # for a damaged file, numpy, zipfile and zlib raise nearly any error
        raise ValueError(str(error) or type(error).__name__) from error


def _read(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays in the bytes."""
    try:
        return read_arrays(io.BytesIO(data))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"from_bytes: the data cannot be read ({error}); expected the unchanged result of"
            " to_bytes."
        ) from error


def is_key(leaf: PyTree) -> bool:
    """Return whether a leaf is a typed random key."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def as_words(leaf: PyTree) -> PyTree:
    """Return a random key as its words, and anything else unchanged."""
    if is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf


def by_number(number: int, path: Path, leaf: PyTree) -> str:
    """Return the name of a leaf in files that are read without the types of kfjax."""
    del leaf
    return f"{number:04d} {jax.tree_util.keystr(path, simple=True, separator='.')}"


def _with_generator(number: int, path: Path, leaf: PyTree) -> str:
    """Return the name of a leaf as code; the name of a random key includes its generator."""
    del number
    name = "state" + jax.tree_util.keystr(path)
    if is_key(leaf):
        return f"{name} {jax.random.key_impl(leaf)}"
    return name


def named_leaves(
    tree: PyTree, name: Callable[[int, Path, PyTree], str] = by_number
) -> dict[str, np.ndarray]:
    """Return the leaves as arrays of numpy by name, random keys as their words."""
    named = {}
    for number, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(tree)[0]):
        named[name(number, path, leaf)] = np.asarray(as_words(leaf))
    return named


def _listed(names: Iterable[str]) -> str:
    """Return the names in order, for an error text."""
    return ", ".join(sorted(names)) or "nothing"


def _restored(name: str, array: np.ndarray, expected: np.ndarray, like: PyTree) -> PyTree:
    """Return one leaf, if it has the shape and dtype of the leaf in the template."""
    if (array.shape, array.dtype) != (expected.shape, expected.dtype):
        raise ValueError(
            f"from_bytes: {name} is {array.dtype} of shape {array.shape}; expected {expected.dtype}"
            f" of shape {expected.shape}, as in `like`. The model, the filter or the precision"
            " differ from those of the state."
        )
    if is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    restored = jnp.asarray(array)
    if restored.dtype != array.dtype:
        raise ValueError(
            f"from_bytes: {name} is {array.dtype}, which JAX supports only with x64 enabled."
            " Enable it."
        )
    return restored
