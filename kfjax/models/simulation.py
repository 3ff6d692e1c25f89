"""Drawing trajectories from a state-space model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Real

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.arguments import check_key
from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.pytrees import at, prepended
from kfjax._support.types import Key
from kfjax._support.values import as_arrays, check_finite
from kfjax.base import Gaussian, Inputs
from kfjax.models.calling import call
from kfjax.models.chains import log_of
from kfjax.models.hidden_markov import HiddenMarkovModel
from kfjax.models.records import checked_inputs, count_steps
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.shapes import check_functions, first_of
from kfjax.models.state_space import StateSpaceModel

__all__ = ["simulate"]


def simulate(
    key: Key,
    model: StateSpaceModel | HiddenMarkovModel,
    steps: int | None = None,
    *,
    us: Inputs = None,
    x0: Real[ArrayLike, " n"] | Sequence[float] | None = None,
) -> tuple[Real[Array, "T ..."], Real[Array, "T m"]]:
    """Draw a trajectory from a model.

    x_0 from the prior, then x_t = f(x_{t-1}, u_t) + e_t and y_t = h(x_t, u_t) + v_t; with
    first="update" in the model x_1 is from the prior. Of a hidden Markov model, the regimes from
    its chain and the observations from their emissions.

    Args:
        key: a random key; `jax.vmap` over split keys gives a batch.
        model: the model to draw from; its Q is taken at x_{t-1}, its R at x_t. Or a
            `HiddenMarkovModel`.
        steps: T; may be omitted if us is given.
        us: inputs with a leading time axis [T, ...], or None.
        x0: the state x_0 [n] to start from (x_1 with first="update"); default a draw from the
            prior. A hidden Markov model has none.

    Returns:
        xs [T, n] and ys [T, m], for t = 1..T (without x_0). Of a hidden Markov model, the regimes,
        integers [T], and ys.

    Raises:
        ValueError: if T is not given, is below one, or differs from the length of us; if the
            emission of a hidden Markov model is a function, which has densities only.

    Example:
        >>> xs, ys = kf.simulate(
        ...     jax.random.key(0), kf.systems.constant_velocity(), steps=5
        ... )
        >>> xs.shape, ys.shape
        ((5, 2), (5, 1))
    """
    check_key("simulate: key", key)
    if not isinstance(model, StateSpaceModel | HiddenMarkovModel):
        raise ValueError(
            f"simulate: model is {described(model)}; expected a kf.StateSpaceModel. The order is"
            " (key, model, steps)."
        )
    us = checked_inputs("simulate", us)
    if isinstance(model, HiddenMarkovModel):
        _check_emission(model, x0)
        return _simulate_regimes(key, model, us, count_steps("simulate", steps, us))
    if x0 is not None:
        x0 = as_arrays("simulate: x0", x0)
        check_finite("simulate: x0", x0)
        if np.shape(x0) != model.proper_prior.mean.shape:
            raise ValueError(
                f"simulate: x0 has shape {np.shape(x0)}; expected"
                f" {model.proper_prior.mean.shape}, as the"
                " mean of the prior."
            )
    count = count_steps("simulate", steps, us)
    before = None if x0 is None else Gaussian(jnp.asarray(x0), model.proper_prior.cov)
    check_first_noise("simulate", model, us, before=before, moves=model.first == "predict")
    return _simulate(key, model, us, x0, count)


def _check_emission(model: HiddenMarkovModel, x0: object) -> None:
    """Raise unless observations can be drawn, and the start is left to the model."""
    if not hasattr(model.emission, "draw"):
        raise ValueError(
            "simulate: the emission is a function of densities; expected one that draws, such as"
            " kf.GaussianEmission."
        )
    if x0 is not None:
        raise ValueError(
            "simulate: got x0 and a hidden Markov model; expected no x0. To start in regime k, set"
            " weights to one there: model.replace(weights=...)."
        )


@functools.partial(jit, static_argnums=3)
def _simulate_regimes(
    key: Array, model: HiddenMarkovModel, us: Inputs, steps: int
) -> tuple[Array, Array]:
    key, first = jax.random.split(key)
    start = jax.random.categorical(first, log_of(model.weights))

    def body(regime: Array, row: tuple[Array, Array, Any]) -> tuple[Array, tuple[Array, Array]]:
        begins, key, u = row
        jump, observation = jax.random.split(key)
        moved = jax.random.categorical(jump, log_of(model.transition_at(u))[regime])
        regime = jnp.where(begins, regime, moved)
        return regime, (regime, model.emission.draw(observation, regime, u))

    begins = (jnp.arange(steps) == 0) & (model.first == "update")
    series = (begins, jax.random.split(key, steps), us)
    return one_kernel.scan(body, start, series)[1]


def _draw(key: Array, cov: Array) -> Array:
    """Draw from N(0, cov)."""
    L = linalg.cholesky(cov)
    z = jax.random.normal(key, cov.shape[:1], cov.dtype)
    return linalg.matmul(L, z)


@functools.partial(jit, static_argnums=4)
def _simulate(
    key: Array,
    model: StateSpaceModel,
    us: Inputs,
    x0: ArrayLike | Sequence[float] | None,
    steps: int,
) -> tuple[Array, Array]:
    if model.h is not None:
        check_functions("simulate", model, first_of(us))
    key, first = jax.random.split(key)
    space = model.state_space
    if x0 is None:
        start = space.retract(model.prior.mean, _draw(first, model.prior.cov))
    else:
        start = jnp.asarray(x0)

    start = start.astype(model.dtype)

    def observed(x: Array, u: Inputs, key: Array) -> tuple[Array, Array]:
        y = call("h", model.h, x, u) + _draw(key, model.observation_noise(x, u))
        return x, y.astype(model.dtype)

    def body(x: Array, row: tuple[Array, Any]) -> tuple[Array, tuple[Array, Array]]:
        key, u = row
        process, observation = jax.random.split(key)
        noise = _draw(process, model.process_noise(x, u))
        x = space.retract(call("f", model.f, x, u), noise).astype(model.dtype)
        return x, observed(x, u, observation)

    series = (jax.random.split(key, steps), us)
    if model.first == "predict":
        return one_kernel.scan(body, start, series)[1]
    key, u = at(series, 0)
    return prepended(
        observed(start, u, key), one_kernel.scan(body, start, at(series, slice(1, None)))[1]
    )
