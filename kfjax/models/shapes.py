"""Checks of shapes before a filter runs, while tracing: once for every compilation."""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.naming import described
from kfjax.base import Inputs, Mask, Params, State
from kfjax.models.calling import call
from kfjax.models.lens import model_of
from kfjax.models.records import Record
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []

Size: TypeAlias = int | Any  # an integer, or a symbol in an export of any size


def check_shapes(who: str, params: Params, record: Record) -> Size:
    """Return the number of steps of a record; raise a ValueError if shapes do not fit.

    Args:
        who: the function whose arguments these are, for error texts.
        params: the params of a filter; a model inside them says what shapes are expected.
        record: the record, of arrays or tracers.
    """
    leaves = jax.tree.leaves(record.ys)
    if not leaves or any(leaf.ndim == 0 or leaf.shape[0] == 0 for leaf in leaves):
        raise ValueError(
            f"{who}: ys has shape {[leaf.shape for leaf in leaves]}; expected [T, m] with T at"
            " least 1."
        )
    steps = leaves[0].shape[0]
    for name, tree in record._replace(length=None)._asdict().items():
        for leaf in jax.tree.leaves(tree):
            if leaf.ndim == 0 or leaf.shape[0] != steps:
                raise ValueError(
                    f"{who}: {name} has shape {leaf.shape}; expected a leading axis of {steps}"
                    " steps, as ys. A batch goes through jax.vmap."
                )
    model = model_of(params)
    # several sensors have a pytree of arrays
    single = isinstance(record.ys, (jax.Array, np.ndarray))
    if single and model is not None and model.h is not None:
        m = check_functions(who, model, first_of(record.us))
        _check_observations(who, m, record.ys, record.observed)
    return steps


def check_functions(who: str, model: StateSpaceModel, u: Inputs) -> int:
    """Return the size of an observation; raise unless f, h, Q and R give shapes that fit."""
    x = model.proper_prior.mean
    N = x.shape[0]
    n = model.n
    outputs = {
        name: jax.eval_shape(functools.partial(call, name, fn), x, u)
        for name, fn in functions_of(model).items()
    }
    for name, output in outputs.items():
        if not hasattr(output, "shape"):
            remedy = "Is there a return?" if output is None else "Use jnp.stack."
            raise ValueError(
                f"{who}: {name} returns {described(output)}; expected an array. {remedy}"
            )
    m = outputs["h"].shape
    if len(m) != 1:
        raise ValueError(
            f"{who}: h returns shape {m}; expected [m]. Return a vector, for example h(x)[None]."
        )
    for name, expected in (("f", (N,)), ("Q", (n, n)), ("R", m + m)):
        if outputs[name].shape != expected:
            raise ValueError(
                f"{who}: {name} gives shape {outputs[name].shape}; expected {expected}, as the"
                " prior and h of the model have it."
            )
    return m[0]


def check_step_shapes(who: str, params: Params, record: Record) -> None:
    """Raise unless the shapes of a single step fit, as in `check_shapes` without the time axis."""
    y, u, observed, _ = record
    model = model_of(params)
    if y is None:
        raise ValueError(f"{who}: y is None; expected [m]. Without an observation: observed=False.")
    if not isinstance(y, (jax.Array, np.ndarray)) or model is None or model.h is None:
        return
    m = check_functions(who, model, u)
    if y.shape != (m,):
        raise ValueError(
            f"{who}: y has shape {y.shape}; expected ({m},), as h returns. kf.run takes many steps."
        )
    _check_one_mask(who, observed)
    if observed is not None and jnp.shape(observed) not in ((), (m,)):
        raise ValueError(
            f"{who}: observed has shape {jnp.shape(observed)}; expected () or ({m},), as y."
        )


def first_of(us: Inputs) -> Inputs:
    """Return the shapes of the input of one step."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), us)


def functions_of(model: StateSpaceModel) -> dict[str, Any]:
    """Return the four functions of a model by name."""
    functions = {"h": model.h, "f": model.f}
    for name in ("Q", "R"):
        cov = getattr(model, name)
        functions[name] = cov if callable(cov) else functools.partial(_always, cov)
    return functions


def _always(cov: Array, x: Array, u: Inputs) -> Array:
    """Return a constant covariance."""
    del x, u
    return cov


def _check_observations(who: str, m: int, ys: Array | np.ndarray, observed: Mask) -> None:
    """Raise unless ys is [T, m] and the mask [T] or [T, m]."""
    if ys.shape[1:] != (m,):
        remedy = "Reshape it."
        if ys.ndim == 2 and ys.shape[0] == m:
            remedy = "It looks transposed: pass ys.T."
        elif ys.ndim == 3:
            remedy = "A batch goes through jax.vmap."
        elif ys.ndim == 1:
            remedy = "Pass ys[:, None]."
        raise ValueError(
            f"{who}: ys has shape {ys.shape}; expected [T, m] with m = {m}, as h returns. {remedy}"
        )
    _check_one_mask(who, observed)
    if observed is not None and observed.shape not in (ys.shape, ys.shape[:1]):
        raise ValueError(
            f"{who}: observed has shape {observed.shape}; expected {ys.shape[:1]} or {ys.shape}."
        )


def _check_one_mask(who: str, observed: Mask) -> None:
    """Raise if a mask has parts, although the observations are one array."""
    if isinstance(observed, (dict, tuple)):
        raise ValueError(
            f"{who}: observed is {described(observed)}; expected one array of booleans, since the"
            " observations are one array."
        )


def check_state(who: str, params: Params, state: State) -> None:
    """Raise unless the mean of a state is like that of the prior: all states have a mean."""
    model = model_of(params)
    mean = getattr(state, "mean", None)
    if mean is None:
        raise ValueError(
            f"{who}: the state is {described(state)}; expected one with a mean. Start from"
            " filter.init or the final state of a run."
        )
    if model is None:
        return
    expected = model.proper_prior.mean
    if mean.shape != expected.shape or mean.dtype != expected.dtype:
        raise ValueError(
            f"{who}: the state has a mean of shape {mean.shape} and {mean.dtype}; expected"
            f" {expected.shape} and {expected.dtype}, as the prior of the model. Start from"
            " filter.init or the final state of a run."
        )
