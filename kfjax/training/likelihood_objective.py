"""The likelihood as a function of free numbers, and its compiled programs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.compiling import jit
from kfjax.base import Filter, Params, log_likelihood_only
from kfjax.data import Dataset, run_trajectory
from kfjax.data.batches import start_at
from kfjax.data.counting import counted_observations
from kfjax.filters.starting import update_first
from kfjax.models.lens import starts_with_update
from kfjax.runner import run
from kfjax.training.free_parameters import Layout

__all__: list[str] = []

WHO = "maximum_likelihood"  # in error texts


class On(NamedTuple):
    """The data and settings that an `Objective` depends on, beside the free numbers.

    Attributes:
        fixed: arrays that are not free.
        data: the trajectories.
        key: random key of the filter.
        count: number of observations that count.
        skip: number of leading steps that do not.
    """

    fixed: Any
    data: Dataset
    key: Array
    count: Any
    skip: Any


class Objective(NamedTuple):
    """Minus the log-likelihood per observation as a function of free numbers; static.

    Attributes:
        filter: the `Filter`.
        layout: what the free numbers stand for.
        log_prior: what is added to the log-likelihood, or None.
    """

    filter: Filter
    layout: Layout
    log_prior: Callable[[Any], Array] | None

    def __call__(self, theta: Array, on: On) -> Array:
        """Return the objective at theta [p]."""
        total = self._log_likelihood(self.layout.params(theta, on.fixed), on)
        if self.log_prior is not None:
            total = total + self.log_prior(self.layout.values(theta, on.fixed))
        return -total / on.count

    def _log_likelihood(self, params: Params, on: On) -> Array:
        """Return the log-likelihood of all trajectories."""

        def one(trajectory: Dataset, key: Array) -> Array:
            terms = self._terms(params, trajectory, key)
            if terms is None:
                raise ValueError(
                    f"{WHO}: {self.filter} gives no log-likelihood; expected one that does, such as"
                    " kf.extended()."
                )
            counts = jnp.arange(terms.shape[0]) >= on.skip
            return jnp.where(counts, terms, 0).sum()

        # One trajectory runs with the key as it is, so that the result is that of
        # `kfjax.log_likelihood`.
        if on.data.size == 1:
            return one(jax.tree.map(lambda a: a[0], on.data), on.key)
        keys = jax.random.split(on.key, on.data.size)
        return jax.vmap(one)(on.data, keys).sum()

    def _terms(self, params: Params, trajectory: Dataset, key: Array) -> Array | None:
        """Return the log-likelihood of each step, if the filter has one."""
        if not starts_with_update(params):
            return run_trajectory(
                self.filter, params, trajectory, key=key, emit=log_likelihood_only
            ).outputs
        # With the first update inside the loop there is one copy of the filter to compile, not two:
        # half the time of a fit whose data are short.
        begun = update_first(self.filter)
        params = start_at(params, trajectory.prior_mean)
        return run(
            begun,
            params,
            trajectory.ys,
            us=trajectory.us,
            observed=trajectory.observed,
            length=trajectory.length,
            state=begun.init(params, key),
            emit=log_likelihood_only,
        ).outputs


@functools.partial(jit, static_argnums=0)
def value_at(objective: Objective, theta: Array, on: On) -> Array:
    """Return the objective at one place [p]."""
    return objective(theta, on)


@functools.partial(jit, static_argnums=0)
def value_and_gradient(objective: Objective, theta: Array, on: On) -> tuple[Array, Array]:
    """Return the objective and its gradient at one place [p]."""
    return jax.value_and_grad(lambda free: objective(free, on))(theta)


def values_at(objective: Objective, thetas: Array, on: On) -> np.ndarray:
    """Return the objective at several places [K, p], by one program for any number of them."""
    return np.array([float(value_at(objective, theta, on)) for theta in thetas])


@functools.partial(jit, static_argnums=0)
def derivatives(objective: Objective, theta: Array, on: On) -> tuple[Array, Array]:
    """Return the second derivatives [p, p] of the objective, and those of the natural values."""

    def gradient(free: Array) -> Array:
        return jax.grad(lambda theta: objective(theta, on))(free)

    def along(direction: Array) -> Array:
        return jax.jvp(gradient, (theta,), (direction,))[1]

    # one direction after another takes the memory of one
    hessian = jax.lax.map(along, jnp.eye(theta.size, dtype=theta.dtype))
    return hessian, jax.jacfwd(objective.layout.natural)(theta)


def count_observations(data: Dataset, skip: int) -> int:
    """Return how many numbers count."""
    count = int(counted_observations(data, skip).sum())
    if count == 0:
        raise ValueError(
            f"{WHO}: nothing was observed after the first {skip} steps; expected observations."
        )
    return count
