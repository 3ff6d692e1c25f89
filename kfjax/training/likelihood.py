"""Maximum likelihood: parameters fitted to all observations, with standard errors."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import (
    check_count,
    check_counts,
    check_function,
    check_key,
    check_number,
)
from kfjax._support.compiling import jit
from kfjax._support.precision import eps_of
from kfjax.base import Filter, Params, log_likelihood_only
from kfjax.data import Dataset, run_trajectory
from kfjax.data.batches import check_noise_on
from kfjax.data.series import as_dataset
from kfjax.filters.checks import check_filter
from kfjax.training.free_parameters import FreeStart, Layout, free_parameters
from kfjax.training.information import Curvature, Uncertainty, uncertainty
from kfjax.training.likelihood_results import MaximumLikelihood, Parameter
from kfjax.training.links import link, unlink
from kfjax.training.minimising import Minimum, leave_plateaus, minimise

__all__ = ["maximum_likelihood"]

WHO = "maximum_likelihood"
TRIED = 16  # places that are looked at for each start
FURTHER = 3.0  # times the spread
FAR = 20.0  # logarithms from a value to an end that is as good as reached
AWAY = 2.0  # logarithms from the start to a value that is another one
ENOUGH = 1e-6  # of the gradient of the log-likelihood, where rounding allows
CONVERGED = 1e-3  # of the log-likelihood that may still be gained


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
    log_prior: Callable[[Any], Array] | None = None,
    skip: int = 0,
    starts: int = 4,
    updates: int = 200,
    level: float = 0.95,
    key: Array | None = None,
) -> MaximumLikelihood:
    """Fit parameters by maximum likelihood, with standard errors.

    theta = argmax sum_t log p(y_t | y_1..t-1; theta),   cov = J (-d^2 log L / d theta^2)^-1 J'

    L-BFGS with a line search climbs from several starts, on all observations at once, in numbers
    without bounds: logarithms of what is positive, and so on. The standard errors are those of the
    observed information, its exact second derivatives; J takes them to the values themselves. A
    parameter at an end of its range, such as a variance of zero, or one that the likelihood does
    not determine, has no standard error, and a note says so.

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
        observed: what was seen of one series, booleans [T] or [T, m]; default where ys is not NaN.
        learn: what is free. A dict of "Q", "R" and "P0", each "diagonal" (standard deviations, with
            the correlations as given; zeros stay), "full" (the whole matrix) or "scalar" (one
            factor on all variances); or names of them, as in `fit_noise`, whose whole matrices are
            free. Otherwise leaves of params as in `fit`: a function (path, leaf) -> bool, or
            booleans. Default the parameters of a structural model by name, {"Q": "diagonal",
            "R": "diagonal"} for other models, all leaves with `transform`, and as in `fit` for
            other params.
        transform: function from such values to params of the filter; a module-level function,
            since a new lambda is compiled again.
        bounds: by the paths of leaves, (low, high) with None for no end; default those of a
            structural model, otherwise (0, None) where the path ends in _std, _var or _density, and
            none for others.
        log_prior: function of the values (the params, or what `transform` takes) that is added to
            the log-likelihood; the result is then the mode of the posterior.
        skip: number of leading steps of each trajectory whose likelihood does not count, as many as
            it takes to know what a diffuse prior leaves open.
        starts: number of starts: that given, and the best of others, drawn around it.
        updates: the largest number of updates from each start.
        level: probability of the confidence intervals.
        key: random key of the starts, and of a filter that draws; default `jax.random.key(0)`.

    Returns:
        `MaximumLikelihood`. The confidence intervals of bounded values are symmetric on the scale
        without bounds, so that a standard deviation's lies above zero.

    Raises:
        ValueError: if arguments do not fit together, the filter has no likelihood, or it is not
            finite at any start.

    Warns:
        UserWarning: if no start converged.

    Example:
        >>> truth = kf.linear_gaussian([[1.0]], [[1.0]], [[0.25]], [[1.0]],
        ...     kf.Gaussian(jnp.zeros(1), jnp.eye(1)))
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
    for name, function in (("transform", transform), ("log_prior", log_prior)):
        if function is not None:
            check_function(f"{WHO}: {name}", function)
    if key is None:
        key = jax.random.key(0)
    check_key(f"{WHO}: key", key)
    series = as_dataset(WHO, data, us, observed)
    check_noise_on(WHO, params, series)
    check_count(f"{WHO}: skip", skip, least=0, most=int(series.lengths.min()) - 1)
    free = free_parameters(params, learn, transform, bounds)
    count = _observations(series, skip)
    series = jax.tree.map(jnp.asarray, series)
    objective = Objective(filter, free.layout, log_prior)
    in_jax = jnp.asarray(count, jax.dtypes.canonicalize_dtype(float))
    on = On(free.fixed, series, key, in_jax, jnp.asarray(skip))
    places = _places(objective, free, starts, key, on)
    eps = eps_of(places)
    # The objective is a mean over observations. In the log-likelihood itself a slope below the
    # rounding of a sum of that many terms says nothing.
    enough = max(ENOUGH, 10 * eps * count) / count
    found = _lowest(objective, places, free.spread, updates, enough, on)
    best = min(found, key=lambda end: float(end.value))
    curvature = _curvature(objective, best, free.theta, on)
    known = uncertainty(free.layout.names, free.layout.bounds, curvature, eps)
    return _result(objective, on, free, found, best, known, level)


class On(NamedTuple):
    """What an `Objective` depends on beside the free numbers.

    Attributes:
        fixed: arrays that are not free.
        data: the trajectories.
        key: random key of the filter.
        count: number of observations that count.
        skip: number of leading steps that do not.
    """

    fixed: Any
    data: Dataset
    key: Array
    count: Any
    skip: Any


class Objective(NamedTuple):
    """Minus the log-likelihood per observation as a function of free numbers; static.

    Attributes:
        filter: the `Filter`.
        layout: what the free numbers stand for.
        log_prior: what is added to the log-likelihood, or None.
    """

    filter: Filter
    layout: Layout
    log_prior: Callable[[Any], Array] | None

    def __call__(self, theta: Array, on: On) -> Array:
        """Return it at theta [p]."""
        total = self._log_likelihood(self.layout.params(theta, on.fixed), on)
        if self.log_prior is not None:
            total = total + self.log_prior(self.layout.values(theta, on.fixed))
        return -total / on.count

    def _log_likelihood(self, params: Params, on: On) -> Array:
        """Return the log-likelihood of all trajectories."""

        def one(trajectory: Dataset, key: Array) -> Array:
            terms = run_trajectory(
                self.filter, params, trajectory, key=key, emit=log_likelihood_only
            ).outputs
            if terms is None:
                raise ValueError(
                    f"{WHO}: {self.filter} gives no log-likelihood; expected one that does, such as"
                    " kf.extended()."
                )
            return jnp.where(jnp.arange(terms.shape[0]) >= on.skip, terms, 0).sum()

        # One trajectory runs with the key as it is, so that the result is that of
        # `kfjax.log_likelihood`.
        if on.data.size == 1:
            return one(jax.tree.map(lambda a: a[0], on.data), on.key)
        return jax.vmap(one)(on.data, jax.random.split(on.key, on.data.size)).sum()


@functools.partial(jit, static_argnums=0)
def value_at(objective: Objective, theta: Array, on: On) -> Array:
    """Return the objective at one place [p]."""
    return objective(theta, on)


def values_at(objective: Objective, thetas: Array, on: On) -> np.ndarray:
    """Return the objective at several places [K, p], by one program for any number of them."""
    return np.array([float(value_at(objective, theta, on)) for theta in thetas])


@functools.partial(jit, static_argnums=0)
def descend(objective: Objective, updates: Any, theta: Array, enough: Any, on: On) -> Minimum:
    """Return where the objective is lowest, from one start [p].

    One start after another takes less time than all under `jax.vmap`, which would take both
    branches of each line search, and as many as the slowest start.
    """
    return minimise(lambda free: objective(free, on), theta, updates=updates, tolerance=enough)


@functools.partial(jit, static_argnums=0)
def derivatives(objective: Objective, theta: Array, on: On) -> tuple[Array, Array]:
    """Return the second derivatives [p, p] of the objective, and those of the natural values."""

    def gradient(free: Array) -> Array:
        return jax.grad(lambda theta: objective(theta, on))(free)

    def along(direction: Array) -> Array:
        return jax.jvp(gradient, (theta,), (direction,))[1]

    # one direction after another takes the memory of one
    hessian = jax.lax.map(along, jnp.eye(theta.size, dtype=theta.dtype))
    return hessian, jax.jacfwd(objective.layout.natural)(theta)


def _observations(data: Dataset, skip: int) -> int:
    """Return how many numbers count."""
    at = np.arange(data.steps)
    counted = (at >= skip) & (at < data.lengths[:, None])
    seen = np.ones(data.ys.shape, bool) if data.observed is None else np.asarray(data.observed)
    count = int((seen & counted[:, :, None]).sum())
    if count == 0:
        raise ValueError(
            f"{WHO}: nothing was observed after the first {skip} steps; expected observations."
        )
    return count


def _places(objective: Objective, free: FreeStart, starts: int, key: Array, on: On) -> Array:
    """Return where to start [K, p]: at the given place, and at the best ones around it."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    if starts == 1:
        return jnp.asarray(free.theta[None], dtype)
    # A value costs one pass of the filter, a descent dozens of passes with gradients: many places
    # are tried, and only the best are descended from.
    drawn = np.asarray(jax.random.normal(key, (TRIED * starts, free.theta.size)))
    # every other one far away, for starts that are wrong by orders of magnitude
    drawn = drawn * np.where(np.arange(len(drawn)) % 2, FURTHER, 1.0)[:, None]
    tried = jnp.asarray(np.vstack([free.theta, free.theta + free.spread * drawn]), dtype)
    values = values_at(objective, tried, on)
    values = np.where(np.isfinite(values), values, np.inf)
    if np.isinf(values).all():
        raise ValueError(
            f"{WHO}: the log-likelihood is not finite at any of {len(values)} starts; expected a"
            " number. Check the params, the units of the data, and whether the filter diverges."
        )
    best = 1 + np.argsort(values[1:], kind="stable")[: starts - 1]
    chosen = [*([0] if np.isfinite(values[0]) else []), *best[np.isfinite(values[best])]]
    return tried[np.array(chosen)]


def _lowest(
    objective: Objective,
    places: Array,
    spread: np.ndarray,
    updates: int,
    enough: float,
    on: On,
) -> list[Minimum]:
    """Return where the starts lead to; the best of them has left its plateau."""

    def from_one(theta: Array) -> Minimum:
        return descend(objective, updates, theta, enough, on)

    found = [from_one(theta) for theta in places]
    at = min(range(len(found)), key=lambda index: float(found[index].value))
    found[at] = leave_plateaus(
        lambda theta: value_at(objective, theta, on),
        from_one,
        found[at],
        spread,
        CONVERGED / float(on.count),
    )
    return found


def _curvature(objective: Objective, best: Minimum, given: np.ndarray, on: On) -> Curvature:
    """Return what the likelihood is like around its maximum."""
    theta = np.asarray(best.theta)
    p = theta.size
    step = np.eye(p)
    # a variance that has all but vanished may grow much and still make no difference
    away = given - theta + AWAY
    moved = np.vstack([theta, theta - FAR * step, theta + FAR * step, theta + away * step])
    # theta is looked at together with them, since rounding differs between programs
    values = values_at(objective, jnp.asarray(moved, theta.dtype), on)
    change = -float(on.count) * (values[1:] - values[0]).reshape(3, p)
    hessian, jacobian = derivatives(objective, best.theta, on)
    has_end = np.isfinite(np.asarray(objective.layout.bounds)).T
    return Curvature(
        gradient=-float(on.count) * np.asarray(best.gradient, np.float64),
        information=float(on.count) * np.asarray(hessian, np.float64),
        jacobian=np.asarray(jacobian, np.float64),
        at_ends=np.where(has_end, change[:2], np.nan),
        elsewhere=change[2],
    )


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
    """Return what a reader of the table has to know."""
    notes = []
    if not converged:
        why = f"by about {known.gain:.2g} more" if known.is_maximum else "in some direction"
        notes.append(
            f"no maximum was found: the log-likelihood rises {why}. Raise updates or starts, start"
            " elsewhere, or use double precision; the standard errors are not to be trusted."
        )
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
