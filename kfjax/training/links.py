"""Numbers between bounds as numbers without bounds, and back."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__: list[str] = []

Bounds = tuple[float, float]

FREE = (-math.inf, math.inf)
FACTORS = 2.0  # by how much other starts differ, in logarithms


def link(value: Any, low: float, high: float) -> Any:
    """Return numbers between bounds as numbers without bounds, in numpy."""
    if math.isinf(low) and math.isinf(high):
        return value
    if math.isinf(high):
        return np.log(value - low)
    if math.isinf(low):
        return np.log(high - value)
    return np.log(value - low) - np.log(high - value)


def unlink(free: Any, low: float, high: float) -> Any:
    """Return numbers without bounds as numbers between bounds; the inverse of `link`."""
    if math.isinf(low) and math.isinf(high):
        return free
    if math.isinf(high):
        return low + jnp.exp(free)
    if math.isinf(low):
        return high - jnp.exp(free)
    return low + (high - low) * jax.nn.sigmoid(free)
