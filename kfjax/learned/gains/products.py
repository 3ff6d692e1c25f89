"""The product x W of a network's layer, in the forms that compile to the fastest programs.

Under `jax.vmap` the x of a batch of trajectories are the rows of a matrix X [B, k], and the
gradient with respect to W [k, j] sums over them. Three products occur in training:

    value: X W,   cotangent of X: C W',   cotangent of W: X' C,   for a cotangent C [B, j].

On a CPU the compiler hands a product to its library only if its operands are in the usual order,
[B, k] times [k, j]. Otherwise it transposes them first or writes slow loops; and a call of the
library costs as much as a small product itself. So

* a product with a small W, and the gradient of a small W, are sums of broadcast products, which
  fuse with what stands beside them;
* for the gradient of a large W the narrower of X and C is transposed first, behind a barrier, so
  that the product is one in the usual order.

`jax.custom_vjp` would not do: its rule sees one trajectory, and gives a cotangent of W for each
[B, k, j], to be summed afterwards. A primitive is batched first, so that the rule for its
transposition sees all rows. The rules below are those of a bilinear function, so that derivatives
of any order follow; values and derivatives are those of x W to rounding. Together with gates and
directions that keep less for the backward pass, these products make a training step of KalmanNet #2
take 0.64 of the time of the same network in a plain scan (benchmarks/learned/RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Float

from kfjax._support.primitives import define_value

__all__: list[str] = []

SMALL = 150  # entries of W; measured by training KalmanNet #2 for n = 2 and 3, in batches of 30
_product = Primitive("product")


def product(x: Float[Array, "... k"], W: Float[Array, "k j"]) -> Float[Array, "... j"]:
    """Return x W, at full precision on every device."""
    dtype = jnp.promote_types(x.dtype, W.dtype)
    return _product.bind(x.astype(dtype), W.astype(dtype))


def dot_general(x: Array, W: Array, dimensions: object, precision: object = None) -> Array:
    """Return x W, with the arguments that `flax.linen.Dense` gives to its `dot_general`."""
    del dimensions, precision
    return product(x, W)


def _value(x: Array, W: Array) -> Array:
    """Return x W for x [..., k]; small products of a batch as a sum over k."""
    if x.ndim > 1 and W.size <= SMALL:
        shape = (1,) * (x.ndim - 1) + W.shape
        return jnp.sum(x[..., None] * W.reshape(shape), axis=-2)
    return jnp.matmul(x, W, precision=jax.lax.Precision.HIGHEST)


def _abstract_value(x: ShapedArray, W: ShapedArray) -> ShapedArray:
    """Return the shape and dtype of x W."""
    return ShapedArray((*x.shape[:-1], W.shape[1]), x.dtype)


def _transpose_x(ct: Array, x: object, W: Array) -> Array:
    """Return the cotangent of x, ct W'."""
    del x
    return _value(ct, W.T)


def _transpose_W(ct: Array, x: Array, W: Any) -> Array:
    """Return the cotangent of W, the sum over the batch of x' ct."""
    del W
    x = x.reshape(-1, x.shape[-1])
    ct = ct.reshape(-1, ct.shape[-1])
    k = x.shape[1]
    j = ct.shape[1]
    if k * j <= SMALL:
        return jnp.sum(x[:, :, None] * ct[:, None, :], axis=0)
    # the barriers keep the compiler from merging the transposition into the product again
    if k < j:
        x_transposed = jax.lax.optimization_barrier(x.T)
        return _value(x_transposed, ct)
    ct_transposed = jax.lax.optimization_barrier(ct.T)
    return jax.lax.optimization_barrier(_value(ct_transposed, x)).T


def _batch(args: Sequence[Array], axes: Sequence[int | None]) -> tuple[Array, int]:
    """Take a batch of x as more rows of one product; a batch of W has a product for each."""
    x, W = args
    x_axis, W_axis = axes
    if W_axis is None and x_axis is not None:
        return _product.bind(jnp.moveaxis(x, x_axis, 0), W), 0
    return jax.vmap(_value, in_axes=tuple(axes))(x, W), 0


define_value(_product, _value)
_product.def_abstract_eval(_abstract_value)
ad.defbilinear(_product, _transpose_x, _transpose_W)
batching.primitive_batchers[_product] = _batch
mlir.register_lowering(_product, mlir.lower_fun(_value, multiple_results=False))
