"""A filter that records the result of a probe at every update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from jax import Array

from kfjax._support.types import PyTree
from kfjax.base import Filter, Info, Inputs, Mask, Observations, Params, State, constructor

__all__: list[str] = []


class ProbedStep(NamedTuple):
    """One step of a filter, as a probe sees it.

    Attributes:
        before: the state before the prediction.
        predicted: the state after it.
        y: the observation.
        u: the input.
        observed: the mask.
    """

    before: State
    predicted: State
    y: Observations
    u: Inputs
    observed: Mask


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


Probe: TypeAlias = Callable[[Filter, Params, ProbedStep], PyTree]


@constructor
def probed(filter: Filter, probe: Probe) -> Filter:
    """Return the filter with the result of `probe` at every update in its Info.

    `probe(filter, params, step)` may return any pytree.
    """

    def init(params: Params, key: Array | None = None) -> ProbedState:
        state = filter.init(params, key)
        return ProbedState(state, state)

    def predict(params: Params, state: ProbedState, u: Inputs = None) -> ProbedState:
        return ProbedState(filter.predict(params, state.state, u), state.state)

    def update(
        params: Params,
        state: ProbedState,
        y: Observations,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[ProbedState, Info]:
        found = probe(filter, params, ProbedStep(state.before, state.state, y, u, observed))
        new, _ = filter.update(params, state.state, y, u, observed)
        return ProbedState(new, state.before), Info(extra={"found": found})

    return Filter(init, predict, update)
