"""Levels and trends."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Real

from kfjax._support.arguments import check_number, is_concrete
from kfjax._support.pytrees import STATIC
from kfjax._support.types import Nested
from kfjax._support.values import real_array
from kfjax.base import Inputs
from kfjax.structural.components import (
    FRACTION,
    POSITIVE,
    Component,
    checked_loading,
    checked_name,
    checked_same_series,
    checked_std,
    count_series,
)
from kfjax.structural.sums import Structural
from kfjax.systems.integration import step_length

__all__ = ["irregular", "level", "trend"]

ZERO = frozenset({Fraction(0)})


def checked_step(name: str, dt: Any) -> float | None:
    """Return a static step length, or None if it is read from the inputs."""
    if dt is not None:
        check_number(name, dt, above=0)
        return float(dt)
    return None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Level(Component):
    """A random walk."""

    std: Any = None
    dt: float | None = dataclasses.field(default=1.0, metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {"std": POSITIVE}

    @property
    def width(self) -> int:
        return 1

    @property
    def reads_inputs(self) -> bool:
        return self.dt is None

    def transition_of_one(self, u: Inputs) -> Any:
        return np.eye(1)

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        # The variance of a random walk grows with time: steps of any lengths give the same process.
        dt = step_length(u) if self.dt is None else self.dt
        return {"std": jnp.reshape(jnp.asarray(dt), (1, 1))}

    def observed_of_one(self, u: Inputs) -> Any:
        return np.ones(1)

    def frequencies(self) -> frozenset[Fraction]:
        return ZERO


def level(
    std: Any = 1.0, *, loading: Any = None, dt: float | None = 1.0, name: str | None = None
) -> Structural:
    """Return a local level, a random walk.

    mu_t = mu_{t-1} + e_t,  e_t ~ N(0, std^2 dt).

    Args:
        std: standard deviation of e_t after a step of length 1, in the unit of y; None for a
            constant. [k] or a lower triangular factor [k, k] of their covariance for k series.
        loading: weights [m, k] with which k common levels enter m series; None if each series has
            its own level.
        dt: step length, or None to read it from the inputs (u_t, or u_t["dt"]).
        name: the name of the block; default "level".

    Returns:
        A `Structural` of one component; its start is diffuse.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> model = kf.structural.level(0.5) + kf.structural.irregular(1.0)
        >>> kf.log_likelihood(kf.exact_diffuse(), model, jnp.ones((5, 1))).shape
        ()

    References:
        J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
        section 2.1.
    """
    std = checked_std("level: std", std)
    return Structural.of(
        Level(
            name=checked_name("level", name, "level"),
            std=std,
            loading=checked_loading("level: loading", loading, count_series(std)),
            dt=checked_step("level: dt", dt),
        )
    )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Trend(Component):
    """A level with a slope."""

    level_std: Any = None
    slope_std: Any = None
    damping: Any = None
    in_time: bool = dataclasses.field(default=False, metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {
        "level_std": POSITIVE,
        "slope_std": POSITIVE,
        "damping": FRACTION,
    }

    @property
    def series(self) -> int:
        return max(count_series(self.level_std), count_series(self.slope_std))

    @property
    def width(self) -> int:
        return 2

    @property
    def reads_inputs(self) -> bool:
        return self.in_time

    def transition_of_one(self, u: Inputs) -> Any:
        dt = step_length(u) if self.in_time else 1.0
        damping = 1.0 if self.damping is None else self.damping
        return jnp.asarray([[1.0, dt], [0.0, damping]])

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        if not self.in_time:
            return {"level_std": np.diag([1.0, 0.0]), "slope_std": np.diag([0.0, 1.0])}
        dt = step_length(u)
        return {
            "level_std": dt * np.diag([1.0, 0.0]),
            # The covariance of (integral of W, W) over a step, for a slope that moves as a Wiener
            # process W: so the model is the same however finely time is cut, and steps may differ.
            "slope_std": jnp.asarray([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]),
        }

    def observed_of_one(self, u: Inputs) -> Any:
        return np.array([1.0, 0.0])

    def start_of_one(self) -> tuple[dict[str, Any], np.ndarray]:
        if self.damping is None or self.slope_std is None:
            return {}, np.ones(2, bool)
        # A damped slope is an autoregression with a stationary variance, std^2 / (1 - damping^2),
        # and needs no diffuse start; the level has one.
        slope = 1 / (1 - self.damping**2) * np.diag([0.0, 1.0])
        return {"slope_std": slope}, np.array([True, False])

    def frequencies(self) -> frozenset[Fraction]:
        return ZERO


def trend(
    level_std: Any = 1.0,
    slope_std: Any = 1.0,
    *,
    damping: Any = None,
    loading: Any = None,
    dt: float | None = 1.0,
    name: str | None = None,
) -> Structural:
    """Return a local linear trend, a level that moves by a slope.

    mu_t = mu_{t-1} + b_{t-1} + e_t,  b_t = damping b_{t-1} + z_t,  e_t ~ N(0, level_std^2),
    z_t ~ N(0, slope_std^2).

    With level_std=None it is the smooth trend (integrated random walk), with both None a straight
    line. With dt=None, for irregular times, the slope is a Wiener process and mu its integral, so
    that slope_std also enters the noise of the level.

    Args:
        level_std: standard deviation of e_t in the unit of y, or None for none. [k] or a factor
            [k, k] for k series, as in `level`.
        slope_std: standard deviation of z_t, in the unit of y per step, or None for none.
        damping: factor between 0 and 1; None for a slope that does not decay.
        loading: [m, k], as in `level`.
        dt: 1 for regular steps, or None to read step lengths from the inputs (u_t, or u_t["dt"]).
        name: the name of the block; default "trend".

    Returns:
        A `Structural` of one component with the states (mu_t, b_t). The start is diffuse, except
        for a damped slope, which starts from its stationary distribution.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> kf.structural.trend(level_std=None, slope_std=0.1).n
        2

    References:
        J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
        section 3.2.1; A. C. Harvey, Forecasting, Structural Time Series Models and the Kalman
        Filter (1989), section 2.3.
    """
    level_std = checked_std("trend: level_std", level_std)
    slope_std = checked_std("trend: slope_std", slope_std)
    checked_same_series("trend", level_std=level_std, slope_std=slope_std)
    if dt is not None and dt != 1:
        raise ValueError(f"trend: dt is {dt}; expected 1, or None to read it from the inputs.")
    if damping is not None:
        damping = checked_fraction("trend: damping", damping)
    if damping is not None and dt is None:
        raise ValueError("trend: got damping and dt=None; expected regular steps with damping.")
    series = max(count_series(level_std), count_series(slope_std))
    return Structural.of(
        Trend(
            name=checked_name("trend", name, "trend"),
            level_std=level_std,
            slope_std=slope_std,
            damping=damping,
            loading=checked_loading("trend: loading", loading, series),
            in_time=dt is None,
        )
    )


def checked_fraction(name: str, value: Any) -> Any:
    """Return a number between 0 and 1, both excluded."""
    value = real_array(name, value, ndim=0)
    if is_concrete(value) and not 0 < float(value) < 1:
        raise ValueError(f"{name} is {value}; expected a number above 0 and below 1.")
    return value


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Irregular(Component):
    """Noise of the observations, without states."""

    std: Any = None

    KINDS: ClassVar[dict[str, str]] = {"std": POSITIVE}

    @property
    def width(self) -> int:
        return 0


def irregular(
    std: Real[ArrayLike, " ..."] | Nested = 1.0, *, name: str | None = None
) -> Structural:
    """Return the irregular component, the noise of the observations.

    A sum without one has no observation noise.

    Args:
        std: standard deviation, in the unit of y. [m] or a lower triangular factor [m, m] of their
            covariance for m series.
        name: the name of the block; default "irregular".

    Returns:
        A `Structural` without states, to be added to others.

    Raises:
        ValueError: if std is out of its range.

    Example:
        >>> (kf.structural.level() + kf.structural.irregular(2.0)).R.tolist()
        [[4.0]]
    """
    std = checked_std("irregular: std", std)
    if std is None:
        raise ValueError("irregular: std is None; expected a standard deviation. Leave it out.")
    return Structural.of(Irregular(name=checked_name("irregular", name, "irregular"), std=std))
