"""Trajectories cut in time: shorter ones, several from one, and windows of them inside a trace."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax.data.dataset import Dataset

__all__ = ["first_steps", "pieces", "whole_windows", "window_at"]


def first_steps(data: Dataset, steps: int) -> Dataset:
    """Return the first steps of every trajectory ("V3" of the KalmanNet paper).

    Args:
        data: trajectories.
        steps: how many steps to keep, at least 1; shorter trajectories stay as they are.

    Raises:
        ValueError: if steps is below one, or nothing was observed so early.

    Example:
        >>> kf.data.first_steps(kf.Dataset(np.zeros((4, 100, 1))), 20)
        Dataset(4 trajectories of 20 steps, m=1)
    """
    _check_steps("first_steps", steps)
    ys, xs, us, observed = jax.tree.map(lambda a: a[:, :steps], _series(data))
    length = None if data.length is None else np.minimum(data.length, steps)
    return Dataset(ys, xs, us, observed, length, data.prior_mean, dtype=data.dtype)


def pieces(data: Dataset, steps: int, *, prior_mean: Any = None) -> Dataset:
    """Cut every trajectory into short ones.

    Each one starts at its true state ("V2" of the KalmanNet paper).

    Piece k holds the steps from k `steps` + 1 on, and its `prior_mean` is the true state one step
    before. The last piece of a trajectory may be shorter; nothing is left out. The pieces of a
    trajectory follow each other.

    Args:
        data: trajectories with true states.
        steps: the length of a piece, at least 1.
        prior_mean: mean of x_0 [n] of every first piece, such as `model.prior.mean`; may be left
            out where data has them.

    Returns:
        A `Dataset` with `prior_mean`.

    Raises:
        ValueError: if steps is below one, or the state is not known where a piece starts.

    Example:
        >>> data = kf.Dataset(np.zeros((4, 50, 1)), np.zeros((4, 50, 2)))
        >>> kf.data.pieces(data, 20, prior_mean=np.zeros(2))
        Dataset(12 trajectories of 10 to 20 steps, m=1, n=2)
    """
    _check_steps("pieces", steps)
    if data.xs is None or (data.prior_mean is None and prior_mean is None):
        raise ValueError(
            "pieces: got data without true states or prior means; expected both, since every piece"
            " starts at one. Pass prior_mean=model.prior.mean, or train with fit(..., window=) or"
            " on kfjax.data.first_steps."
        )
    first = data.prior_mean
    if first is None:
        first = np.broadcast_to(prior_mean, (data.size, np.shape(prior_mean)[-1]))
    steps = min(steps, data.steps)
    padded = whole_windows(data, steps)
    count = padded.steps // steps
    starts = np.concatenate([first[:, None], padded.xs[:, steps - 1 : -1 : steps]], axis=1)
    length = np.clip(data.lengths[:, None] - steps * np.arange(count), 0, steps)
    cut = jax.tree.map(
        lambda a: a.reshape(-1, steps, *a.shape[2:])[length.ravel() > 0], _series(padded)
    )
    starts, length = starts[length > 0], length[length > 0]
    if np.isnan(starts).any():
        raise ValueError(
            f"pieces: the state is not known where {np.isnan(starts).any(-1).sum()} of"
            f" {len(starts)} pieces start;"
            " expected known states every `steps` steps. Choose other steps, or train with fit(...,"
            " window=)."
        )
    ys, xs, us, observed = cut
    return Dataset(ys, xs, us, observed, length, starts, dtype=data.dtype)


def whole_windows(data: Dataset, steps: int) -> Dataset:
    """Return data whose number of steps is a multiple of `steps`; what is added never counts.

    Args:
        data: trajectories.
        steps: of a window, at least 1.

    Example:
        >>> kf.data.whole_windows(kf.Dataset(np.zeros((4, 50, 1))), 20).ys.shape
        (4, 60, 1)
    """
    _check_steps("whole_windows", steps)
    if (extra := -data.steps % steps) == 0:
        return data

    def longer(a: np.ndarray, value: Any = 0) -> np.ndarray:
        return np.pad(a, [(0, 0), (0, extra)] + [(0, 0)] * (a.ndim - 2), constant_values=value)

    ys, xs, us = jax.tree.map(longer, (data.ys, data.xs, data.us))
    observed = None if data.observed is None else longer(data.observed, True)
    lengths = data.lengths.astype(np.int32)
    return Dataset.unchecked(ys, xs, us, observed, lengths, data.prior_mean)


def window_at(batch: Dataset, start: int | Array, steps: int) -> Dataset:
    """Return the window of `steps` steps from `start` on, which may be traced.

    `prior_mean` stays that of x_0.

    Args:
        batch: trajectories, as arrays of jax; start + steps must not exceed their number of steps.
        start: the first step, from 0.
        steps: of the window.
    """
    ys, xs, us, observed = jax.tree.map(
        lambda a: jax.lax.dynamic_slice_in_dim(a, start, steps, axis=1), _series(batch)
    )
    length = None if batch.length is None else jnp.clip(batch.length - start, 0, steps)
    return Dataset.unchecked(ys, xs, us, observed, length, batch.prior_mean)


def _series(data: Dataset) -> tuple[Any, Any, Any, Any]:
    """What has an axis of time."""
    return data.ys, data.xs, data.us, data.observed


def _check_steps(who: str, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{who}: steps is {steps}; expected at least 1.")
