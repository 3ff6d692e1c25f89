"""Recurrent networks of any depth, `(carry, x) -> (carry, output)` without a batch axis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kfjax._support.arguments import check_count, check_number, choose
from kfjax.learned.gains.products import dot_general, product
from kfjax.learned.gated_unit import GRU

__all__ = ["LSTM", "PlainRNN", "RecurrentStack"]


def orthogonal(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """Draw [size, k size], one orthogonal matrix for each of k gates.

    Orthogonal matrices keep the size of gradients at the start.
    """
    size = shape[0]
    gates = shape[1] // shape[0]
    # An orthogonal matrix neither shrinks nor stretches the memory, so that gradients through many
    # steps neither vanish nor explode at first (Saxe, McClelland and Ganguli, 2014). Gates are
    # drawn apart: columns of one orthogonal matrix over all of them would not be orthogonal within
    # a gate.
    draw = nn.initializers.orthogonal()
    return jnp.concatenate(
        [draw(k, (size, size), dtype) for k in jax.random.split(key, gates)], axis=1
    )


def _fused(
    cell: nn.Module, gates: int, h: Array, x: Array, bias: Any = nn.initializers.zeros
) -> Array:
    """Return W' x + U' h + b of all gates [gates size]; call it inside a compact method."""
    size = cell.size
    W = cell.param(
        "input_kernel", nn.initializers.lecun_normal(), (x.shape[-1], gates * size), jnp.float32
    )
    U = cell.param("hidden_kernel", cell.hidden_init or orthogonal, (size, gates * size))
    return product(x, W) + product(h, U) + cell.param("bias", bias, (gates * size,))


class PlainRNN(nn.Module):
    """One step of a plain recurrent cell, h' = tanh(W x + U h + b).

    Attributes:
        size: size of the hidden state.
        hidden_init: Flax initialiser of the matrix on h; None is orthogonal.
    """

    size: int
    hidden_init: Any = None

    @nn.compact
    def __call__(
        self, h: Float[Array, " hidden"], x: Float[Array, " inputs"]
    ) -> Float[Array, " hidden"]:
        """Return the new hidden state."""
        return jnp.tanh(_fused(self, 1, h, x))


class LSTM(nn.Module):
    """One step of a long short-term memory, `((h, c) [2 size], x) -> (h, c)`.

    i, f, g, o = W x + U h + b,   c' = sigmoid(f) c + sigmoid(i) tanh(g),   h' = sigmoid(o) tanh(c')

    The forget bias starts at 1, so that the memory is kept until training says otherwise.

    Attributes:
        size: size of h and of c.
        hidden_init: Flax initialiser of the matrix on h; None is orthogonal.
    """

    size: int
    hidden_init: Any = None

    @nn.compact
    def __call__(
        self, carry: Float[Array, " both"], x: Float[Array, " inputs"]
    ) -> Float[Array, " both"]:
        """Return the new h and c in one vector."""
        h, c = jnp.split(carry, 2)
        i, f, g, o = jnp.split(_fused(self, 4, h, x, _remember), 4)
        kept = nn.sigmoid(f) * c
        c = kept + nn.sigmoid(i) * jnp.tanh(g)
        return jnp.concatenate([nn.sigmoid(o) * jnp.tanh(c), c])


def _remember(key: Array, shape: tuple[int], dtype: Any = jnp.float32) -> Array:
    """Return zeros, but ones for the forget gate."""
    del key
    size = shape[0] // 4
    # A forget gate near 1 keeps the memory, and its gradient, over many steps before anything is
    # learned (Gers, Schmidhuber and Cummins, 2000; Jozefowicz et al., 2015).
    return jnp.zeros(shape, dtype).at[size : 2 * size].set(1)


CELLS = {"gru": GRU, "lstm": LSTM, "rnn": PlainRNN}


class RecurrentStack(nn.Module):
    """Recurrent layers, with an optional dense layer and ReLU before and after them.

    The last layer starts at zero.

    Attributes:
        outputs: number of outputs.
        hidden: size of every recurrent layer, from the bottom up.
        cell: "gru", "lstm" or "rnn".
        encode: units of the dense layer before them; 0 for none.
        mix: units of the dense layer after them; 0 for none.
        layer_norm: whether to normalise the output of each recurrent layer (never over time or a
            batch).
        dropout: the probability that an output of a layer is set to zero in training; the memory
            itself is never dropped.
        learned_start: whether to train the memory before the first step, which is zero otherwise.
    """

    outputs: int
    hidden: tuple[int, ...] = (64,)
    cell: str = "gru"
    encode: int = 0
    mix: int = 0
    layer_norm: bool = False
    dropout: float = 0.0
    learned_start: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, tuple) or not self.hidden:
            raise ValueError(
                f"RecurrentStack: hidden is {self.hidden!r}; expected a tuple of sizes, such as"
                " (64, 32)."
            )
        for size in (self.outputs, *self.hidden):
            check_count("RecurrentStack: size", size)
        for name, size in (("encode", self.encode), ("mix", self.mix)):
            check_count(f"RecurrentStack: {name}", size, least=0)
        choose("RecurrentStack: cell", self.cell, CELLS)
        check_number("RecurrentStack: dropout", self.dropout, least=0, below=1)
        super().__post_init__()

    @property
    def widths(self) -> tuple[int, ...]:
        """The sizes of the memories of all layers."""
        return tuple(size * (2 if self.cell == "lstm" else 1) for size in self.hidden)

    def setup(self) -> None:
        """Name the layers."""
        self.cells = [CELLS[self.cell](size, orthogonal) for size in self.hidden]
        self.norms: Any = [nn.LayerNorm() for _ in self.hidden] if self.layer_norm else None
        self.drop = nn.Dropout(self.dropout)
        self.first: Any = dense(self.encode) if self.encode else None
        self.mixing: Any = dense(self.mix) if self.mix else None
        self.head = dense(self.outputs, zero=True)
        if self.learned_start:
            zeros = nn.initializers.zeros
            self.starts = [
                self.param(f"start_{k}", zeros, (width,)) for k, width in enumerate(self.widths)
            ]

    def start(self, dtype: Any) -> tuple[Float[Array, " _"], ...]:
        """Return the memory before the first step."""
        if self.learned_start:
            return tuple(jnp.asarray(start, dtype) for start in self.starts)
        return tuple(jnp.zeros(width, dtype) for width in self.widths)

    def __call__(
        self, carry: tuple[Float[Array, " _"], ...], x: Float[Array, " inputs"]
    ) -> tuple[tuple[Float[Array, " _"], ...], Float[Array, " outputs"]]:
        """Return the new memory and the output.

        Dropout is active if there is a random key "dropout".
        """
        steady = not self.has_rng("dropout")
        memory = []
        x = nn.relu(self.first(x)) if self.encode else x
        for k, size in enumerate(self.hidden):
            memory.append(self.cells[k](carry[k], x))
            x = memory[-1][:size]
            x = self.norms[k](x) if self.layer_norm else x
            x = self.drop(x, deterministic=steady)
        x = nn.relu(self.mixing(x)) if self.mix else x
        return tuple(memory), self.head(x)


class RecurrentHead(nn.Module):
    """Dense, SiLU, GRU, dense, SiLU, and a dense layer that starts at zero.

    `(carry [hidden], x) -> (carry, [size])`.

    Attributes:
        hidden: size of the memory and of the layers.
        size: size of the output.
    """

    hidden: int
    size: int

    @nn.compact
    def __call__(self, carry: Array, x: Array) -> tuple[Array, Array]:
        """Return the new memory and the output.

        The second layer sees both the input and the memory.
        """
        encoded = nn.silu(dense(self.hidden, name="encode")(x))
        carry = GRU(self.hidden, name="memory")(carry, encoded)
        mixed = nn.silu(dense(self.hidden, name="mix")(jnp.concatenate([carry, encoded])))
        return carry, dense(self.size, zero=True, name="head")(mixed)


def dense(size: int, *, zero: bool = False, name: str | None = None) -> nn.Dense:
    """Return a dense layer at full precision; with `zero`, it starts at zero."""
    kernel = nn.initializers.zeros if zero else nn.initializers.lecun_normal()
    return nn.Dense(size, kernel_init=kernel, dot_general=dot_general, name=name)
