"""Gaussian filters with an exactly diffuse start."""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import check_kind
from kfjax._support.naming import described
from kfjax.base import Filter, Gaussian, Info, Inputs, constructor
from kfjax.filters.checks import check_filter
from kfjax.filters.diffuse_beliefs import Conditional, DiffuseState, condition
from kfjax.filters.gaussian import kalman
from kfjax.filters.square_root_form import SquareRootGaussian, square_root
from kfjax.linalg.sparse import product
from kfjax.models.observing import bind, innovation_info, keep_unobserved, observe
from kfjax.models.state_space import StateSpaceModel, is_linear
from kfjax.moments import Taylor
from kfjax.moments.linearisation import linearised

__all__ = ["exact_diffuse"]

KALMAN = kalman()
ROOT = square_root(Taylor())


@constructor
def exact_diffuse(
    filter: Filter | None = None, components: tuple[int, ...] | None = None
) -> Filter:
    """Filter from an exactly diffuse start of some states, as the limit of infinite variance.

    x_1 ~ N(mean, cov + k A A') for k to infinity, where A has a unit vector for each diffuse state.
    Observations first determine A: the covariance stays that of the other states and of the noise,
    and the log-likelihood of a channel that determines a direction is -log(2 pi f) / 2 with f = h A
    A' h'. It is the limit of log p(y) + log(k) / 2, the diffuse likelihood of Durbin and Koopman.
    Once no direction is diffuse any more, the filter is the given one.

    `info` counts a channel that determines a direction as unobserved, except for its
    log-likelihood, since nothing was predicted about it.

    If the first observations hardly tell diffuse states apart, such as the waves of a long season
    or collinear regressors, these are left with variances that are larger than those of the noise
    by many orders of magnitude. A covariance then loses its small eigenvalues to rounding, and the
    filter may diverge, in double precision too. A square root keeps them. There is a warning if
    such a sum of `kfjax.structural` is filtered with covariances.

    Args:
        filter: a filter that linearises: `kalman()`, `extended()`, `square_root(moments.Taylor())`.
            The default is the last one for linear models, and `kalman()`, which is faster, for
            those whose diffuse states the first observations tell apart: one diffuse state, or a
            `kfjax.structural.Structural` of levels, trends, seasons by dummies, autoregressions.
        components: the indices of the diffuse states; None for those that a
            `kfjax.structural.Structural` lists in `diffuse`, and for all states of another model.
            Their prior has no effect.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `DiffuseState`. To smooth, keep the states by
        `emit=kfjax.whole_state` and pass them to `kfjax.smooth`.

    Raises:
        ValueError: if the filter does not linearise, or an index is out of range.

    Example:
        >>> model = kf.structural.level(10.0) + kf.structural.irregular(100.0)
        >>> ys = jnp.ones((3, 1))
        >>> states = kf.run(
        ...     kf.exact_diffuse(), model, ys, emit=kf.whole_state
        ... ).outputs
        >>> states.cov[0].tolist()
        [[10000.0]]
        >>> kf.smooth(kf.exact_diffuse(), model, states).mean.shape
        (3, 1)

    References:
        J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
        sections 5.2, 6.4 and 7.2.2; S. J. Koopman, Exact initial Kalman filtering and smoothing for
        nonstationary time series models, J. Amer. Statist. Assoc. 92 (1997).
    """
    rule = _linearising_rule(KALMAN if filter is None else filter)
    _check_components(components)

    def inner_of(params: StateSpaceModel) -> Filter:
        return _default(params, components) if filter is None else filter

    def init(params: StateSpaceModel, key: Array | None = None) -> DiffuseState:
        check_kind("exact_diffuse: params", params, StateSpaceModel)
        at = _indices(params, components)
        inner = inner_of(params)
        belief = inner.init(params.replace(prior=_proper_prior(params, at)), key)
        if not isinstance(belief, (Gaussian, SquareRootGaussian)):
            raise ValueError(
                f"exact_diffuse: filter is {inner}, whose state is {type(belief).__name__};"
                " expected a plain filter. Put combinators around exact_diffuse."
            )
        if isinstance(belief, Gaussian) and not getattr(params, "distinct_start", True):
            warnings.warn(
                f"exact_diffuse: {inner} keeps covariances, which may lose all digits where the"
                " first observations hardly tell diffuse states apart, as in this sum. Leave out"
                " the argument, or give kf.square_root(kf.moments.Taylor()).",
                stacklevel=2,
            )
        loading = jnp.eye(params.n, dtype=params.dtype)[:, at]
        return DiffuseState(belief, loading, jnp.eye(at.size, dtype=params.dtype))

    def predict(params: StateSpaceModel, state: DiffuseState, u: Inputs = None) -> DiffuseState:
        belief = inner_of(params).predict(params, state.belief, u)
        space = params.state_space
        _, F = linearised(bind(params.f, u), state.mean, params.n, space, space)
        return state._replace(belief=belief, loading=product(F, state.loading))

    def update(
        params: StateSpaceModel,
        state: DiffuseState,
        y: Array,
        u: Inputs = None,
        observed: Any = None,
    ) -> tuple[DiffuseState, Info]:
        seen = observe(params, state.mean, y, u, observed)
        space = params.state_space
        y_hat, H = linearised(seen.fn, state.mean, params.n, space, seen.space)
        given = condition(state, y_hat, H, seen.R, noise_free=seen.noise_free)
        innovation = seen.innovation(y_hat)
        mean = space.retract(state.mean, linalg.matmul(given.gain, innovation))
        belief = type(state.belief)(mean, given.covariance)
        new = state._replace(belief=belief, undetermined=given.determined.rest)
        return keep_unobserved(observed, new, state), _info(given, innovation, seen.mask)

    def recentre(params: StateSpaceModel, state: DiffuseState, gaussian: Gaussian) -> DiffuseState:
        belief = inner_of(params).recentre(params, state.belief, gaussian)
        return state._replace(belief=belief)

    return Filter(init, predict, update, recentre, rule)


def _default(model: StateSpaceModel, components: tuple[int, ...] | None) -> Filter:
    """Return the filter of a model whose start is diffuse in these states."""
    distinct = getattr(model, "distinct_start", False) or len(_indices(model, components)) < 2
    # kalman() raises an error for a model that is not linear
    return KALMAN if distinct or not is_linear(model) else ROOT


def _linearising_rule(filter: Filter) -> Taylor:
    """Return the moment rule of a filter; raise unless it linearises."""
    check_filter("exact_diffuse", filter)
    if not isinstance(filter.rule, Taylor):
        raise ValueError(
            f"exact_diffuse: filter is {filter}; expected one that linearises, such as kf.kalman()"
            " or kf.square_root(kf.moments.Taylor())."
        )
    return filter.rule


def _proper_prior(model: StateSpaceModel, at: np.ndarray) -> Gaussian:
    """Return the prior without the variances of the diffuse states."""
    mean, cov = model.proper_prior
    known = np.ones(model.n, bool)
    known[at] = False
    return Gaussian(mean, jnp.where(known[:, None] & known[None, :], cov, 0))


def _info(given: Conditional, innovation: Array, mask: Any) -> Info:
    """Return the diagnostics, in which channels that determine a direction are unobserved."""
    used = given.determined.used
    info = innovation_info(
        linalg.matmul(given.determined.ordinary, innovation),
        given.S,
        ~used if mask is None else mask & ~used,
        size=given.size,
        R=given.noise,
    )
    count = jnp.sum(used, dtype=jnp.int32).astype(innovation.dtype)
    # What diffuse channels add to the log-likelihood, without the term in log k that all models of
    # as many diffuse directions share: -(log det F_inf + d log 2 pi) / 2, without a square of the
    # innovation (Durbin and Koopman, 2012, section 7.2.2).
    start = -0.5 * (given.determined.logdet + count * math.log(2 * math.pi))
    return info._replace(log_likelihood=jnp.add(start, jnp.asarray(info.log_likelihood)))


def filter_after(filter: Filter, model: StateSpaceModel) -> Filter | None:
    """Return the filter that `exact_diffuse` starts for a model; None for other filters."""
    given = _arguments(filter)
    if given is None:
        return None
    return given["filter"] or _default(model, given["components"])


def diffuse_indices(filter: Filter, model: StateSpaceModel) -> np.ndarray:
    """Return the indices of the states of a model that start diffuse; none for other filters."""
    given = _arguments(filter)
    return np.zeros(0, np.int64) if given is None else _indices(model, given["components"])


def _arguments(filter: Filter) -> dict[str, Any] | None:
    """Return the arguments of `exact_diffuse`, if it made this filter."""
    call = getattr(filter, "call", None)
    if call is None or call.function is not exact_diffuse:
        return None
    bound = inspect.signature(exact_diffuse).bind(*call.args, **call.kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _check_components(components: Any) -> None:
    """Raise unless components are None or a tuple of whole numbers."""
    if components is None:
        return
    whole = isinstance(components, tuple) and all(
        isinstance(index, (int, np.integer)) and not isinstance(index, bool) for index in components
    )
    if not whole:
        raise ValueError(
            f"exact_diffuse: components is {described(components)}; expected a tuple of indices, or"
            " None."
        )


def _indices(model: StateSpaceModel, components: tuple[int, ...] | None) -> np.ndarray:
    """Return the indices of the diffuse states of a model."""
    if components is None:
        components = getattr(model, "diffuse", tuple(range(model.n)))
    at = np.asarray(components, np.int64) if components else np.zeros(0, np.int64)
    if at.ndim != 1 or (at < -model.n).any() or (at >= model.n).any():
        raise ValueError(
            f"exact_diffuse: components are {components}; expected indices of a state of"
            f" {model.n} components."
        )
    return at % model.n
