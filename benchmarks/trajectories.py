"""Trajectories for the studies: the data sets of the KalmanNet authors, and simulated ones."""

import functools
import os
from pathlib import Path

import jax
import numpy as np

import kfjax as kf

DATA = Path(__file__).parents[2] / "shared" / "data"  # unless KFJAX_DATA names another folder


@functools.cache
def official(name):
    """Return the training, validation and test parts of a data set of the authors."""
    return kf.data.read_parts(official_file(name))


def official_file(name):
    """Return the path where a data set of the authors is expected."""
    folder = Path(os.environ.get("KFJAX_DATA", DATA))
    return folder / "kalmannet" / f"{name}.npz"


def shortened(parts, steps):
    """Return parts whose training and validation trajectories are cut to their first steps."""
    return parts._replace(
        train=kf.data.first_steps(parts.train, steps),
        validation=kf.data.first_steps(parts.validation, steps),
    )


def simulated(key, model, trajectories, steps, std=0.0):
    """Simulate trajectories whose random x_0 ~ N(prior mean, std^2 I) is known to filters."""
    start, key = jax.random.split(key)
    noise = jax.random.normal(start, (trajectories, model.n))
    first = model.prior.mean[None] + std * noise

    def one(key, x0):
        return kf.simulate(key, model.replace(prior=kf.systems.known(x0)), steps)

    xs, ys = jax.vmap(one)(jax.random.split(key, trajectories), first)
    return kf.Dataset(ys, xs, prior_mean=np.asarray(first))
