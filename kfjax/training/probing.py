"""Probes inside a filter, step by step, over a `Dataset`."""

from __future__ import annotations

import functools

import jax
from jax import Array

from kfjax._support.compiling import jit
from kfjax.base import Filter, Params, extra_only
from kfjax.data import Dataset, run_trajectory
from kfjax.filters.probing import Probe, probed

__all__: list[str] = []


@functools.partial(jit, static_argnums=(0, 1))
def probe_steps(filter: Filter, probe: Probe, params: Params, data: Dataset) -> Array:
    """Return the result of a probe (`kfjax.filters.probing`) at every step of every trajectory."""
    keys = jax.random.split(jax.random.key(0), data.ys.shape[0])
    watched = probed(filter, probe)

    def one(trajectory: Dataset, key: Array) -> Array:
        kept = run_trajectory(watched, params, trajectory, key=key, emit=extra_only).outputs
        return kept["found"]

    return jax.vmap(one)(data, keys)
