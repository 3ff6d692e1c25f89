"""The parts that all components of a structural time series share.

A component has b states for one series, x_t = F x_{t-1} + e_t, and adds h' x_t to the observation.
For k series every state is there k times, F becomes F (x) I_k, and the disturbances of the k series
have a common covariance.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import is_concrete
from kfjax._support.naming import described
from kfjax._support.pytrees import STATIC, Pytree
from kfjax._support.types import Numbers
from kfjax._support.values import real_array
from kfjax.base import Inputs

__all__: list[str] = []

POSITIVE = "positive"
REAL = "real"
FRACTION = "between 0 and 1"
STATIONARY = "stationary"
INVERTIBLE = "invertible"
FACTOR = "lower triangular factor"
ABOVE_TWO = "above 2"

# the ranges of the kinds that have one, for every number by itself
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    POSITIVE: (0.0, None),
    FRACTION: (0.0, 1.0),
    ABOVE_TWO: (2.0, None),
}


class Start(NamedTuple):
    """The belief about the states of a component at the first observation; the mean is zero.

    Attributes:
        cov: covariance [n, n], zero for diffuse states.
        diffuse: which states are diffuse, [n] booleans.
    """

    cov: Array
    diffuse: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Component(Pytree):
    """A term of a sum; its fields that are not static are parameters, except those that are None.

    Attributes:
        name: the name of its block.
        loading: weights [m, k] with which its k series enter the m observed ones; None if each
            observed series has its own.
    """

    name: str = dataclasses.field(metadata=STATIC)
    loading: Any = None

    KINDS: ClassVar[dict[str, str]] = {}
    """The kind of number that each parameter is, by its name."""

    @property
    def series(self) -> int:
        """The number k of series that the states of the component model."""
        return count_series(getattr(self, self.stds[0])) if self.stds else 1

    @property
    def stds(self) -> tuple[str, ...]:
        """The names of the fields that hold standard deviations of disturbances."""
        return tuple(name for name, kind in self.KINDS.items() if kind == POSITIVE)

    @property
    def channels(self) -> int:
        """The number m of series that are observed."""
        return self.series if self.loading is None else self.loading.shape[0]

    @property
    def size(self) -> int:
        """The number of states."""
        return self.width * self.series

    @property
    def width(self) -> int:
        """The number b of states for one series."""
        raise NotImplementedError

    @property
    def reads_inputs(self) -> bool:
        """Whether its matrices depend on the inputs."""
        return False

    @property
    def observed_by_inputs(self) -> bool:
        """Whether H depends on the inputs."""
        return False

    @property
    def input_name(self) -> str:
        """The name of the inputs that it reads."""
        return "dt"

    def transition_of_one(self, u: Inputs) -> Any:
        """Return F [b, b] for one series."""
        raise NotImplementedError

    def known_transition(self) -> np.ndarray:
        """Return F [b, b] for one series, with NaN for entries that are not known."""
        F = self.transition_of_one(None) if not self.reads_inputs else None
        b = self.width
        return F if isinstance(F, np.ndarray) else np.full((b, b), np.nan)

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        """Return Q [b, b] for one series and a unit disturbance, for each standard deviation."""
        raise NotImplementedError

    def observed_of_one(self, u: Inputs) -> Any:
        """Return h [b], by which the states of one series are observed."""
        raise NotImplementedError

    def start_of_one(self) -> tuple[dict[str, Any], np.ndarray]:
        """Return P [b, b] for unit disturbances, and which of the b states are diffuse."""
        return {}, np.ones(self.width, bool)

    @property
    def distinct_start(self) -> bool:
        """Whether the first observations tell its diffuse states well apart from all others."""
        return True

    def frequencies(self) -> frozenset[Fraction]:
        """Return the frequencies, per step, that a diffuse start leaves undetermined."""
        return frozenset()

    def parameters(self) -> dict[str, Any]:
        """Return the parameters by name."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not field.metadata.get("static")
        }
        return {name: value for name, value in values.items() if value is not None}

    def kind_of(self, name: str) -> str:
        """Return the kind of number that a parameter is."""
        kind = self.KINDS.get(name, REAL)
        return FACTOR if kind == POSITIVE and np.ndim(getattr(self, name)) == 2 else kind

    def with_parameters(self, values: dict[str, Any]) -> Any:
        """Return the component with other values of some parameters."""
        return dataclasses.replace(self, **values)

    def transition(self, u: Inputs) -> Array:
        """Return F [n, n]."""
        return self._for_each(self.transition_of_one(u))

    def pattern_of_transition(self) -> np.ndarray:
        """Return F [n, n], with NaN for entries that are not known."""
        known = self.known_transition()
        # a product with NaN would be NaN everywhere
        unknown = np.kron(np.isnan(known), np.eye(self.series))
        values = np.kron(np.nan_to_num(known), np.eye(self.series))
        return np.where(unknown > 0, np.nan, values)

    def pattern_of_observed(self) -> np.ndarray:
        """Return H [m, n], with NaN for entries that are not known."""
        unknown = np.full((self.channels, self.size), np.nan)
        if self.reads_inputs or self.loading is not None:
            return unknown
        h = self.observed_of_one(None)
        return np.kron(h[None, :], np.eye(self.series)) if isinstance(h, np.ndarray) else unknown

    def noise(self, u: Inputs) -> Array:
        """Return Q [n, n]."""
        return self._summed(self.noise_of_one(u))

    def observed(self, u: Inputs) -> Array:
        """Return H [m, n]."""
        # States are ordered by component of one series first, then by series: matrices of one
        # series act on all by A (x) I, and disturbances correlate the series by A (x) Sigma.
        row = jnp.asarray(self.observed_of_one(u))[None, :]
        own = jnp.kron(row, np.eye(self.series))
        return own if self.loading is None else linalg.matmul(self.loading, own)

    def start(self) -> Start:
        """Return the belief about the states at the first observation."""
        covs, diffuse = self.start_of_one()
        return Start(self._summed(covs), np.repeat(diffuse, self.series))

    def _for_each(self, matrix: Any) -> Array:
        """Return the matrix for all series, given that for one."""
        if self.series == 1:
            return matrix
        return jnp.kron(jnp.asarray(matrix), np.eye(self.series))

    def _summed(self, covs: dict[str, Any]) -> Array:
        """Return the covariances of unit disturbances, scaled by those of the series, and added."""
        total = jnp.zeros((self.size, self.size))
        for name, cov in covs.items():
            std = getattr(self, name)
            if std is not None:
                total = total + jnp.kron(jnp.asarray(cov), covariance(std))
        return total


def check_parameter(name: str, value: Any, shape: tuple[int, ...], kind: str) -> None:
    """Raise unless a value has this shape and, if it is known, is in the range of its kind."""
    if value is None or np.shape(value) != shape:
        raise ValueError(f"{name} is {described(value)}; expected an array of shape {shape}.")
    if not is_concrete(value):
        return
    value = np.asarray(real_array(name, value))
    low, high = BOUNDS.get(kind, (None, None))
    if (low is not None and (value < low).any()) or (high is not None and (value > high).any()):
        raise ValueError(
            f"{name} is {value.tolist()}; expected {kind} numbers, from {low:g}"
            f"{'' if high is None else f' to {high:g}'}."
        )


def count_series(std: Numbers) -> int:
    """Return the number of series of a standard deviation, or of a factor of a covariance."""
    return 1 if std is None or np.ndim(std) == 0 else np.shape(std)[0]


def covariance(std: Numbers) -> Array:
    """Return the covariance [k, k] of standard deviations (a number or [k]) or a factor [k, k]."""
    std = jnp.asarray(std)
    if std.ndim == 2:
        lower = jnp.tril(std)
        return linalg.symmetric(linalg.matmul(lower, lower.T))
    return jnp.diag(jnp.atleast_1d(std) ** 2)


def checked_name(who: str, name: object, default: str) -> str:
    """Return the name of a component; raise unless it can be a key of the inputs."""
    if name is None:
        return default
    if not isinstance(name, str) or not name or "." in name or name == "dt":
        raise ValueError(
            f"{who}: name is {name!r}; expected a text without a dot, other than 'dt'."
        )
    return name


def checked_std(name: str, std: Numbers) -> Any:
    """Return a standard deviation, those of several series, or a factor of their covariance."""
    if std is None:
        return None
    if isinstance(std, (bool, np.bool_)):
        raise ValueError(f"{name} is {std}; expected a standard deviation, or None for none.")
    std = real_array(name, std)
    shape = np.shape(std)
    if len(shape) > 2 or 0 in shape or (len(shape) == 2 and shape[0] != shape[1]):
        raise ValueError(
            f"{name} has shape {shape}; expected a number, [k] for k series, or [k, k], a lower"
            " triangular factor of their covariance."
        )
    if is_concrete(std):
        values = np.diag(np.asarray(std)) if len(shape) == 2 else np.asarray(std)
        if not (values >= 0).all():
            raise ValueError(f"{name} is {std}; expected standard deviations of at least 0.")
        if len(shape) == 2 and np.triu(np.asarray(std), 1).any():
            raise ValueError(
                f"{name} has entries above its diagonal; expected a lower triangular factor L of"
                " the covariance L L'. For a covariance it is numpy.linalg.cholesky(covariance)."
            )
    return std


def checked_loading(name: str, loading: Numbers, series: int) -> Any:
    """Return a loading matrix [m, k], or None."""
    if loading is None:
        return None
    loading = real_array(name, loading)
    shape = np.shape(loading)
    if len(shape) != 2 or shape[1] != series or shape[0] < 1:
        raise ValueError(
            f"{name} has shape {shape}; expected [m, {series}], for m observed series."
        )
    return loading


def checked_same_series(who: str, **stds: Any) -> None:
    """Raise unless several standard deviations are of the same number of series."""
    counts = {name: count_series(std) for name, std in stds.items() if std is not None}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"{who}: {' and '.join(f'{n} is of {c} series' for n, c in counts.items())}; expected"
            " the same number."
        )


def input_of(component: str, u: Inputs) -> Any:
    """Return what a component reads: u[name], or u itself."""
    if isinstance(u, dict):
        if component not in u:
            raise ValueError(
                f"{component}: the inputs are named {', '.join(map(str, u))}; expected"
                f" us[{component!r}], with a leading time axis."
            )
        return u[component]
    if u is None:
        raise ValueError(
            f"{component}: got no inputs; expected us={{{component!r}: ...}} with a leading time"
            " axis."
        )
    if not isinstance(u, (jax.Array, np.ndarray)):
        raise ValueError(f"{component}: u is {described(u)}; expected an array or a dict of them.")
    return u
