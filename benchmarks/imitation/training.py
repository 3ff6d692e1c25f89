"""Training of many variants of a network at once, and its error along the way."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.imitation.network import Shape, averages, draw, empty, unroll
from benchmarks.imitation.problem import SETTLE, Scale

EVERY = 100  # updates between two tests
OPTIMIZERS = {
    # as in Keras: rho 0.9, epsilon 1e-7 below the root; beta 0.9 and 0.999, epsilon 1e-7
    "rmsprop": optax.scale_by_rms(decay=0.9, eps=1e-7, eps_in_sqrt=True),
    "adam": optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-7),
}


class Setting(NamedTuple):
    """The part of a training run that is fixed at compilation.

    Attributes:
        shape: the `Shape` of the network.
        optimizer: "rmsprop" or "adam".
        rows: rows of a batch.
        window: steps of a batch.
    """

    shape: Shape = Shape((16,))
    optimizer: str = "rmsprop"
    rows: int = 32
    window: int = 10


class Options(NamedTuple):
    """The numbers of a training run, so that one compilation serves many variants.

    Attributes:
        rate: learning rate.
        falls: number of updates in which the rate falls to zero as a cosine; 0 keeps it constant.
        dropout: before the dense layer.
        unit: 1 scales to [0, 1], 0 to mean 0 and standard deviation 1.
        in_time: 1 takes consecutive windows as the rows of a batch, 0 parallel streams.
        batches: number of batches in an epoch; the record is that long.
        wipe: the memory is emptied every so many steps in training; 0 never.
        test_wipe: the same in tests, where the last step before that counts alone.
        skip: steps after that which the loss leaves out.
        feedback: 1 makes the last output an input.
        increment: 1 adds the output to the last one.
        keep_output: 1 keeps the last output where the memory is emptied.
    """

    rate: float = 1e-3
    falls: int = 0
    dropout: float = 0.0
    unit: int = 0
    in_time: int = 0
    batches: int = 1000
    wipe: int = 0
    test_wipe: int = 0
    skip: int = 0
    feedback: float = 0.0
    increment: float = 0.0
    keep_output: int = 0


class Data(NamedTuple):
    """The data that all variants learn from and are tested on.

    Attributes:
        train: one long `Record`.
        test: a `Record` of rows of steps.
        scales: `Scale` with a leading axis: standard, unit.
    """

    train: Any
    test: Any
    scales: Scale


class Lane(NamedTuple):
    """The state of one training run among many."""

    params: Any
    memory: Any
    carry: Any
    moving: Any


def begin(setting, seeds):
    """Return the lanes of a training before the first update."""
    m, n = 7, 6
    found = []
    for seed in seeds:
        params = draw(seed, setting.shape, m, n)
        memory = OPTIMIZERS[setting.optimizer].init(params)
        found.append(
            Lane(params, memory, empty(setting.shape, setting.rows, n), averages(setting.shape))
        )
    return jax.tree.map(lambda *a: jnp.stack([jnp.asarray(x) for x in a]), *found)


@functools.partial(jax.jit, static_argnums=0)
def train(setting, lanes, options, keys, data, first, count):
    """Train all lanes for some updates; return them, their losses, and norms of their gradients."""
    one = functools.partial(_train_one, setting)
    return jax.vmap(one, in_axes=(0, 0, 0, None, None, None))(
        lanes, options, keys, data, first, count
    )


def _train_one(setting, lane, options, key, data, first, count):
    optimizer = OPTIMIZERS[setting.optimizer]
    begins = empty(setting.shape, setting.rows, 6)

    def update(s, state):
        lane, total, norms = state
        k = s % options.batches
        carry = jax.tree.map(lambda a, b: jnp.where(k == 0, a, b), begins, lane.carry)
        batch = _batch(setting, options, data, k)
        mask = _dropout(setting, options, jax.random.fold_in(key, s))
        loss = functools.partial(_loss, setting, options)
        found, gradient = jax.value_and_grad(loss, has_aux=True)(
            lane.params, carry, lane.moving, batch, mask
        )
        value, (carry, moving) = found
        direction, memory = optimizer.update(gradient, lane.memory)
        rate = _rate(options, s)
        params = jax.tree.map(lambda p, d: p - rate * d, lane.params, direction)
        sizes = [jnp.sqrt(jnp.mean(layer["W"] ** 2)) for layer in gradient["layers"]]
        return Lane(params, memory, carry, moving), total + value, norms + jnp.stack(sizes)

    nothing = (jnp.zeros(()), jnp.zeros(len(setting.shape.hidden)))
    lane, total, norms = jax.lax.fori_loop(first, first + count, update, (lane, *nothing))
    return lane, total / count, norms / count


def _rate(options, s):
    """Return the learning rate at an update."""
    part = jnp.minimum(s / jnp.maximum(options.falls, 1), 1)
    falling = 0.5 + 0.5 * jnp.cos(jnp.pi * part)
    return options.rate * jnp.where(options.falls > 0, falling, 1.0)


def _batch(setting, options, data, k):
    """Return scaled inputs and targets [rows, window, ...] of batch k."""
    rows = jnp.arange(setting.rows)
    in_time = k * setting.rows + rows
    in_streams = rows * options.batches + k
    starts = setting.window * jnp.where(options.in_time > 0, in_time, in_streams)
    at = starts[:, None] + jnp.arange(setting.window)
    scale = jax.tree.map(lambda a: a[options.unit], data.scales)
    ys = (data.train.y[at] - scale.y_centre) / scale.y_spread
    targets = (data.train.filtered[at] - scale.x_centre) / scale.x_spread
    return ys, targets


def _dropout(setting, options, key):
    """Return the factors of dropout of a batch, [window, rows, units]."""
    if not setting.shape.dropout:
        return jnp.zeros((setting.window, 0))
    size = (setting.window, setting.rows, setting.shape.hidden[-1])
    kept = jax.random.bernoulli(key, 1 - options.dropout, size)
    return kept / (1 - options.dropout)


def _fresh(wipe, steps):
    """Return the steps [steps] before which a memory is emptied, and the place since then."""
    place = jnp.arange(steps) % jnp.where(wipe > 0, wipe, steps + 1)
    return (wipe > 0) & (place == 0), place


def _loss(setting, options, params, carry, moving, batch, mask):
    ys, targets = batch
    fresh, place = _fresh(options.wipe, setting.window)
    carry, out, moving = unroll(
        setting.shape, options, params, carry, ys, fresh, moving=moving, mask=mask
    )
    counts = jnp.asarray(place >= options.skip, out.dtype)
    squares = jnp.mean((out - targets) ** 2, axis=(0, 2))
    return jnp.sum(counts * squares) / jnp.sum(counts), (carry, moving)


class Tested(NamedTuple):
    """The results of testing one lane.

    Attributes:
        error: root mean square of student - teacher, in the teacher's standard deviations.
        to_truth: root mean square of student - truth, in the same unit.
        loss: mean squared error in the scaled units of the training.
    """

    error: Any
    to_truth: Any
    loss: Any


@functools.partial(jax.jit, static_argnums=0)
def test(shape, lanes, options, data):
    """Test all lanes as they would be used: without dropout or statistics of the batch."""
    return jax.vmap(functools.partial(_test_one, shape), in_axes=(0, 0, None))(lanes, options, data)


def _test_one(shape, lane, options, data):
    rows, steps = data.test.y.shape[:2]
    scale = jax.tree.map(lambda a: a[options.unit], data.scales)
    fresh, place = _fresh(options.test_wipe, steps)
    out = predicted(shape, lane, options, scale, data.test.y, fresh)
    last = place == options.test_wipe - 1
    counts = jnp.where(options.test_wipe > 0, last, jnp.arange(steps) >= SETTLE)
    unit = jnp.mean(data.test.std, axis=(0, 1))

    def mean(squares):
        return jnp.sum(squares * counts[:, None]) / jnp.sum(counts) / rows / squares.shape[-1]

    of_filter = out - data.test.filtered
    return Tested(
        jnp.sqrt(mean((of_filter / unit) ** 2)),
        jnp.sqrt(mean(((out - data.test.truth) / unit) ** 2)),
        mean((of_filter / scale.x_spread) ** 2),
    )


def predicted(shape, lane, options, scale, ys, fresh):
    """Return the student's estimates [rows, steps, 6] of the sensors [rows, steps, 7]."""
    begins = empty(shape, ys.shape[0], 6)
    inputs = (ys - scale.y_centre) / scale.y_spread
    out = unroll(shape, options, lane.params, begins, inputs, fresh, moving=lane.moving)[1]
    return out * scale.x_spread + scale.x_centre


@functools.partial(jax.jit, static_argnums=0)
def dependence(shape, lanes, options, data):
    """Return |d estimate_T / d y_{T-k}| [lanes, T] by lag k, in standard deviations."""
    unit = jnp.mean(data.test.std, axis=(0, 1))

    def one(lane, options):
        scale = jax.tree.map(lambda a: a[options.unit], data.scales)
        fresh, _ = _fresh(options.test_wipe, data.test.y.shape[1])

        def last(y):
            return predicted(shape, lane, options, scale, y[None], fresh)[0, -1] / unit

        J = jax.vmap(jax.jacrev(last))(data.test.y)
        return jnp.sqrt(jnp.sum(J**2, axis=(1, 3))).mean(0)[::-1]

    return jax.vmap(one)(lanes, options)


def options_of(variants, seeds):
    """Return options with a leading axis: every variant with every seed."""
    repeated = [variant for variant in variants for _ in seeds]
    columns = zip(*repeated, strict=True)
    return Options(*(jnp.asarray(np.array(column)) for column in columns))
