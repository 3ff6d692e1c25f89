"""Batches for networks that keep their state from one batch to the next.

Parallel streams, each of them contiguous.

A stateful network hands row b of a batch on to row b of the next one. If that row is not what
follows in time, the state it starts from belongs to another place, and nothing that is longer than
a window can be learned. `fit(window=)` does this by itself, trajectory by trajectory; what stands
here is for one long record, and for loops of your own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from kfjax.data.cutting import whole_windows
from kfjax.data.dataset import Dataset

__all__ = ["StreamCheck", "as_streams", "check_streams", "parallel_streams"]


class StreamCheck(NamedTuple):
    """What `check_streams` found.

    Attributes:
        contiguous: whether every row goes on where it ended, and no window has gaps.
        within: the fraction of steps inside windows that follow their predecessor.
        across: the fraction of rows that go on where the same row of the batch before ended.
    """

    contiguous: bool
    within: float
    across: float


def as_streams(series: Any, streams: int, steps: int) -> Any:
    """Cut one record into batches of windows.

    Row b of a batch continues in row b of the next.

    Args:
        series: a pytree of arrays [T, ...].
        streams: B, rows per batch: the record is cut into so many parallel streams.
        steps: W, steps per window.

    Returns:
        Arrays [K, B, W, ...] with K = T // (B W) batches; the last T - K B W steps are in none.

    Raises:
        ValueError: if the record is too short for one batch, or a number is below one.

    Example:
        >>> kf.data.as_streams(np.arange(12), streams=2, steps=3).tolist()
        [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9, 10, 11]]]
    """
    lengths = {np.shape(a)[0] for a in jax.tree.leaves(series)}
    total = lengths.pop() if len(lengths) == 1 else 0
    if min(streams, steps) < 1 or total < streams * steps:
        raise ValueError(
            f"as_streams: got {total} steps for {streams} streams of {steps} steps per window;"
            " expected arrays of one"
            " length, at least streams x steps. Use fewer streams, or shorter windows."
        )
    batches = total // (streams * steps)

    def cut(a: Any) -> Any:
        return (
            a[: batches * streams * steps]
            .reshape(streams, batches, steps, *a.shape[1:])
            .swapaxes(0, 1)
        )

    return jax.tree.map(cut, series)


def check_streams(times: Any) -> StreamCheck:
    """Tell whether batches are contiguous streams.

    Run your own batching on `np.arange(T)` in place of the data.

    Args:
        times: integers [K, B, W], the number of the step in the record of every entry of K batches
            of B rows.

    Raises:
        ValueError: if they have not three axes.

    Example:
        Windows in the order of time, 32 of them a batch, are not what a stateful network needs:

        >>> wrong = np.arange(640).reshape(2, 32, 10)
        >>> kf.data.check_streams(wrong)
        StreamCheck(contiguous=False, within=1.0, across=0.0)
        >>> batches = kf.data.as_streams(np.arange(640), streams=32, steps=10)
        >>> kf.data.check_streams(batches).contiguous
        True
    """
    times = np.asarray(times)
    if times.ndim != 3 or times.size == 0 or times.dtype.kind not in "iu":
        raise ValueError(
            f"check_streams: got {times.dtype} of shape {times.shape}; expected integers [batches,"
            " rows, steps]."
        )
    within, across = np.diff(times, axis=2) == 1, times[1:, :, 0] - times[:-1, :, -1] == 1
    fractions = [float(found.mean()) if found.size else 1.0 for found in (within, across)]
    return StreamCheck(fractions == [1.0, 1.0], *fractions)


def parallel_streams(data: Dataset, streams: int) -> Dataset:
    """Cut every trajectory into so many consecutive ones.

    This serves `kfjax.training.fit(..., window=)` on long records.

    A stream does not start at x_0: leave the first steps of a window out of the loss
    (`Rollout(burn_in=)`), or use `kfjax.data.pieces`, where the true states are known.

    Args:
        data: trajectories.
        streams: how many pieces each becomes; the last ones may be shorter, or empty and left away.

    Raises:
        ValueError: if streams is not from 1 to the number of steps.

    Example:
        >>> kf.data.parallel_streams(kf.Dataset(np.zeros((1, 1000, 2))), 8)
        Dataset(8 trajectories of 125 steps, m=2)
    """
    if not 1 <= streams <= data.steps:
        raise ValueError(
            f"parallel_streams: streams is {streams}; expected 1 to {data.steps}, the number of"
            " steps."
        )
    steps = -(-data.steps // streams)
    padded = whole_windows(data, steps)
    count = padded.steps // steps
    length = np.clip(data.lengths[:, None] - steps * np.arange(count), 0, steps).ravel()
    series = (padded.ys, padded.xs, padded.us, padded.observed)
    ys, xs, us, observed = jax.tree.map(
        lambda a: a.reshape(-1, steps, *a.shape[2:])[length > 0], series
    )
    lengths = None if (length == steps).all() else length[length > 0]
    return Dataset(ys, xs, us, observed, lengths, dtype=data.dtype)
