"""Arrays that stay on disk: .npy files whose rows are read on demand.

The rows are read, not mapped into memory: the kernel maps up to two megabytes around every row that
is touched, so that a random batch would look like hundreds of megabytes, and count as such in some
containers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from kfjax._support.naming import described
from kfjax._support.types import PyTree
from kfjax._support.values import real_array

__all__ = ["DiskArray", "on_disk", "take"]


@dataclasses.dataclass(frozen=True, eq=False)
class DiskArray:
    """Consecutive rows of an array in a .npy file.

    `a[2:5]` is a `DiskArray` of fewer rows; `a[3]`, `a[[4, 1]]` and `a[mask]` are read as numpy
    arrays; `np.asarray(a)` and any other index read everything.

    Attributes:
        path: path of the file.
        dtype: dtype of the entries.
        shape: shape of these rows, [N, ...].
        offset: position of the first of these rows in the file, in bytes.
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def open(cls, path: Path) -> DiskArray:
        """Return the array in a file.

        Raises:
            ValueError: if the file does not hold an array, or does not store it row by row.
            OSError: if the file cannot be read.
        """
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not mapped.flags.c_contiguous:
            raise ValueError("its columns are contiguous, not its rows")
        return cls(path, mapped.dtype, mapped.shape, mapped.offset)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        """The size of a row in bytes."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> DiskArray | Shaped[np.ndarray, " ..."]:
        """Return rows: on disk for a slice without gaps, otherwise as a numpy array."""
        if isinstance(index, (int, np.integer)):
            return self._read(np.array([index]))[0]
        if isinstance(index, slice) and index.step in (None, 1):
            return self._consecutive(index)
        if isinstance(index, (list, np.ndarray)):
            return self._read(np.asarray(index))
        return np.asarray(self)[index]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """Read everything."""
        del copy  # reading always makes one
        return self._read(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def _consecutive(self, rows: slice) -> DiskArray:
        """Return the rows of a slice without gaps; nothing is read."""
        first, last, _ = rows.indices(len(self))
        count = max(last - first, 0)
        return dataclasses.replace(
            self,
            shape=(count, *self.shape[1:]),
            offset=self.offset + first * self.row_bytes,
        )

    def _read(self, index: np.ndarray) -> np.ndarray:
        """Read rows [K] by number, or by a mask [N]."""
        numbers = self._row_numbers(index)
        rows = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        start = 0
        with self.path.open("rb") as file:
            for run in _consecutive_runs(numbers):
                part = rows[start : start + len(run)]
                file.seek(self.offset + int(run[0]) * self.row_bytes)
                if file.readinto(part.data.cast("B")) != part.nbytes:
                    raise ValueError(
                        f"{self.path} ends before row {run[-1]}; expected a complete file. Write it"
                        " again."
                    )
                start += len(run)
        return rows

    def _row_numbers(self, index: np.ndarray) -> np.ndarray:
        """Return row numbers, from 0, for an index that may be negative or a mask [N]."""
        if index.dtype == bool:
            numbers = np.flatnonzero(index)
        else:
            numbers = np.where(index < 0, index + len(self), index)
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < len(self)):
            raise IndexError(
                f"{self.path}: rows {numbers.min()} to {numbers.max()}; expected 0 to"
                f" {len(self) - 1}."
            )
        return numbers


def _consecutive_runs(numbers: np.ndarray) -> list[np.ndarray]:
    """Split numbers of rows into runs without gaps, each of which is one read."""
    if numbers.size == 0:
        return []
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    return np.split(numbers, breaks)


def on_disk(tree: PyTree) -> bool:
    """Return whether an array in a pytree stays on disk.

    The arrays of a `Dataset` from `read_folder` do.
    """
    return any(isinstance(leaf, DiskArray) for leaf in jax.tree.leaves(tree))


def take(tree: PyTree, index: slice | Sequence[int] | Shaped[np.ndarray, " _"]) -> PyTree:
    """Return rows of every array of a pytree, such as a `Dataset`.

    Args:
        tree: any pytree of arrays [N, ...], in memory or on disk.
        index: a slice, integers [K], or booleans [N]. Arrays on disk stay there for a slice without
            gaps, and are read otherwise.
    """
    if not isinstance(index, slice):
        index = np.asarray(real_array("take: index", index, ndim=1))
        if index.dtype.kind not in "iub":
            raise ValueError(f"take: index has dtype {index.dtype}; expected integers or booleans.")
    for leaf in jax.tree.leaves(tree):
        if not hasattr(leaf, "shape"):
            raise ValueError(f"take: tree holds {described(leaf)}; expected arrays [N, ...].")
    return jax.tree.map(lambda a: a[index], tree)
