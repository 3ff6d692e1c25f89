"""Trajectories of a study: simulated ones, and the authors' published sets where they exist."""

import functools

import jax

import kfjax as kf
from benchmarks.trajectories import official, official_file, simulated


@functools.cache
def drawn(seed, model, counts, steps):
    """Simulate training, validation and test parts, each with its own key, from the known x_0."""
    keys = jax.random.split(jax.random.key(seed), 3)
    each = [simulated(key, model, count, steps) for key, count in zip(keys, counts, strict=True)]
    return kf.data.Parts(*each)


def published(name):
    """Return the parts of a set that the authors published, or None if its file is missing."""
    if not official_file(name).exists():
        return None
    return official(name)
