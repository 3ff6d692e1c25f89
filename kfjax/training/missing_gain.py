"""Whether what a student misses follows from a gain that changes with the state or the inputs."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax._support.compiling import jit
from kfjax.base import Filter, Info, Params
from kfjax.data import Dataset, run_trajectory
from kfjax.data.counting import counted_steps
from kfjax.models.averages import differences
from kfjax.models.spaces import Space
from kfjax.training.finite_memory import input_series

__all__ = ["ResidualGain", "innovations_of", "residual_gain"]

GROUPS = 8  # of rows with alike values of a component
LEAST = 4  # rows for every number that is fitted


class ResidualGain(NamedTuple):
    """What the gain that a student lacks depends on.

    r_t = g_j + A_j r_{t-1} + K_j v_t,   r_t = the teacher's estimate minus the student's

    Rows are grouped by the value of one component of x_{t-1|t-1} or u_t; v_t is the innovation.
    `state` and `inputs` say by how much groups with their own K_j lower the mean square on other
    rows, as a fraction of what one K for all of them leaves.

    Attributes:
        state: by component of the teacher's last estimate [N].
        inputs: by entry of the input [p].
    """

    state: Float[np.ndarray, " N"]
    inputs: Float[np.ndarray, " p"]

    @property
    def largest(self) -> tuple[str, int, float]:
        """Where it is largest: "state" or "inputs", the index from 0, and the fraction."""
        kinds = {"state": self.state, "inputs": self.inputs}
        kind = max(kinds, key=lambda name: max(kinds[name], default=-np.inf))
        index = int(np.argmax(kinds[kind]))
        return kind, index, float(kinds[kind][index])


def residual_gain(
    space: Space,
    data: Dataset,
    estimates: np.ndarray,
    innovations: np.ndarray,
    *,
    scale: np.ndarray,
    counts: np.ndarray,
) -> ResidualGain | None:
    """Measure what the gain that a student lacks depends on.

    Args:
        space: the space of the states.
        data: trajectories whose xs are the teacher's estimates.
        estimates: the student's [N, T, n].
        innovations: v_t [N, T, m], NaN where missing.
        scale: units [n] of errors.
        counts: which steps [N, T] count.

    Returns:
        `ResidualGain`, or None where there are too few rows.
    """
    r = differences(space, data.xs, estimates) / scale
    us = input_series(data, False)[1:]
    context = np.concatenate([np.asarray(data.xs)[:, :-1], *(u[:, 1:] for u in us)], axis=-1)
    missing = np.isnan(innovations[:, 1:])
    v = np.where(missing, 0, innovations[:, 1:])
    known = counts[:, 1:] & counts[:, :-1]
    for part in (r[:, 1:], r[:, :-1], context):
        known &= np.isfinite(part).all(axis=-1)
    which = np.broadcast_to(_halves(known), known.shape)[known]
    target, before, v, context = (part[known] for part in (r[:, 1:], r[:, :-1], v, context))
    if min(which.sum(), (~which).sum()) < LEAST * GROUPS * (1 + before.shape[1] + v.shape[1]):
        return None
    v = v / np.where(v.std(axis=0) > 0, v.std(axis=0), 1)
    # rows where the student is lost would outweigh all others
    squares = np.sum(before**2, axis=1)
    weight = 1 / np.sqrt(1 + squares / max(np.median(squares), np.finfo(np.float64).tiny))
    parts = [part * weight[:, None] for part in (target, np.ones_like(v[:, :1]), before, v)]
    found = np.array([_explained(column, which, *parts) for column in context.T])
    size = np.shape(data.xs)[-1]
    return ResidualGain(found[:size], found[size:])


def _halves(known: np.ndarray) -> np.ndarray:
    """Return which trajectories, or steps of a single one, are fitted to; the others are scored."""
    if len(known) > 1:
        return np.arange(len(known))[:, None] % 2 == 0
    return np.arange(known.shape[1])[None] < known.shape[1] // 2


def _explained(
    column: np.ndarray,
    which: np.ndarray,
    target: np.ndarray,
    one: np.ndarray,
    before: np.ndarray,
    v: np.ndarray,
) -> float:
    """Return the part of the mean square that gains by groups of a column explain."""
    edges = np.quantile(column, np.linspace(0, 1, GROUPS + 1)[1:-1])
    member = np.digitize(column, edges)[:, None] == np.arange(GROUPS)
    grouped = _by_group(member, np.concatenate([one, before], axis=1))
    common = _left(np.concatenate([grouped, v], axis=1), target, which)
    own = _left(np.concatenate([grouped, _by_group(member, v)], axis=1), target, which)
    return 1 - own / common if common > 0 else 0.0


def _by_group(member: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values [K, p] in the columns of their group, [K, groups p]."""
    spread = member[:, :, None] * values[:, None]
    return spread.reshape(len(values), -1)


def _left(X: np.ndarray, target: np.ndarray, which: np.ndarray) -> float:
    """Return the mean square that a linear map leaves on the rows that it was not fitted to."""
    W = np.linalg.lstsq(X[which], target[which], rcond=None)[0]
    return float(np.mean((target[~which] - X[~which] @ W) ** 2))


def innovations_of(teacher: tuple[Filter, Any] | None, train: Dataset, data: Dataset) -> np.ndarray:
    """Return innovations [N, T, m] of data, NaN where missing.

    Without a filter that has them they are what an affine map from the last estimate and the input
    leaves of y_t.

    Args:
        teacher: (filter, params), or None for a recorded teacher.
        train: data that the map is fitted to, with the teacher's estimates as xs.
        data: the data.
    """
    seen = np.ones(data.ys.shape, bool) if data.observed is None else np.asarray(data.observed)
    if teacher is not None:
        keys = jax.random.split(jax.random.key(0), data.size)
        found = _innovations(*teacher, data, keys)
        if found is not None:
            return np.where(seen, np.asarray(found), np.nan)
    X, y, known = _predictors(train)
    W = np.zeros((X.shape[-1], y.shape[-1]))
    for channel in range(y.shape[-1]):
        rows = known[..., channel]
        W[:, channel] = np.linalg.lstsq(X[rows], y[rows][:, channel], rcond=None)[0]
    X, y, known = _predictors(data)
    left = np.where(known, y - X @ W, np.nan)
    return np.concatenate([np.full_like(left[:, :1], np.nan), left], axis=1)


@functools.partial(jit, static_argnums=0)
def _innovations(filter: Filter, params: Params, data: Dataset, keys: Array) -> Array | None:
    def one(trajectory: Dataset, key: Array) -> Array | None:
        return run_trajectory(filter, params, trajectory, key=key, emit=_innovation).outputs

    return jax.vmap(one)(data, keys)


def _innovation(state: Any, info: Info) -> Array | None:
    del state
    return info.innovation


def _predictors(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x_{t-1}, u_t and 1 from the second step on, y_t, and which channels are known."""
    ys, *us = input_series(data, False)
    xs = np.asarray(data.xs, np.float64)[:, :-1]
    X = np.concatenate([xs, *(u[:, 1:] for u in us), np.ones_like(xs[..., :1])], axis=-1)
    known = (counted_steps(data)[:, 1:] & ~np.isnan(xs).any(axis=-1))[..., None]
    if data.observed is not None:
        known = known & np.asarray(data.observed)[:, 1:]
    return np.where(np.isnan(X), 0, X), ys[:, 1:], np.broadcast_to(known, ys[:, 1:].shape)
