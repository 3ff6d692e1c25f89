"""Discretisation: exact for chains of integrators, Runge-Kutta for other systems."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import numeric
from kfjax._support.naming import described
from kfjax._support.types import AnyArray, Scalar
from kfjax._support.values import real_array
from kfjax.base import Inputs

__all__ = ["rk4"]


def rk4(
    drift: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    x: Float[AnyArray, " n"],
    dt: Scalar,
) -> Float[Array, " n"]:
    """Take one classical Runge-Kutta step of dx/dt = drift(x)."""
    if not callable(drift):
        raise ValueError(f"rk4: drift is {described(drift)}; expected a function of x.")
    x = real_array("rk4: x", x, finite=False)
    dt = real_array("rk4: dt", dt, ndim=0, finite=False)
    k1 = drift(x)
    k2 = drift(x + 0.5 * dt * k1)
    k3 = drift(x + 0.5 * dt * k2)
    k4 = drift(x + dt * k3)
    return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def step_length(u: Inputs) -> Array | float:
    """Return dt from an input: u["dt"], or u itself."""
    dt = u.get("dt") if isinstance(u, dict) else u
    if dt is None or np.ndim(dt) != 0:
        raise ValueError(
            "a system with dt=None reads dt from u: got"
            f" {'none' if dt is None else f'shape {np.shape(dt)}'};"
            " expected one number per step. Pass us=kf.time_steps(times, start), [T], or"
            " name the column of times of a table (time=, on the command line --time)."
        )
    return dt


@dataclasses.dataclass(frozen=True)
class IntegratorTransition:
    """u -> F = exp(A dt) of a chain of integrators.

    It is hashable, so that models built alike share one trace.
    """

    order: int
    dimensions: int

    def __call__(self, u: Inputs) -> Array | np.ndarray:
        """Return F [k d, k d]."""
        dt = step_length(u)
        k = range(self.order)
        block = [[dt ** (j - i) / math.factorial(j - i) if j >= i else 0.0 for j in k] for i in k]
        return _per_axis(self.dimensions, block, numeric(dt))


@dataclasses.dataclass(frozen=True)
class IntegratedNoise:
    """(density, x, u) -> Q = int_0^dt exp(A s) G density G' exp(A s)' ds.

    White noise of that spectral density drives the last integrator.
    """

    order: int
    dimensions: int

    def __call__(self, density: Any, x: AnyArray | None, u: Inputs) -> Array | np.ndarray:
        """Return Q [k d, k d], the same for every x."""
        del x
        dt = step_length(u)
        powers = range(self.order - 1, -1, -1)
        block = [
            [
                dt ** (a + b + 1) / ((a + b + 1) * math.factorial(a) * math.factorial(b))
                for b in powers
            ]
            for a in powers
        ]
        return density * _per_axis(self.dimensions, block, numeric(dt))


def _per_axis(dimensions: int, block: list[list[Any]], xp: ModuleType) -> Any:
    """Repeat a block along the diagonal."""
    return xp.kron(np.eye(dimensions), xp.array(block))
