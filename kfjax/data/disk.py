"""Arrays that stay on disk: .npy files of which rows are read when they are asked for.

They are read, not mapped into memory: the kernel maps up to two megabytes around every row that is
touched, so that a random batch would look, and in some containers count, as if it were hundreds of
megabytes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

__all__ = ["DiskArray", "on_disk", "take"]


@dataclasses.dataclass(frozen=True, eq=False)
class DiskArray:
    """Consecutive rows of an array in a .npy file.

    `a[2:5]` are fewer rows, still on disk; `a[3]`, `a[[4, 1]]` and `a[mask]` are read as numpy
    arrays; `np.asarray(a)` and any other index read everything.

    Attributes:
        path: of the file.
        dtype: of the entries.
        shape: of these rows, [N, ...].
        offset: where they begin in the file, in bytes.
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def open(cls, path: Path) -> DiskArray:
        """Return the array in a file; a ValueError tells what is wrong with it."""
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

    def __getitem__(self, index: Any) -> Any:
        """Return rows: on disk for a slice without gaps, else as a numpy array."""
        if isinstance(index, (int, np.integer)):
            return self._read(np.array([index]))[0]
        if isinstance(index, slice) and index.step in (None, 1):
            first, last, _ = index.indices(len(self))
            shape = (max(last - first, 0), *self.shape[1:])
            return dataclasses.replace(
                self, shape=shape, offset=self.offset + first * self.row_bytes
            )
        if isinstance(index, (list, np.ndarray)):
            return self._read(np.asarray(index))
        return np.asarray(self)[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read everything."""
        del copy  # always one
        return self._read(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def _read(self, index: np.ndarray) -> np.ndarray:
        """Read rows [K] by number, or by a mask [N]."""
        index = (
            np.flatnonzero(index)
            if index.dtype == bool
            else np.where(index < 0, index + len(self), index)
        )
        if index.size and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(
                f"{self.path}: rows {index.min()} to {index.max()}; expected 0 to {len(self) - 1}."
            )
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        with self.path.open("rb") as file:
            start = 0
            for run in (
                np.split(index, np.flatnonzero(np.diff(index) != 1) + 1) if index.size else ()
            ):
                file.seek(self.offset + int(run[0]) * self.row_bytes)
                part = rows[start : start + len(run)]
                if file.readinto(part.data.cast("B")) != part.nbytes:
                    raise ValueError(
                        f"{self.path} ends before row {run[-1]}; expected a whole file. Write it"
                        " again."
                    )
                start += len(run)
        return rows


def on_disk(tree: Any) -> bool:
    """Tell whether an array in a pytree stays on disk.

    The arrays of a `Dataset` of `read_folder` do.
    """
    return any(isinstance(leaf, DiskArray) for leaf in jax.tree.leaves(tree))


def take(tree: Any, index: slice | Sequence[int] | np.ndarray) -> Any:
    """Return rows of every array of a pytree, in memory; a `Dataset` is one.

    Args:
        tree: any pytree of arrays [N, ...], in memory or on disk.
        index: a slice, integers [K], or booleans [N].
    """
    return jax.tree.map(lambda a: a[index], tree)
