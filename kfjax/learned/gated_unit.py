"""The gated recurrent unit that gain networks and recurrent filters share."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kfjax.learned.gains.products import product

__all__ = ["GRU"]


class GRU(nn.Module):
    """One step of a gated recurrent unit, `(hidden [size], x) -> hidden`.

    The equations are those of PyTorch and Flax.

    r, z = sigmoid(W_r x + U_r h + b_r), sigmoid(W_z x + U_z h + b_z),
    h' = (1 - z) tanh(W_n x + b_n + r (U_n h + c_n)) + z h

    Attributes:
        size: size of the hidden state.
        hidden_init: Flax initialiser of the matrix on h; None means PyTorch's.
    """

    size: int
    hidden_init: Any = None

    @nn.compact
    def __call__(
        self, h: Float[Array, " hidden"], x: Float[Array, " inputs"]
    ) -> Float[Array, " hidden"]:
        """Return the new hidden state; all gates share one product with x and one with h."""
        size = self.size
        draw = pytorch_uniform(self.size)
        W = self.param("input_kernel", draw, (x.shape[-1], 3 * size))
        # The reset gate multiplies the product with its bias, r (U h + c), as in PyTorch and cuDNN,
        # not the hidden state before the product, r h, as first published (Cho et al., 2014): so
        # one product with h serves all gates.
        U = self.param("hidden_kernel", self.hidden_init or draw, (size, 3 * size))
        b = self.param("bias", draw, (3 * size,))
        c = self.param("candidate_bias", draw, (size,))
        # split, not sliced: the transpose of a split is one concatenation, that of slices a sum of
        # padded arrays
        r_x, z_x, n_x = jax.lax.split(product(x, W) + b, 3 * (size,))
        r_h, z_h, n_h = jax.lax.split(product(h, U), 3 * (size,))
        return _gated(r_x + r_h, z_x + z_h, n_x, n_h + c, h)


@jax.custom_jvp
def _gated(r: Array, z: Array, n: Array, u: Array, h: Array) -> Array:
    """Return (1 - z) tanh(n + r u) + z h with the logistic function of r and z."""
    r = nn.sigmoid(r)
    z = nn.sigmoid(z)
    return (1 - z) * jnp.tanh(n + r * u) + z * h


@_gated.defjvp
def _gated_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Any]:
    # written out, so that a training step stores one number per unit and argument instead of every
    # step of the computation
    r, z, n, u, h = primals
    r = nn.sigmoid(r)
    z = nn.sigmoid(z)
    candidate = jnp.tanh(n + r * u)
    by_n = (1 - z) * (1 - candidate**2)
    by_r = by_n * u * r * (1 - r)
    by_z = (h - candidate) * z * (1 - z)
    slopes = by_r, by_z, by_n, by_n * r, z
    value = (1 - z) * candidate + z * h
    return value, sum(slope * tangent for slope, tangent in zip(slopes, tangents, strict=True))


def pytorch_uniform(fan_in: int) -> Any:
    """Return PyTorch's default initialiser: uniform within 1 / sqrt(fan_in)."""
    # Kept for a fair comparison with the published results, which were trained from it.
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )
