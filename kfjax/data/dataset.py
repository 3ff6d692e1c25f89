"""Many trajectories in one container, checked once: what evaluation and training work on."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import numpy as np

from kfjax._support.pytrees import Pytree
from kfjax.data.disk import DiskArray, on_disk, take

__all__ = ["Dataset"]

BLOCK = 4096  # trajectories at a time


class _Typed(Pytree):
    """For type checkers, which pass over what stands after the class below."""

    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset(_Typed):
    """N trajectories of T steps, x_1..x_T and y_1..y_T, checked when made.

    Every array has a leading axis of N.

    A pytree: `jax.vmap` over it sees one trajectory at a time. NaN in `ys` becomes the mask.
    Entries after a trajectory's `length` never count, whatever they are. Arrays are kept in main
    memory (numpy) until they are used.

    Attributes:
        ys: observations [N, T, m], NaN where missing; kept with 0 there.
        xs: true states [N, T, n], NaN where not known (errors are then taken over the known
            components), or None.
        us: inputs, any pytree of [N, T, ...], or None; us[:, t-1] is u_t, which takes x_{t-1} to
            x_t.
        observed: booleans [N, T] or [N, T, m]; default all that is not NaN. Kept as [N, T, m], or
            None if all was seen.
        length: [N] integers from 1 to T, or None if all trajectories have T steps.
        prior_mean: means of x_0 [N, n] in place of that of the model's prior, or None.
        dtype: of the floats; default that of jax (float32 unless x64 is enabled). Integer inputs
            stay integers.

    Raises:
        ValueError: if shapes do not fit, if something infinite or (but for `ys` and `xs`) NaN
            counts, or if `observed` marks a NaN as seen.

    Example:
        >>> data = kf.Dataset([[[1.0], [jnp.nan], [3.0]], [[0.0], [1.0], [jnp.inf]]], length=[3, 2])
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
    dtype: dataclasses.InitVar[Any] = None

    def __post_init__(self, dtype: Any) -> None:
        dtype = np.dtype(jax.dtypes.canonicalize_dtype(float) if dtype is None else dtype)
        ys = _observations(self.ys, dtype)
        N, T, _ = ys.shape
        length = _lengths(self.length, N, T)
        active = np.arange(T) < (np.full(N, T) if length is None else length)[:, None]
        ys, observed = _mask(ys, self.observed, active)
        values: dict[str, Any] = {"ys": ys, "observed": observed, "length": length}
        if self.xs is not None:
            values["xs"] = _states(self.xs, dtype, active)
        if self.us is not None:
            values["us"] = jax.tree.map(lambda a: _series("us", a, dtype, active), self.us)
        if self.prior_mean is not None:
            values["prior_mean"] = _prior_means(self.prior_mean, dtype, N)
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
    def lengths(self) -> np.ndarray:
        """The number of steps of every trajectory, [N]."""
        return np.full(self.size, self.steps) if self.length is None else np.asarray(self.length)

    @property
    def missing(self) -> float:
        """The fraction of entries of `ys` that count but were not observed."""
        if self.observed is None:
            return 0.0
        seen = count = 0
        for start in range(0, self.size, BLOCK):  # it may be on disk, and larger than memory
            rows = np.arange(start, min(start + BLOCK, self.size))
            chosen = take(self.observed, rows)[np.arange(self.steps) < self.lengths[rows, None]]
            seen, count = seen + chosen.sum(), count + chosen.size
        return 1 - float(seen / count)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Dataset:
        """Return some of the trajectories, by slice, integer (one trajectory).

        A list of integers or a boolean mask selects several.
        """
        index = slice(index, index + 1 or None) if isinstance(index, (int, np.integer)) else index
        if not isinstance(index, slice):
            index = np.asarray(index)
        chosen = take(self, index)
        if chosen.size == 0:
            raise ValueError(
                f"Dataset: the index leaves no trajectory of {self.size}; expected at least one."
            )
        return chosen

    def split(self, *parts: float) -> tuple[Dataset, ...]:
        """Cut into consecutive parts.

        Shuffle first with `data[permutation]` if the order means something.

        Args:
            *parts: numbers of trajectories, or fractions of them; together at most everything.

        Returns:
            One Dataset per part.

        Raises:
            ValueError: if a part is empty, or they are more than there is.

        Example:
            >>> train, test = kf.Dataset(np.zeros((10, 5, 1))).split(0.8, 0.2)
            >>> train.size, test.size
            (8, 2)
        """
        whole = all(isinstance(part, (int, np.integer)) for part in parts)
        limit = self.size if whole else 1.0
        bounds = [0, *np.round(np.cumsum(parts) * (self.size / limit), 6).astype(int).tolist()]
        if (
            not parts
            or any(a >= b for a, b in itertools.pairwise(bounds))
            or sum(parts) > limit + 1e-6
        ):
            raise ValueError(
                f"Dataset.split: got {parts} of {self.size} trajectories; expected parts that are"
                " not empty, at most"
                f" {self.size} together (or 1.0, as fractions)."
            )
        return tuple(self[a:b] for a, b in itertools.pairwise(bounds))

    def __repr__(self) -> str:
        if not isinstance(self.ys, (np.ndarray, jax.Array, DiskArray)) or self.ys.ndim != 3:
            # inside jax transformations the fields may be anything
            return f"Dataset({self.ys!r}, ...)"
        low, high = self.lengths.min(), self.lengths.max()
        steps = low if low == high else f"{low} to {high}"
        text = f"{self.size} trajectories of {steps} steps, m={self.ys.shape[2]}"
        if self.xs is not None:
            text += f", n={self.xs.shape[2]}"
        if on_disk(self.ys):
            text += ", on disk"
        elif self.observed is not None:
            text += f", {100 * self.missing:.1f} % missing"
        return f"Dataset({text})"


# after the class, since a dataclass takes a property in its body for the default of the argument
Dataset.dtype = property(  # type: ignore[assignment]
    lambda self: self.ys.dtype, doc="The dtype of the observations."
)


def _observations(value: Any, dtype: np.dtype) -> np.ndarray:
    """Check the observations [N, T, m], NaN where missing."""
    ys = _floats("ys", value, dtype)
    if ys.ndim != 3 or 0 in ys.shape:
        remedy = ""
        if ys.ndim < 3:
            remedy = " One trajectory is ys[None]; scalar observations are ys[..., None]."
        raise ValueError(
            f"Dataset: ys has shape {ys.shape}; expected [N, T, m], none of them 0.{remedy}"
        )
    return ys


def _floats(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """Return a float array, or integers and booleans of the inputs as they are."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"Dataset: {name} has dtype {array.dtype}; expected real numbers.")
    return array if name == "us" and array.dtype.kind in "iub" else array.astype(dtype)


def _lengths(length: Any, N: int, T: int) -> np.ndarray | None:
    """Check the lengths [N]; None if all are T."""
    if length is None:
        return None
    array = np.asarray(length)
    if array.shape != (N,) or array.dtype.kind not in "iu" or array.min() < 1 or array.max() > T:
        raise ValueError(
            f"Dataset: length has shape {array.shape} and dtype {array.dtype}"
            + (f", from {array.min()} to {array.max()}" if array.size else "")
            + f"; expected ({N},) integers from 1 to {T}."
        )
    return None if (array == T).all() else array.astype(np.int32)


def _mask(
    ys: np.ndarray, observed: Any, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Turn NaN into the mask; both are cleared after the end."""
    missing = np.isnan(ys)
    if observed is None:
        seen = ~missing
    else:
        seen = np.asarray(observed)
        if seen.dtype.kind not in "biu" or seen.shape not in (ys.shape, ys.shape[:2]):
            raise ValueError(
                f"Dataset: observed has shape {seen.shape} and dtype {seen.dtype}; expected"
                f" booleans {ys.shape[:2]} or {ys.shape}, as ys."
            )
        seen = np.broadcast_to(seen.astype(bool).reshape(*ys.shape[:2], -1), ys.shape)
        if (seen & missing & active[..., None]).any():
            raise ValueError(
                "Dataset: ys has NaN where observed is True; expected numbers there. Leave"
                " observed out (NaN is then missing), or set it to False there."
            )
    seen = seen | ~active[..., None]
    ys = np.where(seen & active[..., None], ys, 0)
    if np.isinf(ys).any():
        raise ValueError(
            "Dataset: ys has infinite entries; expected numbers, or NaN where missing."
        )
    if not (seen & active[..., None]).any():
        raise ValueError("Dataset: ys has no number at all that was observed; expected some.")
    return ys, None if seen.all() else seen


def _series(
    name: str, value: Any, dtype: np.dtype, active: np.ndarray, *, nan: bool = False
) -> np.ndarray:
    """Check an array [N, T, ...]; what stands after the end is cleared."""
    array = _floats(name, value, dtype)
    if array.shape[:2] != active.shape:
        raise ValueError(
            f"Dataset: {name} has shape {array.shape}; expected {active.shape[0]} trajectories of"
            f" {active.shape[1]} steps, as ys."
        )
    array = np.where(
        active.reshape(active.shape + (1,) * (array.ndim - 2)), array, np.zeros((), array.dtype)
    )
    if array.dtype.kind == "f" and (np.isinf(array).any() or (np.isnan(array).any() and not nan)):
        remedy = (
            "numbers, or NaN where not known."
            if nan
            else "finite numbers. Fill the gaps, or cut with length."
        )
        raise ValueError(
            f"Dataset: {name} has {'infinite' if nan else 'NaN or infinite'} entries; expected"
            f" {remedy}"
        )
    return array


def _states(value: Any, dtype: np.dtype, active: np.ndarray) -> np.ndarray:
    """Check the true states [N, T, n]."""
    array = _series("xs", value, dtype, active, nan=True)
    if array.ndim != 3:
        N, T = active.shape
        raise ValueError(f"Dataset: xs has shape {array.shape}; expected ({N}, {T}, n).")
    if np.isnan(array[active]).all():
        raise ValueError(
            "Dataset: xs has no number at all; expected some. Leave it out if it is not known."
        )
    return array


def _prior_means(value: Any, dtype: np.dtype, N: int) -> np.ndarray:
    """Check the prior means [N, n]."""
    array = _floats("prior_mean", value, dtype)
    if array.ndim != 2 or array.shape[0] != N or not np.isfinite(array).all():
        raise ValueError(
            f"Dataset: prior_mean has shape {array.shape}; expected finite numbers ({N}, n), one"
            " row"
            " each."
        )
    return array
