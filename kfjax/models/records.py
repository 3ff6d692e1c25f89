"""A record of observations with all that belongs to it, and its checks before a filter runs.

What would otherwise die unreadably inside a scan, or give silent NaN, is a ValueError here. Values
are checked by `checked_record` where they are known, outside of a trace; shapes once, while
tracing, by `check_shapes`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import is_concrete
from kfjax.base import Inputs, Mask, Observations, Params, PyTree, State
from kfjax.models.lens import model_of
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []

Size: TypeAlias = int | Any  # to type checkers a number, but a symbol in an export of any size


class Record(NamedTuple):
    """One trajectory as it is observed.

    Attributes:
        ys: observations [T, m], or a pytree of such.
        us: inputs u_1..u_T, any pytree with a leading time axis, or None.
        observed: what was seen, booleans [T] or [T, m] in the structure of ys, or None for
            everything.
        length: the number of leading steps that count, or None for all.
    """

    ys: Observations
    us: Inputs = None
    observed: Mask = None
    length: Any = None


def checked_record(
    who: str,
    ys: Observations,
    us: Inputs = None,
    observed: Mask = None,
    length: Any = None,
) -> Record:
    """Return a `Record`; raise a ValueError if its values, as far as they are known, are wrong.

    Args:
        who: the function whose arguments these are, for error texts.
        ys: observations; lists and numbers become arrays.
        us: inputs.
        observed: the mask; lists and booleans become arrays.
        length: the number of steps.
    """
    ys, observed = _as_array(ys), _as_array(observed)
    _check_mask_dtype(who, observed)
    _check_length(who, ys, length)
    _check_nan(who, ys, observed, length)
    return Record(ys, us, observed, length)


def _as_array(value: PyTree) -> PyTree:
    """Return an array for a list or a number, which would otherwise be a pytree of numbers."""
    return np.asarray(value) if isinstance(value, (list, float, int)) else value


def _check_mask_dtype(who: str, observed: Mask) -> None:
    """Raise unless a mask is made of booleans or integers."""
    for leaf in jax.tree.leaves(observed):
        dtype = jnp.result_type(leaf)
        if not (jnp.issubdtype(dtype, jnp.bool_) or jnp.issubdtype(dtype, jnp.integer)):
            raise ValueError(
                f"{who}: observed has dtype {dtype}; expected booleans. For NaN pass"
                " observed=~jnp.isnan(ys)."
            )


def _check_length(who: str, ys: Observations, length: Any) -> None:
    """Raise if a number of steps lies outside of the data, where its value is known."""
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


def _check_nan(who: str, ys: Observations, observed: Mask, length: Any) -> None:
    """Raise on NaN that would be taken for data, where values can be seen (not inside a trace)."""
    if not all(is_concrete(leaf) for leaf in jax.tree.leaves((ys, observed, length))):
        return
    # in numpy: inside of a trace, jax operations on constants would give tracers
    data = [np.asarray(y) for y in jax.tree.leaves(ys)]
    masks = [np.asarray(o, bool) for o in jax.tree.leaves(observed)]
    masks = masks or [np.asarray(True)] * len(data)
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
                " pass observed=~jnp.isnan(ys); kf.split_missing does so for a pytree of sensors."
            )


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
    single = isinstance(record.ys, (jax.Array, np.ndarray))  # else of several sensors
    if single and model is not None and model.h is not None:
        m = _check_model(who, model, record.us)
        _check_observations(who, m, record.ys, record.observed)
    return steps


def _check_model(who: str, model: StateSpaceModel, us: Inputs) -> int:
    """Return the size of an observation; raise unless f, h, Q and R give shapes that fit."""
    u = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), us)
    x = model.prior.mean
    N, n = x.shape[0], model.n
    functions = {"h": model.h, "f": model.f, "Q": model.process_noise, "R": model.observation_noise}
    try:
        outputs = {name: jax.eval_shape(function, x, u) for name, function in functions.items()}
    except (TypeError, AttributeError, KeyError, IndexError) as error:
        if us is not None:
            raise
        raise ValueError(
            f"{who}: the model cannot be evaluated without inputs ({type(error).__name__}:"
            f" {error}); expected us. Pass us= with a leading time axis."
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
                " prior and h of the model have it."
            )
    return m[0]


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
    if observed is not None and observed.shape not in (ys.shape, ys.shape[:1]):
        raise ValueError(
            f"{who}: observed has shape {observed.shape}; expected {ys.shape[:1]} or {ys.shape}."
        )


def check_state(who: str, params: Params, state: State) -> None:
    """Raise unless the mean of a state is like that of the prior: all states have a mean."""
    model, mean = model_of(params), getattr(state, "mean", None)
    if model is None or mean is None:
        return
    expected = model.prior.mean
    if mean.shape != expected.shape or mean.dtype != expected.dtype:
        raise ValueError(
            f"{who}: the state has a mean of shape {mean.shape} and {mean.dtype}; expected"
            f" {expected.shape} and {expected.dtype}, as the prior of the model. Start from"
            " filter.init or the final state of a run."
        )


def check_runtime(text: str, tree: PyTree) -> None:
    """Raise from inside a compiled function unless every number in the tree is finite."""
    bad = ~jnp.asarray([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)])
    jax.debug.callback(functools.partial(_raise_if, text), bad.any())


def _raise_if(text: str, bad: Array | np.ndarray) -> None:
    if np.any(bad):
        raise ValueError(f"{text}; see the Conventions page on missing data.")


def is_singular(cov: Any) -> bool:
    """Tell whether a covariance is singular to rounding, as far as its values can be looked at."""
    if callable(cov) or not is_concrete(cov):
        return False
    C = np.asarray(cov, np.float64)
    rounding = C.shape[0] * float(jnp.finfo(cov.dtype).eps) * np.abs(C).max()
    return bool(np.linalg.eigvalsh(C).min() <= rounding)


def count_steps(who: str, steps: int | None, us: Inputs) -> int:
    """Return the number of steps, given as such or by inputs with a leading time axis."""
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(us)}
    given = lengths if steps is None else lengths | {steps}
    if len(given) != 1 or min(given) < 1:
        raise ValueError(
            f"{who}: got steps={steps} and us of lengths {sorted(lengths - {steps})}; expected one"
            " number of steps, at least 1. Pass steps=, or us with a leading time axis."
        )
    return given.pop()


def until(length: Any, us: Inputs, steps: Size) -> tuple[Inputs, Array | None]:
    """Return inputs that are harmless after the end, and whether each step counts.

    NaN after the end must not reach a gradient: the inputs of the first step stand there (ones, if
    there is none).

    Args:
        length: the number of steps that count, or None for all.
        us: inputs [T, ...].
        steps: T.

    Returns:
        The inputs, and booleans [T], or None if length is None.
    """
    if length is None:
        return us, None
    active = jnp.arange(steps) < length

    def fill(a: Array) -> Array:
        harmless = jnp.where(length > 0, a[:1], jnp.ones_like(a[:1]))
        return jnp.where(active.reshape((-1,) + (1,) * (a.ndim - 1)), a, harmless)

    return jax.tree.map(lambda a: fill(jnp.asarray(a)), us), active
