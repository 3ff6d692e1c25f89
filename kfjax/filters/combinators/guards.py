"""Guards around a filter: a gate on outliers, and covariance inflation."""

from __future__ import annotations

import jax.numpy as jnp

from kfjax._support.arguments import check_number
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
    chi_square_bounds,
    reported,
    rewritten,
    scored,
    used_share,
)
from kfjax.models.observing import any_observed

__all__ = ["fading", "gated"]


@constructor
def gated(filter: Filter, probability: float = 0.999) -> Filter:
    """Reject outliers with a chi-square gate on the normalised innovation squared (NIS).

    An observation is used if nu' S^-1 nu <= q, where q is the quantile of the chi-square
    distribution at `probability` with as many degrees of freedom as channels were observed.
    Otherwise the state is left unchanged. An observation is accepted or rejected as a whole: to
    gate sensors one by one, use `sequential(gated(filter))`.

    Info is that of `filter`: an observation is scored as it was predicted, whether or not it is
    then used, so that no filter looks better, or is tuned to look better, by rejecting. An
    observation without a score (NaN) counts as impossible: NIS inf, log-likelihood -inf.

    The gate itself is cheap, but it makes covariances depend on the data, so that under `jax.vmap`
    every trajectory computes its own. The filter's `rule` is forwarded: beliefs that have not seen
    the rejected data are smoothed like any others.

    Args:
        filter: filter whose Info has `nis` and `dof`.
        probability: probability of accepting an observation that the model explains, above 0 and
            at most 1; at 1, nothing with a finite NIS is rejected.

    Returns:
        A `Filter` with the params, the state and the Info of `filter`, with `accepted` in `extra`:
        1, or 0 if the observation was rejected or nothing was observed.

    Raises:
        ValueError: if probability is out of range, or (while tracing) if the filter reports no
            NIS.

    Example:
        >>> gated, model = kf.gated(kf.kalman()), kf.systems.constant_velocity()
        >>> state, info = kf.step(gated, model, gated.init(model), jnp.array([1e3]))
        >>> info.extra["accepted"].item(), info.dof.item(), bool(info.nis > 1e3)
        (0, 1, True)

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking and
        Navigation (2001), section 5.7.2.
    """
    check_filter("gated", filter)
    check_number("gated: probability", probability, above=0, most=1)

    def update(
        params: Params, state: State, y: Observations, u: Inputs = None, observed: Mask = None
    ) -> tuple[State, Info]:
        new, info = filter.update(params, state, y, u, observed)
        info = scored(info)
        if info.nis is None or info.dof is None:
            raise ValueError(
                "gated: the filter reports no nis; expected one with an innovation and its"
                " covariance."
            )
        bounds = chi_square_bounds(probability, y, info.nis.dtype)
        # NIS is chi-square with a degree of freedom for each observed channel. With probability 1
        # the bound is infinite, and every finite NIS passes.
        within = (info.nis <= bounds[info.dof]) & jnp.isfinite(info.nis)
        accepted = jnp.where(within, used_share(info, any_observed(observed)), 0)
        return select(accepted > 0, new, state), reported(info, accepted=accepted)

    return filter._replace(update=update)


@constructor
def fading(filter: Filter, factor: float) -> Filter:
    """Inflate the covariance before every prediction, so that old data are gradually forgotten.

    P_{t|t-1} = factor * F P_{t-1|t-1} F' + Q, so that data from k steps ago have a weight of
    factor^-k. `rule` is None, since the smoothing recursion would have to know the inflation.

    Args:
        filter: filter with `recentre`.
        factor: factor on the covariance, usually 1 to 1.1; 1 gives the filter itself.

    Returns:
        A `Filter` with the params and the state of `filter`.

    Raises:
        ValueError: if factor is not positive, or the filter has no `recentre`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> plain = kf.run(kf.kalman(), model, ys).outputs
        >>> faded = kf.run(kf.fading(kf.kalman(), 1.05), model, ys).outputs
        >>> bool((faded.cov[-1] > plain.cov[-1]).all())
        True

    References:
        D. Simon, Optimal State Estimation (2006), section 7.4.
    """
    check_filter("fading", filter, recentre=True)
    check_number("fading: factor", factor, above=0)

    def predict(params: Params, state: State, u: Inputs = None) -> State:
        inflated = Gaussian(state.mean, factor * state.cov)
        return filter.predict(params, rewritten(filter, params, state, inflated), u)

    # No rule, so that smoothers reject this filter: their backward kernel assumes the noise of the
    # model, and would be wrong for inflated beliefs.
    return filter._replace(predict=predict, rule=None)
