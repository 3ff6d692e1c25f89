"""Types that annotations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

__all__: list[str] = []

if TYPE_CHECKING:  # to type checkers they are the same, as they are to jax.numpy
    AnyArray: TypeAlias = jax.Array
else:
    AnyArray = jax.Array | np.ndarray
"""An array of JAX, a tracer among them, or of numpy."""

PyTree: TypeAlias = Any
"""Nested tuples, lists, dicts and registered classes of arrays."""

Nested: TypeAlias = Sequence[Any]
"""Numbers in nested lists or tuples."""
