"""Sums over one trajectory, from which every metric is computed.

This module knows `Filter` but no particular filter: what a filter does not report (covariance,
innovation, ...) is None in the sums too. The functions see one trajectory; callers `jax.vmap` and
`jax.jit` them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.arguments import check_count
from kfjax._support.types import AnyArray
from kfjax.base import Estimate, Filter, Info, Params, estimate_and_info
from kfjax.data import Dataset, run_trajectory
from kfjax.evaluation.errors import Difference
from kfjax.evaluation.innovations import innovation_products
from kfjax.evaluation.metrics import Sums, nees_and_coverage, squared_error
from kfjax.filters.combinators.composing import counted_channels
from kfjax.models.lens import model_of

__all__: list[str] = []

LAGS = 20  # the largest lag of the innovations' autocorrelation


class Statistics(NamedTuple):
    """Sums over the steps of each trajectory; None for what a filter or the data do not have.

    Every leaf has a leading axis [N].

    Attributes:
        steps: number of steps that count.
        failed: whether an estimate or its likelihood was not a number, or a variance negative.
        squared_error: squared errors, over known state components.
        nees: normalised errors, and their degrees of freedom.
        nees_steps: number of steps with any degrees of freedom.
        coverage: states within their central 95 % interval, [N, n].
        nis: normalised innovations, and the number of observed channels.
        rejected: observed channels that the filter did not use, and all of them.
        log_likelihood: log-likelihood of the observations, and the number of steps.
        prediction: squared innovations, over observed channels.
        innovations: products of whitened innovations at lags 0..K, [N, K + 1].
    """

    steps: AnyArray
    failed: AnyArray
    squared_error: Sums | None
    nees: Sums | None
    nees_steps: AnyArray | None
    coverage: Sums | None
    nis: Sums | None
    rejected: Sums | None
    log_likelihood: Sums | None
    prediction: Sums | None
    innovations: Sums | None


class Curves(NamedTuple):
    """Sums of each step, [T] or with leading axes; None for what a filter or the data do not have.

    Attributes:
        squared_error: squared errors, over known state components.
        nees: normalised errors, and their degrees of freedom.
        nis: normalised innovations, and the number of observed channels.
        prediction: squared innovations, over observed channels.
    """

    squared_error: Sums | None
    nees: Sums | None
    nis: Sums | None
    prediction: Sums | None


def filter_one(
    filter: Filter, params: Params, trajectory: Dataset, key: Array
) -> tuple[Estimate, Info]:
    """Run a filter over one trajectory (a `Dataset` without its leading axis), keep everything."""
    return run_trajectory(filter, params, trajectory, key=key, emit=estimate_and_info).outputs


def state_difference(params: Params) -> Difference | None:
    """Return how the states of the model in params are subtracted; None for a - b."""
    model = model_of(params)
    if model is None or model.state_space.is_euclidean:
        return None
    return model.state_space.difference


def summarise(
    skip: int, difference: Difference | None, trajectory: Dataset, outputs: tuple[Estimate, Info]
) -> tuple[Statistics, Curves]:
    """Return the sums of one trajectory, over time and per step, without its first `skip` steps.

    States are subtracted by `difference`; None is a - b.
    """
    parts = trajectory.ys, trajectory.xs, trajectory.observed, outputs
    ys, xs, observed, (estimate, info) = jax.tree.map(lambda leaf: leaf[skip:], parts)
    steps = ys.shape[0]
    length = steps
    if trajectory.length is not None:
        length = jnp.maximum(trajectory.length - skip, 0)
    active = jnp.arange(steps) < length
    error, normalised, covered = _state_errors(xs, estimate, length, difference)
    prediction, innovations = _innovations(info, active, observed)
    nis = None if info.nis is None else Sums(_or_infinite(info.nis), info.dof)
    curves = Curves(error, normalised, nis, prediction)
    totals = Curves(*map(_over_time, curves))
    statistics = Statistics(
        steps=jnp.asarray(length),
        failed=_failed(estimate, active, totals.squared_error),
        squared_error=totals.squared_error,
        nees=totals.nees,
        nees_steps=None if normalised is None else jnp.sum(normalised.count > 0),
        coverage=None if covered is None else Sums(covered.total.sum(0), covered.count.sum(0)),
        nis=totals.nis,
        rejected=_over_time(_rejected(info)),
        log_likelihood=_likelihood(estimate, length),
        prediction=totals.prediction,
        innovations=innovations,
    )
    return statistics, curves


def _over_time(sums: Sums | None) -> Sums | None:
    """Return the sums over the last axis; None for None."""
    return None if sums is None else sums.over_time()


def _state_errors(
    xs: Array | None, estimate: Estimate, length: int | Array, difference: Difference | None
) -> tuple[Sums | None, Sums | None, Sums | None]:
    """Return squared errors, normalised errors and coverage of every step."""
    if xs is None:
        return None, None, None
    options: dict[str, Any] = {"length": length, "difference": difference}
    error = squared_error(xs, estimate.mean, **options)
    if estimate.cov is None:
        return error, None, None
    normalised, covered = nees_and_coverage(
        "nees", xs, estimate.mean, estimate.cov, probability=0.95, **options
    )
    return error, normalised, covered


def _innovations(
    info: Info, active: Array, observed: Array | None
) -> tuple[Sums | None, Sums | None]:
    """Return the squared innovations of every step, and their lagged products over time."""
    if info.innovation is None:
        return None, None
    seen = jnp.broadcast_to(active[:, None], info.innovation.shape)
    if observed is not None:
        seen &= observed
    square = jnp.sum(jnp.where(seen, info.innovation, 0) ** 2, -1)
    prediction = Sums(_or_infinite(square), seen.sum(-1))
    if info.innovation_cov is None:
        return prediction, None
    lags = min(LAGS, info.innovation.shape[0] - 1)
    return prediction, innovation_products(info.innovation, info.innovation_cov, lags)


def _or_infinite(square: Array) -> Array:
    """Return a square, infinite where it is not a number: a breakdown counts against the filter."""
    return jnp.where(square >= 0, square, jnp.inf)


def _rejected(info: Info) -> Sums | None:
    """Return how many observed channels of every step were not used, for rejecting filters."""
    accepted = (info.extra or {}).get("accepted")
    channels = counted_channels(info)
    if accepted is None or channels is None:
        return None
    return Sums((1 - accepted) * channels, channels)


def _likelihood(estimate: Estimate, length: int | Array) -> Sums | None:
    """Return the log-likelihood of the trajectory; it is zero at steps that do not count."""
    if estimate.log_likelihood is None:
        return None
    terms = jnp.where(_is_likelihood(estimate.log_likelihood), estimate.log_likelihood, -jnp.inf)
    return Sums(terms.sum(), jnp.asarray(length))


def _is_likelihood(log_likelihood: Array) -> Array:
    """Return which entries are log densities: numbers, or -inf for the impossible."""
    return log_likelihood < jnp.inf


def _failed(estimate: Estimate, active: Array, error: Sums | None) -> Array:
    """Return whether an estimate that counts or its error is not finite, or a variance is negative.

    An observation may be impossible (say, an infinite outlier that was rejected), but its
    likelihood must not be NaN.
    """
    sound = [jnp.isfinite(leaf) for leaf in jax.tree.leaves((estimate.mean, estimate.cov))]
    if estimate.cov is not None:
        sound.append(jnp.diagonal(estimate.cov, axis1=-2, axis2=-1) >= 0)
    if estimate.log_likelihood is not None:
        sound.append(_is_likelihood(estimate.log_likelihood))
    steps = active.shape[0]
    by_step = jnp.stack([part.reshape(steps, -1).all(-1) for part in sound])
    failed = ~(by_step.all(0) | ~active).all()
    return failed if error is None else failed | ~jnp.isfinite(error.total)


def check_skip(who: str, skip: int, steps: int) -> None:
    """Raise unless some counted steps are left."""
    check_count(f"{who}: skip", skip, least=0, most=steps - 1)
