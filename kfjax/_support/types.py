"""Types that annotations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np
from jax.typing import ArrayLike

__all__: list[str] = []

if TYPE_CHECKING:  # type checkers treat them as the same type, as jax.numpy does
    AnyArray: TypeAlias = jax.Array
else:
    AnyArray = jax.Array | np.ndarray
"""A JAX array (or tracer), or a numpy array."""

PyTree: TypeAlias = Any
"""Nested tuples, lists, dicts and registered classes of arrays."""

Nested: TypeAlias = Sequence[Any]
"""Numbers in nested lists or tuples."""

Numbers: TypeAlias = ArrayLike | Nested
"""A number, an array, or nested lists of numbers: what functions convert to arrays."""
