"""Kernels as components: the Matern family, and the periodic kernel."""

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
from kfjax.structural.components import POSITIVE
from kfjax.structural.kernel_algebra import Kernel

__all__: list[str] = []

NODES = np.polynomial.legendre.leggauss(8)  # exact to rounding over steps of up to a length scale
POINTS = 64  # of the periodic kernel, whose Fourier coefficients fall faster than a power


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
