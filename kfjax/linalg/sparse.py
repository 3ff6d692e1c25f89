"""Products with matrices whose entries are mostly known: zeros, shifts, sums.

The transition of a seasonal pattern shifts its states by one and adds them up: F P takes n^2
additions, where a product with a full F takes n^3 multiplications.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.memory_layout import batch_innermost
from kfjax._support.types import AnyArray
from kfjax.linalg.small_products import matmul

__all__: list[str] = []

WRITTEN_OUT = 16  # terms of a sum; longer ones are reductions
DENSE = 0.5  # with a larger share of entries that are not zero, a full product is as quick


class Pattern:
    """The entries of a matrix that are known, a hashable value.

    Attributes:
        known: [k, n]; NaN for entries that are not known.
    """

    def __init__(self, known: Any) -> None:
        self.known = np.array(known, np.float64)
        self._key = (self.known.shape, self.known.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def share(self) -> float:
        """The share of the entries that are not zero."""
        return float((self.known != 0).mean())

    def unknown(self) -> Pattern:
        """Return the pattern in which only zeros are known."""
        return Pattern(np.where(self.known == 0, 0, np.nan))

    def squared(self) -> Pattern:
        """Return the pattern of the squares of the entries."""
        return Pattern(self.known**2)

    def absolute(self) -> Pattern:
        """Return the pattern of the absolute values of the entries."""
        return Pattern(np.abs(self.known))


class Sparse(NamedTuple):
    """A matrix with a pattern.

    Attributes:
        matrix: [k, n].
        pattern: its entries that are known.
    """

    matrix: Array
    pattern: Pattern

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the matrix."""
        return self.matrix.shape

    def __abs__(self) -> Sparse:
        return Sparse(jnp.abs(self.matrix), self.pattern.absolute())

    def squared(self) -> Sparse:
        """Return the squares of the entries."""
        return Sparse(self.matrix**2, self.pattern.squared())


def full(A: Any) -> Array:
    """Return a matrix, sparse or not, as an array."""
    return A.matrix if isinstance(A, Sparse) else A


def product(A: Any, B: Array) -> Array:
    """Return A B for B [n, r] or [n], where A [k, n] may be `Sparse`."""
    if not isinstance(A, Sparse):
        return matmul(A, B)
    parts = [_rows(A.matrix, B, rows) for rows in _rows_of(A.pattern)]
    return batch_innermost(jnp.concatenate(parts))


class Rows(NamedTuple):
    """Some rows of a product.

    Attributes:
        first: the number of the first row.
        size: the number of rows.
        terms: (coefficient, first column, number of columns) of each term; the coefficient is NaN
            if it is not known. Several rows have one term with the coefficient 1: they are rows of
            B. One row is a sum, in which a term adds up rows of B.
    """

    first: int
    size: int
    terms: tuple[tuple[float, int, int], ...]


@functools.lru_cache(maxsize=256)
def _rows_of(pattern: Pattern) -> tuple[Rows, ...]:
    """Return the rows of a product, those that are rows of B together."""
    found: list[Rows] = []
    for i, row in enumerate(pattern.known):
        terms = tuple(_terms(row))
        if not _is_moved(terms):
            found.append(Rows(i, 1, terms))
            continue
        (_, column, _), *_ = terms
        last = found[-1] if found else None
        if last is not None and _is_moved(last.terms):
            (one, start, count), *_ = last.terms
            if start + count == column:
                found[-1] = Rows(last.first, last.size + 1, ((one, start, count + 1),))
                continue
        found.append(Rows(i, 1, terms))
    return tuple(found)


def _is_moved(terms: tuple[tuple[float, int, int], ...]) -> bool:
    """Return whether rows are rows of B."""
    return len(terms) == 1 and terms[0][0] == 1.0


def _terms(row: np.ndarray) -> Iterator[tuple[float, int, int]]:
    """Yield the terms of a row: its entries, those that are equal and adjacent together."""
    j = 0
    while j < len(row):
        coefficient = float(row[j])
        last = j + 1
        if coefficient not in (0, 1):
            while last < len(row) and row[last] == coefficient:
                last += 1
        if coefficient != 0:
            yield coefficient, j, last - j
        j = last


def _rows(A: AnyArray, B: AnyArray, rows: Rows) -> Array:
    """Return some rows of A B."""
    if not rows.terms:
        return jnp.zeros_like(B[:1])
    if _is_moved(rows.terms):
        (_, first, count), *_ = rows.terms
        return B[first : first + count]
    total: Any = None
    for coefficient, first, count in rows.terms:
        added = _added(B[first : first + count])
        if np.isnan(coefficient):
            added = A[rows.first, first] * added
        elif coefficient != 1:
            added = coefficient * added
        total = added if total is None else total + added
    return total


def _added(B: AnyArray) -> Array:
    """Return the sum of rows [1, ...]."""
    count = B.shape[0]
    if count > WRITTEN_OUT:
        return B.sum(0, keepdims=True)
    total = B[:1]
    for k in range(1, count):
        total = total + B[k : k + 1]
    return jnp.asarray(total)
