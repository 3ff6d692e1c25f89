"""Trajectories for the studies: simulated ones, and the authors' published sets where they are."""

import functools

import jax

import kfjax as kf
from benchmarks.trajectories import official, official_file, simulated


@functools.cache
def drawn(seed, model, counts, steps):
    """Return training, validation and test parts from x_0 as the prior knows it, each with a key of its own."""
    keys = jax.random.split(jax.random.key(seed), 3)
    return kf.data.Parts(
        *(simulated(key, model, n, steps) for key, n in zip(keys, counts, strict=True))
    )


def published(name):
    """Return the parts of a set that the authors published, or None where it is not."""
    return official(name) if official_file(name).exists() else None
