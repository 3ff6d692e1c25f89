"""Checks of time series at the public doors: what would otherwise die unreadably inside a scan, or give silent NaN."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import is_concrete
from kfjax.base import Filter
from kfjax.models.state_space import StateSpaceModel, model_of

__all__ = [
    "check_filter",
    "check_length",
    "check_mask_dtype",
    "check_nan",
    "check_runtime",
    "check_series",
    "check_state",
    "is_singular",
    "until",
]


def check_filter(who: str, filter: Any) -> None:
    """Refuse what is no filter, such as a constructor that was not called."""
    if not isinstance(filter, Filter):
        raise ValueError(
            f"{who}: filter is {getattr(filter, '__name__', type(filter).__name__)}; expected a"
            " kfjax.Filter."
            " Call its constructor, as in kf.extended()."
        )


def check_length(who: str, ys: Any, length: Any) -> None:
    """Refuse a number of steps outside the data, where its value is known."""
    if length is None:
        return
    if np.ndim(length) or not jnp.issubdtype(jnp.result_type(length), jnp.integer):
        raise ValueError(
            f"{who}: length is {length}; expected one integer. A batch goes through jax.vmap."
        )
    if not is_concrete(length):
        return
    steps = min((np.shape(leaf)[0] for leaf in jax.tree.leaves(ys) if np.ndim(leaf)), default=0)
    if not 0 <= int(length) <= steps:
        raise ValueError(
            f"{who}: length is {length}; expected 0 to {steps}, the number of steps in ys."
        )


def check_mask_dtype(who: str, observed: Any) -> None:
    """Refuse masks that are not made of booleans or integers."""
    for leaf in jax.tree.leaves(observed):
        dtype = jnp.result_type(leaf)
        if not (jnp.issubdtype(dtype, jnp.bool_) or jnp.issubdtype(dtype, jnp.integer)):
            raise ValueError(
                f"{who}: observed has dtype {dtype}; expected booleans. Use kf.split_missing for"
                " NaN."
            )


def check_nan(who: str, ys: Any, observed: Any, length: Any) -> None:
    """Refuse NaN that would be taken for data, where values can be seen (not inside a trace)."""
    if not all(is_concrete(leaf) for leaf in jax.tree.leaves((ys, observed, length))):
        return
    # in numpy: inside somebody's trace, jax operations on constants would give tracers
    data = [np.asarray(y) for y in jax.tree.leaves(ys)]
    masks = [np.asarray(o, bool) for o in jax.tree.leaves(observed)] or [np.asarray(True)] * len(
        data
    )
    if len(masks) != len(data):
        raise ValueError(
            f"{who}: observed has {len(masks)} parts; expected {len(data)}, in the structure of ys."
        )
    for y, mask in zip(data, masks, strict=True):
        if mask.shape != y.shape[: mask.ndim]:
            continue  # the check of shapes will say so
        bad = np.isnan(y) if np.issubdtype(y.dtype, np.floating) else np.zeros(y.shape, bool)
        bad = bad & mask.reshape(mask.shape + (1,) * (y.ndim - mask.ndim))
        if bad[: None if length is None else int(length)].any():
            raise ValueError(
                f"{who}: ys has NaN where it counts as observed; expected numbers. For missing data"
                " write"
                " `ys, observed = kf.split_missing(ys)` and pass observed=observed."
            )


def is_singular(cov: Any) -> bool:
    """Tell whether a covariance is singular to rounding, as far as its values can be looked at."""
    if callable(cov) or not is_concrete(cov):
        return False
    C = np.asarray(cov, np.float64)
    return bool(
        np.linalg.eigvalsh(C).min()
        <= C.shape[0] * float(jnp.finfo(cov.dtype).eps) * np.abs(C).max()
    )


def check_runtime(text: str, tree: Any) -> None:
    """Raise from inside a compiled function unless every number in the tree is finite."""
    bad = ~jnp.asarray([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)])
    jax.debug.callback(functools.partial(_raise_if, text), bad.any())


def _raise_if(text: str, bad: np.ndarray) -> None:
    if np.any(bad):
        raise ValueError(f"{text}; see the Conventions page on missing data.")


def check_series(who: str, params: Any, ys: Any, us: Any, observed: Any) -> int:
    """Check shapes once, while tracing: what would otherwise die unreadably inside a scan. Returns T."""
    leaves = jax.tree.leaves(ys)
    if not leaves or any(leaf.ndim == 0 or leaf.shape[0] == 0 for leaf in leaves):
        raise ValueError(
            f"{who}: ys has shape {[leaf.shape for leaf in leaves]}; expected [T, m] with T at"
            " least 1."
        )
    steps = leaves[0].shape[0]
    for name, tree in (("ys", ys), ("us", us), ("observed", observed)):
        for leaf in jax.tree.leaves(tree):
            if leaf.ndim == 0 or leaf.shape[0] != steps:
                raise ValueError(
                    f"{who}: {name} has shape {leaf.shape}; expected a leading axis of {steps}"
                    " steps, as ys."
                    " A batch goes through jax.vmap."
                )
    model = model_of(params)
    if model is not None and isinstance(ys, (jax.Array, np.ndarray)):
        _check_observations(who, model, ys, us, observed)
    return steps


def check_state(who: str, params: Any, state: Any) -> None:
    """Check a state that a user gives against the prior of the model: its mean is all that every state has."""
    model, mean = model_of(params), getattr(state, "mean", None)
    if model is None or mean is None:
        return
    expected = model.prior.mean
    if mean.shape != expected.shape or mean.dtype != expected.dtype:
        raise ValueError(
            f"{who}: the state has a mean of shape {mean.shape} and {mean.dtype}; expected"
            f" {expected.shape} and"
            f" {expected.dtype}, as the prior of the model. Start from filter.init or the final"
            " state of a run."
        )


def _check_observations(
    who: str, model: StateSpaceModel, ys: Array | np.ndarray, us: Any, observed: Any
) -> None:
    """Check ys [T, m] and the mask against what the model's functions return."""
    u = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), us)
    x = model.prior.mean
    N, n = x.shape[0], model.n
    try:
        functions = {
            "h": model.h,
            "f": model.f,
            "Q": model.process_noise,
            "R": model.observation_noise,
        }
        outputs = {name: jax.eval_shape(function, x, u) for name, function in functions.items()}
    except (TypeError, AttributeError, KeyError, IndexError) as error:
        if us is not None:
            raise
        raise ValueError(
            f"{who}: the model cannot be evaluated without inputs ({type(error).__name__}:"
            f" {error});"
            " expected us. Pass us= with a leading time axis."
        ) from error
    for name, output in outputs.items():
        if not hasattr(output, "shape"):
            raise ValueError(
                f"{who}: {name} returns a {type(output).__name__}; expected an array. Use"
                " jnp.stack."
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
                " prior and h of the model"
                " have it."
            )
    if ys.shape[1:] != m:
        remedy = "Reshape it."
        if ys.ndim == 2 and ys.shape[0] == m[0]:
            remedy = "It looks transposed: pass ys.T."
        elif ys.ndim == 3:
            remedy = "A batch goes through jax.vmap."
        elif ys.ndim == 1:
            remedy = "Pass ys[:, None]."
        raise ValueError(
            f"{who}: ys has shape {ys.shape}; expected [T, m] with m = {m[0]}, as h returns."
            f" {remedy}"
        )
    if observed is not None and observed.shape not in (ys.shape, ys.shape[:1]):
        raise ValueError(
            f"{who}: observed has shape {observed.shape}; expected {ys.shape[:1]} or {ys.shape}."
        )


def until(length: Any, tree: Any) -> Any:
    """Return series whose entries after `length` are those of the first step (ones, if there is none).

    NaN after the end must not reach a gradient.
    """

    def fill(a: Array) -> Array:
        inside = jnp.arange(a.shape[0]) < length
        harmless = jnp.where(length > 0, a[:1], jnp.ones_like(a[:1]))
        return jnp.where(inside.reshape((-1,) + (1,) * (a.ndim - 1)), a, harmless)

    return jax.tree.map(lambda a: fill(jnp.asarray(a)), tree)
