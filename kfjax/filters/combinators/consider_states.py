"""Consider states: uncertain parameters that the data must not change."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

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
from kfjax.filters.combinators.composing import rewritten, state_space_of
from kfjax.models.observing import keep_unobserved

__all__ = ["schmidt"]


@constructor
def schmidt(filter: Filter, considered: tuple[int, ...]) -> Filter:
    """Account for uncertain states without estimating them (Schmidt-Kalman or consider filter).

    The rows of the gain that belong to considered states are zero. With K the full gain and M the
    diagonal matrix of ones (estimated states) and zeros (considered states):

        P = (I - M K H) P (I - M K H)' + M K R K' M = P_full + (I - M) K S K' (I - M),

    so that the mean of the considered states and the covariance among them stay as predicted, while
    everything else, cross-covariances included, is that of the full update. The combinator
    therefore works around any filter, at negligible cost. `rule` is None, since the smoothing
    recursion would estimate the considered states.

    Args:
        filter: filter with `recentre`.
        considered: indices of the states that are not estimated, such as biases that are barely
            observable.

    Returns:
        A `Filter` with the params and state of `filter`.

    Raises:
        ValueError: if the filter has no `recentre`; while tracing, if an index is out of range.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> state, _ = kf.step(
        ...     kf.schmidt(kf.kalman(), (1,)), model, model.prior, jnp.array([2.0])
        ... )
        >>> state.mean[0] > 0, state.mean[1] == model.prior.mean[1]
        (Array(True, dtype=bool), Array(True, dtype=bool))

    References:
        S. F. Schmidt, Application of state-space methods to navigation problems, Adv. Control Syst.
        3 (1966); D. Woodbury, J. Junkins, On the consider Kalman filter, AIAA GNC (2010), section
        III.
    """
    check_filter("schmidt", filter, recentre=True)

    def update(
        params: Params, state: State, y: Observations, u: Inputs = None, observed: Mask = None
    ) -> tuple[State, Info]:
        full, info = filter.update(params, state, y, u, observed)
        frozen = _mask(considered, state.cov.shape[-1])
        space = state_space_of(params)
        move = jnp.where(frozen, 0, space.difference(full.mean, state.mean))
        mean = space.retract(state.mean, move)
        cov = jnp.where(frozen[:, None] & frozen[None, :], state.cov, full.cov)
        new = rewritten(filter, params, full, Gaussian(mean, cov))
        return keep_unobserved(observed, new, state), info

    return filter._replace(update=update, rule=None)


def _mask(considered: tuple[int, ...], n: int) -> np.ndarray:
    """Return booleans [n], true at the considered states."""
    if any(not -n <= i < n for i in considered):
        raise ValueError(
            f"schmidt: considered is {considered}; expected indices of a state of dimension {n}."
        )
    mask = np.zeros(n, bool)
    mask[list(considered)] = True
    return mask
