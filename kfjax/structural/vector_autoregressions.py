"""Autoregressions of several series."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import is_concrete
from kfjax._support.values import real_array
from kfjax.base import Inputs
from kfjax.linear.lyapunov import spectral_radius, stationary_covariance
from kfjax.structural.components import (
    POSITIVE,
    STATIONARY,
    Component,
    Start,
    checked_loading,
    checked_name,
    checked_std,
    count_series,
)
from kfjax.structural.sums import Structural

__all__ = ["vector_autoregression"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class VectorAutoregression(Component):
    """z_t = C_1 z_{t-1} + ... + C_p z_{t-p} + e_t for k series."""

    coefficients: Any
    std: Any

    KINDS: ClassVar[dict[str, str]] = {"std": POSITIVE, "coefficients": STATIONARY}

    @property
    def width(self) -> int:
        return self.coefficients.shape[0]

    def transition(self, u: Inputs) -> Array:
        k, p = self.series, self.width
        rows = jnp.concatenate(list(jnp.asarray(self.coefficients)), axis=1)
        return jnp.concatenate([rows, np.eye(k * (p - 1), k * p)])

    def pattern_of_transition(self) -> np.ndarray:
        k, p = self.series, self.width
        return np.concatenate([np.full((k, k * p), np.nan), np.eye(k * (p - 1), k * p)])

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        first = np.zeros((self.width, self.width))
        first[0, 0] = 1.0
        return {"std": first}

    def observed_of_one(self, u: Inputs) -> Any:
        return np.eye(self.width)[0]

    def start(self) -> Start:
        cov = stationary_covariance(self.transition(None), self.noise(None))
        return Start(cov, np.zeros(self.size, bool))


def vector_autoregression(
    coefficients: Any, std: Any, *, loading: Any = None, name: str | None = None
) -> Structural:
    """Return a stationary autoregression of several series.

    z_t = C_1 z_{t-1} + ... + C_p z_{t-p} + e_t,  e_t ~ N(0, std std').

    Args:
        coefficients: C [p, k, k].
        std: [k], or a lower triangular factor [k, k] of the covariance of e_t, in the unit of y.
        loading: [m, k]: the k series are factors of m observed ones (a dynamic factor model); None
            if they are observed themselves.
        name: the name of the block; default "vector_autoregression".

    Returns:
        A `Structural` of one component with p k states, which starts from its stationary
        distribution.

    Raises:
        ValueError: if the process is not stationary, or shapes do not fit.

    Example:
        >>> model = kf.structural.vector_autoregression(
        ...     [[[0.5, 0.1], [0.0, 0.3]]], [1.0, 1.0]
        ... )
        >>> model.n, model.m
        (2, 2)

    References:
        H. Lutkepohl, New Introduction to Multiple Time Series Analysis (2005), section 2.1.
    """
    std = checked_std("vector_autoregression: std", std)
    name = checked_name("vector_autoregression", name, "vector_autoregression")
    coefficients = real_array("vector_autoregression: coefficients", coefficients)
    shape = np.shape(coefficients)
    k = count_series(std)
    if std is None or np.ndim(std) == 0 or len(shape) != 3 or 0 in shape or shape[1:] != (k, k):
        raise ValueError(
            f"vector_autoregression: coefficients have shape {shape} and std {np.shape(std)};"
            " expected [p, k, k], and [k] or [k, k]."
        )
    component = VectorAutoregression(
        name=name,
        coefficients=coefficients,
        std=std,
        loading=checked_loading("vector_autoregression: loading", loading, k),
    )
    if (
        is_concrete(coefficients)
        and not (radius := spectral_radius(component.transition(None))) < 1
    ):
        raise ValueError(
            f"vector_autoregression: {name}.coefficients have a root of modulus {radius:.4g};"
            " expected a stationary process, with all below 1."
        )
    return Structural.of(component)
