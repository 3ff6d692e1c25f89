"""Trajectories for the studies: the KalmanNet authors' data sets, and simulated ones."""

import functools
import os
from pathlib import Path

import jax
import numpy as np

import kfjax as kf

DATA = Path(__file__).parents[2] / "shared" / "data"  # unless KFJAX_DATA names another folder


@functools.cache
def official(name):
    """Return the train, validation and test parts of an official data set."""
    return kf.data.read_parts(official_file(name))


def official_file(name):
    """Return where an official data set is looked for."""
    folder = Path(os.environ.get("KFJAX_DATA", DATA))
    return folder / "kalmannet" / f"{name}.npz"


def shortened(parts, steps):
    """Return parts whose trajectories for training and validation are cut to their first steps."""
    return parts._replace(
        train=kf.data.first_steps(parts.train, steps),
        validation=kf.data.first_steps(parts.validation, steps),
    )


def simulated(key, model, trajectories, steps, std=0.0):
    """Return trajectories from known, random x_0 ~ N(prior mean, std^2 I)."""
    start, key = jax.random.split(key)
    n = model.n
    initial = model.prior.mean[None] + std * jax.random.normal(start, (trajectories, n))

    def one(k, x):
        return kf.simulate(k, model.replace(prior=kf.systems.known(x)), steps)

    xs, ys = jax.vmap(one)(jax.random.split(key, trajectories), initial)
    return kf.Dataset(ys, xs, prior_mean=np.asarray(initial))
