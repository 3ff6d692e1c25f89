"""Batches for networks that keep their state from one batch to the next: contiguous streams.

A stateful network passes its state on from row b of a batch to row b of the next. If that row does
not continue in time where the previous one ended, the network starts from the state of another
place and cannot learn anything longer than a window. `fit(window=)` batches each trajectory
correctly by itself; these functions are for one long record, and for your own training loops.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Int

from kfjax._support.arguments import check_count, check_counts, check_kind
from kfjax._support.types import AnyArray, Nested, PyTree
from kfjax._support.values import as_arrays, real_array
from kfjax.data.cutting import cut_series, whole_windows
from kfjax.data.dataset import Dataset

__all__ = ["StreamCheck", "as_streams", "check_streams", "parallel_streams"]


class StreamCheck(NamedTuple):
    """Result of `check_streams`.

    Attributes:
        contiguous: whether every row continues where it ended, and no window has gaps.
        within: fraction of the steps inside windows that follow their predecessor.
        across: fraction of the rows that continue where the same row of the batch before ended.
    """

    contiguous: bool
    within: float
    across: float


def as_streams(series: PyTree, streams: int, steps: int) -> PyTree:
    """Cut one record into batches of windows, each row continuing in that row of the next batch.

    Args:
        series: a pytree of arrays [T, ...].
        streams: B, rows per batch, which is the number of parallel streams.
        steps: W, steps per window.

    Returns:
        Arrays [K, B, W, ...] with K = T // (B W) batches; the last T - K B W steps are left out.

    Raises:
        ValueError: if the record is too short for one batch, its arrays differ in length, or a
            number is below one.

    Example:
        >>> kf.data.as_streams(np.arange(12), streams=2, steps=3).tolist()
        [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9, 10, 11]]]
    """
    series = as_arrays("as_streams: series", series)
    lengths = {np.shape(a)[0] for a in jax.tree.leaves(series) if np.ndim(a)}
    total = lengths.pop() if len(lengths) == 1 else 0
    check_counts("as_streams", streams=streams, steps=steps)
    if total < streams * steps:
        raise ValueError(
            f"as_streams: got {total} steps for {streams} streams of {steps} steps per window;"
            " expected arrays of one length, at least streams x steps. Use fewer streams, or"
            " shorter windows."
        )
    batches = total // (streams * steps)
    used = batches * streams * steps

    def cut(a: AnyArray) -> AnyArray:
        by_stream = a[:used].reshape(streams, batches, steps, *a.shape[1:])
        return by_stream.swapaxes(0, 1)

    return jax.tree.map(cut, series)


def check_streams(times: Int[ArrayLike, "K B W"] | Nested) -> StreamCheck:
    """Return whether batches are contiguous streams.

    Apply your own batching to `np.arange(T)` in place of the data.

    Args:
        times: integers [K, B, W]: the step in the record of every entry of K batches of B windows.

    Raises:
        ValueError: if times does not have three axes, or is not made of integers.

    Example:
        Windows in order of time, 32 to a batch, are not what a stateful network needs:

        >>> wrong = np.arange(640).reshape(2, 32, 10)
        >>> kf.data.check_streams(wrong)
        StreamCheck(contiguous=False, within=1.0, across=0.0)
        >>> batches = kf.data.as_streams(np.arange(640), streams=32, steps=10)
        >>> kf.data.check_streams(batches).contiguous
        True
    """
    numbers = np.asarray(real_array("check_streams: times", times))
    if numbers.ndim != 3 or numbers.size == 0 or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"check_streams: got {numbers.dtype} of shape {numbers.shape}; expected integers"
            " [batches, rows, steps]."
        )
    within = _fraction(np.diff(numbers, axis=2) == 1)
    across = _fraction(numbers[1:, :, 0] - numbers[:-1, :, -1] == 1)
    return StreamCheck(within == across == 1.0, within, across)


def _fraction(holds: np.ndarray) -> float:
    """Return the fraction of entries that are true; 1 without entries."""
    return float(holds.mean()) if holds.size else 1.0


def parallel_streams(data: Dataset, streams: int) -> Dataset:
    """Cut every trajectory into several consecutive ones, to train on them in parallel.

    This serves `kfjax.training.fit(..., window=)` on long records.

    A stream does not start at x_0: leave the first steps of a window out of the loss
    (`Rollout(burn_in=)`), or use `kfjax.data.pieces`, if the true states are known.

    Args:
        data: trajectories.
        streams: number of pieces per trajectory; the last ones may be shorter, and are left out if
            they are empty.

    Raises:
        ValueError: if streams is not from 1 to the number of steps.

    Example:
        >>> kf.data.parallel_streams(kf.Dataset(np.zeros((1, 1000, 2))), 8)
        Dataset(8 trajectories of 125 steps, m=2)
    """
    check_kind("parallel_streams: data", data, Dataset)
    check_count("parallel_streams: streams", streams)
    if not 1 <= streams <= data.steps:
        raise ValueError(
            f"parallel_streams: streams is {streams}; expected 1 to {data.steps}, the number of"
            " steps."
        )
    steps = -(-data.steps // streams)  # rounded up
    series, length = cut_series(whole_windows(data, steps), steps)
    ys, xs, us, observed = jax.tree.map(lambda a: a[length > 0], series)
    return Dataset(ys, xs, us, observed, length[length > 0], dtype=data.dtype)
