"""Comparison of filters on the same trajectories: accuracy, consistency and speed."""

from __future__ import annotations

import dataclasses
import functools
import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kfjax._support.arguments import check_count, check_key
from kfjax._support.progress import progress_bar
from kfjax._support.types import Key
from kfjax.base import Filter, Params
from kfjax.data import Dataset, Labels
from kfjax.data.batches import check_noise_on
from kfjax.evaluation.chunks import on_devices
from kfjax.evaluation.compiled_filters import Timing, compile_filters, evaluate
from kfjax.evaluation.errors import Difference
from kfjax.evaluation.intervals import Interval, check_level
from kfjax.evaluation.reports import Comparison
from kfjax.evaluation.results import Evaluation
from kfjax.evaluation.rows import Row
from kfjax.evaluation.summaries import check_skip, state_difference
from kfjax.evaluation.timing import package_versions
from kfjax.models.lens import model_of

__all__ = ["compare"]


def compare(
    filters: Mapping[str, tuple[Filter, Params]],
    data: Dataset,
    *,
    key: Key | None = None,
    skip: int = 0,
    chunk: int | None = None,
    repeats: int = 5,
    level: float = 0.95,
    example: int = 0,
    progress: bool | None = None,
) -> Comparison:
    """Run filters over the same trajectories and report their accuracy, consistency and speed.

    With true states, the report has the MSE in dB with interval, median, paired difference to the
    best, ANEES and coverage. With or without true states, it has NIS, whiteness, log-likelihood,
    one-step prediction error of y, the share of rejected observations, time per step and compile
    time. Every observation is scored as it was predicted, whether or not the filter used it.

    States are subtracted in the state spaces of the models. If only one of several filters has a
    curved `state_space`, or all have the same one, the errors of all filters are measured in it.

    Args:
        filters: `{name: (filter, params)}`.
        data: the trajectories.
        key: random key; trajectory i gets `fold_in(key, i)` in every filter that draws. Default
            `jax.random.key(0)`.
        skip: number of leading steps that are filtered but do not count.
        chunk: number of trajectories at a time; default as many as fit in half a gigabyte
            and, on CPUs, in caches.
        repeats: number of calls whose median time is reported, at least 1; fewer if they take more
            than a second.
        level: probability of all intervals.
        example: index of the trajectory whose estimates are kept, to be drawn.
        progress: whether to show progress on stderr: a bar in a terminal, elsewhere a line now and
            then. By default, work of less than half a minute prints no lines.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: if `filters` or `data` has another type, a number is out of range, or a filter
            cannot run on the data.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 50)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, steps=20))(keys)
        >>> noisier = model.replace(R=9.0 * model.R)
        >>> filters = {
        ...     "tuned": (kf.kalman(), model),
        ...     "R too large": (kf.kalman(), noisier),
        ... }
        >>> comparison = kf.compare(filters, kf.Dataset(ys, xs))
        >>> comparison.best
        'tuned'
    """
    _check_filters(filters)
    _check_data(data)
    for name, (_, params) in filters.items():
        check_noise_on(f"compare: filters[{name!r}]", params, data)
    check_count("compare: repeats", repeats)
    if chunk is not None:
        check_count("compare: chunk", chunk)
    check_skip("compare", skip, data.steps)
    check_level(level)
    check_count("compare: example", example, least=0, most=data.size - 1)
    if key is None:
        key = jax.random.key(0)
    check_key("compare: key", key)
    copied = {name: (method, on_devices(params)) for name, (method, params) in filters.items()}
    differences = _differences({name: params for name, (_, params) in copied.items()})
    evaluations = {}
    estimates = {}
    infos = {}
    timings = {}
    with progress_bar("filters", len(copied), progress) as advance:
        compiled = compile_filters(copied, differences, data, key, chunk, advance)
        for name, (_, params) in copied.items():
            evaluations[name], outputs, timings[name] = evaluate(
                compiled[name],
                params,
                data,
                key,
                skip,
                repeats,
                example,
                functools.partial(advance, note=f"evaluating {name}"),
            )
            estimates[name], infos[name] = outputs
    comparable = _comparable(evaluations, differences, truth=data.xs is not None)
    best = _best(comparable)
    reference = None if best is None else evaluations[best]
    references = {name: reference if name in comparable else None for name in copied}
    rows = tuple(
        _row(name, evaluations[name], references[name], timings[name], level) for name in copied
    )
    given = {name: params for name, (_, params) in filters.items()}
    drawn = _example(data[[example]], given, best)
    settings = _settings(data, skip, level) | {"example": example}
    return Comparison(rows, best, evaluations, drawn, estimates, infos, settings)


def _example(example: Dataset, params: Mapping[str, Params], best: str | None) -> Dataset:
    """Return a trajectory whose states have the names that the best filter's model has.

    Where that has none, as after tuning, the names are those of another model of such states.
    """
    models = [model_of(own) for own in params.values()]
    if best is not None:
        models.insert(0, model_of(params[best]))
    known = [model for model in models if model is not None]
    named = [
        model.names
        for model in known
        if model.names is not None and model.prior.mean.shape == known[0].prior.mean.shape
    ]
    if not named:
        return example
    labels = example.labels or Labels()
    return dataclasses.replace(example, labels=labels.naming_states(named[0]))


def _check_data(data: Dataset) -> None:
    """Raise unless `data` is a Dataset."""
    if not isinstance(data, Dataset):
        raise ValueError(
            f"compare: data is {type(data).__name__}; expected a Dataset. Use kf.Dataset(ys [N, T,"
            " m], xs)."
        )


def _check_filters(filters: Mapping[str, tuple[Filter, Params]]) -> None:
    """Raise unless `filters` has pairs of a filter and params by name."""
    if not isinstance(filters, Mapping) or not filters:
        raise ValueError(
            f"compare: filters is {filters!r:.60}; expected {{name: (filter, params)}}, at least"
            " one."
        )
    for name, pair in filters.items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Filter)):
            raise ValueError(
                f"compare: filters[{name!r}] is {type(pair).__name__}; expected (filter, params),"
                " such as (kf.kalman(), model)."
            )


def _differences(params: Mapping[str, Params]) -> dict[str, Difference | None]:
    """Return how each filter's errors are measured: in the same way, if only one is known.

    A model whose states have more components than the curved space has dimensions keeps its own
    way.
    """
    own = {name: state_difference(of_filter) for name, of_filter in params.items()}
    curved = {name: difference for name, difference in own.items() if difference is not None}
    if not curved or not _is_one(curved):
        return own
    name, difference = next(iter(curved.items()))
    dimension = model_of(params[name]).n
    models = {name: model_of(of_filter) for name, of_filter in params.items()}
    fits = {name: model is None or model.n == dimension for name, model in models.items()}
    return {name: difference if fits[name] else own[name] for name in own}


def _is_one(differences: Mapping[str, Difference | None]) -> bool:
    """Return whether all states are subtracted in the same way."""
    first, *others = differences.values()
    return all(_same(first, other) for other in others)


def _same(a: Difference | None, b: Difference | None) -> bool:
    """Return whether two differences are the same function of the same numbers."""
    structures: list[Any] = [jax.tree.structure(difference) for difference in (a, b)]
    if structures[0] != structures[1]:
        return False
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def _comparable(
    evaluations: Mapping[str, Evaluation],
    differences: Mapping[str, Difference | None],
    *,
    truth: bool,
) -> dict[str, Evaluation]:
    """Return the evaluations whose errors are of the same quantities, measured in the same way."""
    if truth:
        return dict(evaluations) if _is_one(differences) else {}
    # a user's filter may report an Info of zeros for observations that it does not use
    scored = {name: evaluation.scored_channels for name, evaluation in evaluations.items()}
    most = max((count for count in scored.values() if count is not None), default=0)
    return {name: e for name, e in evaluations.items() if scored[name] in (None, most)}


def _best(evaluations: Mapping[str, Evaluation]) -> str | None:
    """Return the filter with the least `Evaluation.ranking` by name; None if all have failures."""
    means = {}
    for name, evaluation in evaluations.items():
        mses = evaluation.ranking
        if mses is not None and np.isfinite(mses).all():
            means[name] = mses.mean()
    return min(means, key=means.__getitem__) if means else None


def _row(
    name: str,
    evaluation: Evaluation,
    best: Evaluation | None,
    timing: Timing,
    level: float,
) -> Row:
    """Return everything that the table says about one filter."""
    difference = None
    if best is not None:
        difference = evaluation.paired_db(best, level)
    autocorrelation = None
    p_value = None
    white = evaluation.whiteness(level)
    if white is not None:
        bound = white.bound[0]
        autocorrelation = Interval(white.autocorrelation[0], -bound, bound)
        p_value = white.p_value
    return Row(
        name=name,
        trajectories=evaluation.trajectories,
        failed=evaluation.failed,
        rejected=evaluation.rejected(),
        mse_db=evaluation.mse_db(level),
        median_db=evaluation.median_db(),
        difference_db=difference,
        anees=evaluation.anees(level),
        coverage=evaluation.coverage(level),
        anis=evaluation.anis(level),
        log_likelihood=evaluation.log_likelihood(level),
        prediction_db=evaluation.prediction_db(level),
        autocorrelation=autocorrelation,
        whiteness=p_value,
        microseconds=timing.microseconds,
        compile_seconds=timing.compile_seconds,
    )


def _settings(data: Dataset, skip: int, level: float) -> dict[str, Any]:
    """Return what was compared, and where it ran."""
    device = jax.devices()[0]
    versions = package_versions(("kfjax", "jax", "numpy"))
    return {
        "trajectories": data.size,
        "steps": data.steps,
        "skip": skip,
        "n": None if data.xs is None else data.xs.shape[2],
        "m": data.ys.shape[2],
        "missing": data.missing,
        "level": level,
        "dtype": str(data.ys.dtype),
        "device": f"{device.platform}: {device.device_kind}",
        "versions": versions | {"python": platform.python_version()},
    }
