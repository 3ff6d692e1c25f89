"""The gain of any filter: how much an observation moves the estimate."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array

from kfjax.base import Filter, Inputs, Mask, Observations, Params, extra_only
from kfjax.filters.probing import probed
from kfjax.runner import run

__all__ = ["gains"]


def gains(
    filter: Filter,
    params: Params,
    ys: Observations,
    *,
    us: Inputs = None,
    observed: Mask = None,
    key: Array | None = None,
) -> Array:
    """Return how much each channel of y_t moves each component of the estimate, along one trajectory.

    K_t = d mean_{t|t} / d y_t

    For a Kalman filter this is its gain; filters that are nonlinear in y, gated, robust or learned
    ones, have the derivative of their gain in it. It is zero in channels that were not observed.

    Args:
        filter: the `Filter`; any that can be differentiated, particle filters that resample not.
        params: its parameters.
        ys: observations [T, m].
        us: inputs with a leading time axis, or None.
        observed: what was seen, booleans [T] or [T, m], or None.
        key: random key for filters that draw.

    Returns:
        [T, n, m].

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> K = kf.evaluation.gains(kf.kalman(), model, jnp.zeros((50, 1)))
        >>> bool(jnp.allclose(K[-1], kf.steady_state(model).gain, atol=1e-4))
        True
    """
    watched = probed(filter, _sensitivity)
    kept = run(watched, params, ys, us=us, observed=observed, key=key, emit=extra_only).outputs
    return kept["found"]


def _sensitivity(
    filter: Filter, params: Any, before: Any, predicted: Any, y: Array, u: Any, observed: Any
) -> Array:
    """d mean / d y at one update."""
    del before

    def updated(y: Array) -> Array:
        return filter.update(params, predicted, y, u, observed)[0].mean

    return jax.jacfwd(updated)(y)
