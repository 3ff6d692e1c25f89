"""Gaussian processes in time as components: kernels, their sums and their products.

A kernel whose spectrum is rational is that of a linear stochastic differential equation. Its
states start from their stationary covariance P, move by F = exp(A dt) and are disturbed by Q with
P = F P F' + Q, for any step dt. In the product of two kernels the states are products:
F = F_1 (x) F_2, P = P_1 (x) P_2 and

    Q = Q_1 (x) P_2 + (F_1 P_1 F_1') (x) Q_2,

in which nothing is subtracted.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.pytrees import STATIC
from kfjax.base import Inputs
from kfjax.structural.components import (
    POSITIVE,
    Component,
)
from kfjax.systems.integration import step_length

__all__: list[str] = []

NODES = np.polynomial.legendre.leggauss(8)  # exact to rounding over steps of up to a length scale
POINTS = 64  # of the periodic kernel, whose Fourier coefficients fall faster than a power


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Kernel(Component):
    """A stationary Gaussian process in time."""

    std: Any = None
    dt: float | None = dataclasses.field(default=1.0, metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {"std": POSITIVE}

    @property
    def reads_inputs(self) -> bool:
        return self.dt is None

    def step(self, u: Inputs) -> Any:
        """Return the length of a step."""
        return step_length(u) if self.dt is None else self.dt

    def moved(self, dt: Any) -> Array:
        """Return F [b, b] over a step."""
        raise NotImplementedError

    def driven(self, dt: Any) -> Array:
        """Return Q [b, b] over a step, for unit variance."""
        raise NotImplementedError

    def stationary(self) -> Array:
        """Return P [b, b] for unit variance."""
        raise NotImplementedError

    def transition_of_one(self, u: Inputs) -> Any:
        dt = self.step(u)
        return self.moved(dt)

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        dt = self.step(u)
        return {"std": self.driven(dt)}

    def start_of_one(self) -> tuple[dict[str, Any], np.ndarray]:
        return {"std": self.stationary()}, np.zeros(self.width, bool)

    @property
    def factors(self) -> tuple[str, ...]:
        """The names of the kernels that it is the product of."""
        return (self.name,)

    def times(self, other: Kernel) -> Product:
        """Return the product; its standard deviation is the product of both."""
        has_loading = self.loading is not None or other.loading is not None
        if has_loading or self.dt != other.dt:
            raise ValueError(
                f"*: {self.name} and {other.name} have a loading, or different dt; expected kernels"
                " of one step length without loading."
            )
        if max(np.ndim(self.std), np.ndim(other.std)):
            raise ValueError("*: a kernel is of several series; expected kernels of one series.")
        common = set(self.factors) & set(other.factors)
        if common:
            name = sorted(common)[0]
            raise ValueError(
                f"*: both factors hold a kernel called {name!r}; expected different names. Pass"
                " name= to one of them."
            )
        return Product(
            name=f"{self.name}*{other.name}",
            std=self.std * other.std,
            dt=self.dt,
            first=dataclasses.replace(self, std=None),
            second=dataclasses.replace(other, std=None),
        )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Matern(Kernel):
    """A process with p derivatives; p = 0 is Ornstein-Uhlenbeck."""

    length_scale: Any = None
    derivatives: int = dataclasses.field(default=1, metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {"std": POSITIVE, "length_scale": POSITIVE}

    # The states are x, x' / l, x'' / l^2 with l = sqrt(2 p + 1) / length_scale, so that with z =
    # l dt all matrices are those of l = 1: A + I is nilpotent, and exp(A z) a polynomial times
    # exp(-z).

    @property
    def stds(self) -> tuple[str, ...]:
        return ("std",)

    @property
    def width(self) -> int:
        return self.derivatives + 1

    def _scaled(self, dt: Any) -> Any:
        """Return z = l dt."""
        root = math.sqrt(2 * self.derivatives + 1)
        return root * dt / self.length_scale

    def _flow(self, z: Any) -> Array:
        """Return exp(A z)."""
        companion = _companion(self.derivatives)
        nilpotent = companion + np.eye(self.width)
        total = jnp.zeros((self.width, self.width))
        for k in range(self.width):
            coefficient = z**k / math.factorial(k)
            power = np.linalg.matrix_power(nilpotent, k)
            total = total + coefficient * power
        return jnp.exp(-z) * total

    def moved(self, dt: Any) -> Array:
        return self._flow(self._scaled(dt))

    def driven(self, dt: Any) -> Array:
        # over short steps P - F P F' loses all digits, so that the integral of exp(A s) G G'
        # exp(A s)' is summed
        z = jnp.asarray(self._scaled(dt))
        P = self.stationary()
        is_short = z < 1.0
        short = jnp.where(is_short, z, 1.0)  # jnp.minimum has half of the slope at z = 1
        # Spectral densities q for which the variance of x is one; with l = 1 it is q / 2, q / 4 and
        # (3 / 16) q (Hartikainen and Sarkka, 2010).
        densities = {0: 2.0, 1: 4.0, 2: 16.0 / 3.0}
        density = densities[self.derivatives]
        total = jnp.zeros_like(P)
        for node, weight in zip(*NODES, strict=True):
            flow = self._flow(short * (1 + node) / 2)
            # G is the last unit vector, since white noise drives the highest derivative only.
            column = flow[:, -1]
            square = jnp.outer(column, column)
            total = total + weight / 2 * density * square
        long = jnp.where(is_short, 1.0, z)
        F = self._flow(long)
        rest = P - linalg.quadratic(F, P)
        return jnp.where(is_short, short * total, rest)

    def stationary(self) -> Array:
        covs = {
            0: [[1.0]],
            1: [[1.0, 0.0], [0.0, 1.0]],
            2: [[1.0, 0.0, -1 / 3], [0.0, 1 / 3, 0.0], [-1 / 3, 0.0, 1.0]],
        }
        return jnp.asarray(covs[self.derivatives])

    def observed_of_one(self, u: Inputs) -> Any:
        return np.eye(self.width)[0]


def _companion(derivatives: int) -> np.ndarray:
    """Return A of (d/dt + 1)^(p + 1) x = white noise."""
    size = derivatives + 1
    A = np.eye(size, k=1)
    A[-1] = [-math.comb(size, k) for k in range(size)]
    return A


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Periodic(Kernel):
    """A process that repeats exactly, as a Fourier series with random coefficients."""

    period: Any = None
    length_scale: Any = None
    harmonics: int = dataclasses.field(default=6, metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {
        "std": POSITIVE,
        "period": POSITIVE,
        "length_scale": POSITIVE,
    }

    @property
    def stds(self) -> tuple[str, ...]:
        return ("std",)

    @property
    def width(self) -> int:
        return 2 * self.harmonics + 1

    def moved(self, dt: Any) -> Array:
        orders = np.arange(1, self.harmonics + 1)
        angle = 2 * math.pi * dt / self.period * orders
        cos = jnp.diag(jnp.cos(angle))
        sin = jnp.diag(jnp.sin(angle))
        quarter_turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
        pairs = jnp.kron(cos, np.eye(2))
        pairs = pairs + jnp.kron(sin, quarter_turn)
        with_constant = jnp.pad(pairs, (1, 0))
        return with_constant.at[0, 0].set(1.0)

    def driven(self, dt: Any) -> Array:
        # All randomness is in the coefficients at the start: the process repeats exactly.
        return jnp.zeros((self.width, self.width))

    def stationary(self) -> Array:
        angles = 2 * np.pi * np.arange(POINTS) / POINTS
        # exp(-2 sin^2(a / 2) / length_scale^2), since 2 sin^2(a / 2) = 1 - cos(a). Its cosine
        # series has the variances of the waves as coefficients (Solin and Sarkka, 2014), here by
        # the trapezoidal rule, which converges exponentially for a smooth periodic function.
        exponents = (np.cos(angles) - 1) / self.length_scale**2
        kernel = jnp.exp(exponents)
        orders = np.arange(self.harmonics + 1)
        waves = np.cos(angles * orders[:, None])
        # The mean of cos^2 is 1 / 2 for every wave but the constant.
        waves[1:] *= 2
        sums = linalg.matmul(jnp.asarray(waves), kernel)
        variances = sums / POINTS
        constant = variances[:1]
        pairs = jnp.repeat(variances[1:], 2)
        return jnp.diag(jnp.concatenate([constant, pairs]))

    def observed_of_one(self, u: Inputs) -> Any:
        pairs = np.tile([1.0, 0.0], self.harmonics)
        return np.concatenate([[1.0], pairs])


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Product(Kernel):
    """The product of two kernels of unit variance, times a variance."""

    first: Any = None
    second: Any = None

    @property
    def width(self) -> int:
        return self.first.width * self.second.width

    @property
    def factors(self) -> tuple[str, ...]:
        return (*self.first.factors, *self.second.factors)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters by name, such as "matern.length_scale"."""
        found = {} if self.std is None else {"std": self.std}
        for factor in (self.first, self.second):
            own = factor.parameters()
            found |= {f"{factor.name}.{key}": value for key, value in own.items()}
        return found

    def kind_of(self, name: str) -> str:
        """Return the kind of number that a parameter is."""
        owner, _, key = name.partition(".")  # names of components have no dots
        if not key:
            return POSITIVE
        factors = {factor.name: factor for factor in (self.first, self.second)}
        return factors[owner].kind_of(key)

    def with_parameters(self, values: dict[str, Any]) -> Any:
        """Return the product with other values of some parameters."""
        changes = {"std": values.get("std", self.std)}
        for field in ("first", "second"):
            factor = getattr(self, field)
            prefix = f"{factor.name}."
            own = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
            changes[field] = factor.with_parameters(own)
        return dataclasses.replace(self, **changes)

    def moved(self, dt: Any) -> Array:
        first = self.first.moved(dt)
        second = self.second.moved(dt)
        return jnp.kron(first, second)

    def driven(self, dt: Any) -> Array:
        first = self.first
        second = self.second
        F = first.moved(dt)
        P = first.stationary()
        of_first = jnp.kron(first.driven(dt), second.stationary())
        moved = linalg.quadratic(F, P)
        of_second = jnp.kron(moved, second.driven(dt))
        return of_first + of_second

    def stationary(self) -> Array:
        first = self.first.stationary()
        second = self.second.stationary()
        return jnp.kron(first, second)

    def observed_of_one(self, u: Inputs) -> Any:
        first = self.first.observed_of_one(u)
        second = self.second.observed_of_one(u)
        return np.kron(first, second)
