"""Means of a term over steps: the classes of the losses that `training.losses` builds.

Losses built alike are equal, so that a second `fit` with the same loss compiles nothing again.
Every loss is averaged over the steps of a trajectory first, then over the trajectories, so that
short ones weigh as much as long ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Real, Shaped

from kfjax._support.arguments import check_kind
from kfjax._support.types import Key
from kfjax.base import Filter, Info, Params, State
from kfjax.data import Dataset, start_at
from kfjax.filters.checks import check_filter
from kfjax.training.rollout import FULL, Rollout, roll, start_state
from kfjax.training.terms import SquaredError, squared_innovation

__all__ = ["FilterLoss", "SmootherLoss"]


@dataclasses.dataclass(frozen=True)
class FilterLoss:
    """The mean over steps of a term of a filter's outputs, as built by `state_mse` and others.

    Attributes:
        filter: the `Filter`.
        term: `(params, trajectory, outputs) -> (values, counts)`, arrays [T] or [T, n] of one
            trajectory; hashable.
        emit: what to keep of every step for the term, as in `kfjax.run`.
        rollout: how the filter is run.
    """

    filter: Filter
    term: Callable[[Any, Dataset, Any], tuple[Real[Array, "T ..."], Shaped[Array, "T ..."]]]
    emit: Callable[[Any, Info], Any]
    rollout: Rollout = FULL

    def __post_init__(self) -> None:
        check_filter("losses", self.filter)

    @property
    def is_squared_error(self) -> bool:
        """Whether the loss is a mean squared error in units of the data, and so has decibels."""
        return self.term in (SquaredError(), squared_innovation)

    def __call__(self, params: Params, batch: Dataset, key: Key) -> Float[Array, ""]:
        """Return the loss of a batch."""
        return self.continued(params, batch, key, None)[0]

    def start(self, params: Params, batch: Dataset, key: Key) -> Any:
        """Return the beliefs at the start of every trajectory, to continue from."""
        check_kind("the loss: batch", batch, Dataset)
        keys = jax.random.split(key, batch.ys.shape[0])
        return jax.vmap(lambda one, k: start_state(self.filter, params, one, k))(batch, keys)

    def continued(
        self, params: Params, batch: Dataset, key: Key, states: State
    ) -> tuple[Float[Array, ""], Any]:
        """Return the loss of windows that continue from states (None: the start) and their ends."""
        check_kind("the loss: batch", batch, Dataset)
        keys = jax.random.split(key, batch.ys.shape[0])

        def one(trajectory: Dataset, key: Array, state: State) -> tuple[Any, Array, Array]:
            final, outputs = roll(
                self.filter, params, trajectory, self.rollout, key=key, state=state, emit=self.emit
            )
            values, counts = self.term(params, trajectory, outputs)
            return final, *_sums(values, counts, self.rollout.counts(trajectory))

        finals, totals, counts = jax.vmap(one)(batch, keys, states)
        return _mean_of_means(totals, counts), finals


@dataclasses.dataclass(frozen=True)
class SmootherLoss:
    """The mean over steps of a term of smoothed states, as built by `smoothed_mse`.

    Attributes:
        smoother: what smooths one record.
        term: `(params, trajectory, mean) -> (values, counts)` of one trajectory; hashable.
    """

    smoother: Callable[..., Any]
    term: Callable[[Any, Dataset, Any], tuple[Real[Array, "T ..."], Shaped[Array, "T ..."]]]

    @property
    def is_squared_error(self) -> bool:
        """Whether the loss is a mean squared error in units of the data, and so has decibels."""
        return self.term == SquaredError()

    def __call__(self, params: Params, batch: Dataset, key: Key) -> Float[Array, ""]:
        """Return the loss of a batch."""
        del key
        check_kind("the loss: batch", batch, Dataset)

        def one(trajectory: Dataset) -> tuple[Array, Array]:
            started = start_at(params, trajectory.prior_mean)
            smoothed = self.smoother(
                started,
                trajectory.ys,
                us=trajectory.us,
                observed=trajectory.observed,
                length=trajectory.length,
            )
            values, counts = self.term(started, trajectory, smoothed.mean)
            return _sums(values, counts, FULL.counts(trajectory))

        return _mean_of_means(*jax.vmap(one)(batch))


def _sums(values: Array, counts: Array, within: Array) -> tuple[Array, Array]:
    """Return the sum of the values that count, and how many there are, where `within` [T]."""
    counts = counts * within.reshape(-1, *(1,) * (counts.ndim - 1))
    return jnp.sum(jnp.where(counts > 0, values, 0)), counts.sum()


def _mean_of_means(totals: Array, counts: Array) -> Array:
    """Return the mean over trajectories of their means; one without counts is left out."""
    means = totals / jnp.maximum(counts, 1)
    return means.sum() / jnp.maximum(jnp.sum(counts > 0), 1)
