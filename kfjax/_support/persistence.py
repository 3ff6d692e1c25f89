"""States to bytes and back: what a streaming application keeps when it stops.

A state is a complete sufficient statistic, so that its leaves are all there is to save. They are
written as an npz file in memory, under the names that they have in the state, and read without
pickle into the structure of a template.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any, BinaryIO, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["from_bytes", "to_bytes"]

Tree = TypeVar("Tree")
# what numpy and zipfile raise at a file that is none, or is damaged
READING_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def to_bytes(state: Any) -> bytes:
    """Return the state of a filter as bytes: an npz file of its leaves, the same for the same state.

    Args:
        state: a state, or any pytree of arrays and random keys: an `Estimate`, a pair (state, time
            of the last observation), a batch of states.

    Returns:
        What `from_bytes` reads; also a valid file for `numpy.load`.

    Raises:
        ValueError: if a leaf is no array that an npz file can hold.

    Example:
        >>> state = kf.kalman().init(kf.systems.constant_velocity())
        >>> kf.from_bytes(kf.to_bytes(state), like=state).mean.tolist()
        [0.0, 0.0]
    """
    arrays: dict[str, Any] = {
        name: np.asarray(as_words(leaf)) for name, leaf in _named(state).items()
    }
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise ValueError(
                f"to_bytes: the leaf {name} has dtype {array.dtype}; expected booleans or numbers"
                " that numpy has."
                " Convert it, or keep it outside of the state."
            )
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def from_bytes(data: bytes, like: Tree) -> Tree:
    """Return the state that `to_bytes` wrote.

    Args:
        data: the bytes.
        like: a template of the same structure, shapes and dtypes, such as `filter.init(params,
            key)` or an earlier state. Its values do not matter.

    Returns:
        The state, bit for bit; a run that goes on from it gives the results of one that was never
        interrupted.

    Raises:
        ValueError: if data is no such file or damaged, or does not fit the template.
    """
    arrays = _read(data)
    template = _named(like)
    if arrays.keys() != template.keys():
        raise ValueError(
            f"from_bytes: the data hold {_list(arrays)}; expected {_list(template)}, the leaves of"
            " `like`."
            " Make `like` with the filter and the params whose state was saved."
        )
    leaves = [_restored(name, arrays[name], leaf) for name, leaf in template.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def read_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file, without pickle; a ValueError tells whatever is wrong with it."""
    try:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it holds one bare array")
        return {name: archive[name] for name in archive.files}
    except READING_ERRORS as error:
        raise ValueError(str(error)) from error


def _read(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays in the bytes."""
    try:
        return read_arrays(io.BytesIO(data))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"from_bytes: the data cannot be read ({error}); expected what to_bytes returned, whole"
            " and unchanged."
        ) from error


def is_key(leaf: Any) -> bool:
    """Tell a typed random key from an array."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def as_words(leaf: Any) -> Any:
    """Return an array as it is, and a random key as its words."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def _named(state: Any) -> dict[str, Any]:
    """Return the leaves by their names; those of random keys tell their generator too."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {_name(path, leaf): leaf for path, leaf in leaves}


def _name(path: Any, leaf: Any) -> str:
    generator = f" {jax.random.key_impl(leaf)}" if is_key(leaf) else ""
    return "state" + jax.tree_util.keystr(path) + generator


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _restored(name: str, array: Any, like: Any) -> Any:
    """Return one leaf, if it has the shape and dtype of the template's."""
    expected = np.asarray(as_words(like))
    if (array.shape, array.dtype) != (expected.shape, expected.dtype):
        raise ValueError(
            f"from_bytes: {name} is {array.dtype} of shape {array.shape}; expected {expected.dtype}"
            " of shape"
            f" {expected.shape}, as in `like`. The model, the filter or the precision differ from"
            " those of the state."
        )
    if is_key(like):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like))
    restored = jnp.asarray(array)
    if restored.dtype != array.dtype:
        raise ValueError(
            f"from_bytes: {name} is {array.dtype}, which JAX has only after enabling x64. Enable"
            " it."
        )
    return restored
