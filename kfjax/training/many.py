"""Maximum likelihood for many series, each with its own parameters."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support.arguments import check_count, check_counts, check_function, check_kind
from kfjax.base import Filter, Params
from kfjax.data import Dataset
from kfjax.data.batches import check_noise_on
from kfjax.filters.checks import check_filter
from kfjax.structural import Structural
from kfjax.training.diffuse_lead import lead_of
from kfjax.training.free_parameters import FreeStart, free_parameters
from kfjax.training.many_chunks import in_chunks
from kfjax.training.many_climbs import Job, Likelihood, fitted
from kfjax.training.many_lanes import Lanes
from kfjax.training.many_results import FEW, STATUSES, FittedMany
from kfjax.training.many_starts import observations_of

__all__ = ["fit_many"]

WHO = "fit_many"
SHOWN = 5  # series that a warning names


def fit_many(
    filter: Filter,
    params: Any,
    data: Dataset,
    *,
    learn: Any = None,
    transform: Callable[[Any], Params] | None = None,
    bounds: Mapping[str, Any] | None = None,
    skip: int = 0,
    updates: int = 100,
    chunk: int = 4096,
    resume: str | Path | None = None,
    progress: bool | None = None,
) -> FittedMany:
    """Fit every series of a dataset by maximum likelihood, each with its own parameters.

    theta_i = argmax sum_t log p(y_it | y_i1..t-1; theta)   for i = 1..N

    One compiled program evaluates many series at once, and a series that is done makes room for the
    next one. The optimiser is Fisher scoring (first derivatives only), from the best of a few
    starts. Initial standard deviations are scaled to each series, so that only the ratios of those
    in params matter. The memory needed does not depend on N; the series of a chunk are split over
    the devices of this process.

    Args:
        filter: a `Filter` with a likelihood that can be differentiated, such as
            `kfjax.exact_diffuse()` or `kfjax.kalman()`.
        params: the model with the initial values, the same for all series: a sum of
            `kfjax.structural`, whose named parameters are free, or any other params that
            `kfjax.training.maximum_likelihood` takes.
        data: N series of any lengths, with NaN where values are missing.
        learn: what is free, as in `kfjax.training.maximum_likelihood`.
        transform: function from values to params, as there.
        bounds: ranges of values by name, as there.
        skip: number of leading steps of each series whose likelihood does not count.
        updates: the largest number of evaluations of one run of the optimiser.
        chunk: number of series whose results are kept, and written, together.
        resume: a folder. The results of every chunk that is done are written there, and read
            again by the same call after an interruption.
        progress: whether to show progress; by default if it takes long.

    Returns:
        `FittedMany`. The status of a series says whether the fit converged, whether a parameter is
        at an end of its range, or why the series was not fitted.

    Raises:
        ValueError: if arguments do not fit together, or the folder is of another study.

    Warns:
        UserWarning: if some series could not be fitted.

    Example:
        >>> model = kf.structural.level(1.0) + kf.structural.irregular(1.0)
        >>> walks = np.random.default_rng(0).normal(size=(3, 80, 1)).cumsum(1)
        >>> noisy = walks + np.random.default_rng(1).normal(size=walks.shape)
        >>> fits = kf.training.fit_many(
        ...     kf.exact_diffuse(), model, kf.Dataset(noisy)
        ... )
        >>> fits.names, fits.values.shape
        (('level.std', 'irregular.std'), (3, 2))

    References:
        A. C. Harvey, Forecasting, Structural Time Series Models and the Kalman Filter (1989),
        section 3.4.
    """
    check_filter(WHO, filter)
    check_kind(f"{WHO}: data", data, Dataset)
    check_counts(WHO, updates=updates, chunk=chunk)
    check_count(f"{WHO}: skip", skip, least=0, most=data.steps - 1)
    if transform is not None:
        check_function(f"{WHO}: transform", transform)
    free = free_parameters(WHO, params, learn, transform, bounds)
    check_noise_on(WHO, params if transform is None else transform(params), data)
    start = free.layout.params(jnp.asarray(free.theta), free.fixed)
    least = _least(params, free, skip)
    _, seen = observations_of(data, 0)
    lead = lead_of(filter, start, seen[seen.sum((1, 2)) >= least])
    likelihood = Likelihood(filter, free.layout, lead)
    job = Job(likelihood, free, skip, updates, least)
    options = _told(job, bounds, chunk)
    shared = (free.fixed, jnp.asarray(skip))
    results = in_chunks(
        WHO,
        functools.partial(fitted, job, Lanes(data, shared)),
        data.size,
        chunk,
        resume=resume,
        study={"filter": filter, "params": params, "data": data, "options": options},
        progress=progress,
    )
    return _result(job, data, results)


def _least(params: Any, free: FreeStart, skip: int) -> int:
    """Return the smallest number of observations that could determine the free numbers."""
    count = free.theta.size + 1
    if isinstance(params, Structural) and not skip:
        count += len(params.diffuse)
    return count


def _told(job: Job, bounds: Any, chunk: int) -> dict[str, Any]:
    """Return the options that the results depend on."""
    layout = job.likelihood.layout
    return {
        "skip": job.skip,
        "updates": job.updates,
        "chunk": chunk,
        "bounds": dict(bounds or {}),
        "layout": repr((layout.names, layout.bounds)),
        "x64": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
    }


def _result(job: Job, data: Dataset, found: dict[str, np.ndarray]) -> FittedMany:
    """Return the result, and warn of series that could not be fitted."""
    layout = job.likelihood.layout
    thetas = jnp.asarray(found["theta"])
    natural = jax.vmap(layout.natural)(thetas)
    jacobian = jax.jacfwd(layout.natural)
    slopes = np.asarray(jax.vmap(jacobian)(thetas), np.float64)
    at_end = found["at_end"]
    value = found["value"]
    statuses = np.array(STATUSES)
    result = FittedMany(
        names=layout.names,
        values=np.asarray(natural, np.float64),
        std_errors=_std_errors(found["information"], at_end, slopes),
        log_likelihood=np.where(np.isfinite(value), -value, np.nan),
        observations=found["observations"],
        updates=found["updates"],
        status=statuses[found["status"]],
        at_end=at_end,
        series=_names_of_series(data),
        filter=str(job.likelihood.filter),
        theta=found["theta"],
        layout=layout,
        fixed=job.free.fixed,
    )
    failed = np.flatnonzero(~result.converged)
    if failed.size:
        warnings.warn(
            f"{WHO}: {failed.size} of {data.size} series have no maximum in"
            f" {', '.join(result.names)}: {_reasons(result, failed, job.least)}.",
            stacklevel=3,
        )
    return result


def _reasons(result: FittedMany, failed: np.ndarray, least: int) -> str:
    """Return why series could not be fitted, and which they are."""
    reasons = []
    for status in STATUSES:
        places = failed[result.status[failed] == status]
        if not places.size:
            continue
        some = [str(result.series[index]) for index in places[:SHOWN]]
        if places.size > SHOWN:
            some.append("...")
        needed = f", {least} are needed" if status == FEW else ""
        reasons.append(f"{places.size} {status}{needed} (series {', '.join(some)})")
    return "; ".join(reasons)


def _names_of_series(data: Dataset) -> tuple[Any, ...]:
    """Return the names of the series, or their numbers if they have no names."""
    labels = data.labels
    if labels is None or labels.series is None:
        return tuple(range(data.size))
    return tuple(labels.series)


def _std_errors(information: np.ndarray, at_end: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return standard errors [N, p] from the expected information; NaN for series not fitted."""
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    free = ~at_end & (diagonal > 0)
    both = free[:, :, None] & free[:, None, :]
    known = np.where(np.isfinite(information), information, 0)
    # a row of the unit matrix leaves the others' inverse as it is
    held = np.eye(at_end.shape[1])
    inverse = np.linalg.pinv(np.where(both, known, held), hermitian=True)
    cov = np.where(both, inverse, 0)
    # the delta method
    variances = np.einsum("nij,njk,nik->ni", slopes, cov, slopes)
    std_errors = np.sqrt(np.maximum(variances, 0))
    return np.where(free, std_errors, np.nan)
