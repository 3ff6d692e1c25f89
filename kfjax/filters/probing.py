"""A filter that records the result of a probe at every update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from kfjax.base import Filter, Info, Inputs, Mask, Params, constructor

__all__: list[str] = []


class ProbedState(NamedTuple):
    """The state of a filter with a probe."""

    state: Any
    before: Any

    @property
    def mean(self) -> Array:
        """The filter's own."""
        return self.state.mean

    @property
    def cov(self) -> Array | None:
        """The filter's own."""
        return self.state.cov


@constructor
def probed(filter: Filter, probe: Callable) -> Filter:
    """Return the filter with the result of `probe` at every update in its Info.

    `probe(filter, params, before, predicted, y, u, observed)` may return any pytree.
    """

    def init(params: Params, key: Array | None = None) -> ProbedState:
        state = filter.init(params, key)
        return ProbedState(state, state)

    def predict(params: Params, state: ProbedState, u: Inputs = None) -> ProbedState:
        return ProbedState(filter.predict(params, state.state, u), state.state)

    def update(
        params: Params, state: ProbedState, y: Array, u: Inputs = None, observed: Mask = None
    ) -> tuple[ProbedState, Info]:
        found = probe(filter, params, state.before, state.state, y, u, observed)
        new, _ = filter.update(params, state.state, y, u, observed)
        return ProbedState(new, state.before), Info(extra={"found": found})

    return Filter(init, predict, update)
