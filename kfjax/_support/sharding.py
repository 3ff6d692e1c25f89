"""Batches of trajectories over several devices and processes.

No other module knows about several devices. Trajectories are independent, so the batch is split
along its axis over a mesh of devices, everything else is copied to each of them, and no result
depends on the number of devices. With one device, every function here returns its argument; `with
jax.default_device(device):` confines the work to one.

Evaluation splits each chunk over the devices of its process, each process takes its share of the
chunks, and results are gathered at the end. Training takes each step with all devices of all
processes together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kfjax._support.persistence import is_key
from kfjax._support.types import PyTree

__all__: list[str] = []

AXIS = "batch"  # the axis of the mesh of devices


def local_devices() -> list[jax.Device]:
    """Return the devices of this process, or the one that `jax.default_device` names."""
    return _chosen_device() or jax.local_devices()


def all_devices() -> list[jax.Device]:
    """Return the devices of all processes, or the one that `jax.default_device` names."""
    return _chosen_device() or jax.devices()


def _chosen_device() -> list[jax.Device]:
    """Return the device that `jax.default_device` names, in a list, or an empty list."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    return [] if chosen is None else [chosen]


def _over(devices: list[jax.Device], *axes: str) -> NamedSharding:
    """Return the sharding of an array whose leading axes are split over devices.

    Without `axes` every device has a copy.
    """
    mesh = Mesh(np.array(devices), (AXIS,))
    return NamedSharding(mesh, P(*axes))


def whole(size: int) -> int:
    """Return the smallest size from `size` on that the devices of this process divide evenly."""
    count = len(local_devices())
    return math.ceil(size / count) * count


def vmap(function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """Return `jax.vmap(function, in_axes)` for a `whole` batch, split over devices of this process.

    Tracers that the function needs must be among its arguments, with axis None if all trajectories
    share them, otherwise 0.
    """
    return over_devices(jax.vmap(function, in_axes), in_axes)


def over_devices(batched: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """Return a function of a `whole` batch, split over devices of this process; axes as in vmap."""
    devices = local_devices()
    if len(devices) == 1:
        return batched
    specs = tuple(P() if axis is None else P(AXIS) for axis in in_axes)
    # the carry of a scan may start equal on all devices and become different, which the check of
    # varying manual axes would reject
    return jax.shard_map(
        batched, mesh=_over(devices).mesh, in_specs=specs, out_specs=P(AXIS), check_vma=False
    )


def place(batch: PyTree) -> PyTree:
    """Put a `whole` batch on the devices of this process, one part on each."""
    devices = local_devices()
    if len(devices) == 1:
        return jax.device_put(batch)
    return jax.device_put(batch, _over(devices, AXIS))


def everywhere(tree: PyTree, devices: list[jax.Device]) -> PyTree:
    """Put a copy on every device.

    The devices may belong to several processes, which all hold the same values.
    """
    if len(devices) == 1:
        return tree
    sharding = _over(devices)

    def copy(leaf: PyTree) -> PyTree:
        if is_key(leaf):
            words = copy(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        array = np.asarray(jnp.asarray(leaf))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(copy, tree)


def split(batch: PyTree) -> PyTree:
    """Split a batch of any size over the devices of all processes, inside `jax.jit`."""
    return _constrained(batch, AXIS)


def copied(tree: PyTree) -> PyTree:
    """Keep a copy on every device of every process, inside `jax.jit`."""
    return _constrained(tree)


def _constrained(tree: PyTree, *axes: str) -> PyTree:
    """Constrain how a tree is distributed over all devices, if there are several."""
    devices = all_devices()
    if len(devices) == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, _over(devices, *axes))


def home(tree: PyTree) -> PyTree:
    """Return arrays that are copied to every device as ordinary arrays."""
    if len(all_devices()) == 1:
        return tree
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), tree)


def share(jobs: int) -> range:
    """Return the numbers of the jobs of this process.

    All processes have the same count, so that numbers from `jobs` on stand for no job.
    """
    each = math.ceil(jobs / jax.process_count())
    first = jax.process_index() * each
    return range(first, first + each)


def gather_rows(tree: PyTree) -> PyTree:
    """Return on every process the rows of all processes, one process after the other: [N, ...]."""
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.ascontiguousarray, tree))
    count = np.array(len(leaves[0]), np.int32)
    counts = multihost_utils.process_allgather(count)

    def joined(leaf: np.ndarray) -> np.ndarray:
        # processes may have different numbers of rows, but all have to send the same number
        padded = np.zeros((counts.max(), *leaf.shape[1:]), leaf.dtype)
        padded[: len(leaf)] = leaf
        # as bytes: without x64 JAX would round double precision
        own = np.frombuffer(padded.tobytes(), np.uint8)
        parts = multihost_utils.process_allgather(own)
        rows = [np.frombuffer(part.tobytes(), leaf.dtype).reshape(padded.shape) for part in parts]
        return np.concatenate([row[:count] for row, count in zip(rows, counts, strict=True)])

    return jax.tree.unflatten(structure, [joined(leaf) for leaf in leaves])


def wait_for_all() -> None:
    """Wait until every process has arrived."""
    gather_rows(np.zeros(1))


def from_first(tree: PyTree) -> PyTree:
    """Return the values of the first process on every process."""
    rows = gather_rows(jax.tree.map(lambda a: np.asarray(a)[None], tree))
    return jax.tree.map(lambda a: a[0], rows)
