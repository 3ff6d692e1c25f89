"""The one engine of evaluation: a filter over trajectories, and the sums that every metric is made of.

It knows `Filter` and no particular filter: what a filter does not give (covariance, innovation,
...) is None in the sums too. `filter_one` and `summarise` see one trajectory; callers `jax.vmap`
and `jax.jit` them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support import sharding
from kfjax.base import Estimate, Filter, Info, estimate_and_info
from kfjax.data import Dataset, run_trajectory
from kfjax.evaluation.metrics import Sums, coverage, innovation_products, nees, squared_error
from kfjax.models.lens import model_of

__all__: list[str] = []

MEMORY = 2**29  # bytes that one chunk of trajectories may take, results and temporaries
LAGS = 20  # of the innovations' autocorrelation


class Statistics(NamedTuple):
    """Sums over the steps of each trajectory; every leaf has a leading axis [N]. None where a filter has no such thing.

    Attributes:
        steps: how many steps counted.
        failed: whether an estimate was not finite, or a variance negative.
        squared_error: over known state components.
        nees: normalised error, and its degrees of freedom.
        nees_steps: how many steps had any.
        coverage: states within their central 95 % interval, [N, n].
        nis: normalised innovation, and the number of observed channels.
        log_likelihood: of the observations, and the number of steps.
        prediction: squared innovation over observed channels.
        innovations: products of whitened innovations at lags 0..K, [N, K + 1].
    """

    steps: Any
    failed: Any
    squared_error: Sums | None
    nees: Sums | None
    nees_steps: Any
    coverage: Sums | None
    nis: Sums | None
    log_likelihood: Sums | None
    prediction: Sums | None
    innovations: Sums | None


class Curves(NamedTuple):
    """Sums of each step, [T] or with leading axes; None where a filter has no such thing."""

    squared_error: Sums | None
    nees: Sums | None
    nis: Sums | None
    prediction: Sums | None


Part = tuple[
    Statistics, Curves
]  # of some trajectories: statistics [count, ...] and summed curves [T], numpy


def filter_one(
    filter: Filter, params: Any, trajectory: Dataset, key: Array
) -> tuple[Estimate, Info]:
    """Run a filter over one trajectory (a `Dataset` without its leading axis) and keep everything."""
    return run_trajectory(filter, params, trajectory, key=key, emit=estimate_and_info).outputs


def state_difference(params: Any) -> Callable[[Array, Array], Array] | None:
    """Return how the states of params' model are subtracted, None for a - b."""
    model = model_of(params)
    if model is None or model.state_space.is_euclidean:
        return None
    return model.state_space.difference


def summarise(
    skip: int, difference: Callable | None, trajectory: Dataset, outputs: tuple[Estimate, Info]
) -> tuple[Statistics, Curves]:
    """Return the sums of one trajectory, over time and per step, without its first `skip` steps.

    States are subtracted by `difference`; None is a - b.
    """
    ys, xs, observed, (estimate, info) = jax.tree.map(
        lambda a: a[skip:], (trajectory.ys, trajectory.xs, trajectory.observed, outputs)
    )
    steps = ys.shape[0]
    length = steps if trajectory.length is None else jnp.maximum(trajectory.length - skip, 0)
    active = jnp.arange(steps) < length
    error = normalised = covered = None
    if xs is not None:
        options: dict[str, Any] = {"length": length, "difference": difference}
        error = squared_error(xs, estimate.mean, **options)
        if estimate.cov is not None:
            normalised = nees(xs, estimate.mean, estimate.cov, **options)
            covered = coverage(xs, estimate.mean, estimate.cov, **options)
    prediction, innovations = _innovations(info, active, observed)
    curves = Curves(
        error, normalised, None if info.nis is None else Sums(info.nis, info.dof), prediction
    )
    totals = jax.tree.map(
        lambda sums: sums.over_time(), curves, is_leaf=lambda x: isinstance(x, Sums)
    )
    likelihood = estimate.log_likelihood
    return Statistics(
        steps=jnp.asarray(length),
        failed=_failed(estimate, active),
        squared_error=totals.squared_error,
        nees=totals.nees,
        nees_steps=None if normalised is None else jnp.sum(normalised.count > 0),
        coverage=None if covered is None else Sums(covered.total.sum(0), covered.count.sum(0)),
        nis=totals.nis,
        log_likelihood=None if likelihood is None else Sums(likelihood.sum(), jnp.asarray(length)),
        prediction=totals.prediction,
        innovations=innovations,
    ), curves


def _innovations(
    info: Info, active: Array, observed: Array | None
) -> tuple[Sums | None, Sums | None]:
    """Squared innovations per step, and the lagged products over time."""
    if info.innovation is None:
        return None, None
    seen = jnp.broadcast_to(active[:, None], info.innovation.shape)
    if observed is not None:
        seen &= observed
    prediction = Sums(jnp.sum(info.innovation**2, -1), seen.sum(-1))
    if info.innovation_cov is None:
        return prediction, None
    lags = min(LAGS, info.innovation.shape[0] - 1)
    return prediction, innovation_products(info.innovation, info.innovation_cov, lags)


def _failed(estimate: Estimate, active: Array) -> Array:
    """Tell whether anything that counts is not finite, or a variance is negative."""
    parts = [jnp.isfinite(leaf) for leaf in jax.tree.leaves(estimate)]
    if estimate.cov is not None:
        parts.append(jnp.diagonal(estimate.cov, axis1=-2, axis2=-1) >= 0)
    sound = jnp.stack([part.reshape(active.shape[0], -1).all(-1) for part in parts])
    return ~(sound.all(0) | ~active).all()


def check_skip(who: str, skip: int, steps: int) -> None:
    """Refuse to skip everything."""
    if not 0 <= skip < steps:
        raise ValueError(
            f"{who}: skip is {skip}; expected 0 to {steps - 1}, below the number of steps."
        )


def chunk_size(
    filter: Filter, params: Any, one: Dataset, key: Array, total: int, wanted: int | None = None
) -> int:
    """Return how many trajectories to take at a time: as wanted, or what fits in the memory budget.

    Evened out, so that the last chunk is hardly padded and every process has as many. Everything is
    traced on the way, so that what does not fit together is found before anything is compiled.

    Raises:
        ValueError: if the filter cannot run on such a trajectory, or estimates something else than
            the truth.
    """
    outputs = jax.eval_shape(functools.partial(filter_one, filter), params, one, key)
    jax.eval_shape(functools.partial(summarise, 0), state_difference(params), one, outputs)
    if wanted is None:
        state = jax.eval_shape(filter.init, params, key)
        # the results, what the metrics need of the same size, and the carry of the loop with its
        # temporaries
        wanted = MEMORY // (3 * _bytes((outputs, one)) + 8 * _bytes(state))
    processes = jax.process_count()
    each = math.ceil(total / processes / max(1, wanted))
    return math.ceil(total / (each * processes))


def _bytes(tree: Any) -> int:
    """The size of the arrays of a tree; keys count as one word."""
    return sum(
        math.prod(leaf.shape) * getattr(leaf.dtype, "itemsize", 8) for leaf in jax.tree.leaves(tree)
    )


def chunks(total: int, size: int, numbers: range | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield equal index arrays that cover range(total), or the chunks of these numbers, and how many of each count.

    What does not count is padding: in the last chunk, in those beyond the end, and where the
    devices do not divide the size.
    """
    for number in range(math.ceil(total / size)) if numbers is None else numbers:
        start, end = number * size, min((number + 1) * size, total)
        yield (
            np.minimum(np.arange(start, start + sharding.whole(size)), end - 1),
            max(end - start, 0),
        )


def share_of_chunks(total: int, size: int) -> tuple[list[tuple[np.ndarray, int]], int]:
    """Return the `chunks` of this process, and how many trajectories they are together."""
    mine = list(chunks(total, size, sharding.share(math.ceil(total / size))))
    return mine, sum(count for _, count in mine)


def counted(statistics: Statistics, curves: Curves, count: int) -> Part:
    """Return the statistics of the first trajectories, and their curves added in double precision; in main memory."""
    statistics, curves = jax.tree.map(lambda a: np.asarray(a)[:count], (statistics, curves))
    return statistics, jax.tree.map(lambda a: a.sum(0, dtype=np.float64), curves)
