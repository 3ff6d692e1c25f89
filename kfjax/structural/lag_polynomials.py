"""Polynomials in the lag operator B, by their coefficients: B y_t = y_{t-1}."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import is_concrete
from kfjax._support.values import real_array
from kfjax.linear.lyapunov import spectral_radius

__all__: list[str] = []


def coefficients_of(name: str, value: Any) -> Any:
    """Return coefficients [p], or None for none."""
    if value is None:
        return None
    value = real_array(name, value)
    if np.ndim(value) != 1:
        raise ValueError(f"{name} has shape {np.shape(value)}; expected [p], or None for none.")
    return value if np.shape(value)[0] else None


def degree(coefficients: Any) -> int:
    return 0 if coefficients is None else coefficients.shape[0]


def signed(coefficients: Any, sign: int) -> Array:
    """Return the polynomial 1 + sign c_1 B + sign c_2 B^2 + ..."""
    one = jnp.ones(1)
    return one if coefficients is None else jnp.concatenate([one, sign * coefficients])


def spread(polynomial: Array, period: int) -> Array:
    """Return the polynomial in B^s for one in B."""
    count = polynomial.shape[0] - 1
    zero = jnp.zeros(count * period + 1)
    return zero.at[:: max(period, 1)].set(polynomial)


def product(a: Array, b: Array) -> Array:
    """Return the product of two polynomials."""
    return jnp.convolve(a, b)


def differencing(order: int, seasonal_order: int, period: int) -> np.ndarray:
    """Return the coefficients of (1 - B)^d (1 - B^s)^D, from that of 1 on."""
    operator = np.ones(1)
    for _ in range(order):
        operator = np.convolve(operator, [1.0, -1.0])
    for _ in range(seasonal_order):
        operator = np.convolve(operator, [1.0, *np.zeros(period - 1), -1.0])
    return operator


def check_stationary(component: str, name: str, coefficients: Any) -> None:
    """Raise unless an autoregression is stationary, where its coefficients are known."""
    if coefficients is None or not is_concrete(coefficients):
        return
    p = len(coefficients)
    companion = np.eye(p, k=-1)
    companion[0] = coefficients
    if not (radius := spectral_radius(companion)) < 1:
        raise ValueError(
            f"{component}: {name} is {np.asarray(coefficients).tolist()}, whose largest root has"
            f" modulus {radius:.4g}; expected a stationary process, with all below 1. Differences"
            " are kf.structural.arima(difference=1)."
        )
