"""Checks of the noise of the first step, and of values inside a compiled function."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_covariance, is_concrete
from kfjax._support.types import PyTree
from kfjax.base import Inputs
from kfjax.models.calling import call
from kfjax.models.records import Record
from kfjax.models.shapes import check_functions
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def check_first_noise(who: str, model: StateSpaceModel, x: Array, record: Record) -> None:
    """Raise unless functions Q and R give covariances in the first step, where values are known.

    Args:
        who: the function whose argument the model is, for error texts.
        model: the model.
        x: the mean before the first step.
        record: the record, for its first input.
    """
    if not callable(model.Q) and not callable(model.R):
        return
    if record.length is not None or not all(map(is_concrete, jax.tree.leaves((model, x, record)))):
        return
    first = jax.tree.map(lambda a: np.asarray(a)[:1], record.us)
    if any(np.shape(a)[:1] != (1,) for a in jax.tree.leaves(first)):
        return  # the check of shapes reports it
    _check_noise(who, *_first_noise(model, x, jax.tree.map(lambda a: a[0], first)))


def check_first_noise_at_runtime(who: str, model: StateSpaceModel, x: Array, us: Inputs) -> None:
    """Raise as `check_first_noise` does, from inside a compiled function."""
    if callable(model.Q) or callable(model.R):
        u = jax.tree.map(lambda a: a[0], us)
        jax.debug.callback(functools.partial(_check_noise, who), *_first_noise(model, x, u))


def _check_noise(who: str, Q: Array, R: Array) -> None:
    """Raise unless both are covariances."""
    check_covariance(f"{who}: Q(x, u) of the first step", Q)
    check_covariance(f"{who}: R(x, u) of the first step", R)


@jax.jit
def _first_noise(model: StateSpaceModel, x: Array, u: Inputs) -> tuple[Array, Array]:
    """Return Q and R of the first step."""
    check_functions("run", model, u)
    predicted = x
    if model.first == "predict":
        predicted = call("f", model.f, x, u).astype(model.dtype)
    return model.noise_as_given("Q", x, u), model.noise_as_given("R", predicted, u)


def check_runtime(text: str, tree: PyTree) -> None:
    """Raise from inside a compiled function unless every number in the tree is finite."""
    floats = [leaf for leaf in map(jnp.asarray, jax.tree.leaves(tree)) if _is_float(leaf)]
    bad = [~jnp.isfinite(leaf).reshape(-1) for leaf in floats if leaf.size]
    if bad:
        found = jnp.stack([leaf.any() for leaf in bad])
        place = jnp.stack([jnp.argmax(leaf) for leaf in bad])
        shapes = tuple(leaf.shape for leaf in floats if leaf.size)
        jax.debug.callback(functools.partial(_raise_if, text, shapes), found, place)


def refuse_at_runtime(text: str, refused: Array) -> None:
    """Raise from inside a compiled function if a boolean is true."""
    jax.debug.callback(functools.partial(_raise_error, text), refused)


def _raise_error(text: str, refused: Any) -> None:
    """Raise if a boolean, or one of many, is true."""
    if np.any(refused):
        raise ValueError(text)


def _is_float(leaf: Array) -> bool:
    """Return whether an array may hold NaN."""
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _raise_if(text: str, shapes: tuple[tuple[int, ...], ...], found: Any, place: Any) -> None:
    """Raise if anything was found, naming its first place in the first array that contains it."""
    if np.any(found):
        index = int(np.argmax(found))
        at = np.unravel_index(int(place[index]), shapes[index])
        raise ValueError(
            f"{text}, first at {[int(i) for i in at]}; expected finite numbers. See the page on"
            " conventions about missing data."
        )
