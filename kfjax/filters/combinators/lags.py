"""Fixed-lag smoothing as a filter: beliefs about x_t-lag given y_1..t, in constant memory."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_count
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
from kfjax.filters.backward_kernels import BackwardKernel, backward_kernel
from kfjax.filters.checks import check_filter
from kfjax.filters.diffuse_beliefs import belief_with_start
from kfjax.models.lens import model_of
from kfjax.models.observing import keep_unobserved
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel

__all__ = ["FixedLagState", "fixed_lag"]

LARGEST_LAG = 100_000  # a state and a matrix are kept for every step of the window


class Window(NamedTuple):
    """The earlier states x_t-k, for k = lag..1, given x_t and y_1..t-1.

    x_t-k = mean + gain (x_t - predicted) + residual. Given x_t, an observation y_t carries no
    further information about earlier states, so that updates leave the window as it is.

    Attributes:
        mean: E[x_t-k | y_1..t-1], [lag, ...].
        gain: gains [lag, n, n].
        residual: covariances of the residuals [lag, n, n].
        predicted: E[x_t | y_1..t-1].
    """

    mean: Array
    gain: Array
    residual: Array
    predicted: Array


class FixedLagState(NamedTuple):
    """The state of a fixed-lag smoother.

    Attributes:
        inner: state of the filter, about x_t.
        window: the earlier states, given x_t.
        lagged: `Gaussian` belief about x_t-lag given all data so far (about x_0 while t <= lag;
            about x_1 where there is no x_0).
    """

    inner: State
    window: Window
    lagged: Gaussian

    @property
    def mean(self) -> Float[Array, "... n"]:
        """Filtered mean of x_t [..., n]."""
        return self.inner.mean

    @property
    def cov(self) -> Float[Array, "... d d"]:
        """Filtered covariance of x_t [..., n, n]."""
        return self.inner.cov


@constructor
def fixed_lag(filter: Filter, lag: int) -> Filter:
    """Smooth online with a fixed lag: also keep the belief about the state `lag` steps ago.

    Given y_1..t-1, x_t-k is affine in x_t, with the gain G of the Rauch-Tung-Striebel recursion.
    Every prediction lengthens the chain by one step,

        A_k <- A_k-1 G,  D_k <- D_k-1 + A_k-1 D A_k-1',  Cov[x_t-k | y_1..t] = D_k + A_k P_t A_k',

    while updates leave it as it is. The result equals `kfjax.smooth` over y_1..t at t - lag to
    rounding, also with missing data, inputs and irregular steps (exactly on products of lines and
    circles, and to first order on other curved spaces).

    `.mean` and `.cov` of the state remain those of x_t, so that other combinators, forecasts and
    `smooth` work as usual. `.lagged` is the smoothed belief, which `emit=kfjax.lagged` keeps: row
    t - 1 is about x_t-lag (about x_0, or x_1 where there is none, while t <= lag). A belief written
    by `recentre` moves the earlier states along. A step costs `lag` additional products of n x n
    matrices, in parallel, and the memory for as many.

    Args:
        filter: filter with a moment rule.
        lag: number of steps, at least 1.

    Returns:
        A `Filter` with the params of `filter` and a `FixedLagState`.

    Raises:
        ValueError: if lag is below 1, or the filter has no rule; from `init`, if params hold no
            model.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> final, late = kf.run(
        ...     kf.fixed_lag(kf.kalman(), lag=5), model, ys, emit=kf.lagged
        ... )
        >>> bool((late.cov[-1, 0, 0] < final.cov[0, 0]).item())
        True

    References:
        B. D. O. Anderson, J. B. Moore, Optimal Filtering (1979), section 7.3.
    """
    check_filter("fixed_lag", filter)
    check_count("fixed_lag: lag", lag, most=LARGEST_LAG)
    if filter.rule is None:
        raise ValueError(
            "fixed_lag: the filter has no moment rule; expected a Gaussian filter such as"
            " kf.extended()."
        )

    def init(params: Params, key: Array | None = None) -> FixedLagState:
        n = _model(params).n
        inner = filter.init(params, key)
        identity = jnp.broadcast_to(jnp.eye(n, dtype=inner.mean.dtype), (lag, n, n))
        # at the start, every state of the window is x_0 itself
        mean = jnp.broadcast_to(inner.mean, (lag, *inner.mean.shape))
        window = Window(mean, identity, jnp.zeros_like(identity), jnp.copy(inner.mean))
        return FixedLagState(inner, window, Gaussian(jnp.copy(inner.mean), jnp.copy(inner.cov)))

    def predict(params: Params, state: FixedLagState, u: Inputs = None) -> FixedLagState:
        model = _model(params)
        space = model.state_space
        kernel = backward_kernel(filter.rule, model, belief_with_start(state.inner), u)
        window = _lengthened(state.window, state.mean, kernel, space)
        return _looked_back(filter.predict(params, state.inner, u), window, space)

    def update(
        params: Params,
        state: FixedLagState,
        y: Observations,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[FixedLagState, Info]:
        # The window is given x_t, and given x_t the earlier states do not depend on y_t: an update
        # leaves it as it is. Only the look back at the oldest state sees the new belief about x_t.
        inner, info = filter.update(params, state.inner, y, u, observed)
        new = _looked_back(inner, state.window, _model(params).state_space)
        return keep_unobserved(observed, new, state), info

    def recentre(params: Params, state: FixedLagState, gaussian: Gaussian) -> FixedLagState:
        inner = filter.recentre(params, state.inner, gaussian)
        return _looked_back(inner, state.window, _model(params).state_space)

    return Filter(init, predict, update, filter.recentre and recentre, filter.rule)


def _lengthened(window: Window, mean: Array, kernel: BackwardKernel, space: Space) -> Window:
    """Return the window one step later, with x_t as its newest state and without the oldest."""
    moved = space.difference(mean, window.predicted)

    # Backward kernels join as affine functions do: x_t-k = G_k x_t + ... and x_t = G x_t+1 + e
    # give G_k G, and the residual plus G_k Cov[e] G_k'.
    def lengthen(mean: Array, gain: Array, residual: Array) -> tuple[Array, Array, Array]:
        corrected = space.retract(mean, linalg.matmul(gain, moved))
        longer = linalg.matmul(gain, kernel.gain)
        return corrected, longer, residual + linalg.quadratic(gain, kernel.residual)

    earlier = jax.vmap(lengthen)(window.mean[1:], window.gain[1:], window.residual[1:])
    newest = (mean, kernel.gain, kernel.residual)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), earlier, newest)
    means, gains, residuals = joined
    return Window(means, gains, residuals, kernel.predicted)


def _model(params: Params) -> StateSpaceModel:
    """Return the model inside params, or raise."""
    model = model_of(params)
    if model is None:
        raise ValueError(
            f"fixed_lag: params is {type(params).__name__}; expected a StateSpaceModel, or params"
            " that hold one."
        )
    return model


def _looked_back(inner: State, window: Window, space: Space) -> FixedLagState:
    """Return the state with the belief about the oldest state of the window."""
    A = window.gain[0]
    moved = space.difference(inner.mean, window.predicted)
    mean = space.retract(window.mean[0], linalg.matmul(A, moved))
    cov = window.residual[0] + linalg.quadratic(A, inner.cov)
    return FixedLagState(inner, window, Gaussian(mean, cov))
