"""Seasonal patterns and cycles."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_count, check_number, is_concrete
from kfjax._support.pytrees import STATIC
from kfjax._support.values import real_array
from kfjax.base import Inputs
from kfjax.structural.components import (
    ABOVE_TWO,
    FRACTION,
    POSITIVE,
    Component,
    checked_loading,
    checked_name,
    checked_std,
    count_series,
)
from kfjax.structural.sums import Structural
from kfjax.structural.trends import checked_fraction

__all__ = ["cycle", "seasonal"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dummies(Component):
    """A seasonal pattern whose last s values add up to noise."""

    std: Any = None
    period: int = dataclasses.field(default=2, metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {"std": POSITIVE}

    @property
    def width(self) -> int:
        return self.period - 1

    @property
    def period_length(self) -> float:
        return float(self.period)

    def transition_of_one(self, u: Inputs) -> Any:
        # The sum over a period is noise, so that the pattern has no level that a trend could not be
        # told from (Harvey, 1989, section 2.3.4; Durbin and Koopman, 2012, section 3.2.2).
        shift = np.eye(self.width, k=-1)
        shift[0] = -1.0
        return shift

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        return {"std": _corner(self.width)}

    def observed_of_one(self, u: Inputs) -> Any:
        return np.eye(self.width)[0]

    def frequencies(self) -> frozenset[Fraction]:
        # Exact fractions, since components that share a frequency are found by equality.
        return frozenset(Fraction(j, self.period) for j in range(1, self.period // 2 + 1))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Waves(Component):
    """A seasonal pattern as a sum of waves, each with its own disturbances."""

    std: Any = None
    period: float = dataclasses.field(default=2.0, metadata=STATIC)
    harmonics: tuple[int, ...] = dataclasses.field(default=(1,), metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {"std": POSITIVE}

    @property
    def width(self) -> int:
        return sum(self._sizes)

    @property
    def period_length(self) -> float:
        return float(self.period)

    @property
    def distinct_start(self) -> bool:
        # As many observations as states are a small part of the period, in which slow waves look
        # alike: of period 52 and 6 harmonics, some are known with a variance 1e17 times that of an
        # observation.
        return False

    @property
    def _sizes(self) -> list[int]:
        # a wave of period 2 is its own mirror image: it needs one state
        return [1 if 2 * j == self.period else 2 for j in self.harmonics]

    def transition_of_one(self, u: Inputs) -> Any:
        blocks = np.zeros((self.width, self.width))
        start = 0
        for j, size in zip(self.harmonics, self._sizes, strict=True):
            # Each pair of states turns by the frequency of its wave, and noise lets phase and
            # amplitude drift. With all harmonics and no noise the pattern is that of dummies.
            turn = _turn(np.asarray(2 * math.pi * j / self.period), np)
            blocks[start : start + size, start : start + size] = turn[:size, :size]
            start += size
        return blocks

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        return {"std": np.eye(self.width)}

    def observed_of_one(self, u: Inputs) -> Any:
        return np.concatenate([np.eye(size)[0] for size in self._sizes])

    def frequencies(self) -> frozenset[Fraction]:
        base = 1 / Fraction(self.period).limit_denominator(10**6)
        return frozenset(j * base for j in self.harmonics)


def _corner(size: int) -> np.ndarray:
    """Return a matrix of zeros with a one in its first place."""
    corner = np.zeros((size, size))
    corner[0, 0] = 1.0
    return corner


def _turn(angle: Any, xp: Any) -> Any:
    """Return the rotation by an angle."""
    return xp.stack(
        [
            xp.stack([xp.cos(angle), xp.sin(angle)]),
            xp.stack([-xp.sin(angle), xp.cos(angle)]),
        ]
    )


def seasonal(
    period: float,
    std: Any = 1.0,
    *,
    harmonics: Any = None,
    loading: Any = None,
    name: str | None = None,
) -> Structural:
    """Return a seasonal pattern that repeats after `period` steps and may change slowly.

    By dummies, g_t = -(g_{t-1} + ... + g_{t-s+1}) + e_t with e_t ~ N(0, std^2). With `harmonics`,
    g_t = sum_j a_{j,t}, where (a_j, b_j) is turned by 2 pi j / period and disturbed in every step:

        a_{j,t} =  cos(w_j) a_{j,t-1} + sin(w_j) b_{j,t-1} + e_t
        b_{j,t} = -sin(w_j) a_{j,t-1} + cos(w_j) b_{j,t-1} + z_t,   e_t, z_t ~ N(0, std^2).

    Args:
        period: s, the number of steps after which it repeats, at least 2; a whole number without
            `harmonics`.
        std: standard deviation of the disturbances, in the unit of y; None for a pattern that does
            not change. [k] or a factor [k, k] for k series, as in `level`.
        harmonics: number of waves, from the longest on; or a tuple of their numbers j, or "all".
            None for dummies.
        loading: [m, k], as in `level`.
        name: the name of the block; default "seasonal". Several need different names.

    Returns:
        A `Structural` of one component with s - 1 states, or two for each wave (one for that of
        period 2). The start is diffuse.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> kf.structural.seasonal(12).n
        11
        >>> kf.structural.seasonal(365.25, harmonics=3).n
        6

    References:
        J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
        section 3.2.2.
    """
    name = checked_name("seasonal", name, "seasonal")
    std = checked_std("seasonal: std", std)
    loading = checked_loading("seasonal: loading", loading, count_series(std))
    if harmonics is None:
        whole = int(period) if isinstance(period, float) and period.is_integer() else period
        check_count("seasonal: period", whole, least=2, most=10_000)
        return Structural.of(Dummies(name=name, std=std, loading=loading, period=int(whole)))
    check_number("seasonal: period", period, least=2)
    waves = _checked_harmonics(period, harmonics)
    return Structural.of(
        Waves(name=name, std=std, loading=loading, period=float(period), harmonics=waves)
    )


def _checked_harmonics(period: float, harmonics: Any) -> tuple[int, ...]:
    """Return the numbers of the waves; raise unless each is at most half of the period."""
    most = int(period // 2)
    if isinstance(harmonics, str):
        if harmonics != "all":
            raise ValueError(
                f"seasonal: harmonics is {harmonics!r}; expected a number of waves, a tuple, 'all',"
                " or None for dummies."
            )
        return tuple(range(1, most + 1))
    if np.ndim(harmonics) == 0:
        check_count("seasonal: harmonics", harmonics, most=most)
        return tuple(range(1, int(harmonics) + 1))
    for j in harmonics:
        check_count("seasonal: harmonics", j, most=most)
    if len(harmonics) == 0 or len(set(harmonics)) < len(harmonics):
        raise ValueError(f"seasonal: harmonics is {harmonics!r}; expected different numbers.")
    return tuple(sorted(map(int, harmonics)))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Cycle(Component):
    """A wave of unknown period."""

    period: Any
    std: Any = None
    damping: Any = None

    KINDS: ClassVar[dict[str, str]] = {
        "period": ABOVE_TWO,
        "std": POSITIVE,
        "damping": FRACTION,
    }

    @property
    def width(self) -> int:
        return 2

    def transition_of_one(self, u: Inputs) -> Array:
        turn = _turn(2 * math.pi / jnp.asarray(self.period), jnp)
        return turn if self.damping is None else self.damping * turn

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        return {"std": np.eye(2)}

    def observed_of_one(self, u: Inputs) -> Any:
        return np.array([1.0, 0.0])

    @property
    def distinct_start(self) -> bool:
        return not self.start().diffuse.any()  # a slow wave looks like a line at first

    def start_of_one(self) -> tuple[dict[str, Any], np.ndarray]:
        if self.damping is None or self.std is None:
            return {}, np.ones(2, bool)
        # The stationary covariance, P = rho^2 T P T' + std^2 I, which a multiple of the identity
        # solves, since the rotation T leaves it as it is (Harvey, 1989, section 2.3.3). Without
        # damping the cycle is not stationary, and starts diffuse.
        return {"std": np.eye(2) / (1 - self.damping**2)}, np.zeros(2, bool)


def cycle(
    period: Any,
    std: Any = 1.0,
    *,
    damping: Any = None,
    loading: Any = None,
    name: str | None = None,
) -> Structural:
    """Return a cycle, a wave whose period is a parameter.

    (c, d) is turned by w = 2 pi / period, damped and disturbed in every step:

        c_t = damping ( cos(w) c_{t-1} + sin(w) d_{t-1}) + e_t
        d_t = damping (-sin(w) c_{t-1} + cos(w) d_{t-1}) + z_t,   e_t, z_t ~ N(0, std^2).

    Args:
        period: period in steps, above 2.
        std: standard deviation of the disturbances, in the unit of y, or None for a wave that does
            not change. [k] or a factor [k, k] for k series, as in `level`.
        damping: factor between 0 and 1, or None for 1.
        loading: [m, k], as in `level`.
        name: the name of the block; default "cycle".

    Returns:
        A `Structural` of one component with two states. With damping and std it starts from its
        stationary distribution, otherwise from a diffuse one.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> model = kf.structural.cycle(20.0, std=0.5, damping=0.9)
        >>> model.diffuse
        ()

    References:
        A. C. Harvey, Forecasting, Structural Time Series Models and the Kalman Filter (1989),
        section 2.3.
    """
    period = real_array("cycle: period", period, ndim=0)
    if is_concrete(period) and not float(period) > 2:
        raise ValueError(f"cycle: period is {period}; expected more than 2 steps.")
    std = checked_std("cycle: std", std)
    if damping is not None:
        damping = checked_fraction("cycle: damping", damping)
    return Structural.of(
        Cycle(
            name=checked_name("cycle", name, "cycle"),
            period=period,
            std=std,
            damping=damping,
            loading=checked_loading("cycle: loading", loading, count_series(std)),
        )
    )
