"""Climbs to the maxima of the likelihoods of many series, side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.types import AnyArray
from kfjax.base import Filter, Info, State
from kfjax.data import Dataset
from kfjax.data.batches import start_at
from kfjax.training.diffuse_lead import Lead, run_with_lead
from kfjax.training.free_parameters import FreeStart, Layout
from kfjax.training.many_lanes import Lanes, rows_of
from kfjax.training.many_results import STATUSES
from kfjax.training.many_starts import observations_of, places_of, scales_of
from kfjax.training.scoring import (
    CLIMBING,
    CONVERGED,
    FLAT,
    Climb,
    Terms,
    advance,
    begin,
)

__all__: list[str] = []

AGAIN = 2  # climbs from elsewhere, at most, where a variance has vanished
GAINED = 1e-3  # of the log-likelihood, that makes another climb worth while


class Likelihood(NamedTuple):
    """The terms of the log-likelihood of one series as a function of free numbers; static.

    Attributes:
        filter: the `Filter`.
        layout: what the free numbers stand for.
        lead: the steps with a diffuse start, or None for all.
    """

    filter: Filter
    layout: Layout
    lead: Lead | None

    def terms(self, theta: Array, series: Dataset, fixed: Any, skip: Any) -> Terms:
        """Return what each step adds, the innovations and their covariances."""
        params = self.layout.params(theta, fixed)
        if series.prior_mean is not None:
            params = start_at(params, series.prior_mean)
        kept, active = run_with_lead(self.filter, params, series, self.lead, _scored)
        if kept[0] is None:
            raise ValueError(
                f"fit_many: {self.filter} gives no log-likelihood; expected one that does, such as"
                " kf.extended()."
            )
        steps = series.ys.shape[0]
        counts = active & (jnp.arange(steps) >= skip)

        def counted(a: Array) -> Array:
            return jnp.where(_column(counts, a.ndim), a, 0)

        return jax.tree.map(counted, kept)


class Job(NamedTuple):
    """Settings that all series share.

    Attributes:
        likelihood: the function.
        free: what is free, and where to start.
        skip: number of leading steps that do not count.
        updates: the largest number of evaluations.
        least: the smallest number of observations.
    """

    likelihood: Likelihood
    free: FreeStart
    skip: int
    updates: int
    least: int


def _scored(state: State, info: Info) -> Terms:
    """Keep what scoring needs."""
    del state
    return info.log_likelihood, info.innovation, info.innovation_cov  # type: ignore[return-value]


def _column(flags: Array, ndim: int) -> Array:
    return flags.reshape(flags.shape + (1,) * (ndim - 1))


class Values(NamedTuple):
    """Minus the log-likelihoods [K] of one series at K places [K, p]; a static function."""

    likelihood: Likelihood

    def __call__(self, thetas: Array, series: Dataset, fixed: Any, skip: Any) -> Array:
        def value(theta: Array) -> Array:
            log_likelihoods, *_ = self.likelihood.terms(theta, series, fixed, skip)
            return -log_likelihoods.sum()

        return jax.lax.map(value, thetas)


class Advanced(NamedTuple):
    """A climb after one evaluation; a static function."""

    likelihood: Likelihood

    def __call__(self, climb: Climb, series: Dataset, fixed: Any, skip: Any) -> Climb:
        def terms(theta: Array) -> Terms:
            return self.likelihood.terms(theta, series, fixed, skip)

        return advance(terms, climb)


def fitted(job: Job, lanes: Lanes, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the results of the series with these numbers."""
    ys, seen = observations_of(lanes.data[rows], job.skip)
    scale = scales_of(ys, seen)
    count = seen.sum((1, 2))
    few = count < job.least
    able = ~few & (scale != 0)
    climbs = _blank(job, len(rows))
    places = places_of(job.free, scale).astype(climbs.theta.dtype)
    todo = np.flatnonzero(able)
    for _ in range(1 + AGAIN):
        todo = _look(job, lanes, rows, climbs, places, todo)
        _climb(job, lanes, rows, climbs, todo)
        vanished = _flat(climbs.information[todo]).any(1)
        todo = todo[vanished]
        if not todo.size:
            break
    finite = np.isfinite(climbs.value)
    good = (climbs.ended == CONVERGED) | (climbs.gain < GAINED)
    at_end = _flat(climbs.information) & finite[:, None]
    # later entries of this table override earlier ones
    cases = {
        "converged": able & good,
        "at an end": able & good & at_end.any(1),
        "not finite": able & ~finite,
        "constant": scale == 0,
        "too few observations": few,
    }
    status = np.full(len(rows), STATUSES.index("not converged"))
    for name, holds in cases.items():
        status[holds] = STATUSES.index(name)
    return {
        "theta": climbs.theta,
        "value": climbs.value,
        "information": climbs.information,
        "updates": climbs.updates,
        "at_end": at_end,
        "status": status,
        "observations": count,
    }


def _blank(job: Job, count: int) -> Climb:
    """Return climbs [count] that have not begun."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    theta = jnp.full(job.free.theta.size, jnp.nan, dtype)
    blank = begin(theta)

    def repeated(a: Array) -> np.ndarray:
        return np.repeat(np.asarray(a)[None], count, 0)

    return jax.tree.map(repeated, blank)


def _look(
    job: Job,
    lanes: Lanes,
    rows: np.ndarray,
    climbs: Climb,
    places: np.ndarray,
    todo: np.ndarray,
) -> np.ndarray:
    """Start climbs at the best places of these series; return the series that gain by it.

    Where a variance has vanished, the likelihood no longer depends on its logarithm: other values
    of it are tried, and nothing else is changed.
    """
    if not todo.size:
        return todo
    reached = rows_of(climbs, todo)
    climbed = np.isfinite(reached.value)
    kept = climbed[:, None] & ~_flat(reached.information)
    theta = reached.theta[:, None, :]
    tried = np.where(kept[:, None, :], theta, places[todo])
    values = lanes.map(Values(job.likelihood), rows[todo], tried)
    values = np.where(np.isfinite(values), values, np.inf)
    best = values.argmin(1)
    lowest = values.min(1)
    better = np.isfinite(lowest) & (lowest < reached.value - GAINED)
    chosen = todo[better]
    if chosen.size:
        starts = tried[better, best[better]]
        begun = jax.vmap(begin)(starts)
        _put(climbs, chosen, begun)
    return chosen


def _climb(job: Job, lanes: Lanes, rows: np.ndarray, climbs: Climb, todo: np.ndarray) -> None:
    """Continue climbs until they end."""
    while todo.size:
        part = rows_of(climbs, todo)
        part = lanes.map(Advanced(job.likelihood), rows[todo], part)
        _put(climbs, todo, part)
        goes_on = (part.ended == CLIMBING) & (part.updates < job.updates)
        todo = todo[goes_on]


def _put(climbs: Climb, at: np.ndarray, part: Climb) -> None:
    """Write climbs into the rows of all climbs, in place."""
    for array, values in zip(climbs, part, strict=True):
        array[at] = np.asarray(values)


def _flat(information: AnyArray) -> np.ndarray:
    """Return which free numbers [..., p] the likelihood does not depend on."""
    diagonal = np.diagonal(np.asarray(information), axis1=-2, axis2=-1)
    return diagonal < FLAT
