"""A container of many trajectories, checked once: the data of evaluation and training."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, Shaped
from numpy.typing import DTypeLike

from kfjax._support.arguments import as_path, check_kind
from kfjax._support.files import write_file
from kfjax._support.naming import described
from kfjax._support.pytrees import OUTSIDE, Pytree
from kfjax._support.saving import npz_bytes
from kfjax.data.checking import (
    active_steps,
    check_inputs,
    check_lengths,
    check_observations,
    check_prior_means,
    check_states,
    separate_mask,
)
from kfjax.data.disk import DiskArray, on_disk, take
from kfjax.data.labels import Labels, to_json
from kfjax.data.names import FILE_NAMES, LABELS, TIMES, named_inputs

__all__ = ["Dataset"]

BLOCK = 4096  # trajectories whose mask is read at a time, since the whole may be larger than memory
TOLERANCE = 1e-6  # for sums of fractions: 0.7 + 0.2 + 0.1 is not 1 in binary


class _Typed(Pytree):
    """Type of the property that is attached to `Dataset` below, for type checkers."""

    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset(_Typed):
    """N trajectories of T steps, x_1..x_T and y_1..y_T, checked when made.

    Every array has a leading axis of N.

    It is a pytree: `jax.vmap` over it sees one trajectory at a time. NaN in `ys` becomes the mask.
    Entries after a trajectory's `length` never count, whatever their values. Arrays are kept in
    main memory (numpy) until they are used.

    Attributes:
        ys: observations [N, T, m], NaN where missing; kept with 0 there.
        xs: true states [N, T, n], NaN where not known (errors are then taken over the known
            components), or None.
        us: inputs, any pytree of [N, T, ...], or None; us[:, t-1] is u_t, which takes x_{t-1} to
            x_t.
        observed: booleans [N, T] or [N, T, m]; by default true where ys is not NaN. Kept as
            [N, T, m], or as None if everything was observed.
        length: [N] integers from 1 to T, or None if all trajectories have T steps.
        prior_mean: means of x_0 [N, n] (of x_1 with first="update" in the model) that replace the
            mean of the model's prior, or None.
        labels: `kfjax.data.Labels`, the names of channels, states and times in the source of the
            data, or None. Indexing, `split`, `save` and `kfjax.data.first_steps` keep them; JAX
            functions, and functions that cut trajectories into several, drop them.
        dtype: dtype of the floats; by default that of JAX (float32 unless x64 is enabled). Integer
            inputs stay integers.

    Raises:
        ValueError: if shapes do not fit, if an entry that counts is infinite or (except in `ys` and
            `xs`) NaN, or if `observed` marks a NaN as observed.

    Example:
        >>> data = kf.Dataset(
        ...     [[[1.0], [jnp.nan], [3.0]], [[0.0], [1.0], [jnp.inf]]],
        ...     length=[3, 2],
        ... )
        >>> data
        Dataset(2 trajectories of 2 to 3 steps, m=1, 20.0 % missing)
        >>> data[1:].observed.tolist()
        [[[True], [True], [True]]]
    """

    ys: Any
    xs: Any = None
    us: Any = None
    observed: Any = None
    length: Any = None
    prior_mean: Any = None
    labels: Labels | None = dataclasses.field(default=None, metadata=OUTSIDE)
    dtype: dataclasses.InitVar[Any] = None

    def __post_init__(self, dtype: DTypeLike | None) -> None:
        kept = _float_dtype(jax.dtypes.canonicalize_dtype(float) if dtype is None else dtype)
        ys = check_observations(self.ys, kept)
        N, T, _ = ys.shape
        length = check_lengths(self.length, N, T)
        active = active_steps(length, N, T)
        ys, observed = separate_mask(ys, self.observed, active)
        values: dict[str, Any] = {"ys": ys, "observed": observed, "length": length}
        if self.xs is not None:
            values["xs"] = check_states(self.xs, kept, active)
        if self.us is not None:
            values["us"] = jax.tree.map(lambda u: check_inputs(u, kept, active), self.us)
        if self.prior_mean is not None:
            values["prior_mean"] = check_prior_means(self.prior_mean, kept, N)
        if self.labels is not None:
            check_kind("Dataset: labels", self.labels, Labels)
            self.labels.check(ys, values.get("xs"))
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """The number of trajectories, N."""
        return self.ys.shape[0]

    @property
    def steps(self) -> int:
        """The number of steps T of the arrays; the longest trajectory may be shorter."""
        return self.ys.shape[1]

    @property
    def lengths(self) -> Int[np.ndarray, " N"]:
        """The number of steps of every trajectory, [N]."""
        if self.length is None:
            return np.full(self.size, self.steps)
        return np.asarray(self.length)

    @property
    def missing(self) -> float:
        """The fraction of the entries of `ys` that count but were not observed."""
        if self.observed is None:
            return 0.0
        seen = 0
        count = 0
        for start in range(0, self.size, BLOCK):
            rows = np.arange(start, min(start + BLOCK, self.size))
            active = np.arange(self.steps) < self.lengths[rows, None]
            counted = take(self.observed, rows)[active]
            seen += counted.sum()
            count += counted.size
        return 1 - float(seen / count)

    def __len__(self) -> int:
        return self.size

    def __getitem__(
        self, index: int | np.integer | slice | Sequence[int] | Shaped[np.ndarray | jax.Array, " _"]
    ) -> Dataset:
        """Return some of the trajectories.

        Args:
            index: a slice, an integer for a `Dataset` of one trajectory, integers [K], or a boolean
                mask [N].

        Raises:
            ValueError: if no trajectory is left.
        """
        rows: slice | np.ndarray
        if isinstance(index, (int, np.integer)):
            rows = slice(index, index + 1 or None)  # -1 is the last one: slice(-1, None)
        elif isinstance(index, slice):
            rows = index
        else:
            rows = np.asarray(index)
        chosen = take(self, rows)
        if chosen.size == 0:
            raise ValueError(
                f"Dataset: the index leaves none of {self.size} trajectories; expected at least"
                " one."
            )
        if self.labels is not None:
            object.__setattr__(chosen, "labels", self.labels.rows(rows))
        return chosen

    def split(self, *parts: float) -> tuple[Dataset, ...]:
        """Cut into consecutive parts.

        Shuffle first with `data[permutation]` if the order means something.

        Args:
            *parts: numbers of trajectories, or fractions of them, together at most all of them.

        Returns:
            One Dataset per part.

        Raises:
            ValueError: if a part is empty, or the parts exceed the data.

        Example:
            >>> train, test = kf.Dataset(np.zeros((10, 5, 1))).split(0.8, 0.2)
            >>> train.size, test.size
            (8, 2)
        """
        are_counts = all(isinstance(part, (int, np.integer)) for part in parts)
        limit = self.size if are_counts else 1.0
        places = np.cumsum(parts) * (self.size / limit)
        ends = np.round(places, 6).astype(int).tolist()
        bounds = list(itertools.pairwise([0, *ends]))
        empty = not parts or any(first >= end for first, end in bounds)
        if empty or sum(parts) > limit + TOLERANCE:
            raise ValueError(
                f"Dataset.split: got {parts} for {self.size} trajectories; expected nonempty"
                f" parts, at most {self.size} together (or 1.0, as fractions)."
            )
        return tuple(self[first:end] for first, end in bounds)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into an npz file, which `kfjax.data.read_npz` reads.

        Data larger than memory are written part by part by `kfjax.data.write_folder`.

        Args:
            path: path of the file, which ends in .npz; an earlier file is replaced.

        Raises:
            ValueError: if the path ends otherwise, or inputs are neither an array nor a dict of
                arrays.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as place:
            ...     kf.Dataset(np.ones((3, 5, 2))).save(f"{place}/ones.npz")
            ...     kf.data.read_npz(f"{place}/ones.npz")
            Dataset(3 trajectories of 5 steps, m=2)
        """
        if as_path("Dataset.save: path", path).suffix != ".npz":
            raise ValueError(f"Dataset.save: path is {path}; expected one that ends in .npz.")
        arrays = named_inputs("Dataset.save", self.us)
        for field, name in FILE_NAMES.items():
            array = getattr(self, field)
            if field != "us" and array is not None:
                arrays[name] = np.asarray(array)
        if self.labels is not None:
            arrays[LABELS] = np.asarray(to_json(self.labels))
            if self.labels.times is not None:
                arrays[TIMES] = self.labels.times
        write_file(path, npz_bytes(arrays))

    def __repr__(self) -> str:
        if not isinstance(self.ys, (np.ndarray, jax.Array, DiskArray)) or self.ys.ndim != 3:
            # inside transformations of JAX the fields may be anything
            return f"Dataset({self.ys!r}, ...)"
        low = self.lengths.min()
        high = self.lengths.max()
        steps = low if low == high else f"{low} to {high}"
        text = f"{self.size} trajectories of {steps} steps, m={self.ys.shape[2]}"
        if self.labels is not None and self.labels.ys is not None:
            text += f" ({', '.join(self.labels.ys)})"
        if self.xs is not None:
            text += f", n={self.xs.shape[2]}"
        if on_disk(self.ys):
            text += ", on disk"
        elif self.observed is not None:
            text += f", {100 * self.missing:.1f} % missing"
        return f"Dataset({text})"


def _float_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a dtype of floats, or raise."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if not jax.dtypes.issubdtype(found, np.floating):
        raise ValueError(f"Dataset: dtype is {described(dtype)}; expected one of floats, or None.")
    return found


# attached after the class: in its body, a dataclass would take the property for the default value
# of the argument `dtype`
Dataset.dtype = property(  # type: ignore[assignment]
    lambda self: self.ys.dtype, doc="The dtype of the observations."
)
