"""Maximum likelihood for many series, each with its own parameters."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support import sharding
from kfjax._support.arguments import as_path, check_count, check_counts, check_function, check_kind
from kfjax._support.compiling import jit
from kfjax._support.files import locked, remove_unfinished, write_file
from kfjax._support.fingerprints import differences, identity
from kfjax._support.persistence import read_arrays
from kfjax._support.progress import progress_bar
from kfjax._support.saving import npz_bytes
from kfjax._support.types import AnyArray
from kfjax.base import Filter, Info, Params, State
from kfjax.data import Dataset, run_trajectory
from kfjax.filters.checks import check_filter
from kfjax.structural import Structural
from kfjax.training.free_parameters import FreeStart, Layout, free_parameters
from kfjax.training.many_results import STATUSES, FittedMany
from kfjax.training.scoring import (
    CLIMBING,
    CONVERGED,
    FLAT,
    Climb,
    Terms,
    advance,
    begin,
)

__all__ = ["fit_many"]

WHO = "fit_many"
LANES = 16  # series that climb side by side on one CPU: more wait longer for the last ones
WIDE_LANES = 4096  # and on one device of another kind
PLACES = 8  # that are looked at before a climb
DEEP = 5.0  # logarithms below the scale of a series, down to which standard deviations start
AGAIN = 2  # climbs from elsewhere, at most, where a variance has vanished
GAINED = 1e-3  # of the log-likelihood, that makes another climb worth while
NAME = "series_{:010d}_{}.npz"  # number of the first series, and number of series
POWERS = {"std": 1.0, "var": 2.0, "density": 2.0}  # of the unit of a series, by the end of a name


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

    One compiled program takes an evaluation further in many series at once, and a series that has
    ended makes room for the next one. The climbs are by Fisher scoring (first derivatives only),
    from the best of a few places. Standard deviations start in the unit of each series, so that
    only the ratios of those in params count. What memory is needed does not depend on N; the
    series of a chunk are split over the devices of this process.

    Args:
        filter: a `Filter` with a likelihood that can be differentiated, such as
            `kfjax.exact_diffuse()` or `kfjax.kalman()`.
        params: the model and where to start, the same for all series: a sum of
            `kfjax.structural`, whose parameters by name are free, or what
            `kfjax.training.maximum_likelihood` takes.
        data: N series of any lengths, with NaN where values are missing.
        learn: what is free, as in `kfjax.training.maximum_likelihood`.
        transform: function from values to params, as there.
        bounds: ranges of values by name, as there.
        skip: number of leading steps of each series whose likelihood does not count.
        updates: the largest number of evaluations of one climb.
        chunk: number of series whose results are kept, and written, together.
        resume: a folder. The results of every chunk that is done are written there, and read
            again by the same call after an interruption.
        progress: whether to show progress; by default if it takes long.

    Returns:
        `FittedMany`, with a status for every series: it says which have not converged, have a
        parameter at an end of its range, or could not be fitted.

    Raises:
        ValueError: if arguments do not fit together, or the folder is of another study.

    Warns:
        UserWarning: if some series could not be fitted.

    Example:
        >>> model = kf.structural.level(1.0) + kf.structural.irregular(1.0)
        >>> walks = np.random.default_rng(0).normal(size=(3, 80, 1)).cumsum(1)
        >>> noisy = walks + np.random.default_rng(1).normal(size=walks.shape)
        >>> fits = kf.training.fit_many(kf.exact_diffuse(), model, kf.Dataset(noisy))
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
    free = free_parameters(params, learn, transform, bounds)
    job = Job(Likelihood(filter, free.layout), free, skip, updates, _least(params, free, skip))
    parts = _parts(job, data, chunk)
    if resume is None:
        results = [part() for _, part in _shown(parts, data.size, progress)]
    else:
        folder = as_path(f"{WHO}: resume", resume)
        told = identity(filter=filter, params=params, data=data, options=_told(job, bounds, chunk))
        with locked(folder, WHO):
            remove_unfinished(folder)
            shown = _shown(parts, data.size, progress)
            results = [_resumed(folder, told, rows, part) for rows, part in shown]
    joined = {name: np.concatenate([part[name] for part in results]) for name in results[0]}
    return _result(job, data, joined)


class Likelihood(NamedTuple):
    """The terms of the log-likelihood of one series as a function of free numbers; static.

    Attributes:
        filter: the `Filter`.
        layout: what the free numbers stand for.
    """

    filter: Filter
    layout: Layout

    def terms(self, theta: Array, series: Dataset, fixed: Any, skip: Any) -> Terms:
        """Return what each step adds, the innovations and their covariances."""
        params = self.layout.params(theta, fixed)
        kept = run_trajectory(self.filter, params, series, emit=_scored).outputs
        if kept[0] is None:
            raise ValueError(
                f"{WHO}: {self.filter} gives no log-likelihood; expected one that does, such as"
                " kf.extended()."
            )
        counts = jnp.arange(series.ys.shape[0]) >= skip
        return jax.tree.map(lambda a: jnp.where(_column(counts, a.ndim), a, 0), kept)


class Job(NamedTuple):
    """What is the same for all series.

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


@functools.partial(jit, static_argnums=0)
def values_at(likelihood: Likelihood, places: Array, series: Dataset, shared: Any) -> Array:
    """Return minus the log-likelihoods [B, K] of B series at K places each [B, K, p]."""

    def of_one(thetas: Array, one: Dataset, shared: Any) -> Array:
        def value(theta: Array) -> Array:
            return -likelihood.terms(theta, one, *shared)[0].sum()

        return jax.vmap(value)(thetas)

    return sharding.vmap(of_one, (0, 0, None))(places, series, shared)


@functools.partial(jit, static_argnums=0)
def advanced(likelihood: Likelihood, climbs: Climb, series: Dataset, shared: Any) -> Climb:
    """Return B climbs after one evaluation of each."""

    def of_one(climb: Climb, one: Dataset, shared: Any) -> Climb:
        return advance(lambda theta: likelihood.terms(theta, one, *shared), climb)

    return sharding.vmap(of_one, (0, 0, None))(climbs, series, shared)


class Lanes:
    """Functions of many series, computed for as many at a time as run side by side."""

    def __init__(self, job: Job, data: Dataset) -> None:
        devices = sharding.local_devices()
        each = LANES if devices[0].platform == "cpu" else WIDE_LANES
        self.size = sharding.whole(min(each * len(devices), data.size))
        self.job = job
        self.data = data
        self.shared = sharding.everywhere(
            (job.free.fixed, jnp.asarray(job.skip)), sharding.local_devices()
        )

    def map(self, function: Callable, rows: np.ndarray, tree: Any) -> Any:
        """Return a function of the series with these numbers, and of a tree [rows, ...]."""
        results = []
        for first in range(0, len(rows), self.size):
            at = np.minimum(np.arange(first, first + self.size), len(rows) - 1)
            part = jax.tree.map(lambda a, at=at: a[at], tree)
            series = self.data[rows[at]]
            found = function(self.job.likelihood, *sharding.place((part, series)), self.shared)
            valid = min(self.size, len(rows) - first)
            results.append(jax.tree.map(lambda a, n=valid: np.array(a[:n]), found))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def _parts(
    job: Job, data: Dataset, chunk: int
) -> Iterator[tuple[np.ndarray, Callable[[], dict[str, np.ndarray]]]]:
    """Yield the numbers of the series of every chunk, and a function that fits them."""
    lanes = Lanes(job, data)
    for first in range(0, data.size, chunk):
        rows = np.arange(first, min(first + chunk, data.size))
        yield rows, functools.partial(_fitted, lanes, rows)


def _shown(parts: Any, total: int, progress: bool | None) -> Iterator[Any]:
    """Yield the parts, and show how many series are done."""
    with progress_bar("series", total, progress) as advance_bar:
        for rows, part in parts:
            yield rows, part
            advance_bar(len(rows))


def _fitted(lanes: Lanes, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the results of the series with these numbers."""
    job = lanes.job
    p = job.free.theta.size
    ys, seen = _observations(lanes.data[rows], job.skip)
    scale = _scales(ys, seen)
    count = seen.sum((1, 2))
    status = np.full(len(rows), STATUSES.index("converged"))
    status[scale == 0] = STATUSES.index("constant")
    status[count < job.least] = STATUSES.index("too few observations")
    dtype = jax.dtypes.canonicalize_dtype(float)
    blank = jax.tree.map(np.asarray, begin(jnp.full(p, jnp.nan, dtype)))
    climbs = jax.tree.map(lambda a: np.repeat(a[None], len(rows), 0), blank)
    able = np.flatnonzero(status == STATUSES.index("converged"))
    places = _places(job, scale).astype(dtype)
    todo = able
    for _ in range(1 + AGAIN):
        todo = _look(lanes, rows, climbs, places, todo)
        _climb(lanes, rows, climbs, todo)
        todo = todo[_flat(climbs.information[todo]).any(1)]
        if not todo.size:
            break
    finite = np.isfinite(climbs.value)
    status[able] = STATUSES.index("not converged")
    good = (climbs.ended == CONVERGED) | (climbs.gain < GAINED)
    status[able[good[able]]] = STATUSES.index("converged")
    at_end = _flat(climbs.information) & finite[:, None]
    status[able[(good & at_end.any(1))[able]]] = STATUSES.index("at an end")
    status[able[~finite[able]]] = STATUSES.index("not finite")
    return {
        "theta": climbs.theta,
        "value": climbs.value,
        "information": climbs.information,
        "updates": climbs.updates,
        "at_end": at_end,
        "status": status,
        "observations": count,
    }


def _look(
    lanes: Lanes, rows: np.ndarray, climbs: Climb, places: np.ndarray, todo: np.ndarray
) -> np.ndarray:
    """Begin climbs at the best places of these series; return those where one is better.

    Where a variance has vanished, the likelihood no longer depends on its logarithm: other values
    of it are tried, and nothing else is changed.
    """
    if not todo.size:
        return todo
    tried = places[todo]
    climbed = np.isfinite(climbs.value[todo])
    kept = climbed[:, None] & ~_flat(climbs.information[todo])
    tried = np.where(kept[:, None, :], climbs.theta[todo][:, None, :], tried)
    values = lanes.map(values_at, rows[todo], tried)
    values = np.where(np.isfinite(values), values, np.inf)
    best = values.argmin(1)
    lowest = np.take_along_axis(values, best[:, None], 1)[:, 0]
    better = np.isfinite(lowest) & (lowest < climbs.value[todo] - GAINED)
    chosen = todo[better]
    starts = tried[better, best[better]]
    if chosen.size:
        new = jax.tree.map(np.asarray, jax.vmap(begin)(starts))
        for old, fresh in zip(climbs, new, strict=True):
            old[chosen] = fresh
    return chosen


def _climb(lanes: Lanes, rows: np.ndarray, climbs: Climb, todo: np.ndarray) -> None:
    """Let climbs go on until they end."""
    while todo.size:
        part = jax.tree.map(lambda a, todo=todo: a[todo], climbs)
        part = lanes.map(advanced, rows[todo], part)
        for old, new in zip(climbs, part, strict=True):
            old[todo] = new
        todo = todo[(part.ended == CLIMBING) & (part.updates < lanes.job.updates)]


def _flat(information: AnyArray) -> np.ndarray:
    """Return which free numbers [..., p] the likelihood does not depend on."""
    return np.diagonal(np.asarray(information), axis1=-2, axis2=-1) < FLAT


def _observations(data: Dataset, skip: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the observations [N, T, m], and which of them count."""
    at = np.arange(data.steps)
    counted = (at >= skip) & (at < np.asarray(data.lengths)[:, None])
    ys = np.asarray(data.ys, np.float64)
    seen = np.ones(ys.shape, bool) if data.observed is None else np.asarray(data.observed)
    return ys, seen & counted[:, :, None]


def _scales(ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each series [N], over its channels."""
    count = np.maximum(seen.sum(1), 1)
    mean = np.where(seen, ys, 0).sum(1) / count
    deviations = np.where(seen, ys - mean[:, None], 0)
    variances = (deviations**2).sum(1) / count
    scale = np.sqrt(variances.mean(1))
    return np.where(scale > 1e-12 * np.abs(mean).max(1), scale, 0.0)


def _places(job: Job, scale: np.ndarray) -> np.ndarray:
    """Return where to look before a climb [N, K, p]: at the given place, and at others."""
    theta, spread, power = job.free.theta, job.free.spread, _powers(job.free.layout)
    in_units = power > 0
    draws = np.random.default_rng(0)
    others = theta + spread * draws.normal(size=(PLACES - 1, theta.size))
    offset = np.zeros(theta.size)
    if in_units.any():
        divided = np.where(in_units, theta / np.where(in_units, power, 1.0), -np.inf)
        size = np.logaddexp.reduce(2 * divided) / 2
        theta = np.where(in_units, theta - power * size, theta)
        below = -DEEP * draws.uniform(size=others.shape)
        others = np.where(in_units, power * below, others)
        offset = power
    every = np.vstack([theta, others])
    logs = np.log(np.where(scale > 0, scale, 1.0))
    return every + logs[:, None, None] * offset


def _powers(layout: Layout) -> np.ndarray:
    """Return the power of the unit of a series in each natural value [p]; 0 for none."""
    powers = []
    for name, bounds in zip(layout.names, layout.bounds, strict=True):
        end = name.split("[")[0]
        found = [power for word, power in POWERS.items() if end.endswith(word)]
        powers.append(found[0] if found and bounds == (0.0, np.inf) else 0.0)
    return np.array(powers)


def _least(params: Any, free: FreeStart, skip: int) -> int:
    """Return the smallest number of observations that could determine the free numbers."""
    start = len(params.diffuse) if isinstance(params, Structural) and not skip else 0
    return start + free.theta.size + 1


def _told(job: Job, bounds: Any, chunk: int) -> dict[str, Any]:
    """Return the options that the results depend on."""
    return {
        "skip": job.skip,
        "updates": job.updates,
        "chunk": chunk,
        "bounds": dict(bounds or {}),
        "layout": repr((job.likelihood.layout.names, job.likelihood.layout.bounds)),
        "x64": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
    }


def _resumed(
    folder: Path, told: dict[str, str], rows: np.ndarray, part: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the results of a chunk, from the folder or computed and written."""
    path = folder / NAME.format(int(rows[0]), len(rows))
    if not path.exists():
        results = part()
        write_file(path, npz_bytes({"identity": np.array(json.dumps(told)), **results}))
        return results
    try:
        with path.open("rb") as file:
            arrays = read_arrays(file)
        stored = json.loads(str(arrays.pop("identity")))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{WHO}: {path} is damaged ({error}); expected a complete file. Delete it, and its"
            " series are fitted again."
        ) from error
    if stored != told:
        raise ValueError(
            f"{WHO}: {path} is of another study: it differs in {differences(stored, told)};"
            " expected the same. Choose another folder."
        )
    return arrays


def _result(job: Job, data: Dataset, found: dict[str, np.ndarray]) -> FittedMany:
    """Return the result, and warn of series that could not be fitted."""
    layout = job.likelihood.layout
    thetas = jnp.asarray(found["theta"])
    natural = np.asarray(jax.vmap(layout.natural)(thetas), np.float64)
    slopes = np.asarray(jax.vmap(jax.jacfwd(layout.natural))(thetas), np.float64)
    status = np.array(STATUSES)[found["status"]]
    labels = data.labels
    names = None if labels is None or labels.series is None else tuple(labels.series)
    result = FittedMany(
        names=layout.names,
        values=natural,
        std_errors=_std_errors(found["information"], found["at_end"], slopes),
        log_likelihood=np.where(np.isfinite(found["value"]), -found["value"], np.nan),
        observations=found["observations"],
        updates=found["updates"],
        status=status,
        at_end=found["at_end"],
        series=tuple(range(data.size)) if names is None else names,
        filter=str(job.likelihood.filter),
        theta=found["theta"],
        layout=layout,
        fixed=job.free.fixed,
    )
    failed = ~result.converged
    if failed.any():
        some = ", ".join(str(result.series[i]) for i in np.flatnonzero(failed)[:5])
        warnings.warn(
            f"{WHO}: {failed.sum()} of {data.size} series have no maximum (series {some}"
            f"{', ...' if failed.sum() > 5 else ''}). Their status says why.",
            stacklevel=3,
        )
    return result


def _std_errors(information: np.ndarray, at_end: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return standard errors [N, p] by the expected information, NaN where there are none."""
    p = at_end.shape[1]
    free = ~at_end & (np.diagonal(information, axis1=1, axis2=2) > 0)
    both = free[:, :, None] & free[:, None, :]
    I = np.where(both, np.where(np.isfinite(information), information, 0), np.eye(p))  # noqa: E741
    cov = np.linalg.pinv(I, hermitian=True)
    variances = np.einsum("nij,njk,nik->ni", slopes, np.where(both, cov, 0), slopes)
    return np.where(free, np.sqrt(np.maximum(variances, 0)), np.nan)
