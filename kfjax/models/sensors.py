"""A motion that several sensors observe: params of `kfjax.sequential`."""

from __future__ import annotations

import dataclasses
from typing import Any

from kfjax._support.pytrees import STATIC, Pytree, as_array, as_pytree, promote
from kfjax._support.values import real_array
from kfjax.base import Gaussian
from kfjax.models.noise import check_matrix, checked_noise_free, symmetric_part
from kfjax.models.spaces import EUCLIDEAN, as_observation_space, as_space
from kfjax.models.state_space import First, StateSpaceModel, check_fields, check_first

__all__ = ["Sensor", "Sensors"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sensor(Pytree):
    """One sensor's view of the state: y = h(x, u) + v, v ~ N(0, R).

    Attributes:
        h: `(x [n], u) -> [m]`: a plain function, a `Partial`, or a `Linear`.
        R: covariance of v [m, m], or a callable of (x, u).
        space: how observations are subtracted, a `Space` such as `kf.angles(0)`; None is Euclidean.
            The attribute is always a `Space`.
        noise_free: whether R may be singular, as in `StateSpaceModel`.

    Raises:
        ValueError: if space is not a `Space`. `Sensors` checks h and R.
    """

    h: Any
    R: Any
    space: Any = None
    noise_free: bool | None = dataclasses.field(default=None, metadata=STATIC)

    def __post_init__(self) -> None:
        if not callable(self.R):
            check_matrix("Sensor", "R", real_array("Sensor: R", self.R))
        noise_free = checked_noise_free("Sensor", self.noise_free, self.R)
        object.__setattr__(self, "noise_free", noise_free)
        object.__setattr__(self, "h", as_pytree(self.h))
        object.__setattr__(self, "R", symmetric_part(as_pytree(as_array(self.R))))
        object.__setattr__(self, "space", as_observation_space("Sensor: space", self.space))


@dataclasses.dataclass(frozen=True, eq=False)
class Sensors(Pytree):
    """A state-space model with several sensors of independent noise; params of `sequential`.

    x_t = f(x_{t-1}, u_t) + e_t,  e_t ~ N(0, Q),  x_0 ~ prior;  y_t^k = h_k(x_t, u_t) + v_t^k.

    It stands wherever the params of a filter hold a `StateSpaceModel`: `IMMParams((Sensors(...),
    Sensors(...)), transition, weights)` and `Learned(Sensors(...), network)` are params of
    `sequential(imm(...))` and of `sequential` of a learned filter, which see one sensor at a time.

    Attributes:
        f: `(x [n], u) -> [n]`, as in `StateSpaceModel`.
        Q: process noise covariance [n, n], or a callable of (x, u).
        prior: belief about x_0 (about x_1 with first="update"), a `Gaussian` or a pair (mean [n],
            cov [n, n]).
        sensors: dict of `Sensor` by name (or a tuple of them).
        state_space: how states are subtracted and moved, as in `StateSpaceModel`.
        first: which step comes first in a record, "predict" or "update", as in `StateSpaceModel`.

    Raises:
        ValueError: if there is no sensor, or f, Q, the prior and a sensor do not make a
            `StateSpaceModel`.

    Example:
        >>> motion = kf.systems.constant_velocity()
        >>> sensors = kf.Sensors(
        ...     motion.f,
        ...     motion.Q,
        ...     motion.prior,
        ...     {
        ...         "position": kf.Sensor(kf.Linear([[1.0, 0.0]]), R=[[1.0]]),
        ...         "speed": kf.Sensor(kf.Linear([[0.0, 1.0]]), R=[[0.1]]),
        ...     },
        ... )
        >>> sensors.one("speed").R.shape
        (1, 1)
    """

    f: Any
    Q: Any
    prior: Any
    sensors: Any
    state_space: Any = None
    first: First = dataclasses.field(default="predict", metadata=STATIC)

    def __post_init__(self) -> None:
        check_first("Sensors", self.first)
        keys = sensor_names(self.sensors)
        if not keys or not all(isinstance(self.sensors[k], Sensor) for k in keys):
            raise ValueError(
                f"Sensors: sensors is {self.sensors!r}; expected a dict of sensors by name, such as"
                ' {"gps": kf.Sensor(h, R)}.'
            )
        for name in keys:
            self._check(name)
        values = {
            "f": as_pytree(self.f),
            "Q": as_pytree(as_array(self.Q)),
            "prior": Gaussian(*map(as_array, self.prior)),
            "sensors": self.sensors,
            "state_space": as_space("Sensors: state_space", self.state_space),
        }
        for name, value in promote(values, "Sensors").items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "Q", symmetric_part(self.Q))
        cov = symmetric_part(self.prior.cov)
        object.__setattr__(self, "prior", Gaussian(self.prior.mean, cov))

    def _check(self, name: Any) -> None:
        """Raise unless this sensor and the motion form a valid model."""
        sensor = self.sensors[name]
        try:
            StateSpaceModel(
                self.f, sensor.h, self.Q, sensor.R, self.prior, self.state_space, sensor.space
            )
        except ValueError as error:
            raise ValueError(f"Sensors: with sensor {name!r}: {error}") from error

    @property
    def model(self) -> StateSpaceModel:
        """The motion alone, as a `StateSpaceModel` whose h and R are None."""
        return self._with(None, None, EUCLIDEAN, False)

    def one(self, name: Any) -> StateSpaceModel:
        """Return the model with a single sensor."""
        sensor = self.sensors[name]
        return self._with(sensor.h, sensor.R, sensor.space, sensor.noise_free)

    def replace(self, **changes: Any) -> Sensors:
        """Return a copy with other fields; they are checked as in new `Sensors`."""
        check_fields("Sensors.replace", type(self), changes)
        return dataclasses.replace(self, **changes)

    def _with(self, h: Any, R: Any, space: Any, noise_free: bool | None) -> StateSpaceModel:
        return StateSpaceModel.unchecked(
            self.f,
            h,
            self.Q,
            R,
            self.prior,
            self.state_space,
            space,
            None,
            self.first,
            noise_free,
        )


def sensor_names(sensors: object) -> list[Any] | Any:
    """Return the keys of a dict, sorted, or the indices of a tuple; None for anything else."""
    if isinstance(sensors, dict):
        return sorted(sensors)
    return list(range(len(sensors))) if isinstance(sensors, (tuple, list)) else None


def like_sensors(sensors: object, values: list[Any]) -> Any:
    """Return values, in the order of `sensor_names`, as a dict or tuple like sensors."""
    if isinstance(sensors, dict):
        return dict(zip(sorted(sensors), values, strict=True))
    return tuple(values)
