"""Cutting trajectories in time: into shorter ones, into several, and into windows in a trace."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Int, Real

from kfjax._support.arguments import check_count, check_kind, is_concrete
from kfjax._support.types import AnyArray, Nested, PyTree
from kfjax._support.values import real_array
from kfjax.data.dataset import Dataset
from kfjax.data.disk import DiskArray
from kfjax.models.state_space import First, check_first

__all__ = ["first_steps", "pieces", "whole_windows", "window_at"]


def first_steps(data: Dataset, steps: int) -> Dataset:
    """Return the first steps of every trajectory ("V3" of the KalmanNet paper).

    Args:
        data: trajectories.
        steps: number of steps to keep, at least 1; shorter trajectories stay as they are.

    Raises:
        ValueError: if steps is below one, or nothing was observed in these steps.

    Example:
        >>> kf.data.first_steps(kf.Dataset(np.zeros((4, 100, 1))), 20)
        Dataset(4 trajectories of 20 steps, m=1)
    """
    check_kind("first_steps: data", data, Dataset)
    check_count("first_steps: steps", steps)
    ys, xs, us, observed = jax.tree.map(lambda a: a[:, :steps], _series(data))
    length = None if data.length is None else np.minimum(data.length, steps)
    labels = None if data.labels is None else data.labels.first(steps)
    return Dataset(ys, xs, us, observed, length, data.prior_mean, labels, dtype=data.dtype)


def pieces(
    data: Dataset,
    steps: int,
    *,
    prior_mean: Real[ArrayLike, " n"] | Nested | None = None,
    first: First = "predict",
) -> Dataset:
    """Cut every trajectory into short ones that start at their true states.

    This is "V2" of the KalmanNet paper. Piece k holds the steps from k `steps` + 1 on, and its
    `prior_mean` is the true state one step before. The last piece of a trajectory may be shorter;
    nothing is left out. The pieces of a trajectory follow each other.

    Args:
        data: trajectories with true states.
        steps: length of a piece, at least 1.
        prior_mean: mean of x_0 [n] of the first piece of every trajectory, such as
            `model.prior.mean`; optional where data has prior means.
        first: `model.first`. With "update" prior means are of x_1: those of later pieces are the
            true states at their first steps.

    Returns:
        A `Dataset` with `prior_mean`.

    Raises:
        ValueError: if steps is below one, or the state is not known where a piece starts.

    Example:
        >>> data = kf.Dataset(np.zeros((4, 50, 1)), np.zeros((4, 50, 2)))
        >>> kf.data.pieces(data, 20, prior_mean=np.zeros(2))
        Dataset(12 trajectories of 10 to 20 steps, m=1, n=2)
    """
    check_kind("pieces: data", data, Dataset)
    check_count("pieces: steps", steps)
    if data.xs is None or (data.prior_mean is None and prior_mean is None):
        raise ValueError(
            "pieces: got data without true states or prior means; expected both, since every piece"
            " starts at one. Pass prior_mean=model.prior.mean, or train with fit(..., window=) or"
            " on kfjax.data.first_steps."
        )
    check_first("pieces", first)
    start = data.prior_mean
    if start is None:
        mean = np.asarray(real_array("pieces: prior_mean", prior_mean))
        if mean.shape not in (data.xs.shape[2:], (data.size, data.xs.shape[2])):
            raise ValueError(
                f"pieces: prior_mean has shape {mean.shape}; expected {data.xs.shape[2:]}, or one"
                " for each trajectory."
            )
        start = np.broadcast_to(mean, (data.size, mean.shape[-1]))
    steps = min(steps, data.steps)
    padded = whole_windows(data, steps)
    series, length = cut_series(padded, steps)
    # the later pieces start at the last state before them, or at their first one
    begins = np.arange(steps, padded.steps, steps)
    known = padded.xs[:, begins - 1 if first == "predict" else begins]
    n = start.shape[-1]
    starts = np.concatenate([start[:, None], known], axis=1).reshape(-1, n)[length > 0]
    _check_starts(starts)
    ys, xs, us, observed = jax.tree.map(lambda a: a[length > 0], series)
    return Dataset(ys, xs, us, observed, length[length > 0], starts, dtype=data.dtype)


def _check_starts(starts: np.ndarray) -> None:
    """Raise unless the states where the pieces start are known."""
    unknown = np.isnan(starts).any(-1).sum()
    if unknown:
        raise ValueError(
            f"pieces: the state is not known where {unknown} of {len(starts)} pieces start;"
            " expected known states every `steps` steps. Choose other steps, or train with fit(...,"
            " window=)."
        )


def cut_series(data: Dataset, steps: int) -> tuple[tuple[PyTree, ...], np.ndarray]:
    """Cut trajectories of K `steps` steps, as from `whole_windows`, into K pieces each.

    Returns ys, xs, us and observed [N K, steps, ...], and the lengths [N K], which are 0 for pieces
    after the end of a trajectory.
    """
    count = data.steps // steps
    length = np.clip(data.lengths[:, None] - steps * np.arange(count), 0, steps)

    def cut(a: AnyArray | DiskArray) -> np.ndarray:
        return np.asarray(a).reshape(-1, steps, *a.shape[2:])

    return jax.tree.map(cut, _series(data)), length.ravel()


def whole_windows(data: Dataset, steps: int) -> Dataset:
    """Return data whose number of steps is a multiple of `steps`; added steps never count.

    Args:
        data: trajectories.
        steps: length of a window, at least 1.

    Example:
        >>> kf.data.whole_windows(kf.Dataset(np.zeros((4, 50, 1))), 20).ys.shape
        (4, 60, 1)
    """
    check_kind("whole_windows: data", data, Dataset)
    check_count("whole_windows: steps", steps)
    extra = -data.steps % steps
    if extra == 0:
        return data

    def longer(a: np.ndarray, value: Any = 0) -> np.ndarray:
        widths = [(0, 0), (0, extra)] + [(0, 0)] * (a.ndim - 2)
        return np.pad(a, widths, constant_values=value)

    ys, xs, us = jax.tree.map(longer, (data.ys, data.xs, data.us))
    observed = None if data.observed is None else longer(data.observed, True)
    lengths = data.lengths.astype(np.int32)
    return Dataset.unchecked(ys, xs, us, observed, lengths, data.prior_mean)


def window_at(batch: Dataset, start: int | Int[Array, ""], steps: int) -> Dataset:
    """Return the window of `steps` steps from `start` on, which may be traced.

    `prior_mean` stays that of x_0.

    Args:
        batch: trajectories, as JAX arrays; start + steps must not exceed their number of steps.
        start: the first step, from 0.
        steps: length of the window.

    Raises:
        ValueError: if the window is not within the trajectories, as far as start is known.
    """
    check_kind("window_at: batch", batch, Dataset)
    check_count("window_at: steps", steps, most=batch.steps)
    if is_concrete(start):
        known = real_array("window_at: start", start, ndim=0)
        first = known.item() if known.dtype.kind in "iu" else start
        check_count("window_at: start", first, least=0, most=batch.steps - steps)

    def window(a: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(a, start, steps, axis=1)

    ys, xs, us, observed = jax.tree.map(window, _series(batch))
    length = None if batch.length is None else jnp.clip(batch.length - start, 0, steps)
    return Dataset.unchecked(ys, xs, us, observed, length, batch.prior_mean)


def _series(data: Dataset) -> tuple[PyTree, PyTree, PyTree, PyTree]:
    """Return the fields that have an axis of time."""
    return data.ys, data.xs, data.us, data.observed
