"""Where the batch lies in memory: innermost, so that small matrices of many trajectories are computed side by side.

`jax.vmap` puts the batch first, and a batch of 4 x 4 matrices then lies matrix by matrix: loops
over four numbers, which a processor cannot do side by side. With the batch last in memory each
entry of the matrix is a row of numbers, one per trajectory. `batch_innermost` asks for that order
without changing a shape or a value.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

__all__ = ["batch_innermost"]

_innermost = Primitive("batch_innermost")


def batch_innermost(x: Any) -> Array:
    """Return x; under `jax.vmap` on a CPU, laid out with the axes of the batch last in memory.

    Elsewhere, and without a batch, it is nothing at all.
    """
    return _innermost.bind(x, batch_axes=0)


def _batch(args: tuple[Array], axes: tuple[int], *, batch_axes: int) -> tuple[Array, int]:
    return _innermost.bind(jnp.moveaxis(args[0], axes[0], 0), batch_axes=batch_axes + 1), 0


def _laid_out(x: Array, *, batch_axes: int) -> Array:
    """What is compiled on a CPU; the leading `batch_axes` are those of the batch."""
    if batch_axes in (0, x.ndim):
        return x
    order = (*range(batch_axes, x.ndim), *range(batch_axes))
    return with_layout_constraint(x, Layout(major_to_minor=order))


def _unchanged(x: Any, *, batch_axes: int) -> Any:
    del batch_axes
    return x


_ask = mlir.lower_fun(_laid_out, multiple_results=False)


def _lower_on_cpu(ctx: Any, x: Any, *, batch_axes: int) -> Any:
    # not in a program for export, nor where the compiler splits it over devices: it would gather
    # what it cannot split
    context = ctx.module_context
    asked = _on_one_device(context.axis_context) and not context.lowering_parameters.for_export
    return _ask(ctx, x, batch_axes=batch_axes) if asked else [x]


def _on_one_device(context: Any) -> bool:
    """Tell whether what is compiled runs on one device, if need be as the part of one in a `jax.shard_map`."""
    if hasattr(context, "manual_axes"):
        return set(context.manual_axes) == set(context.mesh.axis_names)
    return getattr(context, "num_devices", None) == 1


_innermost.def_impl(_unchanged)
_innermost.def_abstract_eval(_unchanged)
ad.deflinear2(
    _innermost,
    lambda cotangent, _, *, batch_axes: (_innermost.bind(cotangent, batch_axes=batch_axes),),
)
batching.primitive_batchers[_innermost] = _batch
mlir.register_lowering(_innermost, mlir.lower_fun(_unchanged, multiple_results=False))
mlir.register_lowering(_innermost, _lower_on_cpu, platform="cpu")
