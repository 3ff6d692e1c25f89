"""Fixed-lag smoothing as a filter: the belief about x_t-lag given y_1..t, online and in constant memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.base import Filter, Gaussian, Info, constructor
from kfjax.filters.backward_kernels import backward_kernel
from kfjax.filters.checks import check_filter
from kfjax.models.lens import model_of
from kfjax.models.observing import keep_unobserved
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel

__all__ = ["FixedLagState", "fixed_lag"]


class Window(NamedTuple):
    """x_t-k = mean + gain (x_t - predicted) + rest, for k = lag..1: earlier states given x_t and y_1..t-1.

    An observation y_t says nothing more about them than what it says about x_t.

    Attributes:
        mean: [lag, ...], E[x_t-k | y_1..t-1].
        gain: [lag, n, n].
        rest: covariances of the rest [lag, n, n].
        predicted: E[x_t | y_1..t-1].
    """

    mean: Array
    gain: Array
    rest: Array
    predicted: Array


class FixedLagState(NamedTuple):
    """The state of a fixed-lag smoother.

    Attributes:
        inner: the state of the filter, about x_t.
        window: the states before it, given x_t.
        lagged: `Gaussian` belief about x_t-lag given all data so far (about x_0 while t <= lag).
    """

    inner: Any
    window: Window
    lagged: Gaussian

    @property
    def mean(self) -> Array:
        """The filtered mean, of x_t [..., n]."""
        return self.inner.mean

    @property
    def cov(self) -> Array:
        """The filtered covariance [..., n, n]."""
        return self.inner.cov


@constructor
def fixed_lag(filter: Filter, lag: int) -> Filter:
    """Smooth online with a fixed lag: next to the filter's own belief, keep that about the state `lag` steps ago.

    With the gain G of the Rauch-Tung-Striebel recursion, x_t-k is affine in x_t given y_1..t-1;
    every prediction lengthens the chain by one step,

        A_k <- A_k-1 G,  D_k <- D_k-1 + A_k-1 D A_k-1',  Cov[x_t-k | y_1..t] = D_k + A_k P_t A_k',

    so that updates cost nothing more, and the result is `kfjax.smooth` over y_1..t at t - lag to
    rounding, with missing data, inputs and irregular steps (on curved spaces: where they are lines
    and circles, else to first order).

    `.mean` and `.cov` of the state stay those of x_t, so that other combinators, forecasts and
    `smooth` work as ever; `.lagged` is the smoothed belief, and `emit=kfjax.lagged` keeps it: row t
    - 1 is about x_t-lag, about x_0 while t <= lag. A belief written by `recentre` moves the earlier
    states along. A step costs `lag` products of n x n matrices more, in parallel, and the memory of
    as many.

    Args:
        filter: a filter with a moment rule.
        lag: steps, at least 1.

    Returns:
        A `Filter` with the params of `filter` and a `FixedLagState` state.

    Raises:
        ValueError: if lag is below 1, or the filter has no rule; from `init`, if params hold no
            model.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> final, late = kf.run(kf.fixed_lag(kf.kalman(), lag=5), model, ys, emit=kf.lagged)
        >>> bool((late.cov[-1, 0, 0] < final.cov[0, 0]).item())
        True

    References:
        B. D. O. Anderson, J. B. Moore, Optimal Filtering (1979), section 7.3.
    """
    check_filter("fixed_lag", filter)
    if not isinstance(lag, int) or lag < 1:
        raise ValueError(f"fixed_lag: lag is {lag}; expected an integer, at least 1.")
    if filter.rule is None:
        raise ValueError(
            "fixed_lag: the filter has no moment rule; expected a Gaussian filter such as"
            " kf.extended()."
        )

    def init(params: Any, key: Array | None = None) -> FixedLagState:
        n = _model(params).n
        inner = filter.init(params, key)
        identity = jnp.broadcast_to(jnp.eye(n, dtype=inner.mean.dtype), (lag, n, n))
        # the states before x_0 are x_0
        mean = jnp.broadcast_to(inner.mean, (lag, *inner.mean.shape))
        window = Window(mean, identity, jnp.zeros_like(identity), jnp.copy(inner.mean))
        return FixedLagState(inner, window, Gaussian(jnp.copy(inner.mean), jnp.copy(inner.cov)))

    def predict(params: Any, state: FixedLagState, u: Any = None) -> FixedLagState:
        model = _model(params)
        kernel = backward_kernel(filter.rule, model, Gaussian(state.mean, state.cov), u)
        window = state.window
        moved = model.state_space.difference(state.mean, window.predicted)

        def lengthen(mean: Array, gain: Array, rest: Array) -> tuple[Array, Array, Array]:
            mean = model.state_space.retract(mean, linalg.matmul(gain, moved))
            return (
                mean,
                linalg.matmul(gain, kernel.gain),
                rest + linalg.quadratic(gain, kernel.rest),
            )

        earlier = jax.vmap(lengthen)(window.mean[1:], window.gain[1:], window.rest[1:])
        newest = (state.mean, kernel.gain, kernel.rest)
        mean, gain, rest = (
            jnp.concatenate([a, b[None]]) for a, b in zip(earlier, newest, strict=True)
        )
        window = Window(mean, gain, rest, kernel.predicted)
        return _looked_back(filter.predict(params, state.inner, u), window, model.state_space)

    def update(
        params: Any, state: FixedLagState, y: Any, u: Any = None, observed: Any = None
    ) -> tuple[FixedLagState, Info]:
        inner, info = filter.update(params, state.inner, y, u, observed)
        new = _looked_back(inner, state.window, _model(params).state_space)
        return keep_unobserved(observed, new, state), info

    def recentre(params: Any, state: FixedLagState, gaussian: Gaussian) -> FixedLagState:
        inner = filter.recentre(params, state.inner, gaussian)
        return _looked_back(inner, state.window, _model(params).state_space)

    return Filter(init, predict, update, None if filter.recentre is None else recentre, filter.rule)


def _model(params: Any) -> StateSpaceModel:
    """The model, or what is wrong."""
    if (model := model_of(params)) is None:
        raise ValueError(
            f"fixed_lag: params is {type(params).__name__}; expected a StateSpaceModel, or one"
            " inside."
        )
    return model


def _looked_back(inner: Any, window: Window, space: Space) -> FixedLagState:
    """Return the state with the belief about the oldest state of the window."""
    A = window.gain[0]
    mean = space.retract(
        window.mean[0], linalg.matmul(A, space.difference(inner.mean, window.predicted))
    )
    return FixedLagState(
        inner, window, Gaussian(mean, window.rest[0] + linalg.quadratic(A, inner.cov))
    )
