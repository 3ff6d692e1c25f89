"""Several sensors with their own observation functions, noises and rates, used one after the other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax.base import Filter, Gaussian, Info, constructor
from kfjax.filters.checks import check_filters
from kfjax.models.lens import model_of
from kfjax.models.sensors import Sensors, like_sensors, sensor_names

__all__ = ["sequential"]


@constructor
def sequential(filters: Filter | tuple[Filter, ...]) -> Filter:
    """Update with several sensors in turn; those that did not report at a step are simply unobserved.

    p(x | y^1, ..., y^K) is formed factor by factor, given that the noises of different sensors are
    independent. For linear sensors that equals the update with all of them stacked and a
    block-diagonal R; a nonlinear sensor is linearised where the ones before it have led, so put
    precise ones first. It is cheaper, too: sum m_k^3.

    ys and observed are dicts like that of the sensors, {name: [T, m_k]}. Sensors of different rates
    share the fastest clock, observed[name][t] telling which of them reported. `rule` is forwarded:
    smoothing needs only f and Q.

    The params are those of `filter` with `Sensors` in the place of every `StateSpaceModel`: for
    `sequential(imm(...))`, say, `IMMParams` whose members are `Sensors`. The filter sees the params
    with one sensor at a time.

    Args:
        filters: one filter for all sensors, or a tuple with one for each, in the order of their
            names: they must share their state, as `(gated(extended()), extended())` do, and the
            first one predicts.

    Returns:
        A `Filter` with params `Sensors(f, Q, prior, sensors)`, or params that hold such, and the
        state of the filter. Info has the sums
        of log-likelihood, NIS and dof, and the `Info` of each sensor in `extra["sensors"]`.

    Raises:
        ValueError: if filters are not filters; while tracing, if params hold no `Sensors`, filters
            have different states, or ys, observed or filters do not fit the sensors.

    Example:
        >>> motion = kf.systems.constant_velocity()
        >>> sensors = kf.Sensors(motion.f, motion.Q, motion.prior, {
        ...     "gps": kf.Sensor(kf.Linear([[1.0, 0.0]]), R=[[9.0]]),
        ...     "odometer": kf.Sensor(kf.Linear([[0.0, 1.0]]), R=[[0.1]])})
        >>> ys = {"gps": jnp.arange(6.0)[:, None], "odometer": jnp.ones((6, 1))}
        >>> observed = {"gps": jnp.arange(6) % 3 == 0, "odometer": jnp.ones(6, bool)}
        >>> kf.run(kf.sequential(kf.kalman()), sensors, ys, observed=observed).outputs.mean.shape
        (6, 2)

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), section 2.6 of chapter 7.
    """
    several = (filters,) if isinstance(filters, Filter) else filters
    check_filters("sequential", several)
    first = several[0]

    def assigned(params: Any) -> list[tuple[Any, Filter]]:
        """Return pairs of a sensor's name and its filter."""
        keys = sensor_names(_sensors(params))
        if isinstance(filters, Filter):
            return [(k, filters) for k in keys]
        if len(several) != len(keys):
            raise ValueError(
                f"sequential: got {len(several)} filters for sensors {keys}; expected one each, or"
                " one."
            )
        return list(zip(keys, several, strict=True))

    def init(params: Any, key: Array | None = None) -> Any:
        pairs = assigned(params)
        states = [jax.eval_shape(member.init, _with(params, k), key) for k, member in pairs]
        if any(jax.tree.flatten(state) != jax.tree.flatten(states[0]) for state in states):
            raise ValueError(
                "sequential: the filters have different states; expected filters that share one."
            )
        return first.init(_with(params, pairs[0][0]), key)

    def predict(params: Any, state: Any, u: Any = None) -> Any:
        return first.predict(_with(params, assigned(params)[0][0]), state, u)

    def update(
        params: Any, state: Any, y: Any, u: Any = None, observed: Any = None
    ) -> tuple[Any, Info]:
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
        extra = {"sensors": like_sensors(_sensors(params), infos)}
        return state, Info(**totals, extra=extra)

    def recentre(params: Any, state: Any, gaussian: Gaussian) -> Any:
        return first.recentre(_with(params, assigned(params)[0][0]), state, gaussian)

    return Filter(init, predict, update, first.recentre and recentre, first.rule)


def _is_sensors(value: Any) -> bool:
    return isinstance(value, Sensors)


def _sensors(params: Any) -> Any:
    """Return the dict or tuple of sensors in params; all `Sensors` in them must have the same names."""
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


def _with(params: Any, k: Any) -> Any:
    """Return params in which `Sensors` are replaced by the model with one of them."""

    def only(value: Any) -> Any:
        return value.one(k) if _is_sensors(value) else value

    return jax.tree.map(only, params, is_leaf=_is_sensors)


def _total(values: list[Any]) -> Array | None:
    """Return the sum, or None where a sensor has no such number."""
    if any(value is None for value in values):
        return None
    return sum(values[1:], values[0])


def _check_sensor(params: Any, only: Any, y: Any, observed: Any, k: Any) -> None:
    """Check that the observation fits the sensors, and this one its R."""
    keys = sensor_names(_sensors(params))
    if sensor_names(y) != keys:
        raise ValueError(
            f"sequential: y has sensors {sensor_names(y) or 'in no dict or tuple'}; expected"
            f" {keys}, as params."
        )
    if sensor_names(observed) not in (None, keys):
        raise ValueError(
            f"sequential: observed has sensors {sensor_names(observed)}; expected {keys}, as"
            " params."
        )
    R = model_of(only).R
    if not callable(R) and jnp.shape(y[k]) != R.shape[:1]:
        raise ValueError(
            f"sequential: y of {k!r} has shape {jnp.shape(y[k])} in a step; expected {R.shape[:1]},"
            " as R."
        )
