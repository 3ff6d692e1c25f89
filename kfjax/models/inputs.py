"""A warning about inputs that have no effect."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax

from kfjax.base import Inputs, Params
from kfjax.models.lens import is_model
from kfjax.models.shapes import functions_of
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def warn_if_unread(
    who: str, params: Params, u: Inputs, step: Callable[[Inputs], Any] | None = None
) -> None:
    """Warn if inputs are given and nothing reads them: most likely, B was forgotten.

    The check traces four functions, once for every compilation.

    Args:
        who: the function whose argument they are.
        params: params of a filter, with models inside.
        u: the input of one step, of arrays or their shapes.
        step: the step of a filter as a function of u, in case the filter itself reads u.
    """
    if not jax.tree.leaves(u):
        return
    leaves = jax.tree.leaves(params, is_leaf=is_model)
    models = [leaf for leaf in leaves if isinstance(leaf, StateSpaceModel) and leaf.h is not None]
    if any(reads(functools.partial(evaluated, model), u) for model in models):
        return
    if step is not None and reads(step, u):
        return
    if isinstance(u, dict) and set(u) == {"dt"}:  # readers of tables make it from the times
        warnings.warn(
            f"{who}: no function of the model reads u['dt'], the time since the previous row, so"
            " all steps are treated alike. If they differ, make f and Q functions of it, as the"
            " models of kfjax.systems are with dt=None.",
            stacklevel=2,
        )
    else:
        warnings.warn(
            f"{who}: us is given, but none of f, h, Q and R reads u, so it has no effect. Leave it"
            " out, or give the model a function of u (kf.Linear has B).",
            stacklevel=2,
        )


def evaluated(model: StateSpaceModel, u: Inputs) -> list[Any]:
    """Return what the four functions of a model give at the mean of the prior."""
    return [fn(model.proper_prior.mean, u) for fn in functions_of(model).values()]


def reads(fn: Callable[[Inputs], Any], u: Inputs) -> bool:
    """Return whether the result of a function depends on its argument, according to its trace."""
    jaxpr = jax.make_jaxpr(fn)(u).jaxpr
    used = {id(v) for equation in jaxpr.eqns for v in equation.invars}
    used |= {id(v) for v in jaxpr.outvars}
    return any(id(v) in used for v in jaxpr.invars)
