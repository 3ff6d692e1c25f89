"""Noise covariances that a network computes from the state and the input.

Q_t = D_t Q D_t,   D_t = diag(exp(z_t)),   z_t = network(context(x_{t-1|t-1}, u_t)),   R_t likewise
at x_{t|t-1}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from kfjax._support.arguments import (
    check_count,
    check_flag,
    check_function,
    check_key,
    check_kind,
    choose_some,
    real_numbers,
)
from kfjax._support.types import AnyArray, Key
from kfjax._support.values import as_arrays, check_finite
from kfjax.base import Inputs
from kfjax.learned.gains.covariances import entries, rescaled, stretched
from kfjax.learned.models.regressors import MLP
from kfjax.learned.params import ContextFunction
from kfjax.models.state_space import StateSpaceModel

__all__ = ["context_noise", "input_context", "state_context"]


def input_context(x: Float[AnyArray, " n"], u: Inputs) -> Float[Array, " p"]:
    """Return u, an array [p]: what was measured beside y, such as signal strength."""
    del x
    if u is None:
        raise ValueError(
            "input_context: got no input u; expected an array [p], what was measured beside y. Pass"
            " us= to run."
        )
    return jnp.asarray(as_arrays("input_context: u", u))


def state_context(x: Float[AnyArray, " n"], u: Inputs) -> Float[AnyArray, " n"]:
    """Return x [n]."""
    del u
    return x


class Context(NamedTuple):
    """The numbers of a noise covariance that depends on its context; training moves the weights.

    Attributes:
        nominal: the covariance at a network output of zero.
        centre: centre [k] subtracted from the context.
        spread: units [k] of the context.
        weights: weights of the network.
    """

    nominal: Any
    centre: Any
    spread: Any
    weights: Any


def context_noise(
    model: StateSpaceModel,
    learn: Sequence[str] = ("Q", "R"),
    *,
    context: ContextFunction = input_context,
    size: int,
    key: Key,
    hidden: tuple[int, ...] = (16, 16),
    full: bool = False,
    centre: Any = 0.0,
    spread: Any = 1.0,
) -> StateSpaceModel:
    """Return the model with Q and R as networks of the context, initially the model's own.

    Standard deviations change by factors from exp(-3) to exp(3). Train with `refine(filter, model,
    data, key=key, loss=kf.training.innovation_nll(filter), learn=())`, which needs no true states.

    Args:
        model: a model with constant Q and R, for example from `kfjax.training.fit_noise`.
        learn: names among "Q" and "R".
        context: `(x, u) -> [size]`, a module-level function: `input_context`, `state_context`, or
            your own features.
        size: number of entries in the context.
        key: random key, for the hidden layers.
        hidden: sizes of the hidden layers.
        full: whether correlations change too: Q_t = L T_t T_t' L' with L L' = Q, and T_t triangular
            with a positive diagonal.
        centre: a number or [size] subtracted from the context.
        spread: units of the context, a positive number or [size], such as its standard deviations
            in the training data.

    Returns:
        A `StateSpaceModel` whose Q and R are callables of (x, u).

    Raises:
        ValueError: for unknown names, a Q or R that is already a function, or sizes that do not
            fit.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> moody = kf.learned.context_noise(
        ...     model, ("R",), size=1, key=jax.random.key(0)
        ... )
        >>> bool(jnp.allclose(moody.R(jnp.zeros(2), jnp.ones(1)), model.R))
        True
    """
    check_kind("context_noise: model", model, StateSpaceModel)
    choose_some("context_noise: learn", learn, ("Q", "R"))
    check_key("context_noise: key", key)
    check_function("context_noise: context", context, "a function of (x, u)")
    check_count("context_noise: size", size)
    check_flag("context_noise: full", full)
    centre, spread = (
        _vector(name, value, size) for name, value in (("centre", centre), ("spread", spread))
    )
    if not (spread > 0).all():
        raise ValueError(f"context_noise: spread is {spread.tolist()}; expected positive numbers.")
    centre, spread = (jnp.asarray(a, model.dtype) for a in (centre, spread))
    rule = _ContextNoise(MLP(hidden), context, full)
    noises = {}
    for name, k in zip(learn, jax.random.split(key, len(learn)), strict=True):
        nominal = getattr(model, name)
        if callable(nominal):
            raise ValueError(
                f"context_noise: {name} is a function; expected a matrix to start from."
            )
        outputs = entries(nominal.shape[0]) if full else nominal.shape[0]
        weights = rule.network.init(k, size, outputs, model.dtype)
        noises[name] = Partial(rule, Context(nominal, centre, spread, weights))
    return model.replace(**noises)


@dataclasses.dataclass(frozen=True)
class _ContextNoise:
    """(theta, x, u) -> covariance; hashable, so that models built alike share one compilation."""

    network: MLP
    context: ContextFunction
    full: bool

    def __call__(self, theta: Context, x: Array, u: Inputs) -> Array:
        v = self.context(x, u).astype(theta.nominal.dtype)
        if v.shape != theta.centre.shape:
            raise ValueError(
                f"context_noise: the context has shape {v.shape}; expected {theta.centre.shape}, as"
                " its size."
            )
        values = self.network(theta.weights, (v - theta.centre) / theta.spread)
        return (stretched if self.full else rescaled)(theta.nominal, values)


def _vector(name: str, value: object, size: int) -> np.ndarray:
    """Return a number or [size] as [size]."""
    value = real_numbers(f"context_noise: {name}", value)
    check_finite(f"context_noise: {name}", value)
    if value.shape not in ((), (size,)):
        raise ValueError(
            f"context_noise: {name} has shape {value.shape}; expected a number or ({size},)."
        )
    return np.broadcast_to(value, (size,))
