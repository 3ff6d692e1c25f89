"""Reset of a filter that has diverged."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kfjax._support.arguments import check_count, check_function, check_number
from kfjax._support.pytrees import select
from kfjax.base import (
    Filter,
    Gaussian,
    Info,
    Inputs,
    Mask,
    Observations,
    Params,
    State,
    constructor,
)
from kfjax.filters.checks import check_filter
from kfjax.filters.combinators.composing import (
    acceptance,
    chi_square_bounds,
    may_reject,
    reported,
    rewritten,
    scored,
    used_share,
)
from kfjax.models.lens import model_of
from kfjax.models.observing import any_observed

__all__ = ["FallbackState", "fallback"]


class FallbackState(NamedTuple):
    """The state of a filter that is watched for divergence.

    Attributes:
        inner: state of the filter.
        alarms: number of consecutive observations with a NIS above the bound, or rejected (int).
        resets: number of resets so far (int).
    """

    inner: State
    alarms: Int[Array, " ..."]
    resets: Int[Array, " ..."]

    @property
    def mean(self) -> Float[Array, "... n"]:
        """Mean of the belief [..., n]."""
        return self.inner.mean

    @property
    def cov(self) -> Float[Array, "... d d"]:
        """Covariance of the belief [..., n, n]."""
        return self.inner.cov


def to_prior(params: Params) -> Gaussian:
    """Return the prior of the model inside params: the default belief of `fallback`."""
    model = model_of(params)
    if model is None:
        raise ValueError(
            f"fallback: params ({type(params).__name__}) do not hold exactly one model with a"
            " prior; expected a single one. Pass reset=, a function of params that returns a"
            " Gaussian."
        )
    return model.prior


@constructor
def fallback(
    filter: Filter,
    reset: Callable[[Params], Gaussian] = to_prior,
    *,
    probability: float = 0.9999,
    patience: int = 5,
) -> Filter:
    """Reset a filter that has diverged to a stated belief.

    The filter is reset where its belief or its likelihood is not finite, and at the observation
    that is the `patience`-th in a row with a NIS above the chi-square quantile at `probability`, or
    rejected by a gated filter. That observation is then not used.

    Gradients stay finite: every step is first tried without derivatives, and is differentiated only
    from a finite state. This costs two predictions and updates instead of one, and covariances that
    depend on the data. `rule` is None, since the smoothing recursion does not hold across a reset.

    Args:
        filter: filter with `recentre`.
        reset: function of params that returns the belief to restart from; a module-level function,
            since it is static. Default: the prior of the model.
        probability: probability that the NIS of an observation that the model explains lies below
            the bound.
        patience: number of consecutive observations above the bound that triggers a reset.

    Returns:
        A `Filter` with the params of `filter` and a `FallbackState`. Info is that of `filter`, with
        the observation scored as it was predicted before the reset (as impossible, NIS inf and
        log-likelihood -inf, if that is not finite). In `extra`, `reset` is 1 where a reset took the
        place of the update, and `accepted` is then 0.

    Raises:
        ValueError: if an argument is out of range, the filter has no `recentre`, or params have no
            prior.

    Example:
        >>> watched = kf.fallback(kf.kalman(), patience=2)
        >>> model = kf.systems.constant_velocity()
        >>> ys = jnp.array([[0.0], [1e6], [-1e6], [0.0]])
        >>> final, info = kf.run(watched, model, ys, emit=lambda state, info: info)
        >>> info.extra["reset"].tolist()
        [0, 0, 1, 0]
    """
    check_filter("fallback", filter, recentre=True)
    check_number("fallback: probability", probability, above=0, most=1)
    check_count("fallback: patience", patience)
    check_function("fallback: reset", reset, "a function params -> Gaussian")

    def restarted(params: Params, state: State) -> State:
        """Return the state with the belief to restart from."""
        finite = jax.tree.map(_zero_unless_finite, state)
        return rewritten(filter, params, finite, reset(params))

    def init(params: Params, key: Array | None = None) -> FallbackState:
        # two arrays, since a donated state must not hold the same buffer twice
        alarms = jnp.zeros((), jnp.int32)
        resets = jnp.zeros((), jnp.int32)
        return FallbackState(filter.init(params, key), alarms, resets)

    def predict(params: Params, state: FallbackState, u: Inputs = None) -> FallbackState:
        trial = filter.predict(*jax.lax.stop_gradient((params, state.inner, u)))
        bad = ~_is_finite(trial)
        start = select(bad, restarted(params, state.inner), state.inner)
        inner = filter.predict(params, start, u)
        return _counted(inner, state.alarms, state.resets, bad)

    def update(
        params: Params,
        state: FallbackState,
        y: Observations,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[FallbackState, Info]:
        trial, attempt = filter.update(
            *jax.lax.stop_gradient((params, state.inner, y, u)), observed
        )
        attempt = scored(attempt)
        seen = any_observed(observed)
        broken = seen & ~_is_sound(trial, attempt)
        alarms = _alarms(state.alarms, attempt, y, seen, probability)
        bad = broken | (seen & (alarms >= patience))
        restart = restarted(params, state.inner)
        # where the trial failed, the differentiated update observes nothing, from a finite state
        start = select(broken, restart, state.inner)
        inner, info = filter.update(params, start, y, u, _and(observed, ~broken, y))
        inner = select(bad, restart, inner)
        info = select(broken, attempt, info)
        accepted = jnp.where(bad, 0, used_share(info, seen))
        info = reported(info, accepted=accepted, reset=bad.astype(jnp.int32))
        return _counted(inner, alarms, state.resets, bad), info

    def recentre(params: Params, state: FallbackState, gaussian: Gaussian) -> FallbackState:
        inner = filter.recentre(params, state.inner, gaussian)
        return state._replace(inner=inner, alarms=jnp.zeros_like(state.alarms))

    return Filter(init, predict, update, recentre)


def _alarms(before: Array, info: Info, y: Observations, seen: Array, probability: float) -> Array:
    """Return the number of alarms in a row, this observation included."""
    if info.nis is None:
        return before
    above = info.nis > chi_square_bounds(probability, y, info.nis.dtype)[info.dof]
    rejected = used_share(info, seen) == 0
    raised = jnp.where(above | rejected, before + 1, 0)
    return jnp.where(seen, raised, before)


def _counted(inner: State, alarms: Array, resets: Array, reset: Array) -> FallbackState:
    """Return the state; a reset is counted and clears the alarms."""
    alarms = jnp.where(reset, 0, alarms)
    return FallbackState(inner, alarms, resets + reset.astype(resets.dtype))


def _is_finite(state: State) -> Array:
    """Return whether a belief is finite."""
    leaves = jax.tree.leaves((state.mean, state.cov))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _is_sound(state: State, info: Info) -> Array:
    """Return whether an updated belief and the likelihood of what it used are finite."""
    if info.log_likelihood is None:
        return _is_finite(state)
    likely = jnp.isfinite(info.log_likelihood)
    if may_reject(info):
        likely |= acceptance(info) == 0
    return _is_finite(state) & likely


def _zero_unless_finite(leaf: Array) -> Array:
    """Return a leaf of a state with its non-finite entries set to zero."""
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return leaf
    return jnp.where(jnp.isfinite(leaf), leaf, 0)


def _and(observed: Mask, condition: Array, y: Observations) -> Mask:
    """Restrict a mask, or None, to the steps where a condition holds."""
    if observed is None:
        return jax.tree.map(lambda _: condition, y)
    return jax.tree.map(lambda leaf: leaf & condition, observed)
