"""The memory of a filter: how fast it forgets, and how far back its gradients reach."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_count
from kfjax._support.compiling import jit
from kfjax.base import Filter, Params
from kfjax.data import Dataset, first_steps, start_at
from kfjax.filters.combinators.composing import state_space_of
from kfjax.filters.probing import ProbedStep
from kfjax.runner import run
from kfjax.training.checks import check_run, units_of
from kfjax.training.probing import probe_steps

__all__ = ["Forgetting", "forgetting", "gradient_per_lag"]


class Forgetting(NamedTuple):
    """The decay of an error in the estimate of a filter.

    Attributes:
        norms: norm [lags] of the part of an error in the estimate that remains after 1, 2, ...
            steps.
        to_1_e: number of steps until it is below 1/e, or None if it never is.
        to_1_percent: number of steps until it is below 1 %, or None.
    """

    norms: Float[np.ndarray, " lags"]
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


def gradient_per_lag(
    filter: Filter, params: Params, data: Dataset, *, scale: Any = None
) -> Float[np.ndarray, " T"]:
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
