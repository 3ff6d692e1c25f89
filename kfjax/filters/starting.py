"""A filter whose state says whether its record has begun, for runs that continue from a state.

Where the prior is about x_1, the first observation updates it without a prediction. `kfjax.run`
knows when its record starts; training in windows and exported programs have only the state to tell
them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from kfjax._support.pytrees import select
from kfjax.base import (
    Emit,
    Filter,
    Gaussian,
    Info,
    Inputs,
    Kept,
    Mask,
    Observations,
    Params,
    State,
    constructor,
)

__all__: list[str] = []


class BegunState(NamedTuple):
    """The state of a filter that knows whether its record has begun.

    Attributes:
        inner: state of the filter.
        begun: whether a step was taken (bool).
    """

    inner: State
    begun: Array

    @property
    def mean(self) -> Array:
        """Mean of the belief [..., n]."""
        return self.inner.mean

    @property
    def cov(self) -> Array | None:
        """Covariance of the belief [..., n, n], or None."""
        return self.inner.cov


@constructor
def update_first(filter: Filter) -> Filter:
    """Return the filter without a prediction in the first step of a record."""

    def init(params: Params, key: Array | None = None) -> BegunState:
        return BegunState(filter.init(params, key), jnp.zeros((), bool))

    def predict(params: Params, state: BegunState, u: Inputs = None) -> BegunState:
        moved = filter.predict(params, state.inner, u)
        inner = select(state.begun, moved, state.inner)
        return BegunState(inner, jnp.ones((), bool))

    def update(
        params: Params,
        state: BegunState,
        y: Observations,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[BegunState, Info]:
        inner, info = filter.update(params, state.inner, y, u, observed)
        return state._replace(inner=inner), info

    def recentre(params: Params, state: BegunState, gaussian: Gaussian) -> BegunState:
        return state._replace(inner=filter.recentre(params, state.inner, gaussian))

    return Filter(init, predict, update, filter.recentre and recentre, filter.rule)


@constructor
def emit_inner(emit: Emit[Kept]) -> Emit[Kept]:
    """Return an `emit` that sees the state of the filter itself."""

    def inner(state: BegunState, info: Info) -> Kept:
        return emit(state.inner, info)

    return inner
