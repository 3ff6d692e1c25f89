"""A step or a run of a filter as a function of flat lists of arrays with names.

Programs outside Python can take only arrays and names; the types of states and inputs stay here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_function, check_key
from kfjax._support.naming import described
from kfjax._support.persistence import as_words, is_key
from kfjax._support.types import AnyArray
from kfjax._support.values import as_arrays
from kfjax.base import Emit, Filter, Inputs, Mask, Observations, Params, PyTree, State
from kfjax.filters.checks import check_filter, check_params
from kfjax.filters.starting import emit_inner, update_first
from kfjax.models.hidden_markov import HiddenMarkovModel, observation_shape
from kfjax.models.lens import model_of, starts_with_update
from kfjax.models.shapes import check_state
from kfjax.models.values import check_start
from kfjax.runner import run
from kfjax.streaming import step

__all__: list[str] = []

Size: TypeAlias = int | str
"""The size of an axis; a name stands for any number."""


class Entry(NamedTuple):
    """An array that is an argument of a program.

    Attributes:
        name: its place in a state or among the inputs, such as "state.mean".
        shape: its sizes; a name stands for any size.
        dtype: name of its dtype.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: str


class Examples(NamedTuple):
    """The arguments of a program, by example.

    Attributes:
        y: one observation, or None for what h of the model returns.
        u: the input of one step, or None for no inputs.
        masked: whether the program takes `observed`.
        key: random key for filters that draw, or None.
        state: the state to start from, or None for `filter.init(params, key)`.
    """

    y: Observations | None
    u: Inputs
    masked: bool
    key: Array | None
    state: State | None


class Flat(NamedTuple):
    """A function of arrays that returns a list of arrays; the state comes first in both.

    Attributes:
        kind: "step" or "run".
        fn: the function.
        inputs: its arguments.
        initial: the arrays of the state before the first step, of one trajectory.
        outputs: names of the results after the state.
        batch: size of the leading axis, a number or a name, or None without a batch axis.
    """

    kind: str
    fn: Callable[..., list[Array]]
    inputs: list[Entry]
    initial: list[np.ndarray]
    outputs: list[str]
    batch: Size | None


def flat_step(filter: Filter, params: Params, examples: Examples, *, batch: Size | None) -> Flat:
    """Return predict and update as a function of arrays.

    The results are the new state, its mean and cov, and the fields of Info.
    """

    def one(state: State, y: Observations, u: Inputs, observed: Mask) -> tuple[State, PyTree]:
        state, info = step(started, params, state, y, u=u, observed=observed)
        return state, {"mean": state.mean, "cov": state.cov, **info._asdict()}

    _check_size("batch", batch)
    started = _from_state(filter, params, examples)
    start, series = _start_and_series(started, params, examples)
    return _flat("step", one, start, series, (), batch)


def flat_run(
    filter: Filter,
    params: Params,
    examples: Examples,
    *,
    steps: Size,
    batch: Size | None,
    emit: Emit[PyTree],
) -> Flat:
    """Return a whole run as a function of arrays.

    The results are the final state, and what emit keeps.
    """

    def whole(state: State, y: Observations, u: Inputs, observed: Mask) -> tuple[State, PyTree]:
        return run(started, params, y, us=u, observed=observed, state=state, emit=keep)

    _check_size("batch", batch)
    _check_size("steps", steps)
    started = _from_state(filter, params, examples)
    check_function("export_run: emit", emit, "a function of (state, info), such as kf.whole_state")
    keep = emit if started == filter else emit_inner(emit)
    start, series = _start_and_series(started, params, examples)
    return _flat("run", whole, start, series, (steps,), batch)


def _from_state(filter: Filter, params: Params, examples: Examples) -> Filter:
    """Return a filter whose state says whether the record has begun, as a program requires."""
    check_filter("export", filter)
    check_params("export", params)
    if examples.key is not None:
        check_key("export: key", examples.key)
    if examples.state is not None:
        check_start("export", examples.state)
        check_state("export", params, examples.state)
    if examples.state is None and starts_with_update(params):
        return update_first(filter)
    return filter


def _check_size(name: str, size: Size | None) -> None:
    """Raise unless `size` is a number of trajectories or steps, or a name for any number."""
    if size is None and name == "batch":
        return
    named = isinstance(size, str) and size.isidentifier()
    counted = isinstance(size, int) and not isinstance(size, bool) and size >= 1
    if not (named or counted):
        raise ValueError(
            f"export: {name} is {described(size)}; expected an integer, at least 1, or a name for"
            " any number, such as 'b'."
        )


def _start_and_series(
    filter: Filter, params: Params, examples: Examples
) -> tuple[State, dict[str, PyTree]]:
    """Return the state before the first step, and the shapes and dtypes of a step's arguments."""
    state = examples.state
    if state is None:
        state = filter.init(params, examples.key)
    # as a list, every number of y would be a sensor of its own
    given = as_arrays("export: y", examples.y), as_arrays("export: u", examples.u)
    y, u = jax.tree.map(_shape, given)
    if y is None:
        y = _predicted(params, u)
    observed = jax.tree.map(_mask, y) if examples.masked else None
    return jax.tree.map(jnp.asarray, state), {"y": y, "u": u, "observed": observed}


def _shape(array: PyTree) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of an array or a number."""
    return jax.ShapeDtypeStruct(jnp.shape(array), jnp.result_type(array))


def _mask(y: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of the mask of an observation."""
    return jax.ShapeDtypeStruct(y.shape, jnp.dtype(bool))


def _predicted(params: Params, u: Inputs) -> PyTree:
    """Return the shape and dtype of an observation of the model."""
    if isinstance(params, HiddenMarkovModel) and hasattr(params.emission, "channels"):
        return observation_shape("export", params)
    model = model_of(params)
    if model is None or model.h is None:
        raise ValueError(
            f"export: params is {type(params).__name__}; expected y, an example of one observation."
        )
    return jax.eval_shape(model.h, model.proper_prior.mean, u)


def _flat(
    kind: str,
    call: Callable[..., tuple[State, PyTree]],
    start: State,
    series: dict[str, PyTree],
    time: tuple[Size, ...],
    batch: Size | None,
) -> Flat:
    """Make a function take and return the leaves of its arguments, by name."""
    leaves, state_tree = jax.tree.flatten(start)
    series_tree = jax.tree.structure(series)
    if batch is not None and any(map(_draws, leaves)):
        raise ValueError(
            "export: the filter draws random numbers, and all trajectories of a batch would draw"
            " the same; expected batch=None. Export one trajectory, and call it with a separate"
            " state for each."
        )

    def structured(*arrays: Array) -> tuple[list[Array], PyTree]:
        of_state = map(_as_key, leaves, arrays)
        state = jax.tree.unflatten(state_tree, list(of_state))
        inputs = jax.tree.unflatten(series_tree, arrays[len(leaves) :])
        after, outputs = call(state, **inputs)
        return list(map(as_words, jax.tree.leaves(after))), outputs

    def fn(*arrays: Array) -> list[Array]:
        return jax.tree.leaves(structured(*arrays))

    words = [np.asarray(as_words(leaf)) for leaf in leaves]
    inputs = _entries("state", jax.tree.unflatten(state_tree, words)) + _entries("", series, time)
    _, outputs = jax.eval_shape(structured, *map(_example, inputs))
    names = [entry.name for entry in _entries("", outputs)]
    if batch is None:
        return Flat(kind, fn, inputs, words, names, batch)
    batched = [entry._replace(shape=(batch, *entry.shape)) for entry in inputs]
    return Flat(kind, jax.vmap(fn), batched, words, names, batch)


def _entries(prefix: str, tree: PyTree, leading: tuple[Size, ...] = ()) -> list[Entry]:
    """Name the leaves of a tree."""
    entries = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = _joined(prefix, path)
        entries.append(Entry(name, leading + leaf.shape, str(leaf.dtype)))
    return entries


def _joined(prefix: str, path: Sequence[Any]) -> str:
    """Return the name of a leaf, such as "state.mean"."""
    place = jax.tree_util.keystr(tuple(path), simple=True, separator=".")
    return ".".join(part for part in (prefix, place) if part)


def _example(entry: Entry) -> jax.ShapeDtypeStruct:
    """Return an array of this kind; 2 stands for a named size."""
    shape = [2 if isinstance(size, str) else size for size in entry.shape]
    return jax.ShapeDtypeStruct(shape, entry.dtype)


def _draws(leaf: Array) -> bool:
    """Return whether random numbers come from this leaf of a state.

    It is either a key or the words of a key, the only unsigned numbers in a state.
    """
    return is_key(leaf) or jnp.issubdtype(leaf.dtype, jnp.unsignedinteger)


def _as_key(like: Array, words: AnyArray) -> AnyArray:
    """Return the key of these words if `like` is one: the inverse of `as_words`."""
    if not is_key(like):
        return words
    return jax.random.wrap_key_data(words, impl=jax.random.key_impl(like))
