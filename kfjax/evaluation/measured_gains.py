"""The gain of any filter: how much an observation moves the estimate."""

from __future__ import annotations

import jax
from jax import Array
from jaxtyping import Real

from kfjax._support.types import Key
from kfjax.base import Filter, Inputs, Mask, Observations, Params, extra_only
from kfjax.filters.checks import check_filter
from kfjax.filters.probing import ProbedStep, probed
from kfjax.runner import run

__all__ = ["gains"]


def gains(
    filter: Filter,
    params: Params,
    ys: Observations,
    *,
    us: Inputs = None,
    observed: Mask = None,
    key: Key | None = None,
) -> Real[Array, "T n m"]:
    """Return how much each channel of y_t moves each component of the estimate.

    K_t = d mean_{t|t} / d y_t, along one trajectory

    For a Kalman filter this is its gain. For filters that are nonlinear in y (gated, robust or
    learned ones) it includes the derivative of their gain. It is zero in channels that were not
    observed.

    Args:
        filter: any differentiable `Filter`: not a particle filter that resamples.
        params: its parameters.
        ys: observations [T, m].
        us: inputs with a leading time axis, or None.
        observed: what was observed, booleans [T] or [T, m], or None.
        key: random key for filters that draw.

    Returns:
        [T, n, m].

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> K = kf.evaluation.gains(kf.kalman(), model, jnp.zeros((50, 1)))
        >>> bool(jnp.allclose(K[-1], kf.steady_state(model).gain, atol=1e-4))
        True
    """
    check_filter("gains", filter)
    watched = probed(filter, _sensitivity)
    kept = run(watched, params, ys, us=us, observed=observed, key=key, emit=extra_only).outputs
    return kept["found"]


def _sensitivity(filter: Filter, params: Params, step: ProbedStep) -> Array:
    """Return d mean / d y at one update."""

    def updated(y: Array) -> Array:
        state, _ = filter.update(params, step.predicted, y, step.u, step.observed)
        return state.mean

    return jax.jacfwd(updated)(step.y)
