"""Run a filter over the records of a problem: errors of every record, and the time of a step."""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.choosing.candidates import params_of

ROUNDS = 2  # calls, of which the fastest counts
WIDTH = 1.959964  # standard deviations of the central interval of 95 %


class Errors(NamedTuple):
    """The errors of a filter on N records.

    Attributes:
        squared: squared error of the scored components, the mean over time [N]; inf where the
            filter failed.
        covered: share of the scored components inside their central interval of 95 % [N].
    """

    squared: Any
    covered: Any


@functools.partial(jax.jit, static_argnums=0)
def _estimates(filter, params, batch, keys):
    def one(record, key):
        est = kf.data.run_trajectory(filter, params, record, key=key).outputs
        return est.mean, jnp.diagonal(est.cov, axis1=-2, axis2=-1)

    return jax.vmap(one)(batch, keys)


@functools.partial(jax.jit, static_argnums=0)
def _errors(scored, space, means, variances, xs):
    e = jax.vmap(jax.vmap(space.difference))(means, xs)[..., jnp.array(scored)]
    inside = jnp.abs(e) <= WIDTH * jnp.sqrt(variances[..., jnp.array(scored)])
    return jnp.sum(e**2, axis=2).mean(1), inside.mean((1, 2))


def errors(problem, candidate, factors, data, batch):
    """Return the `Errors` of a filter on all records, `batch` of them at a time."""
    params = params_of(problem, candidate, factors)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(7), jnp.arange(data.size))
    parts = []
    for first in range(0, data.size, batch):
        rows = slice(first, first + batch)
        found = _estimates(candidate.filter, params, data[rows], keys[rows])
        part = _errors(problem.scored, params.state_space, *found, data.xs[rows])
        parts.append([np.asarray(each) for each in part])
    squared, covered = map(np.concatenate, zip(*parts, strict=True))
    return Errors(np.where(np.isfinite(squared), squared, np.inf), covered)


def chosen(problem, candidate, validation):
    """Return the pair of factors with the lowest error on the validation records, in one batch."""
    losses = {
        pair: errors(problem, candidate, pair, validation, validation.size).squared.mean()
        for pair in candidate.factors
    }
    return min(losses, key=losses.get)


def seconds_per_step(problem, candidate, validation):
    """Return the processor time of a step of one record: the fastest of a few calls on a batch."""
    found = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        errors(problem, candidate, (1.0, 1.0), validation, validation.size)
        found.append(time.process_time() - begin)
    return min(found) / (validation.size * validation.steps)
