"""A batch of trajectories over several devices and processes: the one place that knows there may be more than one.

Trajectories do not know of each other. So the batch is split along its axis over a mesh of devices,
everything else is copied to each of them, and no result depends on how many there are. With one
device every function here leaves what it is given as it is; `with jax.default_device(device):`
confines the work to one.

Evaluation splits each chunk over the devices of its process, each process takes its share of the
chunks, and results are gathered at the end. Training takes each step with all devices of all
processes together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

__all__: list[str] = []

AXIS = "batch"


def local_devices() -> list[Any]:
    """Return the devices of this process; the one that `jax.default_device` names, if it does."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    return jax.local_devices() if chosen is None else [chosen]


def all_devices() -> list[Any]:
    """Return the devices of all processes; the one that `jax.default_device` names, if it does."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    return jax.devices() if chosen is None else [chosen]


def _over(devices: list[Any], *axes: str) -> NamedSharding:
    """The sharding over devices of an array whose leading axes are split so; none is a copy on each."""
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), P(*axes))


def whole(size: int) -> int:
    """Return the size of a batch that is divided evenly by the devices of this process, at least `size`."""
    count = len(local_devices())
    return math.ceil(size / count) * count


def vmap(function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """Return `jax.vmap(function, in_axes)`, each device of this process its part of the batch, which is a `whole` one.

    What the function needs of tracers is an argument: axis None for what all trajectories share,
    else 0.
    """
    batched = jax.vmap(function, in_axes)
    if len(devices := local_devices()) == 1:
        return batched
    specs = tuple(P() if axis is None else P(AXIS) for axis in in_axes)
    # what a scan carries may start the same on all devices and become different: nothing to check
    return jax.shard_map(
        batched, mesh=_over(devices).mesh, in_specs=specs, out_specs=P(AXIS), check_vma=False
    )


def place(batch: Any) -> Any:
    """Put a `whole` batch on the devices of this process, each its part."""
    devices = local_devices()
    return jax.device_put(batch, None if len(devices) == 1 else _over(devices, AXIS))


def everywhere(tree: Any, devices: list[Any]) -> Any:
    """Put a copy on every device, which may be those of several processes that all hold the same values."""
    if len(devices) == 1:
        return tree
    sharding = _over(devices)

    def copy(leaf: Any) -> Any:
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            words = copy(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        array = np.asarray(jnp.asarray(leaf))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(copy, tree)


def split(batch: Any) -> Any:
    """Inside `jax.jit`: let all devices of all processes work on their part of a batch of any size."""
    return _constrained(batch, AXIS)


def copied(tree: Any) -> Any:
    """Inside `jax.jit`: let every device of every process have a copy."""
    return _constrained(tree)


def _constrained(tree: Any, *axes: str) -> Any:
    devices = all_devices()
    return (
        tree if len(devices) == 1 else jax.lax.with_sharding_constraint(tree, _over(devices, *axes))
    )


def home(tree: Any) -> Any:
    """Return copies that are on every device as ordinary arrays."""
    return (
        tree
        if len(all_devices()) == 1
        else jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), tree)
    )


def share(jobs: int) -> range:
    """Return which of so many jobs are this process's; all processes have as many, the last ones may be none."""
    each = math.ceil(jobs / jax.process_count())
    return range(jax.process_index() * each, (jax.process_index() + 1) * each)


def gather_rows(tree: Any) -> Any:
    """Return arrays [N, ...] with the rows of all processes, in the order of the processes, on each of them."""
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.ascontiguousarray, tree))
    counts = multihost_utils.process_allgather(np.array(len(leaves[0]), np.int32))

    def joined(leaf: np.ndarray) -> np.ndarray:
        padded = np.zeros((counts.max(), *leaf.shape[1:]), leaf.dtype)
        padded[: len(leaf)] = leaf
        # as bytes: without x64 JAX would round double precision
        parts = multihost_utils.process_allgather(np.frombuffer(padded.tobytes(), np.uint8))
        rows = [np.frombuffer(part.tobytes(), leaf.dtype).reshape(padded.shape) for part in parts]
        return np.concatenate([row[:count] for row, count in zip(rows, counts, strict=True)])

    return jax.tree.unflatten(structure, [joined(leaf) for leaf in leaves])


def from_first(tree: Any) -> Any:
    """Return what the first process has, on all of them."""
    rows = gather_rows(jax.tree.map(lambda a: np.asarray(a)[None], tree))
    return jax.tree.map(lambda a: a[0], rows)
