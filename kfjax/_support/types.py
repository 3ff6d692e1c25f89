"""Types that annotations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Key as TypedKey
from jaxtyping import PRNGKeyArray, Real, UInt32

__all__: list[str] = []

if TYPE_CHECKING:  # type checkers do not tell numpy arrays from JAX arrays, as in jax.numpy
    AnyArray: TypeAlias = jax.Array
    Scalar: TypeAlias = float | jax.Array
    Key: TypeAlias = jax.Array
    RunKeys: TypeAlias = jax.Array
else:
    AnyArray = jax.Array | np.ndarray
    Scalar = Real[ArrayLike, ""]
    Key = PRNGKeyArray
    RunKeys = PRNGKeyArray | TypedKey[jax.Array, " S"] | UInt32[jax.Array, "S words"]
# AnyArray: a JAX array (or tracer), or a numpy array
# Scalar: a number, or an array without axes
# Key: a random key of `jax.random`, typed or old
# RunKeys: a random key, or S of them for S runs

PyTree: TypeAlias = Any
"""Nested tuples, lists, dicts and registered classes of arrays."""

Nested: TypeAlias = Sequence[Any]
"""Numbers in nested lists or tuples."""

Numbers: TypeAlias = ArrayLike | Nested
"""A number, an array, or nested lists of numbers: what functions convert to arrays."""

OneOrEach: TypeAlias = Real[ArrayLike, ""] | Real[ArrayLike, " _"] | Nested
"""One number for all components, or one for each."""
