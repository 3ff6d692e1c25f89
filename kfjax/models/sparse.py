"""Linear functions whose matrices are mostly known: zeros, shifts, sums."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array

from kfjax._support.pytrees import STATIC
from kfjax.base import Inputs
from kfjax.linalg import sparse
from kfjax.linalg.sparse import DENSE, Pattern, Sparse
from kfjax.models.functions import Linear

__all__: list[str] = []


@dataclasses.dataclass(frozen=True, eq=False)
class SparseLinear(Linear):
    """A `Linear` with a pattern of A, by which products with A skip what is known.

    Attributes:
        pattern: the known entries of A.
    """

    pattern: Any = dataclasses.field(default=None, metadata=STATIC)

    def at(self, u: Inputs) -> Linear:
        fixed = super().at(u)
        return SparseLinear.unchecked(fixed.A, None, fixed.b, self.pattern)

    def masked(self, mask: Array) -> Linear:
        fixed = super().masked(mask)
        return SparseLinear.unchecked(fixed.A, None, fixed.b, self.pattern.unknown())

    def matrix(self, dtype: Any) -> Any:
        return Sparse(jnp.asarray(self.A, dtype), self.pattern)

    def __call__(self, x: Array, u: Inputs = None) -> Array:
        fixed: Any = self.at(u)
        mean = sparse.product(fixed.matrix(jnp.result_type(fixed.A, x)), x)
        return mean if fixed.b is None else mean + fixed.b


def with_pattern(A: Any, pattern: Pattern) -> Linear:
    """Return a `Linear`, with a pattern if that saves work."""
    if pattern.share >= DENSE:
        return Linear(A)
    return SparseLinear(A, None, None, pattern)
