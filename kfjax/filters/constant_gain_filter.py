"""The filter with a given, constant gain."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_kind
from kfjax.base import Filter, Gaussian, Info, Inputs, Mask, constructor
from kfjax.models.observing import bind, keep_unobserved, observe
from kfjax.models.state_space import StateSpaceModel

__all__ = ["ConstantGainParams", "PointState", "constant_gain"]


class ConstantGainParams(NamedTuple):
    """Params of `constant_gain()`.

    Attributes:
        model: a `StateSpaceModel`, nonlinear ones included.
        gain: K [n, m].
    """

    model: StateSpaceModel
    gain: Float[Array, "... n m"]


class PointState(NamedTuple):
    """A state estimate without a covariance.

    Attributes:
        mean: [..., n].
    """

    mean: Float[Array, "... n"]

    @property
    def cov(self) -> None:
        """None: the estimate has no covariance."""
        return


@constructor
def constant_gain() -> Filter:
    """Filter with a given constant gain: m = f(m), then m = m + K (y - h(m)).

    Its estimate has no covariance and no likelihood; for linear models
    `kfjax.evaluation.expected_error` gives the exact error, mismatch included. In missing channels
    the innovation is zero, which is not optimal with a fixed gain.

    Returns:
        A `Filter` with params `ConstantGainParams(model, gain)`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> params = kf.ConstantGainParams(model, kf.steady_state(model).gain)
        >>> kf.run(kf.constant_gain(), params, ys).outputs.mean.shape
        (20, 2)
    """

    def init(params: ConstantGainParams, key: Array | None = None) -> PointState:
        del key
        check_kind("constant_gain: params", params, ConstantGainParams)
        n = params.model.n
        m = params.gain.shape[-1]
        if params.gain.shape != (n, m):
            raise ValueError(
                f"constant_gain: gain has shape {params.gain.shape}; expected ({n}, m)."
            )
        return PointState(jnp.copy(params.model.prior.mean))

    def predict(params: ConstantGainParams, state: PointState, u: Inputs = None) -> PointState:
        mean = bind(params.model.f, u)(state.mean)
        return PointState(mean.astype(state.mean.dtype))

    def update(
        params: ConstantGainParams,
        state: PointState,
        y: Array,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[PointState, Info]:
        seen = observe(params.model, state.mean, y, u, observed)
        innovation = seen.innovation(seen.fn(state.mean))
        mean = params.model.state_space.retract(state.mean, linalg.matmul(params.gain, innovation))
        channels = y.shape[0] if seen.mask is None else jnp.sum(seen.mask)
        info = Info(innovation=innovation, dof=jnp.asarray(channels, jnp.int32))
        return keep_unobserved(observed, PointState(mean), state), info

    def recentre(params: ConstantGainParams, state: PointState, gaussian: Gaussian) -> PointState:
        del params, state
        return PointState(gaussian.mean)

    return Filter(init, predict, update, recentre)
