"""Maximum likelihood: parameters fitted to all observations, with standard errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import (
    check_count,
    check_counts,
    check_flag,
    check_function,
    check_key,
    check_number,
)
from kfjax._support.precision import eps_of
from kfjax._support.types import Key
from kfjax.base import Filter, Params
from kfjax.data.batches import check_noise_on
from kfjax.data.series import as_dataset
from kfjax.filters.checks import check_filter
from kfjax.structural import Structural, check_record
from kfjax.training.free_parameters import FreeStart, Layout, free_parameters
from kfjax.training.information import Uncertainty, no_uncertainty, uncertainty
from kfjax.training.likelihood_objective import WHO, Objective, On, count_observations
from kfjax.training.likelihood_results import MaximumLikelihood, Parameter
from kfjax.training.likelihood_search import CONVERGED, curvature_at, lowest, places_to_start
from kfjax.training.links import link, unlink
from kfjax.training.minimising import Minimum

__all__ = ["maximum_likelihood"]

ENOUGH = 1e-6  # of the gradient of the log-likelihood, where rounding allows


def maximum_likelihood(
    filter: Filter,
    params: Any,
    data: Any,
    *,
    us: Any = None,
    observed: Any = None,
    learn: Any = None,
    transform: Callable[[Any], Params] | None = None,
    bounds: Mapping[str, Any] | None = None,
    log_prior: Callable[[Any], Float[Array, ""]] | None = None,
    skip: int = 0,
    starts: int = 4,
    updates: int = 200,
    level: float = 0.95,
    standard_errors: bool = True,
    key: Key | None = None,
) -> MaximumLikelihood:
    """Fit parameters by maximum likelihood, with standard errors.

    theta = argmax sum_t log p(y_t | y_1..t-1; theta),   cov = J (-d^2 log L / d theta^2)^-1 J'

    L-BFGS with a line search runs from several starts, on all observations at once, over unbounded
    numbers: logarithms of positive parameters, and so on. Standard errors come from the observed
    information, the exact second derivatives; J converts them to the values themselves. A parameter
    at an end of its range, such as a variance of zero, or one that the likelihood does not
    determine, has no standard error, and a note says so.

    The likelihood of `kfjax.kalman` is exact, that of other filters an approximation. It has to be
    differentiable: particle filters that resample are not. Use double precision (`jax_enable_x64`)
    for records of many thousand steps.

    Args:
        filter: a `Filter` with a likelihood.
        params: what to start from: a sum of `kfjax.structural`, another `StateSpaceModel`, other
            params of the filter, or with `transform` a dict of numbers (or another pytree).
        data: one series ys [T, m], NaN where missing; or a `Dataset`, whose trajectories are
            independent and share the parameters.
        us: inputs of one series, with a leading axis of T, or None.
        observed: mask of one series, booleans [T] or [T, m]; default where ys is not NaN.
        learn: what is free. A dict of "Q", "R" and "P0", each "diagonal" (standard deviations, with
            the correlations as given; zeros stay), "full" (the whole matrix) or "scalar" (one
            factor on all variances); or names of them, as in `fit_noise`, whose whole matrices are
            free. Otherwise leaves of params as in `fit`: a function (path, leaf) -> bool, or
            booleans. Default the parameters of a structural model by name, {"Q": "diagonal",
            "R": "diagonal"} for other models, all leaves with `transform`, and as in `fit` for
            other params.
        transform: function from such values to params of the filter; a module-level function,
            since a new lambda is compiled again.
        bounds: (low, high) by the paths of leaves, with None for no bound; default those of a
            structural model, otherwise (0, None) where the path ends in _std, _var or _density, and
            none for others.
        log_prior: function of the values (the params, or what `transform` takes) that is added to
            the log-likelihood; the result is then the mode of the posterior.
        skip: number of leading steps of each trajectory whose likelihood does not count, such as
            those that determine the states under a diffuse prior.
        starts: number of starts: the given one, and the best of random points around it.
        updates: the largest number of updates from each start.
        level: probability of the confidence intervals.
        standard_errors: whether to compute them. Second derivatives take longer to compile than the
            rest; without them a fit that is only compared by its likelihood is ready sooner, and
            whether it converged is judged by the gradient.
        key: random key of the starts, and of a filter that draws; default `jax.random.key(0)`.

    Returns:
        `MaximumLikelihood`. The confidence intervals of bounded values are symmetric on the scale
        without bounds, so that a standard deviation's lies above zero.

    Raises:
        ValueError: if arguments do not fit together, the filter has no likelihood, or it is not
            finite at any start; or if one series is too short for a structural model.

    Warns:
        UserWarning: if no start converged; or if one series hardly determines the parameters of a
            structural model, as in `kfjax.structural.check_record`.

    Example:
        >>> truth = kf.linear_gaussian(
        ...     [[1.0]],
        ...     [[1.0]],
        ...     [[0.25]],
        ...     [[1.0]],
        ...     kf.Gaussian(jnp.zeros(1), jnp.eye(1)),
        ... )
        >>> xs, ys = kf.simulate(jax.random.key(0), truth, steps=400)
        >>> start = truth.replace(Q=[[1.0]], R=[[9.0]])
        >>> fit = kf.training.maximum_likelihood(kf.kalman(), start, ys)
        >>> [parameter.name for parameter in fit.parameters], fit.converged
        (['Q_std', 'R_std'], True)
        >>> fit["Q_std"].low < 0.5 < fit["Q_std"].high
        True

    References:
        J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
        chapter 7.
    """
    check_filter(WHO, filter)
    check_counts(WHO, starts=starts, updates=updates)
    check_number(f"{WHO}: level", level, above=0, below=1)
    check_flag(f"{WHO}: standard_errors", standard_errors)
    for name, function in (("transform", transform), ("log_prior", log_prior)):
        if function is not None:
            check_function(f"{WHO}: {name}", function)
    if key is None:
        key = jax.random.key(0)
    check_key(f"{WHO}: key", key)
    series = as_dataset(WHO, data, us, observed)
    check_count(f"{WHO}: skip", skip, least=0, most=int(series.lengths.min()) - 1)
    if isinstance(params, Structural) and series.size == 1:
        observed = None if series.observed is None else series.observed[0]
        check_record(params, series.ys[0], observed=observed)
    free = free_parameters(WHO, params, learn, transform, bounds)
    check_noise_on(WHO, params if transform is None else transform(params), series)
    count = count_observations(series, skip)
    series = jax.tree.map(jnp.asarray, series)
    objective = Objective(filter, free.layout, log_prior)
    in_jax = jnp.asarray(count, jax.dtypes.canonicalize_dtype(float))
    on = On(free.fixed, series, key, in_jax, jnp.asarray(skip))
    places = places_to_start(objective, free, starts, key, on)
    eps = eps_of(places)
    # The objective is a mean over observations. In the log-likelihood itself a slope below the
    # rounding of a sum of that many terms means nothing.
    enough = max(ENOUGH, 10 * eps * count) / count
    found = lowest(objective, places, free.spread, updates, enough, on)
    best = min(found, key=lambda end: float(end.value))
    if standard_errors:
        curvature = curvature_at(objective, best, free.theta, on)
        known = uncertainty(free.layout.names, free.layout.bounds, curvature, eps)
    else:
        known = no_uncertainty(free.layout.names, count * np.asarray(best.gradient, np.float64))
    return _result(objective, on, free, found, best, known, level)


def _result(
    objective: Objective,
    on: On,
    free: FreeStart,
    found: list[Minimum],
    best: Minimum,
    known: Uncertainty,
    level: float,
) -> MaximumLikelihood:
    """Return the result, and warn unless it is a maximum."""
    layout = free.layout
    maxima = np.sort([-float(on.count) * float(end.value) for end in found])[::-1]
    converged = known.is_maximum and bool(known.gain < CONVERGED)
    notes = _notes(objective, int(on.skip), known, converged)
    if not converged:
        warnings.warn(f"{WHO}: {notes[0]}", stacklevel=3)
    natural = np.asarray(layout.natural(best.theta), np.float64)
    return MaximumLikelihood(
        params=layout.params(best.theta, free.fixed),
        values=layout.values(best.theta, free.fixed),
        parameters=_parameters(layout, natural, known, level),
        cov=known.cov,
        log_likelihood=float(maxima[0]),
        observations=int(on.count),
        converged=converged,
        gain=known.gain,
        updates=int(best.updates),
        starts=tuple(maxima.tolist()),
        level=level,
        notes=tuple(notes),
        filter=str(objective.filter),
    )


def _notes(objective: Objective, skip: int, known: Uncertainty, converged: bool) -> list[str]:
    """Return what the reader of the table should know."""
    notes = []
    if not converged:
        distrust = "; the standard errors are not to be trusted" if known.has_errors else ""
        why = f"by about {known.gain:.2g} more" if known.is_maximum else "in some direction"
        notes.append(
            f"no maximum was found: the log-likelihood rises {why}. Raise updates or starts, start"
            f" elsewhere, or use double precision{distrust}."
        )
    if known.has_errors:
        notes.append("Standard errors are those of the observed information (second derivatives).")
    if objective.log_prior is not None:
        notes.append("The log-likelihood includes the logarithm of the prior.")
    if skip:
        notes.append(f"The first {skip} steps do not count.")
    return notes


def _parameters(
    layout: Layout, natural: np.ndarray, known: Uncertainty, level: float
) -> tuple[Parameter, ...]:
    """Return the rows of the table."""
    from scipy import special

    quantile = float(special.ndtri((1 + level) / 2))
    rows = []
    errors = np.sqrt(np.diag(known.cov))
    for name, bounds, value, error in zip(
        layout.names, layout.bounds, natural.tolist(), errors.tolist(), strict=True
    ):
        if not math.isfinite(error):
            note = known.notes.get(name, "the second derivatives are not finite")
            rows.append(Parameter(name, value, None, None, None, None, None, note))
            continue
        z = value / error if error else math.inf
        p_value = float(2 * special.ndtr(-abs(z)))
        low, high = _interval(value, quantile * error, bounds)
        rows.append(Parameter(name, value, error, z, p_value, low, high))
    return tuple(rows)


def _interval(value: float, reach: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return an interval that is symmetric on the scale without bounds."""
    low, high = bounds
    # The delta method on the scale without bounds, where the likelihood is nearer to a parabola:
    # the interval never crosses a bound, and is not symmetric about the estimate.
    centre = float(link(value, low, high))
    below, above = value - low, high - value
    # their sum is the derivative of the link
    slopes = [1 / distance for distance in (below, above) if math.isfinite(distance)]
    half = reach * sum(slopes) if slopes else reach
    ends = (float(unlink(centre + side * half, low, high)) for side in (-1, 1))
    first, last = sorted(ends)
    return first, last
