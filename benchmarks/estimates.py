"""Estimates of filters on data sets, and their errors in decibels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf


@functools.partial(jax.jit, static_argnums=0)
def means(filter, params, data):
    """Return the estimated means of all trajectories, [N, T, n]."""
    keys = jax.random.split(jax.random.key(0), data.ys.shape[0])

    def one(trajectory, key):
        return kf.data.run_trajectory(filter, params, trajectory, key=key, emit=mean_only).outputs

    return jax.vmap(one)(data, keys)


def mean_only(state, info):
    """Keep the estimated mean of every step."""
    del info
    return state.mean


def decibels(filter, params, data, *, many=False):
    """Return the MSE in dB over all trajectories, steps and state dimensions.

    Args:
        filter: the filter.
        params: its parameters; with a leading axis over seeds if `many`.
        data: the trajectories.
        many: whether to return a list with one figure per seed.
    """
    if many:
        mean = jax.vmap(lambda one: means(filter, one, data))(params)
    else:
        mean = means(filter, params, data)
    error = np.asarray(mean, np.float64) - np.asarray(data.xs, np.float64)
    values = 10 * np.log10(np.mean(error**2, axis=(-3, -2, -1)))
    return values.round(4).tolist()


def floor_db(model, steps):
    """Return the lowest possible MSE of a linear model in dB, from theory."""
    cov = kf.evaluation.expected_error(model, steps=steps)
    variances = jnp.trace(cov, axis1=1, axis2=2) / model.n
    return float(10 * jnp.log10(variances.mean()))
