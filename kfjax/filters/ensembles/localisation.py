"""Localisation, which tapers the spurious long-range correlations of small ensembles."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kfjax._support.arguments import check_number, is_concrete
from kfjax._support.values import real_array

__all__ = ["GaspariCohn"]


def gaspari_cohn(ratio: np.ndarray) -> np.ndarray:
    """Return the fifth-order correlation function of distance / half-width: 1 at 0, 0 from 2 on.

    References:
        G. Gaspari, S. E. Cohn, Construction of correlation functions in two and three dimensions,
        QJRMS 125 (1999), eq. (4.10).
    """
    r = np.abs(ratio)
    cubic = -5 / 3 + r * (5 / 8 + r * (1 / 2 - r / 4))
    near = 1 + r**2 * cubic
    s = np.clip(r, 1, 2)  # where the second piece applies
    quartic = -5 + s * (5 / 3 + s * (5 / 8 + s * (-1 / 2 + s / 12)))
    far = 4 - 2 / (3 * s) + s * quartic
    far = np.maximum(far, 0.0)  # near 2 the value is below its rounding errors
    return np.where(r <= 1, near, far)


@dataclasses.dataclass(frozen=True)
class GaspariCohn:
    """Taper covariances by the distance between positions, with the Gaspari-Cohn function.

    Positions are constants of the geometry: they are stored as plain numbers, so that the value
    stays hashable.

    Attributes:
        radius: distance from which correlations are zero, above 0, in the units of the positions.
        states: positions of the state components, [n] or [n, d].
        observations: positions of the observed channels, [m] or [m, d].
        period: length of the domain if it is closed to a ring (or torus), in the units of the
            positions; otherwise None.

    Raises:
        ValueError: if radius or period is not above 0, if the radius is above half the period, or
            if the positions have other shapes.

    Example:
        >>> every, second = np.arange(40), np.arange(0, 40, 2)
        >>> local = kf.filters.GaspariCohn(
        ...     4.0, states=every, observations=second, period=40.0
        ... )
        >>> local.state_observation.shape
        (40, 20)
        >>> local.state_observation[:5, 0].round(3).tolist()
        [1.0, 0.685, 0.208, 0.016, 0.0]
    """

    radius: float
    states: Any
    observations: Any
    period: float | None = None

    def __post_init__(self) -> None:
        check_number("GaspariCohn: radius", self.radius, above=0)
        if self.period is not None:
            check_number("GaspariCohn: period", self.period, above=0)
        if self.period is not None and self.period < 2 * self.radius:
            raise ValueError(
                f"GaspariCohn: radius is {self.radius} on a ring of length {self.period}; expected"
                " at most half of it, since tapered covariances would not be positive definite"
                " otherwise. Use a smaller radius."
            )
        for name in ("states", "observations"):
            object.__setattr__(self, name, _positions(name, getattr(self, name)))
        if len(self.states[0]) != len(self.observations[0]):
            raise ValueError(
                f"GaspariCohn: states have {len(self.states[0])} coordinates, observations"
                f" {len(self.observations[0])}; expected the same number."
            )

    @property
    def state_observation(self) -> Float[np.ndarray, "n m"]:
        """The taper between state components and channels, [n, m]."""
        return self._taper(self.states, self.observations)

    @property
    def neighbours(self) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """Return the channels in reach of every state component [n, k], and their taper [n, k]."""
        taper = self.state_observation
        reach = max(1, int((taper > 0).sum(axis=1).max()))
        near = np.argsort(-taper, axis=1, kind="stable")[:, :reach]
        return near, np.take_along_axis(taper, near, axis=1)

    @property
    def observation_observation(self) -> Float[np.ndarray, "m m"]:
        """The taper between channels, [m, m]."""
        return self._taper(self.observations, self.observations)

    def _taper(self, a: Any, b: Any) -> np.ndarray:
        """Return the taper [p, q] between positions [p, d] and [q, d]."""
        rows = np.asarray(a)[:, None, :]
        columns = np.asarray(b)[None, :, :]
        d = np.abs(rows - columns)
        if self.period is not None:
            d = np.abs(d - self.period * np.round(d / self.period))
        distance = np.sqrt(np.sum(d**2, axis=-1))
        return gaspari_cohn(2 * distance / self.radius)


def _positions(name: str, value: object) -> tuple[tuple[float, ...], ...]:
    """Convert positions [p] or [p, d] to nested tuples."""
    if not is_concrete(value):
        raise ValueError(
            f"GaspariCohn: {name} is traced; expected constant positions. Build it outside jit and"
            " vmap."
        )
    array = np.asarray(real_array(f"GaspariCohn: {name}", value), float)
    if array.ndim not in (1, 2) or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(
            f"GaspariCohn: {name} has shape {array.shape}; expected finite positions [p] or [p, d]."
        )
    return tuple(map(tuple, array.reshape(len(array), -1).tolist()))
