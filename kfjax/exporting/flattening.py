"""A step or a run of a filter as a function of flat lists of arrays with names.

What leaves Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.persistence import as_words, is_key
from kfjax.base import Filter, Info
from kfjax.filters.checks import check_filter
from kfjax.models.lens import model_of
from kfjax.runner import run, step

__all__: list[str] = []


class Entry(NamedTuple):
    """One array: its name, its shape (names are sizes that may be anything), and its dtype."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


class Flat(NamedTuple):
    """A function of arrays that returns a list of arrays; the state comes first in both.

    Attributes:
        kind: "step" or "run".
        fn: the function.
        inputs: of every argument.
        initial: the arrays of the state before the first step, of one trajectory.
        outputs: the names of the results after the state.
        batch: size of the leading axis, a number or a name, or None for no such axis.
    """

    kind: str
    fn: Callable[..., list[Array]]
    inputs: list[Entry]
    initial: list[np.ndarray]
    outputs: list[str]
    batch: int | str | None


def flat_step(filter: Filter, params: Any, *, batch: int | str | None, **examples: Any) -> Flat:
    """Return predict and update.

    The results are the new state, mean and cov, and what is in Info.
    """

    def one(state: Any, y: Any, u: Any, observed: Any) -> tuple[Any, dict[str, Any]]:
        state, info = step(filter, params, state, y, u=u, observed=observed)
        return state, {"mean": state.mean, "cov": state.cov, **info._asdict()}

    _check_size("batch", batch)
    return _flat("step", one, *_examples(filter, params, **examples), (), batch)


def flat_run(
    filter: Filter,
    params: Any,
    *,
    steps: int | str,
    batch: int | str | None,
    emit: Callable[[Any, Info], Any],
    **examples: Any,
) -> Flat:
    """Return a whole run: the results are the final state, and what emit keeps."""

    def whole(state: Any, y: Any, u: Any, observed: Any) -> tuple[Any, Any]:
        return run(filter, params, y, us=u, observed=observed, state=state, emit=emit)

    _check_size("batch", batch)
    _check_size("steps", steps)
    return _flat("run", whole, *_examples(filter, params, **examples), (steps,), batch)


def _check_size(name: str, size: Any) -> None:
    """Refuse what is neither a number of trajectories or steps nor a name for any number."""
    named = isinstance(size, str) and size.isidentifier()
    counted = isinstance(size, int) and not isinstance(size, bool) and size >= 1
    if not (named or counted or (size is None and name == "batch")):
        raise ValueError(
            f"export: {name} is {size!r}; expected an integer, at least 1, or a name for any"
            " number, such as 'b'."
        )


def _examples(
    filter: Filter, params: Any, *, y: Any, u: Any, masked: bool, key: Array | None, state: Any
) -> tuple[Any, dict[str, Any]]:
    """The state before the first step, and what comes in at one step, as shapes and dtypes."""
    check_filter("export", filter)
    start = jax.tree.map(jnp.asarray, filter.init(params, key) if state is None else state)
    y = (
        np.asarray(y) if isinstance(y, list) else y
    )  # else every number would be a sensor of its own
    y, u = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), (y, u))
    if y is None:
        model = model_of(params)
        if model is None or model.h is None:
            raise ValueError(
                f"export: params is {type(params).__name__}; expected y, an example of one"
                " observation."
            )
        y = jax.eval_shape(model.h, model.prior.mean, u)
    seen = (
        jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.dtype(bool)), y)
        if masked
        else None
    )
    return start, {"y": y, "u": u, "observed": seen}


def _flat(
    kind: str,
    call: Callable[..., tuple[Any, Any]],
    state: Any,
    series: dict[str, Any],
    time: tuple[int | str, ...],
    batch: int | str | None,
) -> Flat:
    """Let the function take and return the leaves of its arguments, by name."""
    start, tree = jax.tree.flatten(state)
    series_tree = jax.tree.structure(series)
    if batch is not None and any(map(_draws, start)):
        raise ValueError(
            "export: the filter draws random numbers, and all trajectories of a batch would draw"
            " the same; expected"
            " batch=None. Export one trajectory, and call it with a state of its own for each."
        )

    def structured(*arrays: Array) -> tuple[list[Array], Any]:
        before = jax.tree.unflatten(tree, list(map(_as_key, start, arrays)))
        after, outputs = call(before, **jax.tree.unflatten(series_tree, arrays[len(start) :]))
        return list(map(as_words, jax.tree.leaves(after))), outputs

    def fn(*arrays: Array) -> list[Array]:
        return jax.tree.leaves(structured(*arrays))

    words = [np.asarray(as_words(leaf)) for leaf in start]
    inputs = _entries("state", jax.tree.unflatten(tree, words), ()) + _entries("", series, time)
    outputs = jax.eval_shape(structured, *(_example(entry) for entry in inputs))[1]
    if batch is not None:
        inputs = [entry._replace(shape=(batch, *entry.shape)) for entry in inputs]
    names = [entry.name for entry in _entries("", outputs, ())]
    return Flat(kind, fn if batch is None else jax.vmap(fn), inputs, words, names, batch)


def _entries(prefix: str, tree: Any, leading: tuple[int | str, ...]) -> list[Entry]:
    """Name the leaves of a tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = (
        ".".join(filter(None, (prefix, jax.tree_util.keystr(p, simple=True, separator="."))))
        for p, _ in leaves
    )
    return [
        Entry(name, leading + leaf.shape, str(leaf.dtype))
        for name, (_, leaf) in zip(names, leaves, strict=True)
    ]


def _example(entry: Entry) -> jax.ShapeDtypeStruct:
    """An array of this kind; any size does where the size has a name."""
    return jax.ShapeDtypeStruct(
        [2 if isinstance(size, str) else size for size in entry.shape], entry.dtype
    )


def _draws(leaf: Array) -> bool:
    """Tell what random numbers come from.

    Keys, or words of keys, the only unsigned numbers in a state.
    """
    return is_key(leaf) or jnp.issubdtype(leaf.dtype, jnp.unsignedinteger)


def _as_key(like: Array, words: Array) -> Array:
    """Undo `as_words`."""
    return (
        jax.random.wrap_key_data(words, impl=jax.random.key_impl(like)) if is_key(like) else words
    )
