"""Types that annotations share."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np

__all__: list[str] = []

AnyArray: TypeAlias = jax.Array | np.ndarray
"""An array of JAX, a tracer among them, or of numpy."""

PyTree: TypeAlias = Any
"""Nested tuples, lists, dicts and registered classes of arrays."""
