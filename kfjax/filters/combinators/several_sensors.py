"""Several sensors with their own observation functions, noises and rates, used in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from kfjax.base import (
    Filter,
    Gaussian,
    Info,
    Inputs,
    Mask,
    Observations,
    Params,
    PyTree,
    State,
    constructor,
)
from kfjax.filters.checks import check_filters
from kfjax.filters.combinators.composing import counted_channels, joint_acceptance
from kfjax.filters.combinators.late_data import DelayedState
from kfjax.models.lens import model_of
from kfjax.models.sensors import Sensor, Sensors, like_sensors, sensor_names

__all__ = ["sequential"]

Name: TypeAlias = str | int
SensorCollection: TypeAlias = dict[str, Sensor] | tuple[Sensor, ...]


@constructor
def sequential(filters: Filter | tuple[Filter, ...]) -> Filter:
    """Update with several sensors in turn; a sensor that did not report is simply unobserved.

    p(x | y^1, ..., y^K) is formed factor by factor, assuming that the noises of different sensors
    are independent. For linear sensors the result equals an update with all of them stacked and a
    block-diagonal R. A nonlinear sensor is linearised at the estimate after the sensors before it,
    so the most precise sensors should come first. The cost is sum m_k^3, less than that of the
    stacked update.

    ys and observed are dicts with the names of the sensors, {name: [T, m_k]}. Sensors with
    different rates share the fastest clock, and observed[name][t] tells which of them reported.
    `rule` is forwarded, since smoothing needs only f and Q.

    The params are those of the filter with `Sensors` in the place of every `StateSpaceModel`; for
    `sequential(imm(...))`, for example, they are `IMMParams` whose members are `Sensors`. The
    filter sees the params with one sensor at a time.

    Args:
        filters: one filter for all sensors, or a tuple with one per sensor in the order of their
            names. They must have the same type of state, as `(gated(extended()), extended())` do;
            the first one predicts.

    Returns:
        A `Filter` with params `Sensors(f, Q, prior, sensors)`, or params that hold them, and the
        state of the filter. Info has the sums of log-likelihood, NIS and dof. Its `extra` has the
        `Info` of each sensor in `sensors`, and, if any of the filters may reject, `accepted`: the
        share of the observed channels that was used.

    Raises:
        ValueError: if filters are not filters; while tracing, if params hold no `Sensors`, filters
            have different states, or ys, observed or filters do not fit the sensors.

    Example:
        >>> motion = kf.systems.constant_velocity()
        >>> sensors = kf.Sensors(
        ...     motion.f,
        ...     motion.Q,
        ...     motion.prior,
        ...     {
        ...         "gps": kf.Sensor(kf.Linear([[1.0, 0.0]]), R=[[9.0]]),
        ...         "odometer": kf.Sensor(kf.Linear([[0.0, 1.0]]), R=[[0.1]]),
        ...     },
        ... )
        >>> ys = {"gps": jnp.arange(6.0)[:, None], "odometer": jnp.ones((6, 1))}
        >>> observed = {
        ...     "gps": jnp.arange(6) % 3 == 0,
        ...     "odometer": jnp.ones(6, bool),
        ... }
        >>> kf.run(
        ...     kf.sequential(kf.kalman()), sensors, ys, observed=observed
        ... ).outputs.mean.shape
        (6, 2)

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), section 2.6 of chapter 7.
    """
    several = (filters,) if isinstance(filters, Filter) else filters
    check_filters("sequential", several)
    first = several[0]

    def assigned(params: Params) -> list[tuple[Name, Filter]]:
        return _assigned(filters, sensor_names(_sensors(params)))

    def init(params: Params, key: Array | None = None) -> State:
        pairs = assigned(params)
        _check_one_state(params, pairs, key)
        return first.init(_with(params, pairs[0][0]), key)

    def predict(params: Params, state: State, u: Inputs = None) -> State:
        return first.predict(_with(params, assigned(params)[0][0]), state, u)

    def update(
        params: Params, state: State, y: Observations, u: Inputs = None, observed: Mask = None
    ) -> tuple[State, Info]:
        # With noises that are independent of each other, p(y_1, y_2 | x) = p(y_1 | x) p(y_2 | x):
        # updates in turn give the belief of one update with all, and log-likelihoods add up. For a
        # nonlinear h a later sensor is linearised at a better mean.
        infos = []
        for k, member in assigned(params):
            only = _with(params, k)
            _check_sensor(params, only, y, observed, k)
            mask = observed if sensor_names(observed) is None else observed[k]
            state, info = member.update(only, state, y[k], u, mask)
            infos.append(info)
        totals = {
            field: _total([getattr(info, field) for info in infos])
            for field in ("log_likelihood", "nis", "dof")
        }
        extra = {"sensors": like_sensors(_sensors(params), infos)} | _accepted(infos)
        return state, Info(**totals, extra=extra)

    def recentre(params: Params, state: State, gaussian: Gaussian) -> State:
        return first.recentre(_with(params, assigned(params)[0][0]), state, gaussian)

    return Filter(init, predict, update, first.recentre and recentre, first.rule)


def _assigned(
    filters: Filter | tuple[Filter, ...], keys: Sequence[Name]
) -> list[tuple[Name, Filter]]:
    """Return pairs of a sensor's name and its filter."""
    if isinstance(filters, Filter):
        return [(k, filters) for k in keys]
    if len(filters) != len(keys):
        raise ValueError(
            f"sequential: got {len(filters)} filters for sensors {keys}; expected one filter"
            " for each, or one for all."
        )
    return list(zip(keys, filters, strict=True))


def _check_one_state(params: Params, pairs: list[tuple[Name, Filter]], key: Array | None) -> None:
    """Raise unless the filters can take turns on one state, which the first filter makes."""
    # shapes alone, without drawing or computing
    states = [jax.eval_shape(member.init, _with(params, k), key) for k, member in pairs]
    if any(jax.tree.flatten(state) != jax.tree.flatten(states[0]) for state in states):
        raise ValueError(
            "sequential: the filters have different states; expected filters that share one."
        )
    if isinstance(states[0], DelayedState):
        raise ValueError(
            "sequential: the filter takes late observations, of all sensors together; write"
            " delayed(sequential(...), window)."
        )


def _is_sensors(value: object) -> bool:
    """Return whether a node of params is a `Sensors`."""
    return isinstance(value, Sensors)


def _sensors(params: Params) -> SensorCollection:
    """Return the dict or tuple of sensors in params; all `Sensors` there must share their names."""
    leaves = jax.tree.leaves(params, is_leaf=_is_sensors)
    found = [leaf.sensors for leaf in leaves if _is_sensors(leaf)]
    if not found:
        raise ValueError(
            f"sequential: params is {type(params).__name__}; expected kf.Sensors(f, Q, prior,"
            " sensors), or params that hold it in the place of a model."
        )
    keys = [sensor_names(sensors) for sensors in found]
    if any(other != keys[0] for other in keys):
        raise ValueError(f"sequential: params hold sensors {keys}; expected the same names in all.")
    return found[0]


def _with(params: Params, k: Name) -> Params:
    """Return params with every `Sensors` replaced by the model that has sensor k alone."""

    def only(value: PyTree) -> PyTree:
        if _is_sensors(value):
            return value.one(k)
        return value

    return jax.tree.map(only, params, is_leaf=_is_sensors)


def _total(values: list[Array | None]) -> Array | None:
    """Return the sum, or None if a sensor does not report the number."""
    total = values[0]
    for value in values[1:]:
        if total is None or value is None:
            return None
        total = total + value
    return total


def _accepted(infos: list[Info]) -> dict[str, Array]:
    """Return `accepted` of all sensors, if any of them may reject."""
    counts = [count for count in map(counted_channels, infos) if count is not None]
    if len(counts) < len(infos):
        return {}
    channels = jnp.stack(counts)
    shares = channels / jnp.maximum(jnp.sum(channels), 1)
    return joint_acceptance(infos, shares)


def _check_sensor(params: Params, only: Params, y: Observations, observed: Mask, k: Name) -> None:
    """Raise unless the observation has the names of the sensors, and y of k the shape of its R."""
    keys = sensor_names(_sensors(params))
    if sensor_names(y) != keys:
        raise ValueError(
            f"sequential: y has sensors {sensor_names(y) or 'in no dict or tuple'}; expected"
            f" {keys}, as in params."
        )
    if sensor_names(observed) not in (None, keys):
        raise ValueError(
            f"sequential: observed has sensors {sensor_names(observed)}; expected {keys}, as in"
            " params."
        )
    R = model_of(only).R
    if not callable(R) and jnp.shape(y[k]) != R.shape[:1]:
        raise ValueError(
            f"sequential: y of {k!r} has shape {jnp.shape(y[k])} in a step; expected {R.shape[:1]},"
            " as R."
        )
