"""An exactly diffuse start for the first steps only.

Once the observations have determined every diffuse direction, `exact_diffuse(filter)` is `filter`.
How many steps that takes depends on what was observed, not on its values, so it is known in advance
for given data. The rest of the record goes through the plain filter, whose steps are cheaper and
compile faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax.base import Emit, Filter, Params
from kfjax.filters.diffuse_beliefs import proper
from kfjax.filters.diffuse_start import diffuse_indices, filter_after
from kfjax.models.functions import Linear
from kfjax.models.records import until
from kfjax.models.state_space import StateSpaceModel
from kfjax.runner import run

__all__: list[str] = []

LONGEST = 10  # leading steps, as a multiple of the number of diffuse states


class Lead(NamedTuple):
    """The steps that need a diffuse start; static.

    Attributes:
        steps: their number.
        filter: the filter of the others.
    """

    steps: int
    filter: Filter


def lead_of(filter: Filter, params: Params, seen: np.ndarray) -> Lead | None:
    """Return the steps that need a diffuse start, the same for all series.

    Args:
        filter: any filter.
        params: its params.
        seen: what was observed [N, T, m].

    Returns:
        None if the filter does not start diffuse, if the model is not linear with constant
        matrices, or if some series take too long.
    """
    if not isinstance(params, StateSpaceModel):
        return None
    after = filter_after(filter, params)
    if after is None:
        return None
    f, h = params.f, params.h
    if not all(isinstance(fn, Linear) and not callable(fn.A) for fn in (f, h)):
        return None
    at = diffuse_indices(filter, params)
    longest = min(seen.shape[1], LONGEST * len(at))
    rows = _seen_rows(np.asarray(f.A), np.asarray(h.A), at, longest, params.first)
    steps = _steps(rows, np.unique(seen[:, :longest], axis=0))
    if steps is None or steps >= seen.shape[1]:
        return None
    return Lead(steps, after)


def _seen_rows(F: np.ndarray, H: np.ndarray, at: np.ndarray, steps: int, first: str) -> np.ndarray:
    """Return how the diffuse directions enter the observations of each step [T, m, d]."""
    loading = np.eye(len(F))[:, at]
    found = []
    for step in range(steps):
        if step or first == "predict":
            loading = F @ loading
        found.append(H @ loading)
    return np.array(found)


def _steps(rows: np.ndarray, patterns: np.ndarray) -> int | None:
    """Return after how many steps every pattern [N, T, m] has determined all directions."""
    total, _, d = rows.shape
    steps = 1
    while len(patterns):
        if steps > total:
            return None
        used = np.where(patterns[:, :steps, :, None], rows[:steps], 0).reshape(len(patterns), -1, d)
        patterns = patterns[np.linalg.matrix_rank(used) < d]
        steps += len(patterns) > 0
    return steps


def run_with_lead(
    filter: Filter, params: Params, series: Any, lead: Lead | None, emit: Emit
) -> Any:
    """Return what a filter keeps of one series; after its end nothing counts.

    Args:
        filter: the filter.
        params: its params.
        series: a `Dataset` without its leading axis.
        lead: the steps with a diffuse start, or None for all.
        emit: what to keep of every step.

    Returns:
        Outputs with a leading time axis, and whether each step counts [T]. All are NaN if a
        direction is still open where the start should be over.
    """
    steps = series.ys.shape[0]
    us, active = until(series.length, series.us, steps)
    ys = series.ys
    if active is None:
        active = jnp.ones(steps, bool)
    else:
        # later steps run on but do not count, so that all series share their covariances
        ys = jnp.where(active[:, None], ys, 0)
    record = (ys, us, series.observed)
    if lead is None:
        ys, us, observed = record
        return run(filter, params, ys, us=us, observed=observed, emit=emit).outputs, active
    (ys, us, observed), (later_ys, later_us, later_observed) = (
        jax.tree.map(lambda a, part=part: a[part], record)
        for part in (slice(lead.steps), slice(lead.steps, None))
    )
    begun = run(filter, params, ys, us=us, observed=observed, emit=emit)
    later = run(
        lead.filter,
        params,
        later_ys,
        us=later_us,
        observed=later_observed,
        state=proper(begun.final),
        emit=emit,
    )
    open_directions = jnp.trace(begun.final.undetermined)
    over = open_directions < 0.5

    def joined(a: Array, b: Array) -> Array:
        return jnp.where(over, jnp.concatenate([a, b]), jnp.nan)

    return jax.tree.map(joined, begun.outputs, later.outputs), active
