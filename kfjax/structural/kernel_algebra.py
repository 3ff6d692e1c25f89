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
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.pytrees import STATIC
from kfjax.base import Inputs
from kfjax.structural.components import POSITIVE, Component
from kfjax.systems.integration import step_length

__all__: list[str] = []


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
