"""Splits of data into training, validation and test parts."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax._support.arguments import check_kind
from kfjax._support.values import real_array
from kfjax.data.cutting import first_steps
from kfjax.data.dataset import Dataset

__all__ = ["Parts", "split_parts", "split_time"]

FRACTIONS = (0.6, 0.2, 0.2)
ROUNDING = 1e-9  # for sums of fractions: 0.7 + 0.2 + 0.1 is not 1 in binary


class Parts(NamedTuple):
    """Data in three parts.

    Attributes:
        train: data to fit parameters on.
        validation: data to make choices on.
        test: data to report results on.
        skip: number of leading steps of each part that belong to the part before: they are
            filtered, but do not count.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    skip: tuple[int, int, int] = (0, 0, 0)


def split_parts(data: Dataset, fractions: tuple[float, float, float] = FRACTIONS) -> Parts:
    """Split data into consecutive training, validation and test parts.

    Three or more trajectories are split by trajectory. One or two are split in time: a later part
    then starts at the beginning of the record, so that the filter is already running where the part
    begins, and `skip` says where that is.

    Args:
        data: the trajectories, in no particular order.
        fractions: shares of the trajectories or of the steps, three numbers above 0; together at
            most 1.

    Returns:
        `Parts`.

    Raises:
        ValueError: if there are too few steps, or the fractions are not as expected.

    Example:
        >>> parts = kf.data.split_parts(kf.Dataset(np.zeros((1, 100, 2))))
        >>> parts.train.steps, parts.validation.steps, parts.test.steps, parts.skip
        (60, 80, 100, (0, 60, 80))
    """
    check_kind("split_parts: data", data, Dataset)
    fractions = tuple(real_array("split_parts: fractions", fractions, ndim=1))
    if len(fractions) != 3 or min(fractions) <= 0 or sum(fractions) > 1 + ROUNDING:
        raise ValueError(
            f"split_parts: got fractions {fractions}; expected three above 0, together at most 1."
        )
    if data.size >= 3:
        a, b, c = _ends(data.size, fractions)
        return Parts(data[:a], data[a:b], data[b:c])
    ends = _ends(int(data.lengths.max()), fractions)
    train, validation, test = (first_steps(data, end) for end in ends)
    return Parts(train, validation, test, skip=(0, ends[0], ends[1]))


def _ends(total: int, fractions: tuple[float, float, float]) -> list[int]:
    """Return where the three parts end, each of them at least one long."""
    if total < 3:
        raise ValueError(
            f"split_parts: got one or two trajectories of {total} steps; expected at least 3, one"
            " for each part."
        )
    exact = np.cumsum(fractions) * total
    first, second, third = np.floor(exact + ROUNDING).astype(int).tolist()
    third = max(third, 3)
    second = min(max(second, 2), third - 1)
    first = min(max(first, 1), second - 1)
    return [first, second, third]


def split_time(data: Dataset, *parts: float) -> tuple[Dataset, ...]:
    """Cut every trajectory in time into consecutive parts.

    Fit on the first part and forecast the next. To filter a later part, continue from the state at
    the end of the one before (`kf.run(..., state=final)`), since the prior of the model is about
    the start of the record; or filter the whole record and count the later part alone, as
    `kf.compare(..., skip=)` does.

    Args:
        data: trajectories.
        *parts: numbers of steps, or fractions of the steps of each trajectory, together at most all
            of them.

    Returns:
        A `Dataset` for each part, with names and times, and prior means in the first alone.

    Raises:
        ValueError: if a part of a trajectory is empty, or the parts exceed it.

    Example:
        >>> train, test = kf.data.split_time(
        ...     kf.Dataset(np.zeros((1, 100, 2))), 0.8, 0.2
        ... )
        >>> train.steps, test.steps
        (80, 20)
    """
    check_kind("split_time: data", data, Dataset)
    shares = tuple(real_array("split_time: parts", parts, ndim=1).tolist())
    lengths = data.lengths
    are_counts = all(isinstance(part, (int, np.integer)) for part in parts)
    limits = np.ones(data.size) if not are_counts else lengths
    exact = np.cumsum([0, *shares]) * (lengths / limits)[:, None]
    ends = np.floor(exact + ROUNDING).astype(int)
    sizes = np.diff(ends, axis=1)
    if not shares or (sizes < 1).any() or (ends[:, -1] > lengths).any():
        raise ValueError(
            f"split_time: got parts {shares} of {lengths.min()} to {lengths.max()} steps; expected"
            " parts of at least one step of each trajectory, together at most all of them (or 1.0,"
            " as fractions)."
        )
    return tuple(
        _steps_from(data, start, size, first=number == 0)
        for number, (start, size) in enumerate(zip(ends.T, sizes.T, strict=False))
    )


def _steps_from(data: Dataset, start: np.ndarray, size: np.ndarray, *, first: bool) -> Dataset:
    """Return as many steps of each trajectory as its size [N], from its start [N] on."""
    steps = start[:, None] + np.arange(size.max())
    last = data.lengths[:, None] - 1
    at = np.minimum(steps, last)

    def part(values: Any) -> np.ndarray:
        return np.asarray(values)[np.arange(data.size)[:, None], at]

    labels = data.labels
    if labels is not None and labels.times is not None:
        labels = dataclasses.replace(labels, times=part(labels.times))
    arrays = (data.ys, data.xs, data.us, data.observed)
    ys, xs, us, observed = jax.tree.map(part, arrays)
    length = None if (size == size.max()).all() else size
    prior_mean = data.prior_mean if first else None
    return Dataset(ys, xs, us, observed, length, prior_mean, labels, dtype=data.dtype)
