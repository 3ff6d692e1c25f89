"""Estimates of filters on data sets, and their errors in decibels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf


@functools.partial(jax.jit, static_argnums=0)
def means(filter, params, data):
    """Return the estimates of all trajectories."""
    keys = jax.random.split(jax.random.key(0), data.ys.shape[0])
    return jax.vmap(
        lambda one, k: kf.data.run_trajectory(filter, params, one, key=k, emit=_mean)[1]
    )(data, keys)


def _mean(state, info):
    del info
    return state.mean


def decibels(filter, params, data, *, many=False):
    """Return the MSE in dB over all trajectories, steps and dimensions; of params of several seeds, one for each."""
    mean = (
        means(filter, params, data)
        if not many
        else jax.vmap(lambda p: means(filter, p, data))(params)
    )
    error = np.asarray(mean, np.float64) - np.asarray(data.xs, np.float64)
    values = 10 * np.log10(np.mean(error**2, axis=(-3, -2, -1)))
    return values.round(4).tolist()


def floor_db(model, steps):
    """Return the least MSE of a linear model, from theory, in dB."""
    cov = kf.evaluation.expected_error(model, steps=steps)
    return float(10 * jnp.log10(jnp.trace(cov, axis1=1, axis2=2).mean() / model.n))
