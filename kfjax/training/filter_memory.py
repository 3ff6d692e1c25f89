"""The memory of a filter, and how much of it a network can hold.

All errors are in units of a scale, usually the standard deviations of the teacher's posterior.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_count, check_kind
from kfjax._support.compiling import jit
from kfjax._support.values import real_array
from kfjax.base import Filter, Params
from kfjax.data import Dataset, first_steps, start_at
from kfjax.filters.checks import check_params
from kfjax.filters.combinators.composing import state_space_of
from kfjax.filters.probing import ProbedStep
from kfjax.models.averages import differences, moved
from kfjax.models.lens import model_of
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.runner import run
from kfjax.training.checks import check_run, units_of
from kfjax.training.probing import probe_steps

__all__ = ["Forgetting", "finite_memory_floor", "forgetting", "gradient_per_lag", "relative_error"]


CENTRES = 12
GAUSS_NEWTON = 5  # steps; wrapped residuals need two or three
TINY = np.finfo(np.float32).tiny


class Forgetting(NamedTuple):
    """How fast a filter forgets.

    Attributes:
        norms: norm [lags] of the part of an error in the estimate that remains after 1, 2, ...
            steps.
        to_1_e: number of steps until it is below 1/e, or None if it never is.
        to_1_percent: number of steps until it is below 1 %, or None.
    """

    norms: np.ndarray
    to_1_e: int | None
    to_1_percent: int | None


def forgetting(
    filter: Filter, params: Params, data: Dataset, *, lags: int = 100, scale: Any = None
) -> Forgetting:
    """Measure how long an error in a filter's estimate persists.

    norm_N = mean over t of |J_t J_{t-1} ... J_{t-N+1}|,   J_t = d mean_t / d mean_{t-1} = (I - K_t
    H_t) F_t

    For nonlinear filters, J includes the derivative of the gain. The first half of every trajectory
    is left out.

    Args:
        filter: a filter whose state is a NamedTuple with a field mean.
        params: its parameters.
        data: trajectories; the observations matter only for nonlinear filters.
        lags: the largest N, at most half of the steps.
        scale: units [n] of errors of the components; default 1.

    Returns:
        `Forgetting`.

    Raises:
        ValueError: if the trajectories are too short, or the state has no field mean.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> data = kf.Dataset(np.zeros((1, 200, 1)))
        >>> kf.training.forgetting(kf.kalman(), model, data).to_1_e
        10
    """
    check_run("forgetting", filter, params, data)
    check_count("forgetting: lags", lags)
    steps = int(data.lengths.min())
    if (lags := min(lags, steps // 2)) < 1:
        raise ValueError(
            f"forgetting: the shortest trajectory has {steps} steps; expected at least 2."
        )
    J = np.asarray(probe_steps(filter, _jacobian, params, first_steps(data, steps)), np.float64)
    units = units_of("forgetting: scale", scale, J.shape[-1])
    J = J * units / units[:, None]
    norms = []
    product = np.eye(J.shape[-1])
    for k in range(lags):
        product = product @ J[:, steps // 2 - k : steps - k]
        norms.append(np.linalg.norm(product, ord=2, axis=(-2, -1)).mean())
    below = [
        next((k + 1 for k, norm in enumerate(norms) if norm < level), None)
        for level in (1 / np.e, 0.01)
    ]
    return Forgetting(np.array(norms), *below)


def _jacobian(filter: Filter, params: Params, step: ProbedStep) -> Array:
    """Return d mean_t / d mean_{t-1} [n, n] between tangent spaces, the rest of the state fixed."""
    before = step.before
    if "mean" not in getattr(before, "_fields", ()):
        raise ValueError(
            f"forgetting: the state is {type(before).__name__}; expected a NamedTuple with a field"
            " mean."
        )

    space = state_space_of(params)
    nothing = jnp.zeros_like(space.difference(before.mean, before.mean))

    def mean_after(d: Array) -> Array:
        start = before._replace(mean=space.retract(before.mean, d))
        predicted = filter.predict(params, start, step.u)
        state, _ = filter.update(params, predicted, step.y, step.u, step.observed)
        return state.mean

    reached = mean_after(nothing)
    return jax.jacfwd(lambda d: space.difference(mean_after(d), reached))(nothing)


def finite_memory_floor(
    train: Dataset,
    validation: Dataset,
    memory: int,
    *,
    params: Params = None,
    scale: Any = None,
    start: int | None = None,
) -> np.ndarray:
    """Measure the error of the best affine map from the last observations to a filter's estimates.

    If the filter is linear, a network that sees windows of N observations, and no earlier state or
    estimate, can hardly do better. On curved spaces the map sees the last observation and the
    differences of neighbours, and gives a tangent vector at one of the estimates; it is fitted by
    Gauss-Newton steps.

    Args:
        train: trajectories whose `xs` are the filter's estimates; the map is fitted to them by
            least squares.
        validation: other such trajectories, to measure the error on.
        memory: N, number of observations (and of inputs u, if any) that the map sees.
        params: a `StateSpaceModel`, or params that hold one, whose spaces say how states and
            observations are subtracted; default Euclidean.
        scale: units [n] of errors; default 1.
        start: first step that counts, from 0; default N - 1, the first with a full window.

    Returns:
        The root mean square error of every component [n].

    Raises:
        ValueError: if a window is longer than the trajectories, or there are no estimates.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 40)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, 60))(keys)
        >>> estimates = jax.vmap(lambda y: kf.run(kf.kalman(), model, y).outputs.mean)(ys)
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
    check_count("finite_memory_floor: start", start, least=0)
    if not memory - 1 <= start < min(train.lengths.max(), validation.lengths.max()):
        raise ValueError(
            f"finite_memory_floor: got memory={memory}, start={start} and trajectories of"
            f" {validation.steps} steps; expected 1 <= memory <= start + 1 <= the steps."
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
    (X, target), (X_new, target_new) = (
        _regression(data, memory, start, spaces[1]) for data in (train, validation)
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
    data: Dataset, memory: int, start: int, space: Space
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of windows with a constant, and the estimates at their ends."""
    inputs = [
        np.asarray(u, np.float64).reshape(data.size, data.steps, -1)
        for u in jax.tree.leaves(data.us)
    ]
    masks = [] if data.observed is None else [np.asarray(data.observed, np.float64)]
    counts = np.arange(start, data.steps) < data.lengths[:, None]

    def windows(series: np.ndarray) -> np.ndarray:
        cut = np.lib.stride_tricks.sliding_window_view(series, memory, axis=1)
        return cut[:, start - memory + 1 :][counts]  # [K, channels, memory]

    ys = windows(np.asarray(data.ys, np.float64))
    if not space.is_euclidean:
        # differences of neighbours wrap less often than differences from the last one
        series_of_y = ys.swapaxes(1, 2)
        steps = differences(space, series_of_y[:, 1:], series_of_y[:, :-1])
        ys = np.concatenate([steps, series_of_y[:, -1:]], axis=1)
    parts = [ys, *map(windows, masks + inputs)]
    rows = [part.reshape(len(part), -1) for part in parts]
    X = np.concatenate([*rows, np.ones((len(ys), 1))], axis=1)
    return X, np.asarray(data.xs)[:, start:][counts]


def relative_error(error: Any, cov: Any) -> np.ndarray:
    """Return the root mean square of errors in units of their standard deviations.

    Args:
        error: [..., n], such as a student's means minus the teacher's; NaN counts as infinite.
        cov: covariances [..., n, n] of the teacher.

    Returns:
        [n]. Entries with a variance of zero do not count; NaN where there are no others.

    Example:
        >>> covs = np.tile(np.diag([9.0, 1.0]), (10, 1, 1))
        >>> kf.training.relative_error(np.full((10, 2), 0.3), covs).round(3).tolist()
        [0.1, 0.3]
    """
    error = np.asarray(real_array("relative_error: error", error, finite=False), np.float64)
    cov = np.asarray(real_array("relative_error: cov", cov, finite=False), np.float64)
    if error.ndim == 0 or cov.shape != (*error.shape, error.shape[-1]) or error.size == 0:
        raise ValueError(
            f"relative_error: error has shape {error.shape} and cov {cov.shape}; expected [..., n]"
            " and [..., n, n]."
        )
    n = error.shape[-1]
    variance = np.diagonal(cov, axis1=-2, axis2=-1).reshape(-1, n)
    error = error.reshape(-1, n)
    error = np.where(np.isnan(error), np.inf, error)
    squares = error**2 / np.where(variance > 0, variance, 1)
    # a variance of zero gives no unit; a negative variance or NaN means that the teacher broke down
    counted = variance != 0
    squares = np.where(counted, np.where(variance > 0, squares, np.inf), 0)
    with np.errstate(invalid="ignore"):
        return np.sqrt(squares.sum(0) / counted.sum(0))


def gradient_per_lag(
    filter: Filter, params: Params, data: Dataset, *, scale: Any = None
) -> np.ndarray:
    """Measure how much the last estimate depends on each observation: |d mean_T / d y_{T-k}|.

    A network whose norms fall faster than those of its teacher has not learned the teacher's
    memory; norms that vanish or explode with the lag make training stall.

    Args:
        filter: the filter, a student or a teacher.
        params: its parameters.
        data: trajectories, cut to the shortest.
        scale: units [n] of estimates; default 1.

    Returns:
        The norm (Frobenius, mean over the trajectories) at lags 0, 1, ..., [T].

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> data = kf.Dataset(np.zeros((1, 100, 1)))
        >>> norms = kf.training.gradient_per_lag(kf.kalman(), model, data)
        >>> norms.shape, bool(norms[60] < 0.1 * norms[0])
        ((100,), True)
    """
    check_run("gradient_per_lag", filter, params, data)
    data = first_steps(data, int(data.lengths.min()))
    keys = jax.random.split(jax.random.key(0), data.size)
    slopes = np.asarray(_slopes(filter, params, data, keys), np.float64)  # [B, n, T, m]
    slopes = slopes / units_of("gradient_per_lag: scale", scale, slopes.shape[1])[:, None, None]
    return np.sqrt((slopes**2).sum((1, 3))).mean(0)[::-1]


@functools.partial(jit, static_argnums=0)
def _slopes(filter: Filter, params: Params, data: Dataset, keys: Array) -> Array:
    difference = state_space_of(params).difference

    def one(trajectory: Dataset, key: Array) -> Array:
        params_of_one = start_at(params, trajectory.prior_mean)

        def last(ys: Array) -> tuple[Array, Array]:
            options = {"observed": trajectory.observed, "key": key}
            mean = run(filter, params_of_one, ys, us=trajectory.us, **options).final.mean
            return mean, mean

        slopes, mean = jax.jacrev(last, has_aux=True)(jnp.asarray(trajectory.ys))
        to_tangent = jax.jacfwd(lambda x: difference(x, mean))(mean)
        return jnp.tensordot(to_tangent, slopes, axes=1)

    return jax.vmap(one)(data, keys)
