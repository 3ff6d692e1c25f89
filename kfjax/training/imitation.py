"""The estimates of a teacher, which a student imitates."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from kfjax._support.arguments import check_key, check_kind
from kfjax._support.compiling import jit
from kfjax._support.types import Key
from kfjax.base import Filter, Params
from kfjax.data import Dataset, run_trajectory, start_at
from kfjax.data.batches import check_noise_on
from kfjax.data.counting import counted_steps
from kfjax.models.averages import centre_and_spread
from kfjax.models.lens import model_of
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.smoothers.rauch_tung_striebel import smooth
from kfjax.training.checks import check_pair

__all__ = ["Targets", "imitation_targets"]


class Targets(NamedTuple):
    """Targets that a student imitates.

    Attributes:
        data: the observations, with the teacher's means as `xs`.
        cov: the teacher's covariances [N, T, n, n], or None for a teacher without covariances.
    """

    data: Dataset
    cov: Any


def imitation_targets(
    teacher: tuple[Filter, Any], data: Dataset, *, key: Key | None = None, smoothing: bool = False
) -> Targets:
    """Run the teacher over data, and return its estimates as targets.

    Args:
        teacher: (filter, params).
        data: trajectories; true states are not used.
        key: random key, for a teacher that draws.
        smoothing: whether to smooth.

    Returns:
        `Targets`.

    Raises:
        ValueError: if an estimate is not finite.
    """
    check_pair("imitation_targets: teacher", teacher)
    check_kind("imitation_targets: data", data, Dataset)
    check_noise_on("imitation_targets: teacher", teacher[1], data)
    if key is not None:
        check_key("imitation_targets: key", key)
    mean, cov = estimates_of(teacher, data, key, smoothing)
    if not np.isfinite(mean[counted_steps(data)]).all():
        raise ValueError(
            "imitation_targets: an estimate of the teacher is not finite; expected a teacher that"
            " does not diverge. Check its model on these data with kf.compare."
        )
    return Targets(dataclasses.replace(data, xs=mean, labels=None, dtype=data.dtype), cov)


def estimates_of(
    pair: tuple[Filter, Any], data: Dataset, key: Array | None, smoothing: bool
) -> tuple[Any, Any]:
    """Return the means and covariances of all trajectories, as numpy arrays."""
    keys = jax.random.split(jax.random.key(0) if key is None else key, data.size)
    unlabelled = dataclasses.replace(data, xs=None, labels=None, dtype=data.dtype)
    return jax.tree.map(np.asarray, _run_all(pair[0], smoothing, pair[1], unlabelled, keys))


@functools.partial(jit, static_argnums=(0, 1))
def _run_all(
    filter: Filter, smoothing: bool, params: Params, data: Dataset, keys: Array
) -> tuple[Array, Array | None]:
    def one(trajectory: Dataset, key: Array) -> tuple[Array, Array | None]:
        est = run_trajectory(filter, params, trajectory, key=key).outputs
        if not smoothing:
            return est.mean, est.cov
        start = start_at(params, trajectory.prior_mean)
        smoothed = smooth(filter, start, est, us=trajectory.us, length=trajectory.length)
        return smoothed.mean, smoothed.cov

    return jax.vmap(one)(data, keys)


def common_space(who: str, teacher_params: Params, student_params: Params) -> Space:
    """Return the space of the states of a teacher and its student; Euclidean without a model.

    Raises:
        ValueError: if the states differ in size, or only one of them is curved.
    """
    models = [model_of(params) for params in (teacher_params, student_params)]
    known = [model for model in models if model is not None]
    kinds = {(*model.prior.mean.shape, model.n, model.state_space.is_euclidean) for model in known}
    if len(kinds) > 1:
        raise ValueError(
            f"{who}: the states of teacher and student have [N, n, is Euclidean] ="
            f" {sorted(kinds)}; expected the same. Give the student's model the state_space of the"
            " teacher's."
        )
    return known[0].state_space if known else EUCLIDEAN


def typical_scale(targets: Targets, space: Space) -> np.ndarray:
    """Return the typical standard deviation [n] of states in a space; 1 where it is zero."""
    counts = counted_steps(targets.data)
    if targets.cov is None:
        _, spread = centre_and_spread(space, np.asarray(targets.data.xs)[counts])
    else:
        variances = np.diagonal(np.asarray(targets.cov, np.float64), axis1=-2, axis2=-1)
        spread = np.sqrt(variances[counts].mean(axis=0))
    return np.where(spread > 0, spread, 1)
