"""Several sensors with their own observation functions, noises and rates, used one after the other."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.arguments import check_covariance
from kfjax._support.pytrees import Pytree, as_array, as_pytree, promote
from kfjax.base import Filter, Gaussian, Info, constructor
from kfjax.filters.combinators.composing import need_filters
from kfjax.models.state_space import StateSpaceModel, model_of, with_model

__all__ = ["Sensors", "sequential"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sensors(Pytree):
    """Params of `sequential`: a model of the motion, and what each sensor sees of it.

    Attributes:
        model: a `StateSpaceModel` (or params that hold one); the h and R in it are those of no
            sensor.
        h: `(x, u) -> [m_k]` of each sensor k, in a dict by name or a tuple.
        R: [m_k, m_k], or functions of (x, u), in the structure of h.
        difference: `(y, y_hat) -> [m_k]` or None for each sensor, in the structure of h; None is y
            - y_hat for all.

    Raises:
        ValueError: if the structures differ, or an R is no covariance.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> h = {"position": kf.Linear([[1.0, 0.0]]), "speed": kf.Linear([[0.0, 1.0]])}
        >>> sensors = kf.Sensors(model, h, {"position": [[1.0]], "speed": [[0.1]]})
        >>> sensors.R["speed"].shape
        (1, 1)
    """

    model: Any
    h: Any
    R: Any
    difference: Any = None

    def __post_init__(self) -> None:
        keys = names(self.h)
        if keys is None or not keys or any(not callable(self.h[k]) for k in keys):
            raise ValueError(
                "Sensors: h is not a dict or tuple of functions; expected one function (x, u) per"
                " sensor."
            )
        if getattr(model_of(self.model), "observation_log_density", None) is not None:
            raise ValueError(
                "Sensors: the model has an observation_log_density, of no one sensor; expected h and R alone."
            )
        difference = (
            like(self.h, [None] * len(keys)) if self.difference is None else self.difference
        )
        for field, value in (("R", self.R), ("difference", difference)):
            if names(value) != keys:
                raise ValueError(
                    f"Sensors: {field} has sensors {names(value)}; expected {keys}, as h."
                )
        per_sensor = {
            "h": like(self.h, [as_pytree(self.h[k]) for k in keys]),
            "R": like(self.h, [as_pytree(as_array(self.R[k])) for k in keys]),
            "difference": like(self.h, [as_pytree(difference[k]) for k in keys]),
        }
        for field, value in promote({"model": self.model} | per_sensor, "Sensors").items():
            object.__setattr__(self, field, value)
        for k in keys:
            if not callable(self.R[k]):
                if self.R[k].ndim != 2 or self.R[k].shape[0] != self.R[k].shape[1]:
                    raise ValueError(
                        f"Sensors: R of {k!r} has shape {self.R[k].shape}; expected [m, m]."
                    )
                check_covariance(f"Sensors: R of {k!r}", self.R[k])

    def one(self, k: Any) -> Any:
        """Return the params of a single sensor: the model with its h, R and difference."""
        return with_model(self.model, h=self.h[k], R=self.R[k], observation_space=self.difference[k])


def names(sensors: Any) -> list[Any] | Any:
    """Return the keys of a dict, sorted, or the indices of a tuple; None of anything else."""
    if isinstance(sensors, dict):
        return sorted(sensors)
    return list(range(len(sensors))) if isinstance(sensors, (tuple, list)) else None


def like(sensors: Any, values: list[Any]) -> Any:
    """Return values, in the order of `names`, as a dict or tuple like sensors."""
    return (
        dict(zip(sorted(sensors), values, strict=True))
        if isinstance(sensors, dict)
        else tuple(values)
    )


@constructor
def sequential(filters: Filter | tuple[Filter, ...]) -> Filter:
    """Update with several sensors in turn; those that did not report at a step are simply unobserved.

    p(x | y^1, ..., y^K) is formed factor by factor, given that the noises of different sensors are
    independent. For linear sensors that equals the update with all of them stacked and a
    block-diagonal R; a nonlinear sensor is linearised where the ones before it have led, so put
    precise ones first. It is cheaper, too: sum m_k^3.

    ys and observed are pytrees in the structure of h: a dict {name: [T, m_k]}, or a tuple. Sensors
    of different rates share the fastest clock, observed[name][t] telling who reported. `rule` is
    forwarded: smoothing needs only f and Q.

    Args:
        filters: one filter for all sensors, or a tuple with one for each, in the order of h (of a
            dict, by name): they must share their state, as `(gated(extended()), extended())` do,
            and the first one predicts.

    Returns:
        A `Filter` with params `Sensors(model, h, R)` and the state of the filter. Info has the sums
        of log-likelihood, NIS and dof, and the `Info` of each sensor in `extra["sensors"]`.

    Raises:
        ValueError: if filters are none; while tracing, if filters have different states, or ys,
            observed or filters do not fit the sensors.

    Example:
        >>> h = {"gps": kf.Linear([[1.0, 0.0]]), "odometer": kf.Linear([[0.0, 1.0]])}
        >>> model = kf.systems.constant_velocity()
        >>> sensors = kf.Sensors(model, h, {"gps": [[9.0]], "odometer": [[0.1]]})
        >>> ys = {"gps": jnp.arange(6.0)[:, None], "odometer": jnp.ones((6, 1))}
        >>> observed = {"gps": jnp.arange(6) % 3 == 0, "odometer": jnp.ones(6, bool)}
        >>> kf.run(kf.sequential(kf.kalman()), sensors, ys, observed=observed)[1].mean.shape
        (6, 2)

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), section 2.6 of chapter 7.
    """
    several = (filters,) if isinstance(filters, Filter) else filters
    need_filters("sequential", several)
    first = several[0]

    def assigned(params: Any) -> list[tuple[Any, Filter]]:
        """Return pairs of a sensor and its filter."""
        if not isinstance(params, Sensors):
            raise ValueError(
                f"sequential: params is {type(params).__name__}; expected kf.Sensors(model, h, R)."
            )
        keys = names(params.h)
        if isinstance(filters, Filter):
            return [(k, filters) for k in keys]
        if len(several) != len(keys):
            raise ValueError(
                f"sequential: got {len(several)} filters for sensors {keys}; expected one each, or"
                " one."
            )
        return list(zip(keys, several, strict=True))

    def init(params: Sensors, key: Array | None = None) -> Any:
        states = [
            jax.tree.flatten(jax.eval_shape(f.init, params.one(k), key))
            for k, f in assigned(params)
        ]
        if any(state != states[0] for state in states):
            raise ValueError(
                "sequential: the filters have different states; expected filters that share one."
            )
        return first.init(params.one(names(params.h)[0]), key)

    def predict(params: Sensors, state: Any, u: Any = None) -> Any:
        return first.predict(params.one(assigned(params)[0][0]), state, u)

    def update(
        params: Sensors, state: Any, y: Any, u: Any = None, observed: Any = None
    ) -> tuple[Any, Info]:
        infos = []
        for k, member in assigned(params):
            _check_sensor(params, y, observed, k)
            mask = observed if names(observed) is None else observed[k]
            state, info = member.update(params.one(k), state, y[k], u, mask)
            infos.append(info)
        totals = {
            field: _total([getattr(i, field) for i in infos])
            for field in ("log_likelihood", "nis", "dof")
        }
        return state, Info(**totals, extra={"sensors": like(params.h, infos)})

    def recentre(params: Sensors, state: Any, gaussian: Gaussian) -> Any:
        return first.recentre(params.one(names(params.h)[0]), state, gaussian)

    return Filter(init, predict, update, first.recentre and recentre, first.rule)


def _total(values: list[Any]) -> Array | None:
    """Return the sum, or None where a sensor has no such number."""
    return None if any(v is None for v in values) else sum(values[1:], values[0])


def _check_sensor(params: Sensors, y: Any, observed: Any, k: Any) -> None:
    """Check that the observation fits the sensors, and this one its h."""
    keys = names(params.h)
    if names(y) != keys:
        raise ValueError(
            f"sequential: y has sensors {names(y) or 'in no dict or tuple'}; expected {keys}, as h."
        )
    if names(observed) not in (None, keys):
        raise ValueError(
            f"sequential: observed has sensors {names(observed)}; expected {keys}, as h."
        )
    model: StateSpaceModel | None = model_of(params.one(k))
    R = None if model is None else model.R
    if R is not None and not callable(R) and jnp.shape(y[k]) != R.shape[:1]:
        raise ValueError(
            f"sequential: y of {k!r} has shape {jnp.shape(y[k])} in a step; expected {R.shape[:1]},"
            " as R."
        )
