"""The one place where a filter is looped over time: `run`, and beside it `forecast`."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax._support import one_kernel
from kfjax._support.arguments import check_flag, check_key
from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.pytrees import at, prepended
from kfjax._support.types import Key
from kfjax.base import (
    Emit,
    Filter,
    Gaussian,
    Info,
    Inputs,
    Kept,
    Mask,
    Observations,
    Params,
    Run,
    State,
    estimate,
    log_likelihood_only,
)
from kfjax.filters.beliefs import new_observations
from kfjax.filters.checks import check_filter, check_params
from kfjax.models.inputs import warn_if_unread
from kfjax.models.lens import model_of, starts_with_update
from kfjax.models.masks import restrict, unseen_to_zero
from kfjax.models.records import Record, checked_inputs, checked_record, count_steps, until
from kfjax.models.runtime_checks import (
    check_first_noise,
    check_first_noise_at_runtime,
    check_runtime,
)
from kfjax.models.shapes import check_shapes, check_state, first_of
from kfjax.models.values import check_start

__all__ = ["Forecast", "forecast", "log_likelihood", "run"]


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
    params: Params,
    ys: Observations,
    *,
    us: Inputs = None,
    observed: Mask = None,
    length: Any = None,
    key: Key | None = None,
    state: State = None,
    emit: Emit[Kept] = estimate,  # type: ignore[assignment]  # the default of Kept
    checked: bool = False,
) -> Run[Kept]:
    """Run a filter over one trajectory.

    For t = 1..T: predict with u_t, then update with y_t and u_t. A model with first="update" has no
    prediction at t = 1. `jax.vmap` it for a batch and `jax.grad` through it; it is jitted, and a
    second call compiles nothing again.

    Args:
        filter: the `Filter`.
        params: its parameters; a `StateSpaceModel` for a model-based filter.
        ys: observations [T, m] (a pytree of such, for filters of several sensors).
        us: inputs, any pytree with a leading time axis, or None; us[t-1] is u_t, which takes
            x_{t-1} to x_t.
        observed: what was seen, booleans [T] or [T, m] (a pytree like ys), or None for everything;
            `observed=~jnp.isnan(ys)` where missing values are NaN. Values and gradients are those
            of deleting the rest; unobserved entries of ys may hold anything, NaN included.
        length: number of leading steps that count (a scalar; batch it with `jax.vmap`). Afterwards
            the state is frozen and nothing is added to the likelihood, whatever ys and us hold.
        key: random key for filters that draw.
        state: a state to continue from, as returned by an earlier run, so that a prediction comes
            first; default the start of the record, `filter.init(params, key)`.
        emit: `(state, info) -> anything`, what to keep of every step. Use a module-level function:
            a new lambda per call compiles again. Default `kfjax.estimate`;
            `kfjax.estimate_and_info` keeps all.
        checked: raise if an observed entry, an input, a parameter or an output is not finite, or
            Q or R as a function gives no covariance in the first step, also inside `jax.jit`
            (there as the runtime error of a callback).

    Returns:
        `Run(final, outputs)`: the final state, and the stacked outputs of emit, by default an
        `Estimate` with mean [T, n], cov [T, n, n] and log_likelihood [T].

    Raises:
        ValueError: if shapes do not fit, T = 0, ys has NaN or an infinity where it counts as
            observed, us or the state are not finite, params have NaN, or Q or R as a function gives
            no covariance in the first step (values are seen only outside a trace, or with
            checked=True). What a function of the model raises is raised as it is, with a note that
            says which function it was.

    Warns:
        UserWarning: if neither the model nor the filter reads us.

    Example:
        >>> model = kf.systems.lorenz(observation="spherical", q_std=0.1, r_std=0.1)
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> final, est = kf.run(kf.unscented(), model, ys)
        >>> est.mean.shape, est.cov.shape
        ((50, 3), (50, 3, 3))
    """
    check_filter("run", filter)
    check_flag("run: checked", checked)
    check_one_start("run", state, key)
    if not callable(emit):
        raise ValueError(
            f"run: emit is {described(emit)}; expected a function of (state, info), such as"
            " kf.whole_state."
        )
    record = checked_record("run", ys, us, observed, length)
    if key is not None:
        check_key("run: key", key)
    if state is not None:
        check_start("run", state)
    check_params("run", params)
    check_first_noise("run", params, record.us, before=state, length=length)
    return _run(filter, emit, checked, params, record, key, state)


def check_one_start(who: str, state: State, key: Array | None) -> None:
    """Raise if there is both a state and a key."""
    if state is not None and key is not None:
        raise ValueError(
            f"{who}: got both state and key; expected one. A state carries its own key: drop key."
        )


def log_likelihood(
    filter: Filter,
    params: Params,
    ys: Observations,
    *,
    us: Inputs = None,
    observed: Mask = None,
    length: Any = None,
    key: Key | None = None,
    state: State = None,
    checked: bool = False,
) -> Float[Array, ""]:
    """Return the log-likelihood of one trajectory, log p(y_1..T), by running a filter over it.

    The sum of log p(y_t | y_1..t-1) over the steps, exact for the Kalman filter and what nonlinear
    filters approximate it by. Means and covariances are not kept: it takes the memory of T numbers.

    Args:
        filter: a `Filter` whose Info has a log_likelihood.
        params: its parameters; differentiate with respect to them to learn noise and models.
        ys: observations [T, m], as in `run`.
        us: inputs with a leading time axis, or None.
        observed: what was seen, booleans [T] or [T, m], or None for everything.
        length: number of leading steps that count.
        key: random key for filters that draw.
        state: a state to continue from, as in `run`.
        checked: as in `run`.

    Returns:
        A scalar.

    Raises:
        ValueError: if the filter gives no log-likelihood, else as `run`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> def likelihood(model):
        ...     return kf.log_likelihood(kf.kalman(), model, ys)
        >>> gradient = jax.grad(likelihood)(model)
        >>> gradient.Q.shape
        (2, 2)
    """
    terms = run(
        filter,
        params,
        ys,
        us=us,
        observed=observed,
        length=length,
        key=key,
        state=state,
        emit=log_likelihood_only,
        checked=checked,
    ).outputs
    if terms is None:
        raise ValueError(
            f"log_likelihood: {filter} gives no log-likelihood; expected one that does, such as"
            " kf.extended()."
        )
    return terms.sum()


@functools.partial(jit, static_argnums=(0, 1, 2))
def _run(
    filter: Filter,
    emit: Emit[Kept],
    checked: bool,
    params: Params,
    record: Record,
    key: Array | None,
    state: State,
) -> Run[Kept]:
    steps = check_shapes("run", params, record)
    start = filter.init(params, key) if state is None else jax.tree.map(jnp.asarray, state)
    check_state("run", params, start)
    seen = jax.tree.map(lambda o: jnp.asarray(o, bool), record.observed)
    us, active = until(record.length, record.us, steps)
    if active is not None:
        seen = restrict(seen, active, record.ys)
    warn_if_unread("run", params, first_of(us), lambda u: _moved(filter, params, start, record, u))
    if checked:
        counted = unseen_to_zero(record.ys, seen)
        check_runtime("run: ys has NaN where it counts as observed, or an infinity", counted)
        check_runtime("run: us has NaN or an infinity", us)
        check_runtime("run: params have NaN or an infinity", params)
        model = model_of(params)
        if model is not None and model.h is not None:
            check_first_noise_at_runtime("run", model, start.mean, us)

    def body(before: State, row: tuple[Any, ...], *, begins: bool = False) -> tuple[State, Any]:
        y, u, seen_t, active_t = row
        new, info = predict_and_update(filter, params, before, y, u, seen_t, begins=begins)
        if active_t is not None:
            new = jax.tree.map(lambda a, b: jnp.where(active_t, a, b), new, before)
        return new, emit(new, info)

    series = (record.ys, us, seen, active)
    if state is None and starts_with_update(params):
        # y_1 stands before the loop, which then costs nothing where every step predicts
        one, kept = body(start, at(series, 0), begins=True)
        final, later = one_kernel.scan(body, one, at(series, slice(1, None)))
        outputs = prepended(kept, later)
    else:
        final, outputs = one_kernel.scan(body, start, series)
    if checked:
        check_runtime("run: an estimate is not finite", outputs)
    return Run(final, outputs)


def _moved(filter: Filter, params: Params, state: State, record: Record, u: Inputs) -> State:
    """Return the state after the first observation, as a function of the input."""
    y, observed = at((record.ys, record.observed), 0)
    return predict_and_update(filter, params, state, y, u, observed)[0]


def predict_and_update(
    filter: Filter,
    params: Params,
    state: State,
    y: Observations,
    u: Inputs,
    observed: Mask,
    *,
    begins: bool = False,
) -> tuple[State, Info]:
    """Predict, unless the record begins with an update; then update."""
    predicted = state if begins else filter.predict(params, state, u)
    return filter.update(params, predicted, y, u, observed)


def forecast(
    filter: Filter,
    params: Params,
    state: State,
    *,
    us: Inputs = None,
    steps: int | None = None,
) -> Forecast:
    """Predict ahead of a state without observations.

    Args:
        filter: the `Filter`.
        params: its parameters.
        state: the state to start from, such as the final state of `run`; the first step ahead is a
            prediction from it.
        us: future inputs with a leading axis [K, ...], or None.
        steps: K; may be left out where us is given.

    Returns:
        `Forecast(state, observation)`, both `Gaussian`s with a leading axis of K steps.

    Raises:
        ValueError: if the number of steps is not given, is below one, or differs from the length of
            us.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> ahead = kf.forecast(
        ...     kf.kalman(), model, kf.kalman().init(model), steps=3
        ... )
        >>> ahead.state.mean.shape, ahead.observation.cov.shape
        ((3, 2), (3, 1, 1))
    """
    check_filter("forecast", filter)
    us = checked_inputs("forecast", us)
    check_start("forecast", state)
    check_params("forecast", params)
    names = "Q" if filter.rule is None else "QR"
    check_first_noise("forecast", params, us, before=state, names=names)
    return _forecast(filter, params, state, us, count_steps("forecast", steps, us))


@functools.partial(jit, static_argnums=(0, 4))
def _forecast(filter: Filter, params: Params, state: State, us: Inputs, steps: int) -> Forecast:
    check_state("forecast", params, state)

    def body(state: State, u: Inputs) -> tuple[State, Gaussian]:
        state = filter.predict(params, state, u)
        return state, Gaussian(state.mean, state.cov)

    states = one_kernel.scan(body, state, us, length=steps)[1]
    model = model_of(params)
    if filter.rule is None or model is None or model.h is None:
        return Forecast(states, None)
    return Forecast(states, new_observations(filter, model, states, us))
