"""Checks of the noise of the first step, and of values inside a compiled function."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_covariance, is_concrete
from kfjax._support.types import PyTree
from kfjax.base import Inputs
from kfjax.models.calling import call
from kfjax.models.lens import models_in
from kfjax.models.sensors import Sensors, sensor_names
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def check_first_noise(
    who: str,
    params: PyTree,
    us: Inputs,
    *,
    before: Any = None,
    moves: bool | None = None,
    length: Any = None,
    names: str = "QR",
) -> None:
    """Raise unless functions Q and R give covariances in the first step, where values are known.

    Args:
        who: the function whose argument the params are, for error texts.
        params: params that hold models; all of them are checked.
        us: the inputs of the record.
        before: the belief before the first step, if it is not the prior of the model.
        moves: whether the first step predicts; default true after a belief that is given, otherwise
            as the model says.
        length: the number of steps that count, or None.
        names: which of the two are read.
    """
    models = varying_models(params)
    if not models or (length is not None and not (is_concrete(length) and int(length) > 0)):
        return
    if not all(map(is_concrete, jax.tree.leaves(us))):
        return
    if not all(np.shape(a)[:1] > (0,) for a in jax.tree.leaves(us)):
        return  # the check of shapes reports it
    u = jax.tree.map(lambda a: np.asarray(a)[0], us)
    for model in models:
        _check_step(who, model, before, u, moves, names)


def check_step_noise(who: str, models: list[Any], state: Any, u: Inputs) -> None:
    """Raise as `check_first_noise` does, in the first step that sees each of these models.

    Args:
        who: the function, for error texts.
        models: what `varying_models` returns.
        state: the state before the step, or None at the start of a record.
        u: the input of the step.
    """
    for model in models:
        if model not in _CHECKED and all(map(is_concrete, jax.tree.leaves((model, state, u)))):
            _check_step(who, model, state, u, None, "QR")
            _CHECKED.add(model)


_CHECKED: weakref.WeakSet[Any] = weakref.WeakSet()  # models whose first streamed step was checked


def varying_models(params: PyTree) -> list[Any]:
    """Return the models in params of which Q or R is a function."""
    if isinstance(params, StateSpaceModel):  # the quick way, since every streamed step comes here
        return [params] if _varies(params) else []
    return [model for model in models_in(params) if _varies(model)]


def _varies(model: StateSpaceModel | Sensors) -> bool:
    """Return whether Q, or an R, is a function."""
    if callable(model.Q):
        return True
    if isinstance(model, StateSpaceModel):
        return callable(model.R)
    return any(callable(model.sensors[name].R) for name in sensor_names(model.sensors))


def _check_step(
    who: str,
    model: StateSpaceModel | Sensors,
    before: Any,
    u: Inputs,
    moves: bool | None,
    names: str,
) -> None:
    """Raise unless the noise of one step has covariances, where values are known."""
    if not isinstance(model, StateSpaceModel):
        for name in sensor_names(model.sensors):
            _check_step(who, model.one(name), before, u, moves, names)
        return
    if model.h is None:  # the motion of several sensors
        names = names.replace("R", "")
    x = model.proper_prior.mean
    if before is not None and np.shape(before.mean) == np.shape(x):
        x = before.mean
    if all(map(is_concrete, jax.tree.leaves((model, x)))):
        if moves is None:
            moves = before is not None or model.first == "predict"
        _check_noise(who, _first_noise(model, jnp.asarray(x, model.dtype), u, moves, names))


def check_first_noise_at_runtime(who: str, model: StateSpaceModel, x: Array, us: Inputs) -> None:
    """Raise as `check_first_noise` does, from inside a compiled function."""
    if callable(model.Q) or callable(model.R):
        u = jax.tree.map(lambda a: a[0], us)
        covs = _first_noise(model, x, u, model.first == "predict", "QR")
        jax.debug.callback(functools.partial(_check_noise, who), covs)


def _check_noise(who: str, covs: dict[str, Array]) -> None:
    """Raise unless all are covariances."""
    for name, cov in covs.items():
        check_covariance(f"{who}: {name}(x, u) of the first step", cov)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _first_noise(
    model: StateSpaceModel, x: Array, u: Inputs, moves: bool, names: str
) -> dict[str, Array]:
    """Return Q and R of the first step, those that are functions and give square matrices."""
    covs = {}
    for name in names:
        cov = getattr(model, name)
        if not callable(cov):
            continue
        at = call("f", model.f, x, u) if name == "R" and moves else x
        if getattr(at, "shape", None) != x.shape:
            continue  # the check of shapes reports it, and likewise below
        value = call(name, cov, at.astype(model.dtype), u)
        shape: tuple[int, ...] = getattr(value, "shape", ())
        if len(shape) == 2 and shape[0] == shape[1]:
            covs[name] = value.astype(model.dtype)
    return covs


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
