"""Arrays on a mesh of devices whose axes are explicit, which is the default of `jax.make_mesh`.

In JAX an array on such a mesh carries its sharding in its type, and operations check that the types
of their operands agree. Loops cannot be batched then: under `jax.vmap` the start of a loop, which
is the same for all trajectories, gets the axis of the batch, but is on no mesh that has this axis.
(`jax.vmap` of a `jax.lax.scan` that starts at a constant fails, without kfjax.) Hence functions of
kfjax leave it to the compiler how they are split over such axes, as on a mesh with automatic axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
from jax.sharding import AbstractMesh, AxisType, PartitionSpec, auto_axes, use_abstract_mesh

__all__: list[str] = []

Result = TypeVar("Result")


def left_to_the_compiler(
    function: Callable[..., Result], *args: object, **kwargs: object
) -> Result:
    """Return function(*args, **kwargs), traced with the explicit axes of its arguments automatic.

    Along an axis that `jax.vmap` added, results are split like the arguments; along their own axes
    they are not split.

    Args:
        function: a function, while it is traced.
        *args: its arguments, tracers or static.
        **kwargs: the same by name.
    """
    leaves, structure = jax.tree.flatten((args, kwargs))
    traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.core.Tracer)]
    mesh = _explicit_mesh([leaves[i] for i in traced])
    if mesh is None:
        return function(*args, **kwargs)

    def inner(*arrays: jax.Array) -> Result:
        placed = dict(zip(traced, arrays, strict=True))
        whole = [placed.get(i, leaf) for i, leaf in enumerate(leaves)]
        own, named = jax.tree.unflatten(structure, whole)
        return function(*own, **named)

    automatic = auto_axes(inner, axes=mesh.explicit_axes, out_sharding=PartitionSpec())
    with use_abstract_mesh(mesh):
        return automatic(*(leaves[i] for i in traced))


def _explicit_mesh(tracers: list[jax.core.Tracer]) -> AbstractMesh | None:
    """Return the explicit mesh of the first array that lies on one, or None."""
    for tracer in tracers:
        mesh = jax.typeof(tracer).sharding.mesh
        if AxisType.Explicit in mesh.axis_types:
            return mesh
    return None
