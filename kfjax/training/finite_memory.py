"""The error of the best map from a finite number of observations to the estimates of a filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from kfjax._support.arguments import check_count, check_kind
from kfjax.base import Params
from kfjax.data import Dataset
from kfjax.data.counting import counted_steps
from kfjax.filters.checks import check_params
from kfjax.models.averages import differences, moved
from kfjax.models.lens import model_of
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.training.checks import units_of

__all__ = ["finite_memory_floor"]

CENTRES = 12
GAUSS_NEWTON = 5  # steps; wrapped residuals need two or three
TINY = np.finfo(np.float32).tiny


def finite_memory_floor(
    train: Dataset,
    validation: Dataset,
    memory: int,
    *,
    params: Params = None,
    scale: Any = None,
    start: int | None = None,
    train_start: int | None = None,
) -> Float[np.ndarray, " n"]:
    """Measure the error of the best affine map from the last observations to a filter's estimates.

    If the filter is linear, a network that sees windows of N observations, and no earlier state or
    estimate, can hardly do better. A missing observation is replaced by the previous one in the
    window, and the map sees which are missing. On curved spaces the map sees the last observation
    and the differences of neighbours, and gives a tangent vector at one of the estimates; it is
    fitted by Gauss-Newton steps.

    Args:
        train: trajectories whose `xs` are the filter's estimates; the map is fitted to them by
            least squares.
        validation: other such trajectories, to measure the error on.
        memory: N, number of observations (and of inputs u, if any) that the map sees.
        params: a `StateSpaceModel`, or params that hold one, whose spaces say how states and
            observations are subtracted; default Euclidean.
        scale: units [n] of errors; default 1.
        start: first step that counts, from 0; default N - 1, the first with a full window.
        train_start: the same for the training data; default `start`.

    Returns:
        The root mean square error of every component [n].

    Raises:
        ValueError: if a window is longer than the trajectories, or there are no estimates.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 40)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 60))(keys)
        >>> def mean_of(y):
        ...     return kf.run(kf.kalman(), model, y).outputs.mean
        >>> estimates = jax.vmap(mean_of)(ys)
        >>> train, validation = kf.Dataset(ys, estimates).split(20, 20)
        >>> floor = kf.training.finite_memory_floor
        >>> short, long = (floor(train, validation, N, start=40) for N in (2, 32))
        >>> bool((long < short).all())
        True
    """
    check_kind("finite_memory_floor: train", train, Dataset)
    check_kind("finite_memory_floor: validation", validation, Dataset)
    check_count("finite_memory_floor: memory", memory)
    start = memory - 1 if start is None else start
    train_start = start if train_start is None else train_start
    for name, data, first in (("train_", train, train_start), ("", validation, start)):
        check_count(f"finite_memory_floor: {name}start", first, least=0)
        if not memory - 1 <= first < data.lengths.max():
            raise ValueError(
                f"finite_memory_floor: got memory={memory}, {name}start={first} and trajectories of"
                f" {data.steps} steps; expected 1 <= memory <= {name}start + 1 <= the steps."
            )
    if train.xs is None or validation.xs is None:
        raise ValueError(
            "finite_memory_floor: got data without xs; expected the filter's estimates as xs."
        )
    check_params("finite_memory_floor", params)
    model = model_of(params)
    spaces = (EUCLIDEAN, EUCLIDEAN)
    if model is not None:
        spaces = (model.state_space, model.observation_space)
    masked = train.observed is not None  # otherwise nothing tells what a gap means
    (X, target), (X_new, target_new) = (
        _regression(data, memory, first, spaces[1], masked)
        for data, first in ((train, train_start), (validation, start))
    )
    found = _fit(spaces[0], X, target)
    error = differences(spaces[0], target_new, found(X_new))
    error = np.sqrt(np.mean(error**2, axis=0))
    return error / units_of("finite_memory_floor: scale", scale, error.shape[-1])


def _fit(space: Space, X: np.ndarray, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the affine map from rows X [K, p] to points [K, N], by least squares."""
    solve = np.linalg.pinv(X)
    if space.is_euclidean:
        W = solve @ target.astype(np.float64)
        return lambda rows: rows @ W
    # where states wrap, a map about one centre may wind differently from the observations
    at = np.linspace(0, len(target) - 1, CENTRES).astype(int)
    fits = [_fit_from(centre[None], space, solve, X, target) for centre in target[at]]
    errors = [differences(space, target, fit(X)) for fit in fits]
    scores = [np.log(np.mean(error**2, axis=0) + TINY).sum() for error in errors]
    return fits[int(np.argmin(scores))]


def _fit_from(
    centre: np.ndarray, space: Space, solve: np.ndarray, X: np.ndarray, target: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the map found by Gauss-Newton steps, with tangent vectors at a centre [1, N]."""
    W = solve @ differences(space, target, centre)
    for _ in range(GAUSS_NEWTON):
        W = W + solve @ differences(space, target, moved(space, centre, X @ W))
    return lambda rows: moved(space, centre, rows @ W)


def _regression(
    data: Dataset, memory: int, start: int, space: Space, masked: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of windows with a constant, and the estimates at their ends."""
    observed, *others = input_series(data, masked)
    known = ~np.isnan(np.asarray(data.xs)).any(axis=-1)
    counts = (counted_steps(data) & known)[:, start:]
    if not counts.any():
        raise ValueError(
            f"finite_memory_floor: no estimate is known from step {start} on; expected at least"
            " one. Choose a smaller start."
        )

    def windows(series: np.ndarray) -> np.ndarray:
        cut = np.lib.stride_tricks.sliding_window_view(series, memory, axis=1)
        return cut[:, start - memory + 1 :][counts]  # [K, channels, memory]

    ys = windows(observed)
    if data.observed is not None:
        ys = filled(ys, windows(np.asarray(data.observed)))
    if not space.is_euclidean:
        # differences of neighbours wrap less often than differences from the last one
        series_of_y = ys.swapaxes(1, 2)
        steps = differences(space, series_of_y[:, 1:], series_of_y[:, :-1])
        ys = np.concatenate([steps, series_of_y[:, -1:]], axis=1)
    parts = [ys, *map(windows, others)]
    rows = [part.reshape(len(part), -1) for part in parts]
    X = np.concatenate([*rows, np.ones((len(ys), 1))], axis=1)
    return X, np.asarray(data.xs)[:, start:][counts]


def filled(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return values [..., T] with the last one that was seen in place of those that were not.

    Before the first one that was seen, that one; as they are where none was.
    """
    steps = np.arange(values.shape[-1])
    last = np.maximum.accumulate(np.where(seen, steps, -1), axis=-1)
    first = np.argmax(seen, axis=-1)[..., None]
    return np.take_along_axis(values, np.where(last < 0, first, last), axis=-1)


def input_series(data: Dataset, masked: bool) -> list[np.ndarray]:
    """Return ys (0 where missing), which of them were observed if `masked`, and us, each [N, T, k].

    They are in double precision.
    """
    series = [np.asarray(data.ys, np.float64)]
    if masked:
        seen = np.ones(data.ys.shape) if data.observed is None else data.observed
        series.append(np.asarray(seen, np.float64))
    inputs = [np.asarray(u, np.float64) for u in jax.tree.leaves(data.us)]
    return series + [u.reshape(data.size, data.steps, -1) for u in inputs]
