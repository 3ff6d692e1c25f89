"""The order of axes in memory: the batch innermost, for small matrices of many trajectories.

`jax.vmap` puts the batch first. A batch of 4 x 4 matrices then lies in memory matrix by matrix, in
loops over four numbers that a processor cannot vectorise. With the batch last in memory each entry
of the matrix is a row of numbers, one per trajectory, and operations on entries are vectorised over
trajectories. `batch_innermost` asks XLA for that order without changing a shape or a value. It made
batches of extended and unscented filters up to twice as fast.

It is a primitive because no existing operation can do this: a constraint on the layout has to name
the axes of the batch, which a function under `jax.vmap` does not see. The rules of the primitive
are those of the identity, except that batching counts the leading axes that `jax.vmap` adds, and
that lowering for a CPU puts the constraint on those axes:

* value and abstract value: x -> x;
* derivative: the identity is linear and its own transpose, so that cotangents get the same layout
  as values, and derivatives of any order follow;
* batching: the new axis moves to the front, and `batch_axes` grows by one;
* lowering: a layout constraint on a CPU, the identity elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from kfjax._support.primitives import define_value
from kfjax._support.types import AnyArray

__all__ = ["batch_innermost"]

_innermost = Primitive("batch_innermost")


def batch_innermost(x: AnyArray) -> Array:
    """Return x; under `jax.vmap` on a CPU, laid out with the axes of the batch last in memory.

    On other platforms and without a batch, it compiles to nothing.
    """
    return _innermost.bind(x, batch_axes=0)


def _value(x: AnyArray, *, batch_axes: int) -> Array:
    """Return x outside of `jax.jit`, where nothing is compiled."""
    del batch_axes
    return jnp.asarray(x)


def _abstract_value(x: ShapedArray, *, batch_axes: int) -> ShapedArray:
    """Return the shape and dtype of the result, which are those of x."""
    del batch_axes
    return x


def _transpose(cotangent: Array, x: object, *, batch_axes: int) -> tuple[Array]:
    """Return the cotangent of x, in the same layout."""
    del x
    return (_innermost.bind(cotangent, batch_axes=batch_axes),)


def _batch(args: Sequence[Array], axes: Sequence[int], *, batch_axes: int) -> tuple[Array, int]:
    """Move the new axis to the front and count it among those of the batch."""
    (x,) = args
    (axis,) = axes
    return _innermost.bind(jnp.moveaxis(x, axis, 0), batch_axes=batch_axes + 1), 0


def _unchanged(x: Array, *, batch_axes: int) -> Array:
    """Return x: the program for any platform but a CPU."""
    del batch_axes
    return x


def _laid_out(x: Array, *, batch_axes: int) -> Array:
    """Return x with its leading `batch_axes` last in memory: the program for a CPU."""
    if batch_axes in (0, x.ndim):
        return x
    order = (*range(batch_axes, x.ndim), *range(batch_axes))
    return with_layout_constraint(x, Layout(major_to_minor=order))


_lower_laid_out = mlir.lower_fun(_laid_out, multiple_results=False)


def _lower_on_cpu(ctx: mlir.LoweringRuleContext, x: object, *, batch_axes: int) -> Any:
    """Lower for a CPU, with the constraint where it is allowed."""
    # No constraint in a program for export, which may run on another platform, nor where the
    # compiler splits the program over devices, since it would gather constrained arrays on each of
    # them.
    module = ctx.module_context
    for_export = module.lowering_parameters.for_export
    if for_export or not on_one_device(module.axis_context):
        return [x]
    return _lower_laid_out(ctx, x, batch_axes=batch_axes)


def on_one_device(context: Any) -> bool:
    """Return whether a program runs on one device, perhaps as its part of a `jax.shard_map`."""
    if hasattr(context, "manual_axes"):
        return set(context.manual_axes) == set(context.mesh.axis_names)
    return getattr(context, "num_devices", None) == 1


define_value(_innermost, _value)
_innermost.def_abstract_eval(_abstract_value)
ad.deflinear2(_innermost, _transpose)
batching.primitive_batchers[_innermost] = _batch
mlir.register_lowering(_innermost, mlir.lower_fun(_unchanged, multiple_results=False))
mlir.register_lowering(_innermost, _lower_on_cpu, platform="cpu")
