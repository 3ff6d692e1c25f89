"""The sequence model of the question, written out: LSTM layers, dropout and a dense layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

AVERAGING = 0.99  # of the moving averages of batch normalisation, as in Keras
FLOOR = 1e-3  # variance that normalisation adds, as in Keras


class Shape(NamedTuple):
    """The structure of a network; every shape is compiled once.

    Attributes:
        hidden: units of the LSTM layers, from the bottom up.
        norm: what follows every layer: "", "layer" or "batch".
        dropout: whether there is dropout before the dense layer.
    """

    hidden: tuple[int, ...] = (32,)
    norm: str = ""
    dropout: bool = False


class Carry(NamedTuple):
    """What passes from one step to the next.

    Attributes:
        memories: (h, c) of every layer, [rows, units] each.
        last: the last output [rows, n].
    """

    memories: Any
    last: Any


def draw(seed, shape, m, n):
    """Return initial weights: orthogonal from memory to memory, forget bias 1, as in Keras."""
    normal = np.random.default_rng(seed).standard_normal
    layers = []
    size = m + n
    for width in shape.hidden:
        squares = [np.linalg.qr(normal((width, width)))[0] for _ in range(4)]
        layer = {
            "W": normal((size, 4 * width)) / np.sqrt(size),
            "U": np.concatenate(squares, axis=1),
            "b": np.repeat([0.0, 1.0, 0.0, 0.0], width),
            "gain": np.ones(width),
            "shift": np.zeros(width),
        }
        layers.append(layer)
        size = width
    out = {"W": normal((size, n)) / np.sqrt(size), "b": np.zeros(n)}
    return jax.tree.map(lambda a: np.asarray(a, np.float32), {"layers": layers, "out": out})


def empty(shape, rows, n):
    """Return empty memories and a last output of zero."""
    memories = [(jnp.zeros((rows, width)), jnp.zeros((rows, width))) for width in shape.hidden]
    return Carry(memories, jnp.zeros((rows, n)))


def averages(shape):
    """Return the moving averages (mean, variance) of every layer before training."""
    return [(jnp.zeros(width), jnp.ones(width)) for width in shape.hidden]


def unroll(shape, options, params, carry, ys, fresh, *, moving, mask=None):
    """Return the carry, the outputs [rows, steps, n] and the moving averages.

    Args:
        shape: a `Shape`.
        options: numbers `feedback`, `increment` and `keep_output`.
        params: weights.
        carry: memories and last outputs of the rows.
        ys: inputs [rows, steps, m].
        fresh: [steps], whether the memories are emptied before the step.
        moving: moving averages of batch normalisation.
        mask: dropout [steps, rows, units] in training; None where the network is used, which
            normalises with the moving averages.
    """
    training = mask is not None

    def step(state, at):
        carry, moving = state
        y, empty_now, kept = at
        memories = jax.tree.map(lambda a: jnp.where(empty_now, 0.0, a), carry.memories)
        forget = empty_now & (options.keep_output == 0)
        last = jnp.where(forget, 0.0, carry.last)
        x = jnp.concatenate([y, options.feedback * last], axis=1)
        reached = []
        found = []
        for layer, memory, average in zip(params["layers"], memories, moving, strict=True):
            reached.append(_lstm(layer, memory, x))
            x, moved = _normalised(shape.norm, layer, average, reached[-1][0], training)
            found.append(moved)
        if training and shape.dropout:
            x = x * kept
        out = x @ params["out"]["W"] + params["out"]["b"] + options.increment * last
        return (Carry(reached, out), found), out

    if mask is None:
        mask = jnp.zeros((ys.shape[1], 0))
    series = (ys.swapaxes(0, 1), fresh, mask)
    (carry, moving), out = jax.lax.scan(step, (carry, moving), series)
    return carry, out.swapaxes(0, 1), moving


def _lstm(layer, memory, x):
    """Return the new memory (h, c) of a layer."""
    h, c = memory
    gates = x @ layer["W"] + h @ layer["U"] + layer["b"]
    i, f, g, o = jnp.split(gates, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _normalised(norm, layer, average, x, training):
    """Return the normalised output of a layer, and the moving averages."""
    if not norm:
        return x, average
    if norm == "layer":
        mean = x.mean(axis=1, keepdims=True)
        var = x.var(axis=1, keepdims=True)
    elif training:
        mean = x.mean(axis=0)
        var = x.var(axis=0)
        found = (mean, var)
        average = jax.tree.map(_averaged, average, found)
    else:
        mean, var = average
    x = (x - mean) * jax.lax.rsqrt(var + FLOOR)
    return x * layer["gain"] + layer["shift"], average


def _averaged(past, now):
    return AVERAGING * past + (1 - AVERAGING) * jax.lax.stop_gradient(now)
