"""A small recurrent network whose output starts at zero: what the filters that start at a model are made of."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from kfjax.learned.networks import GRU
from kfjax.learned.products import dot_general

__all__ = ["RecurrentHead", "dense"]


class RecurrentHead(nn.Module):
    """Dense, SiLU, GRU, dense, SiLU, and a dense layer that starts at zero: `(carry [hidden], x) -> (carry, [size])`.

    Attributes:
        hidden: size of the memory and of the layers.
        size: of the output.
    """

    hidden: int
    size: int

    @nn.compact
    def __call__(self, carry: Array, x: Array) -> tuple[Array, Array]:
        """Return the new memory and the output; the second layer sees the input beside the memory."""
        encoded = nn.silu(dense(self.hidden, name="encode")(x))
        carry = GRU(self.hidden, name="memory")(carry, encoded)
        mixed = nn.silu(dense(self.hidden, name="mix")(jnp.concatenate([carry, encoded])))
        return carry, dense(self.size, zero=True, name="head")(mixed)


def dense(size: int, *, zero: bool = False, name: str | None = None) -> nn.Dense:
    """Return a dense layer at full precision; zero: one that starts there."""
    kernel = nn.initializers.zeros if zero else nn.initializers.lecun_normal()
    return nn.Dense(size, kernel_init=kernel, dot_general=dot_general, name=name)
