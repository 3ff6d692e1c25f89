"""Guards around a filter: a gate against outliers, inflation against overconfidence, a reset against divergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax.base import Filter, Gaussian, Info, constructor
from kfjax.filters.checks import check_filter
from kfjax.filters.combinators.composing import chi_square_bounds, reported, select, silenced
from kfjax.models.lens import model_of
from kfjax.models.observing import any_observed

__all__ = ["FallbackState", "fading", "fallback", "gated"]


@constructor
def gated(filter: Filter, probability: float = 0.999) -> Filter:
    """Reject observations that the belief holds to be impossible: a chi-square gate on the NIS.

    An observation is used if nu' S^-1 nu <= q, the quantile of chi-square at `probability` with as
    many degrees of freedom as channels were observed; else the state stays as it was. The
    observation is rejected as a whole: gate sensors one by one with `sequential(gated(filter))`.

    It costs next to nothing by itself, but makes covariances depend on the data: under `jax.vmap`
    every trajectory has its own. The filter's `rule` is forwarded, since beliefs without the
    rejected data smooth like any others.

    Args:
        filter: a filter whose Info has `nis` and `dof`.
        probability: of accepting a good observation, above 0 and at most 1; at 1 nothing is
            rejected.

    Returns:
        A `Filter` with the params and the state of `filter`. Info is zero for a rejected
        observation, but for its `extra`: `accepted` (1, or 0 if rejected or nothing was observed)
        and `nis` (also of the rejected).

    Raises:
        ValueError: if probability is out of range; while tracing, if the filter reports no nis.

    Example:
        >>> gated, model = kf.gated(kf.kalman()), kf.systems.constant_velocity()
        >>> state, info = kf.step(gated, model, gated.init(model), jnp.array([1e3]))
        >>> info.extra["accepted"].item(), info.dof.item()
        (0, 0)

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), section 5.7.2.
    """
    check_filter("gated", filter)
    if not 0 < probability <= 1:
        raise ValueError(
            f"gated: probability is {probability}; expected a number above 0 and at most 1."
        )

    def update(
        params: Any, state: Any, y: Any, u: Any = None, observed: Any = None
    ) -> tuple[Any, Info]:
        new, info = filter.update(params, state, y, u, observed)
        if info.nis is None or info.dof is None:
            raise ValueError(
                "gated: the filter reports no nis; expected one with an innovation and its"
                " covariance."
            )
        accepted = (info.nis <= chi_square_bounds(probability, y, info.nis.dtype)[info.dof]) & (
            info.dof > 0
        )
        info = reported(silenced(accepted, info), accepted=accepted.astype(jnp.int32), nis=info.nis)
        return select(accepted, new, state), info

    return filter._replace(update=update)


@constructor
def fading(filter: Filter, factor: float) -> Filter:
    """Forget the past: the covariance is inflated before every prediction, so that an imperfect model stays alert.

    P_{t|t-1} = factor * F P_{t-1|t-1} F' + Q: data of k steps ago count factor^-k. It costs
    nothing. `rule` is None: the smoothing recursion would have to know the inflation.

    Args:
        filter: a filter with `recentre`.
        factor: of the covariance, usually 1 to 1.1; 1 is the filter itself.

    Returns:
        A `Filter` with the params and the state of `filter`.

    Raises:
        ValueError: if factor is not positive, or the filter has no `recentre`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> plain, alert = (kf.run(f, model, ys).outputs for f in (kf.kalman(), kf.fading(kf.kalman(), 1.05)))
        >>> bool((alert.cov[-1] > plain.cov[-1]).all())
        True

    References:
        D. Simon, Optimal State Estimation (2006), section 7.4.
    """
    check_filter("fading", filter, recentre=True)
    if not 0 < factor < float("inf"):
        raise ValueError(f"fading: factor is {factor}; expected a positive number, such as 1.05.")

    def predict(params: Any, state: Any, u: Any = None) -> Any:
        inflated = filter.recentre(params, state, Gaussian(state.mean, factor * state.cov))
        return filter.predict(params, inflated, u)

    return filter._replace(predict=predict, rule=None)


class FallbackState(NamedTuple):
    """The state of a filter that is watched for divergence.

    Attributes:
        inner: the state of the filter.
        alarms: how many observations in a row had a NIS above the bound, or were rejected (int).
        resets: how often the filter was reset so far (int).
    """

    inner: Any
    alarms: Array
    resets: Array

    @property
    def mean(self) -> Array:
        """The mean of the belief [..., n]."""
        return self.inner.mean

    @property
    def cov(self) -> Array:
        """Its covariance [..., n, n]."""
        return self.inner.cov


def to_prior(params: Any) -> Gaussian:
    """Return the prior of the model inside params: what `fallback` resets to by default."""
    model = model_of(params)
    if model is None:
        raise ValueError(
            f"fallback: params ({type(params).__name__}) hold no one model with a prior; expected"
            " reset= to be given,"
            " a function of params that returns a Gaussian."
        )
    return model.prior


@constructor
def fallback(
    filter: Filter,
    reset: Callable[[Any], Gaussian] = to_prior,
    *,
    probability: float = 0.9999,
    patience: int = 5,
) -> Filter:
    """Reset a filter that has diverged to a stated belief, instead of carrying its NaN or its error on.

    It is reset where its belief or its likelihood is not finite, and at the observation that is the
    `patience`-th in a row whose NIS lies above the chi-square quantile at `probability` (or that
    the filter, being gated, rejects). That observation is then not used.

    Gradients stay finite: every step is tried first without derivatives, and differentiated only
    from a sound state. That costs two predictions and updates for one, and covariances that depend
    on the data. `rule` is None: a smoothing recursion does not hold across a reset.

    Args:
        filter: a filter with `recentre`.
        reset: function of params that returns the belief to start anew from (module-level, since it
            is static); default the prior of the model.
        probability: of the NIS of a good observation lying below the bound.
        patience: how many observations in a row must lie above it.

    Returns:
        A `Filter` with the params of `filter` and a `FallbackState` state. Info is zero at a reset, but
        for its `extra`: `reset` is 1 where the update was replaced by a reset.

    Raises:
        ValueError: if an argument is out of range, the filter has no `recentre`, or params no
            prior.

    Example:
        >>> watched, model = kf.fallback(kf.kalman()), kf.systems.constant_velocity()
        >>> state, info = kf.step(watched, model, watched.init(model), jnp.array([jnp.inf]))
        >>> info.extra["reset"].item(), bool(jnp.isfinite(state.mean).all())
        (1, True)
    """
    check_filter("fallback", filter, recentre=True)
    if not 0 < probability <= 1 or patience < 1:
        raise ValueError(
            f"fallback: got probability={probability} and patience={patience}; expected a"
            " probability and at least 1."
        )

    def replaced(params: Any, bad: Array, state: Any) -> Any:
        """Return the state, or the stated belief where it is bad."""
        return select(
            bad,
            filter.recentre(params, jax.tree.map(_zero_unless_finite, state), reset(params)),
            state,
        )

    def init(params: Any, key: Array | None = None) -> FallbackState:
        return FallbackState(
            filter.init(params, key), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        )

    def predict(params: Any, state: FallbackState, u: Any = None) -> FallbackState:
        bad = ~_is_finite(filter.predict(*jax.lax.stop_gradient((params, state.inner, u))))
        inner = filter.predict(params, replaced(params, bad, state.inner), u)
        return FallbackState(inner, jnp.where(bad, 0, state.alarms), state.resets + bad)

    def update(
        params: Any, state: FallbackState, y: Any, u: Any = None, observed: Any = None
    ) -> tuple[FallbackState, Info]:
        trial, info = filter.update(*jax.lax.stop_gradient((params, state.inner, y, u)), observed)
        seen, alarms = any_observed(observed), state.alarms
        if info.nis is not None:
            above = info.nis > chi_square_bounds(probability, y, info.nis.dtype)[info.dof]
            alarms = jnp.where(seen, jnp.where(above | (info.dof == 0), alarms + 1, 0), alarms)
        bad = seen & (~_is_finite(trial, info.log_likelihood) | (alarms >= patience))
        inner, info = filter.update(
            params, replaced(params, bad, state.inner), y, u, _and(observed, ~bad, y)
        )
        new = FallbackState(inner, jnp.where(bad, 0, alarms), state.resets + bad)
        return new, reported(info, reset=bad.astype(jnp.int32))

    def recentre(params: Any, state: FallbackState, gaussian: Gaussian) -> FallbackState:
        inner = filter.recentre(params, state.inner, gaussian)
        return state._replace(inner=inner, alarms=jnp.zeros_like(state.alarms))

    return Filter(init, predict, update, recentre)


def _is_finite(state: Any, *numbers: Any) -> Array:
    """Tell whether a belief, and numbers that go with it, are finite."""
    leaves = jax.tree.leaves((state.mean, state.cov, numbers))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _zero_unless_finite(leaf: Array) -> Array:
    """Return a leaf of a state that is safe to build another state from."""
    return (
        jnp.where(jnp.isfinite(leaf), leaf, 0) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf
    )


def _and(observed: Any, condition: Array, y: Any) -> Any:
    """Restrict a mask, None included, to where a condition holds."""
    mask = jax.tree.map(lambda _: True, y) if observed is None else observed
    return jax.tree.map(lambda leaf: leaf & condition, mask)
