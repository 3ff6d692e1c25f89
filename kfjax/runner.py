"""The one place where a filter is looped over time: `run`, and its neighbours `step` and `forecast`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax.base import Filter, Gaussian, Info, Kept, estimate
from kfjax.filters.beliefs import observation_estimate
from kfjax.models.record_checks import (
    check_filter,
    check_length,
    check_mask_dtype,
    check_nan,
    check_runtime,
    check_series,
    check_state,
    until,
)
from kfjax.models.state_space import model_of

__all__ = ["Forecast", "forecast", "run", "split_missing", "step"]


class Forecast(NamedTuple):
    """Beliefs about the future, with a leading axis over steps ahead.

    Attributes:
        state: mean [K, n] and cov [K, n, n] of x_{T+1..T+K}.
        observation: mean [K, m] and cov [K, m, m] of y, observation noise included; None for a
            filter without a rule.
    """

    state: Gaussian
    observation: Gaussian | None


def run(
    filter: Filter,
    params: Any,
    ys: Any,
    us: Any = None,
    *,
    observed: Any = None,
    length: Any = None,
    key: Array | None = None,
    initial: Any = None,
    emit: Callable[[Any, Info], Kept] = estimate,  # type: ignore[assignment]  # the default of Kept
    checked: bool = False,
) -> tuple[Any, Kept]:
    """Run a filter over one trajectory; `jax.vmap` it for a batch, `jax.grad` through it, call it twice: no retracing.

    For t = 1..T: predict with u_t, then update with y_t and u_t.

    Args:
        filter: the `Filter`.
        params: its parameters; a `StateSpaceModel` for a model-based filter.
        ys: observations [T, m] (a pytree of such, for filters of several sensors).
        us: inputs, any pytree with a leading time axis, or None; us[t-1] is u_t, which takes
            x_{t-1} to x_t.
        observed: what was seen, booleans [T] or [T, m] (a pytree like ys), or None for everything.
            Values and gradients are those of deleting the rest; unobserved entries of ys may hold
            anything, NaN included.
        length: number of leading steps that count (a scalar; batch it with `jax.vmap`). Afterwards
            the state is frozen and nothing is added to the likelihood, whatever stands in ys and
            us.
        key: random key for filters that draw.
        initial: a state to continue from, as returned by an earlier run; default
            `filter.init(params, key)`.
        emit: `(state, info) -> anything`, what to keep of every step. Use a module-level function:
            a new lambda per call compiles again. Default `kfjax.estimate`;
            `kfjax.estimate_and_info` keeps all.
        checked: raise if an observed entry is NaN or an output is not finite, also inside `jax.jit`
            (there as the runtime error of a callback, with the same text).

    Returns:
        The final state, and the stacked outputs of emit: by default an `Estimate` with mean [T, n],
        cov [T, n, n] and log_likelihood [T].

    Raises:
        ValueError: if shapes do not fit, T = 0, or ys has NaN where it counts as observed (seen
            only outside a trace, or with checked=True).

    Example:
        >>> model = kf.systems.lorenz(observation="spherical", q_std=0.1, r_std=0.1)
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> final, est = kf.run(kf.unscented(), model, ys)
        >>> est.mean.shape, est.cov.shape
        ((50, 3), (50, 3, 3))
    """
    check_filter("run", filter)
    if initial is not None and key is not None:
        raise ValueError(
            "run: got both initial and key; expected one. A state carries its own key: drop key."
        )
    ys, observed = (np.asarray(a) if isinstance(a, list) else a for a in (ys, observed))
    check_mask_dtype("run", observed)
    check_length("run", ys, length)
    check_nan("run", ys, observed, length)
    return _run(filter, emit, checked, params, ys, us, observed, length, key, initial)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    filter: Filter,
    emit: Callable[[Any, Info], Kept],
    checked: bool,
    params: Any,
    ys: Any,
    us: Any,
    observed: Any,
    length: Any,
    key: Array | None,
    initial: Any,
) -> tuple[Any, Kept]:
    steps = check_series("run", params, ys, us, observed)
    state = filter.init(params, key) if initial is None else jax.tree.map(jnp.asarray, initial)
    check_state("run", params, state)
    seen = jax.tree.map(lambda o: jnp.asarray(o, bool), observed)
    active = None
    if length is not None:
        active = jnp.arange(steps) < length
        us = until(length, us)
        seen = _restrict(seen, active, ys)
    if checked:
        check_runtime("run: ys has NaN where it counts as observed", _unseen_to_zero(ys, seen))

    def body(state: Any, at: tuple[Any, Any, Any, Any]) -> tuple[Any, Any]:
        y, u, seen_t, active_t = at
        new, info = filter.update(params, filter.predict(params, state, u), y, u, seen_t)
        if active_t is not None:
            new = jax.tree.map(lambda a, b: jnp.where(active_t, a, b), new, state)
        return new, emit(new, info)

    final, outputs = jax.lax.scan(body, state, (ys, us, seen, active))
    if checked:
        check_runtime("run: an estimate is not finite", outputs)
    return final, outputs


def step(
    filter: Filter,
    params: Any,
    state: Any,
    y: Any,
    u: Any = None,
    observed: Any = None,
    *,
    donate: bool = False,
) -> tuple[Any, Info]:
    """Take one predict and one update, jitted: what a streaming application calls for every observation.

    Args:
        filter: the `Filter`.
        params: its parameters.
        state: the state after the previous observation; at first `filter.init(params)`.
        y: the observation [m].
        u: the input u_t of this step, or None.
        observed: boolean scalar or [m], or None for everything.
        donate: let the new state take the memory of the old one, which is deleted: for large
            states, such as particles.

    Returns:
        The new state and the `Info` of the update; the same numbers as `run`.

    Raises:
        ValueError: if shapes do not fit, or y has NaN where it counts as observed.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> state = kf.kalman().init(model)
        >>> state, info = kf.step(kf.kalman(), model, state, jnp.array([0.3]))
        >>> info.dof.item()
        1
    """
    check_filter("step", filter)
    y, observed = (np.asarray(a) if isinstance(a, (list, float, int)) else a for a in (y, observed))
    check_mask_dtype("step", observed)
    check_nan("step", y, observed, None)
    take = _donating_step if donate else _step
    return take(filter, params, state, y, u, observed)


def _one_step(
    filter: Filter, params: Any, state: Any, y: Any, u: Any, observed: Any
) -> tuple[Any, Info]:
    """The body of `step`."""
    one = functools.partial(jax.tree.map, lambda a: jnp.asarray(a)[None])
    check_series("step", params, one(y), one(u), one(observed))
    check_state("step", params, state)
    return filter.update(params, filter.predict(params, state, u), y, u, observed)


_step = jax.jit(_one_step, static_argnums=0)
_donating_step = jax.jit(_one_step, static_argnums=0, donate_argnums=2)


def forecast(
    filter: Filter,
    params: Any,
    state: Any,
    us: Any = None,
    *,
    steps: int | None = None,
) -> Forecast:
    """Predict ahead of a state without observations.

    Args:
        filter: the `Filter`.
        params: its parameters.
        state: the state to start from, such as the final state of `run`.
        us: future inputs with a leading axis [K, ...], or None.
        steps: K; may be left out where us is given.

    Returns:
        `Forecast(state, observation)`, both `Gaussian`s with a leading axis of K steps.

    Raises:
        ValueError: if the number of steps is not given, is below one, or differs from the length of
            us.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> ahead = kf.forecast(kf.kalman(), model, kf.kalman().init(model), steps=3)
        >>> ahead.state.mean.shape, ahead.observation.cov.shape
        ((3, 2), (3, 1, 1))
    """
    check_filter("forecast", filter)
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(us)} | (
        {steps} if steps is not None else set()
    )
    if len(lengths) != 1 or min(lengths) < 1:
        raise ValueError(
            f"forecast: got steps={steps} and us of lengths {sorted(lengths - {steps})}; expected"
            " one number of steps,"
            " at least 1. Pass steps=, or us with a leading time axis."
        )
    return _forecast(filter, params, state, us, lengths.pop())


@functools.partial(jax.jit, static_argnums=(0, 4))
def _forecast(filter: Filter, params: Any, state: Any, us: Any, steps: int) -> Forecast:
    check_state("forecast", params, state)

    def body(state: Any, u: Any) -> tuple[Any, Gaussian]:
        state = filter.predict(params, state, u)
        return state, Gaussian(state.mean, state.cov)

    states = jax.lax.scan(body, state, us, length=steps)[1]
    model = model_of(params)
    if filter.rule is None or model is None:
        return Forecast(states, None)
    return Forecast(states, observation_estimate(filter, model, states, us))


def split_missing(ys: Any) -> tuple[Any, Any]:
    """Turn NaN into a mask.

    Args:
        ys: observations [..., m] with NaN where missing, or a pytree of such (several sensors).

    Returns:
        (filled, observed): ys with 0 for NaN and booleans of the same shape, for `run(..., filled,
        observed=observed)`.

    Example:
        >>> filled, observed = kf.split_missing(jnp.array([[1.0], [jnp.nan]]))
        >>> observed.tolist()
        [[True], [False]]
    """
    ys = jnp.asarray(ys) if isinstance(ys, list) else jax.tree.map(jnp.asarray, ys)
    observed = jax.tree.map(lambda y: ~jnp.isnan(y), ys)
    return jax.tree.map(lambda y, seen: jnp.where(seen, y, 0), ys, observed), observed


def _restrict(seen: Any, active: Array, ys: Any) -> Any:
    """Combine the mask with the active steps, in the structure of ys."""
    if seen is None:
        return jax.tree.map(lambda _: active, ys)
    return jax.tree.map(lambda s: s & active.reshape((-1,) + (1,) * (s.ndim - 1)), seen)


def _unseen_to_zero(ys: Any, seen: Any) -> Any:
    """Replace entries that do not count by zero."""
    if seen is None:
        return ys
    return jax.tree.map(
        lambda y, s: jnp.where(s.reshape(s.shape + (1,) * (y.ndim - s.ndim)), y, 0), ys, seen
    )
