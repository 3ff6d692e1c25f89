# %% [markdown]
# # Why does my LSTM not learn to be a Kalman filter?
#
# The question, as engineers ask it: *I have a nonlinear Kalman filter with 7 sensors and 6 states.
# I train an LSTM on its inputs and outputs: batches of inputs `[32, 10, 7]`, targets `[32, 10, 6]`,
# two stateful layers of 64 and 32 units, dropout 0.5 before the output, everything scaled to [0,
# 1], RMSprop, mean squared error. The training error stalls, and more layers make it worse. Is the
# approach flawed? Is it the gradients, batch normalisation, the learning rate? How long must a
# window be, are two steps enough? Is a stateful network right? Must the output be fed back?*
#
# This notebook rebuilds that setting, reproduces the failure, and answers every question with one
# experiment. Nothing is assumed; every figure below was computed by the cell above it. The network
# is written out in thirty lines, so that nothing is hidden in a framework. Every choice is a
# number, so that one compiled training serves nearly all of them.

# %%
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import kfjax as kf

# there is more to compile than to compute
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
QUICK = "KFJAX_QUICK" in os.environ  # small sizes, for automatic tests
plt.rcParams.update(
    {
        "figure.dpi": 72,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "axes.spines.right": False,
    }
)
plt.rcParams.update(
    {"axes.spines.top": False, "figure.constrained_layout.use": True}
)

# %% [markdown]
# ## 1. The problem
#
# A vehicle carries a receiver that measures four pseudo-ranges to known beacons and three range
# rates: seven sensors, all nonlinear. Its state has six components: position and velocity in the
# plane, the bias of its clock, and the clock's drift. The teacher is an extended Kalman filter with
# the true model; the student cannot have a better teacher.

# %%
BEACONS = jnp.array(
    [[40.0, 35.0], [-45.0, 30.0], [-30.0, -40.0], [45.0, -35.0]]
)


def f(keep, x, u):
    """A damped body, pulled back to the middle, and a clock with a bias.

    The bias is kept (keep = 1) or slowly pulled to zero.
    """
    p, v, bias, drift = x[:2], x[2:4], x[4], x[5]
    v = 0.92 * v - 0.03 * jnp.tanh(jnp.sum(p**2) / 400.0) * p
    return jnp.concatenate(
        [p + v, v, jnp.stack([keep * bias + drift, 0.9 * drift])]
    )


def h(x, u):
    """Four pseudo-ranges and three range rates."""
    offset = x[:2] - BEACONS
    distance = jnp.sqrt(jnp.sum(offset**2, axis=1))
    rate = jnp.sum(offset * x[2:4], axis=1) / distance
    return jnp.concatenate([distance + x[4], rate[:3] + x[5]])


def receiver(keep):
    prior = kf.Gaussian(
        jnp.zeros(6), jnp.diag(jnp.array([25.0, 25.0, 1.0, 1.0, 4.0, 0.01]))
    )
    Q = np.diag([0.01, 0.01, 0.25, 0.25, 0.01, 0.0025])
    R = np.diag([4.0] * 4 + [1.0] * 3)
    return kf.StateSpaceModel(
        jax.tree_util.Partial(f, keep), h, Q, R, prior
    )


STREAMS = 32
WINDOW = 10
BATCHES = 4 if QUICK else 40
TEST_STEPS = 50 if QUICK else 100
EPOCHS = 2 if QUICK else 25
# times the horizon of the training, in tests beyond it
LONGER = 1 if QUICK else 10
TRAINING_STEPS = STREAMS * WINDOW * BATCHES
STATES = ("$p_x$", "$p_y$", "$v_x$", "$v_y$", "bias", "drift")


class Record(NamedTuple):
    """One long record: true states, observations, estimates."""

    truth: Any
    y: Any
    filtered: Any
    cov: Any


def recorded(key, filter, model, steps):
    xs, ys = kf.simulate(key, model, steps)
    est = kf.run(filter, model, ys).outputs
    return Record(xs, ys, est.mean, est.cov)


model = receiver(0.98)
record = recorded(
    jax.random.key(0),
    kf.extended(),
    model,
    TRAINING_STEPS + STREAMS * TEST_STEPS,
)
sigma = jnp.sqrt(jnp.diagonal(record.cov, axis1=1, axis2=2).mean(0))
rmse = jnp.sqrt(jnp.mean((record.filtered - record.truth) ** 2, axis=0))
print("component                     ", *(f"{name:>8}" for name in STATES))
print(
    "spread of the true state      ",
    *(f"{value:8.2f}" for value in record.truth.std(0)),
)
print(
    "error of the filter (RMSE)    ", *(f"{value:8.2f}" for value in rmse)
)
print(
    "its own standard deviation    ", *(f"{value:8.2f}" for value in sigma)
)

# %% [markdown]
# **The unit of error.** A student is good if its estimates cannot be distinguished from those of
# the filter. What counts as close depends on how far the filter itself is from the truth. So the
# *imitation error* below is the root mean square of (student - filter), in units of the filter's
# own standard deviations: 1 means as far from the filter as the filter is from the truth, and 0.1
# is practically equal. The tables also show the ratio of the RMSE *to the truth*. Both are measured
# on a part of the record that training never saw, after 20 steps for the memory to fill.
#
# Look at the table: the position has a spread of many metres, and has to be right to less than one
# metre. A loss that looks small can be useless; that is the first trap.
#
# ### The network, and a training of it
#
# The network consists of one or more LSTM layers, dropout and a dense layer. The batch goes in as
# `[rows, steps, channels]`, and the memory of row b at the end of a batch is where row b of the
# next batch starts (a *stateful* network). `fresh` marks steps where the memory is reset instead.
# All choices are numbers in `Options`, so that XLA compiles once per size of the network.


# %%
class Options(NamedTuple):
    """What is varied."""

    learning_rate: float = 1e-2
    momentum: float = 0.9  # of Adam; 0 is RMSprop
    dropout: float = 0.0  # before the output
    feedback: float = 0.0  # 1: the last output is an input
    # 1: the network's output is added to the last output
    increment: float = 0.0
    # 1: normalise the outputs of each layer, over its units
    layer_norm: float = 0.0
    # 1: over the rows of the batch; moving averages are used later
    batch_norm: float = 0.0
    # 0: a fresh memory still knows the last output
    wipe_output: float = 1.0


class Data(NamedTuple):
    """Batches [K, B, W, ...] in the order of training."""

    y: Any
    target: Any
    fresh: Any
    weight: Any


def draw(seed, hidden, m=7, n=6):
    """Initial weights: orthogonal on the memory, forget bias 1."""
    layers = []
    size = m + n
    normal = np.random.default_rng(seed).standard_normal
    for width in hidden:
        square = [np.linalg.qr(normal((width, width)))[0] for _ in range(4)]
        W = normal((size, 4 * width)) / np.sqrt(size)
        bias = np.repeat([0.0, 1.0, 0.0, 0.0], width)
        layers.append(
            {"W": W, "U": np.concatenate(square, axis=1), "b": bias}
        )
        size = width
    params = {
        "layers": layers,
        "out": normal((size, n)) / np.sqrt(size),
        "bias": np.zeros(n),
    }
    return jax.tree.map(jnp.asarray, params)


def start(params, rows):
    """Empty memories, last output, moving averages of batch norm."""
    memories = [
        (jnp.zeros((rows, p["U"].shape[0])),) * 2 for p in params["layers"]
    ]
    return (
        memories,
        jnp.zeros((rows, params["bias"].size)),
        [(jnp.zeros(h.shape[1]), 1.0) for h, _ in memories],
    )


def lstm(p, memory, x):
    h, c = memory
    i, f, g, o = jnp.split(x @ p["W"] + h @ p["U"] + p["b"], 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def normalised(options, training, moving, x):
    """Normalise as the options say; return the moving averages, too."""
    by_layer = (x - x.mean(1, keepdims=True)) / (
        x.std(1, keepdims=True) + 1e-3
    )
    found = (x.mean(0), jnp.mean((x - x.mean(0)) ** 2))
    mean, var = found if training else moving
    by_batch = (x - mean) / jnp.sqrt(var + 1e-3)
    moving = (
        jax.tree.map(
            lambda past, now: past + 0.01 * (now - past), moving, found
        )
        if training
        else moving
    )
    layer = options.layer_norm * (by_layer - x)
    batch = options.batch_norm * (by_batch - x)
    return x + layer + batch, moving


def step(options, training, params, carry, at):
    """One step of all rows."""
    y, fresh, key = at
    memories, last, moving = carry
    memories = jax.tree.map(
        lambda a: jnp.where(fresh[:, None], 0.0, a), memories
    )
    last = jnp.where(fresh[:, None] & (options.wipe_output > 0), 0.0, last)
    x = jnp.concatenate([y, options.feedback * last], axis=1)
    new = []
    averages = []
    for p, memory, average in zip(
        params["layers"], memories, moving, strict=True
    ):
        new.append(lstm(p, memory, x))
        x, moved = normalised(options, training, average, new[-1][0])
        averages.append(moved)
    if training:
        x = (
            x
            * jax.random.bernoulli(key, 1 - options.dropout, x.shape)
            / (1 - options.dropout)
        )
    out = x @ params["out"] + params["bias"] + options.increment * last
    return (new, out, averages), out


def unroll(options, training, params, carry, ys, fresh, key):
    series = (
        ys.swapaxes(0, 1),
        fresh.T,
        jax.random.split(key, ys.shape[1]),
    )
    carry, out = jax.lax.scan(
        lambda c, at: step(options, training, params, c, at), carry, series
    )
    return carry, out.swapaxes(0, 1)


def loss(params, options, carry, batch, key):
    carry, out = unroll(
        options, True, params, carry, batch.y, batch.fresh, key
    )
    return jnp.mean(batch.weight * (out - batch.target) ** 2), carry


@jax.jit
def train(options, params, key, data, epochs):
    """Return the student and the loss of every epoch.

    Compiled once for each size of network.
    """
    batches, rows = data.y.shape[:2]
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b1=options.momentum),
    )

    def one(s, state):
        params, memory, carry, losses = state
        batch = jax.tree.map(lambda a: a[s % batches], data)
        # a new epoch starts with empty memories
        empty = start(params, rows)[:2]
        carry = (
            *jax.tree.map(
                lambda a, b: jnp.where(s % batches == 0, a, b),
                empty,
                carry[:2],
            ),
            carry[2],
        )
        found = jax.value_and_grad(loss, has_aux=True)(
            params, options, carry, batch, jax.random.fold_in(key, s)
        )
        (value, carry), gradient = found
        direction, memory = adam.update(gradient, memory)
        rate = options.learning_rate * (
            0.525 + 0.475 * jnp.cos(jnp.pi * s / (epochs * batches))
        )
        params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
        return (
            params,
            memory,
            carry,
            losses.at[s // batches].add(value / batches),
        )

    state = (
        params,
        adam.init(params),
        jax.tree.map(jnp.asarray, start(params, rows)),
        jnp.zeros(400),
    )
    params, _, carry, losses = jax.lax.fori_loop(
        0, epochs * batches, one, state
    )
    return {"params": params, "moving": carry[2]}, losses


@jax.jit
def predict(options, trained, ys, fresh):
    """The student as it is used: no dropout, no statistics of the batch."""
    memories, last, _ = start(trained["params"], ys.shape[0])
    carry = (memories, last, trained["moving"])
    return unroll(
        options,
        False,
        trained["params"],
        carry,
        ys,
        fresh,
        jax.random.key(0),
    )[1]


def students(settings, hidden=(32,), epochs=EPOCHS, seed=1):
    """Train a student for each of {name: (options, data)}, two at a time.

    Return {name: (student, losses)}.
    """

    def one(setting):
        options, data = setting[:2]
        found = train(
            options, draw(seed, hidden), jax.random.key(seed), data, epochs
        )
        trained, losses = jax.block_until_ready(found)
        return trained, np.asarray(losses)[:epochs]

    with ThreadPoolExecutor(2) as pool:
        return dict(
            zip(settings, pool.map(one, settings.values()), strict=True)
        )


# %% [markdown]
# The first part of the record is used for training. It is standardised (mean 0 and standard
# deviation 1, computed on that part) and cut into 32 parallel streams, each of which continues from
# batch to batch. The rest is used for the test.


# %%
class Scales(NamedTuple):
    """How sensors and targets are scaled."""

    y: Any
    target: Any


def to_unit_interval(series):
    """The scaling of the question: minimum 0, maximum 1."""
    low, high = series.min(0), series.max(0)
    return kf.data.Standardiser(low, high - low)


standard = Scales(
    *(
        kf.data.Standardiser.fit(a[:TRAINING_STEPS])
        for a in (record.y, record.filtered)
    )
)
unit = Scales(
    *(
        to_unit_interval(a[:TRAINING_STEPS])
        for a in (record.y, record.filtered)
    )
)


def contiguous(series, window=WINDOW):
    return jnp.asarray(
        kf.data.as_streams(np.asarray(series), STREAMS, window)
    )


def in_order_of_time(series, window=WINDOW):
    """The default of frameworks: consecutive windows, 32 to a batch."""
    series = np.asarray(series)
    return jnp.asarray(
        series.reshape(-1, STREAMS, window, *series.shape[1:])
    )


def prepared(
    scales=standard,
    cut=contiguous,
    window=WINDOW,
    wipe=None,
    skip=0,
    of=record,
):
    """Training data.

    The memory is emptied every `wipe` steps; the loss leaves out the
    `skip` steps after that.
    """
    y, target = (
        cut(a[:TRAINING_STEPS], window)
        for a in (scales.y(of.y), scales.target(of.filtered))
    )
    at = np.arange(window) % (wipe or window + 1)
    counts = (at >= skip) * 1.0
    fresh = jnp.broadcast_to(
        jnp.asarray(at == 0) if wipe else jnp.zeros(window, bool),
        y.shape[:3],
    )
    weight = jnp.broadcast_to(
        jnp.asarray(counts / counts.mean(), y.dtype)[:, None],
        (*y.shape[:1], 1, window, 1),
    )
    return Data(y, target, fresh, weight)


def held_out(of=record):
    """The rest of the record in 32 streams: truth, y, estimates."""
    parts = (of.truth, of.y, of.filtered)
    return [
        jnp.asarray(
            kf.data.as_streams(
                np.asarray(a[TRAINING_STEPS:]), STREAMS, TEST_STEPS
            )
        )[0]
        for a in parts
    ]


def difference(options, trained, scales=standard, wipe=None, of=record):
    """Differences of student, filter and truth on the test part.

    They are in standard deviations of the filter.
    """
    truth, ys, filtered = held_out(of)
    fresh = jnp.zeros(ys.shape[:2], bool)
    if wipe is not None:
        fresh |= jnp.arange(ys.shape[1]) % wipe == 0
    out = scales.target.inverse(
        predict(options, trained, scales.y(ys), fresh)
    )
    unit = jnp.sqrt(jnp.diagonal(of.cov, axis1=1, axis2=2).mean(0))
    return (
        (out - filtered) / unit,
        (out - truth) / unit,
        (filtered - truth) / unit,
    )


def rms(a, **options):
    return float(jnp.sqrt(jnp.mean(a[:, 20:] ** 2, **options)))


def report(settings, trained, **options):
    """Print and return the imitation error of every student."""
    errors = {}
    for name, (student, _) in trained.items():
        scales = settings[name][2] if len(settings[name]) > 2 else standard
        to_filter, to_truth, of_filter = difference(
            settings[name][0], student, scales, **options
        )
        errors[name] = rms(to_filter)
        print(
            f"{name:42} imitation error {errors[name]:6.2f}   RMSE"
            f" {rms(to_truth) / rms(of_filter):5.2f} x filter's"
        )
    return errors


def bars(errors, title):
    _, ax = plt.subplots(figsize=(7, 0.6 + 0.35 * len(errors)))
    ax.barh(list(errors), list(errors.values()), color="#0072b2")
    ax.axvline(1, color="#222222", lw=1, ls="--")
    ax.invert_yaxis()
    ax.set(
        xlabel="imitation error [standard deviations of the filter]",
        title=title,
    )
    plt.show()


# %% [markdown]
# ## 2. The failure, reproduced
#
# The setting is that of the question: [0, 1], RMSprop at 0.001, dropout 0.5, windows in the order
# of time, stateful, with one, two and three layers.

# %%
AS_ASKED = Options(learning_rate=1e-3, momentum=0.0, dropout=0.5)
ONE, TWO, THREE = (64,), (64, 32), (64, 32, 32)
asked = {"as asked": (AS_ASKED, prepared(unit, in_order_of_time), unit)}
figure, ax = plt.subplots(figsize=(7, 3))
failed, asked_for = {}, {}
for hidden in ((32,),) if QUICK else (ONE, TWO, THREE):
    found = students(asked, hidden)
    name = f"as asked, layers {hidden}"
    asked_for[hidden] = found["as asked"][0]
    failed |= report({name: asked["as asked"]}, {name: found["as asked"]})
    ax.plot(
        np.arange(1, EPOCHS + 1), found["as asked"][1], label=str(hidden)
    )
ax.set(
    yscale="log",
    xlabel="epoch",
    ylabel="training loss, [0, 1] units",
    title="As asked: the training error stalls",
)
ax.legend(title="layers")
plt.show()

# %% [markdown]
# This is the failure: the students are further from the filter than the filter is from the truth,
# and more layers are worse. The approach is not flawed, as the following shows, but several choices
# are. From here on, the *base* is one layer of 32 units, Adam at 0.01, contiguous streams,
# standardised series and no dropout. Each experiment changes one thing.
#
# ## 3. A linear toy first
#
# With seven linear sensors, six states and a linear Kalman filter, everything is known. In its
# steady state the filter is the recursion $\hat x_t = (I - KH) F \hat x_{t-1} + K y_t$. The next
# estimate is an affine function of the last estimate and the new observation, which least squares
# finds. If your training cannot learn this one, the fault is in the training.

# %%
mixing = jax.random.normal(jax.random.key(5), (7, 6))
toy = kf.linear_gaussian(
    jax.jacobian(lambda x: f(0.98, x, None))(model.prior.mean),
    mixing,
    model.Q,
    model.R,
    model.prior,
)
toy = toy.replace(f=kf.Linear(0.9 * toy.f.A))
toy_record = recorded(
    jax.random.key(6),
    kf.kalman(),
    toy,
    TRAINING_STEPS + STREAMS * TEST_STEPS,
)


def affine(of, test):
    """The best affine map (x_{t-1|t-1}, y_t) -> x_{t|t}.

    It is run on its own output on the test part.
    """
    estimates = np.asarray(of.filtered[:TRAINING_STEPS])
    ys = np.asarray(of.y[:TRAINING_STEPS])
    rows = np.concatenate(
        [estimates[:-1], ys[1:], np.ones((len(ys) - 1, 1))], axis=1
    )
    W = np.linalg.lstsq(rows, estimates[1:], rcond=None)[0]
    out, last = [], np.zeros((STREAMS, 6))
    for y in np.asarray(test[1]).swapaxes(0, 1):
        last = np.concatenate([last, y, np.ones((STREAMS, 1))], axis=1) @ W
        out.append(last)
    unit = jnp.sqrt(jnp.diagonal(of.cov, axis1=1, axis2=2).mean(0))
    return rms((jnp.asarray(np.stack(out, axis=1)) - test[2]) / unit)


toy_scales = Scales(
    *(
        kf.data.Standardiser.fit(a[:TRAINING_STEPS])
        for a in (toy_record.y, toy_record.filtered)
    )
)
settings = {
    "LSTM on the linear toy": (
        Options(),
        prepared(toy_scales, of=toy_record),
        toy_scales,
    )
}
found = students(settings)
errors = {
    "affine map on the linear toy": affine(toy_record, held_out(toy_record))
}
errors |= report(settings, found, of=toy_record)
errors["affine map on the receiver"] = affine(record, held_out())
settings = {"LSTM on the receiver (base)": (Options(), prepared())}
base = students(settings)["LSTM on the receiver (base)"]
errors |= report(settings, {"LSTM on the receiver (base)": base})
for name in ("affine map on the linear toy", "affine map on the receiver"):
    print(f"{name:42} imitation error {errors[name]:6.2f}")
bars(errors, "A linear toy first")

# %% [markdown]
# On the toy the affine map *is* the filter; on the receiver it is what a network has to beat, and
# the base beats it. What the LSTM still lacks on the toy is training, not capacity.
#
# How much of a difference is luck? The next cell trains the base again from other random weights.
# In the following experiments, differences smaller than these say nothing.

# %%
for seed in (2,) if QUICK else (2, 3):
    report(
        {f"base, seed {seed}": (Options(),)},
        students(
            {f"base, seed {seed}": (Options(), prepared())}, seed=seed
        ),
    )

# %% [markdown]
# ## 4. Are the rows contiguous? Stateful or stateless?
#
# A stateful network passes the memory of row b of a batch on to row b of the next.
# `kf.data.check_streams` tells whether that row continues at the same place in the record. To check
# your own batching, run it on the numbers of the steps.

# %%
print(
    "windows in the order of time:",
    kf.data.check_streams(in_order_of_time(np.arange(TRAINING_STEPS))),
)
print(
    "parallel streams:            ",
    kf.data.check_streams(contiguous(np.arange(TRAINING_STEPS))),
)
settings = {
    "stateful, streams (base)": (Options(), prepared()),
    "stateful, windows in the order of time": (
        Options(),
        prepared(cut=in_order_of_time),
    ),
    "stateless, windows in the order of time": (
        Options(),
        prepared(cut=in_order_of_time, wipe=WINDOW),
    ),
    "stateless, streams": (Options(), prepared(wipe=WINDOW)),
}
found = students(
    {name: s for name, s in settings.items() if "base" not in name}
)
found["stateful, streams (base)"] = base
errors = report(settings, {name: found[name] for name in settings})
bars(errors, "Used on streams of 100 steps, without a reset")

# %% [markdown]
# If the rows do not continue where they ended, a stateful network gets memories of other places,
# and is worse than one that starts afresh in every window. With true streams, a stateful network is
# better.
#
# ## 5. Scaling, and the learning rate that goes with it
#
# [0, 1] puts the whole range of a series into one unit: what the filter corrects at a step is then
# a few thousandths of it, and the loss is tiny from the start.

# %%
print(
    "squared error of p_x that is as bad as one standard deviation of the"
    " filter:"
)
for name, scales in (
    ("standardised", standard),
    ("scaled to [0, 1]", unit),
):
    print(f"  {name:18} {float((sigma / scales.target.std)[0] ** 2):.5f}")
rates = (1e-2,) if QUICK else (1e-3, 1e-2, 3e-2)
settings = {
    f"{name}, {optimiser}, rate {rate}": (
        Options(learning_rate=rate, momentum=momentum),
        prepared(scales),
        scales,
    )
    for name, scales in (("standardised", standard), ("[0, 1]", unit))
    for optimiser, momentum in (("Adam", 0.9), ("RMSprop", 0.0))
    for rate in rates
}
errors = report(settings, students(settings))
figure, ax = plt.subplots(figsize=(6, 3))
for group in (
    "standardised, Adam",
    "standardised, RMSprop",
    "[0, 1], Adam",
    "[0, 1], RMSprop",
):
    ax.plot(
        rates,
        [errors[f"{group}, rate {rate}"] for rate in rates],
        "o-",
        label=group,
    )
ax.set(
    xscale="log",
    yscale="log",
    xlabel="learning rate",
    ylabel="imitation error",
    title="Scaling and learning rate",
)
ax.legend()
plt.show()

# %% [markdown]
# The optimiser makes hardly any difference, but the rate makes a large one: at 0.001 these students
# are simply not yet trained. After this many updates, scaling to [0, 1] costs accuracy.
#
# ## 6. Dropout, while the error in *training* is too large
#
# Dropout is a remedy for overfitting. Before the output it multiplies the estimate by noise, which
# the network cannot undo and which puts a floor under the training error. You recognise this by a
# validation loss, measured without dropout, that is *below* the training loss.

# %%
settings = {
    f"dropout {rate}": (Options(dropout=rate), prepared())
    for rate in (0.0, 0.1, 0.2, 0.5)
}
found = students(
    {name: s for name, s in settings.items() if name != "dropout 0.0"}
)
found = {"dropout 0.0": base, **found}
errors = report(settings, found)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
for name, (_, losses) in found.items():
    left.plot(np.arange(1, EPOCHS + 1), losses, label=name)
training_loss = [losses[-1] for _, losses in found.values()]
truth, ys, filtered = held_out()
held_out_loss = []
for name, (student, _) in found.items():
    out = predict(
        settings[name][0],
        student,
        standard.y(ys),
        jnp.zeros(ys.shape[:2], bool),
    )
    held_out_loss.append(
        float(jnp.mean((out - standard.target(filtered))[:, 20:] ** 2))
    )
left.set(
    yscale="log",
    xlabel="epoch",
    ylabel="training loss",
    title="Training loss with dropout",
)
left.legend()
right.bar(
    np.arange(4) - 0.2, training_loss, 0.4, label="training, with dropout"
)
right.bar(np.arange(4) + 0.2, held_out_loss, 0.4, label="held out, without")
right.set(
    yscale="log", xticks=range(4), title="Loss at the end", xlabel="dropout"
)
right.set_xticklabels(["0", "0.1", "0.2", "0.5"])
right.legend()
plt.show()

# %% [markdown]
# If your training loss is above your validation loss and both are too large, remove the dropout,
# since you are not overfitting.
#
# ## 7. How long must a window be? Burn-in
#
# Ask the teacher: how long does an error in its estimate persist? `kf.training.forgetting` measures
# the norm of the product of $(I - K_t H_t) F_t$ over N steps, and `kf.training.finite_memory_floor`
# the error of the best affine map from the last N observations to its estimate. The table compares
# them with the LSTM at the last step of a window of N steps, if its memory is reset every N steps.

# %%
SHORT = 40 if QUICK else 60
few = kf.Dataset(
    np.asarray(held_out()[1])[:16, :SHORT],
    np.asarray(held_out()[2])[:16, :SHORT],
)
fades = kf.training.forgetting(
    kf.extended(), model, few, scale=np.asarray(sigma)
)
print(
    "steps until an error has faded to 1/e:",
    fades.to_1_e,
    " to 1 %:",
    fades.to_1_percent,
)
lengths = (5, WINDOW) if QUICK else (2, 5, 10, 20, 40)
LONG = lengths[-1]


def in_streams(series):
    """One long series as 32 parallel streams."""
    series = np.asarray(series)
    return kf.data.as_streams(series, STREAMS, len(series) // STREAMS)[0]


as_streams = [
    kf.Dataset(
        in_streams(record.y[part]), in_streams(record.filtered[part])
    )
    for part in (slice(TRAINING_STEPS), slice(TRAINING_STEPS, None))
]
start_at = min(as_streams[1].steps - 1, LONG - 1)
floors = [
    kf.training.finite_memory_floor(
        *as_streams, N, scale=sigma, start=max(start_at, N - 1)
    )
    for N in lengths
]
settings = {
    f"window of {N}": (Options(), prepared(window=LONG, wipe=N))
    for N in lengths
}
settings["window of 10, burn-in"] = (
    Options(),
    prepared(window=LONG, wipe=10, skip=5),
)
found = students(settings, epochs=2 * EPOCHS)
at_the_end, profiles = [], {}
for name, N in [(f"window of {N}", N) for N in lengths] + [
    ("window of 10, burn-in", 10)
]:
    error = difference(settings[name][0], found[name][0], wipe=N)[0][
        :, : TEST_STEPS // N * N
    ]
    profiles[name] = jnp.sqrt(
        jnp.mean(error.reshape(STREAMS, -1, N, 6) ** 2, axis=(0, 1, 3))
    )
    at_the_end.append(float(profiles[name][-1]))
    print(
        f"{name:24} imitation error at its last step {at_the_end[-1]:.2f}"
    )
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.plot(
    np.arange(1, len(fades.norms) + 1),
    fades.norms,
    color="#999999",
    label="what the filter still remembers",
)
left.plot(
    lengths,
    [np.sqrt(np.mean(floor**2)) for floor in floors],
    "s--",
    label="best affine map from N observations",
)
left.plot(
    lengths,
    at_the_end[: len(lengths)],
    "o-",
    label="LSTM, at the last step of N",
)
left.set(
    xscale="log",
    yscale="log",
    xlabel="window length N",
    ylabel="error",
    title="Window length",
    ylim=(0.05, None),
)
left.legend()
for name in ("window of 10", "window of 10, burn-in", f"window of {LONG}"):
    right.plot(
        np.arange(1, len(profiles[name]) + 1),
        profiles[name],
        "o-",
        ms=3,
        label=name,
    )
right.set(
    yscale="log", xlabel="step in the window", title="Error within a window"
)
right.legend()
plt.show()

# %% [markdown]
# The error falls with the window as the filter forgets: a window of some forgetting times is
# enough, and one of two steps is not. Within a window the first steps are the worst, since the
# memory is still empty: never use them. Leaving them out of the *loss* (burn-in) changed the last
# step no more than luck does. The whole gain came from reading only the end of a window, and
# carrying the memory on gains more.
#
# ## 8. Is N = 2 enough? Must the output be fed back?
#
# The filter itself needs one observation and its last estimate. A memory that is reset every two
# steps is therefore hopeless by itself, but need not be if the last output is passed in. What about
# a network that keeps its memory?

# %%
settings = {
    "memory wiped every 2 steps": (Options(), prepared(wipe=2)),
    "the same, last output fed back": (
        Options(feedback=1.0, wipe_output=0.0),
        prepared(wipe=2),
    ),
    "the same, fed back, and added to": (
        Options(feedback=1.0, increment=1.0, wipe_output=0.0),
        prepared(wipe=2),
    ),
    "memory kept (base)": (Options(), prepared()),
    "memory kept, fed back": (Options(feedback=1.0), prepared()),
    "memory kept, fed back, and added to": (
        Options(feedback=1.0, increment=1.0),
        prepared(),
    ),
}
names = list(settings)
found = students(
    {name: settings[name] for name in names if "base" not in name}
) | {"memory kept (base)": base}
errors = report(
    {n: settings[n] for n in names[:3]},
    {n: found[n] for n in names[:3]},
    wipe=2,
)
errors |= report(
    {n: settings[n] for n in names[3:]}, {n: found[n] for n in names[3:]}
)
bars(errors, "N = 2, and feedback")

# %% [markdown]
# Two steps are enough if the last estimate is passed on and the network says what to *add* to it,
# which is how the filter itself works. An output that is only fed back as an input is not enough.
# If the memory is kept, feedback is not necessary.
#
# ## 9. Levels or increments, and ten times the horizon
#
# Now let the clock run freely. Its bias is then a random walk, which leaves the range of the
# training data on a long run. Students are trained on short trajectories from the start, and used
# on ten times as many steps.

# %%
free = receiver(1.0)
HORIZON = BATCHES * WINDOW


@jax.vmap
def trajectory(key):
    return recorded(key, kf.extended(), free, LONGER * HORIZON)


every = trajectory(jax.random.split(jax.random.key(7), 2 * STREAMS))
short = jax.tree.map(lambda a: a[:STREAMS, :HORIZON], every)
long = jax.tree.map(lambda a: a[STREAMS:], every)
free_scales = Scales(
    *(kf.data.Standardiser.fit(a) for a in (short.y, short.filtered))
)
cut = [
    jnp.asarray(a).reshape(STREAMS, -1, WINDOW, a.shape[-1]).swapaxes(0, 1)
    for a in (free_scales.y(short.y), free_scales.target(short.filtered))
]
data = Data(
    *cut,
    jnp.zeros(cut[0].shape[:3], bool),
    jnp.ones((cut[0].shape[0], 1, WINDOW, 1)),
)
settings = {
    "levels": (Options(), data),
    "levels, fed back": (Options(feedback=1.0), data),
    "increments, fed back": (Options(feedback=1.0, increment=1.0), data),
}
steps_shown = np.arange(1, LONGER * HORIZON + 1)
found = students(settings)
free_sigma = jnp.sqrt(jnp.diagonal(long.cov, axis1=2, axis2=3).mean((0, 1)))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.plot(np.asarray(long.truth[:8, :, 4]).T, lw=0.8)
left.axvline(HORIZON, color="#222222", ls="--")
left.set(
    xlabel="step",
    ylabel="clock bias",
    title="Eight runs; training ends at the line",
)
for name, (student, _) in found.items():
    out = free_scales.target.inverse(
        predict(
            settings[name][0],
            student,
            free_scales.y(long.y),
            jnp.zeros(long.y.shape[:2], bool),
        )
    )
    error = jnp.sqrt(
        jnp.mean(((out - long.filtered) / free_sigma) ** 2, axis=(0, 2))
    )
    right.plot(steps_shown, error, lw=0.8, label=name)
    inside = float(error[HORIZON // 4 : HORIZON].mean())
    outside = float(error[-HORIZON:].mean())
    print(
        f"{name:22} imitation error within the horizon {inside:5.2f}, at"
        f" ten times the horizon {outside:5.2f}"
    )
right.axvline(HORIZON, color="#222222", ls="--")
right.set(
    yscale="log",
    xlabel="step",
    ylabel="imitation error",
    title="Ten times the horizon",
)
right.legend()
plt.show()

# %% [markdown]
# A network of levels fails outside the range in which it was trained. Increments with feedback last
# much longer, but the network still reads levels of the sensors, which leave the range, too. Only
# the *innovation*, y - h(f(x)), never leaves it: see the recipe.
#
# ## 10. Depth, width and learning rate
#
# With the same data, epochs and number of steps, the next cell trains more layers and more units,
# each with several learning rates.

# %%
sizes = ((32,),) if QUICK else ((32,), ONE, TWO, THREE)
rates = (1e-3, 1e-2)
figure, ax = plt.subplots(figsize=(6, 3))
for hidden in sizes:
    settings = {
        f"layers {hidden}, rate {rate}": (
            Options(learning_rate=rate),
            prepared(),
        )
        for rate in rates
    }
    errors = report(
        settings, students(settings, hidden, epochs=EPOCHS // 2)
    )
    ax.plot(rates, list(errors.values()), "o-", label=str(hidden))
ax.set(
    xscale="log",
    yscale="log",
    xlabel="learning rate",
    ylabel="imitation error",
    title="Depth, width, learning rate",
)
ax.legend(title="layers")
plt.show()

# %% [markdown]
# At the low rate no network is trained to the end, and the third layer is worse than the second. At
# the high rate depth neither helps nor hurts. "Deeper is worse" is a symptom of training that
# something else has stopped.
#
# ## 11. BatchNorm or LayerNorm
#
# Batch normalisation takes its statistics over the rows of a batch, which are other places in the
# record. In training, the other rows disturb every estimate; in use, on one stream, moving averages
# replace them. Layer normalisation uses only one row.

# %%
settings = {
    "no normalisation (base)": (Options(), prepared()),
    "layer normalisation": (Options(layer_norm=1.0), prepared()),
    "batch normalisation": (Options(batch_norm=1.0), prepared()),
}
found = students(
    {name: s for name, s in settings.items() if "base" not in name}
) | {"no normalisation (base)": base}
errors = report(settings, {name: found[name] for name in settings})
bars(errors, "Normalisation")

# %% [markdown]
# Neither is needed in one layer. Both came out worse, by hardly more than the difference between
# the seeds of the base. The size of the memory's output carries information that normalising
# removes. Batch normalisation does no worse than layer normalisation *here*, where the 32 rows are
# 32 distant places of a stationary record; with windows in the order of time its rows would be
# neighbours.
#
# ## 12. Is it the gradients?
#
# How much does the last estimate depend on an observation k steps before? For the filter this
# dependence falls as it forgets. A student whose dependence falls faster has not learned the
# filter's memory. One whose dependence does not fall, or explodes, has a different problem.


# %%
@jax.jit
def slope_per_lag(options, trained, scales, ys):
    """Norm of d student_T / d y_{T-k}, in units of the filter's std.

    `kf.training.gradient_per_lag` does the same for a filter.
    """

    def last(y):
        out = predict(
            options,
            trained,
            scales.y(y)[None],
            jnp.zeros((1, len(y)), bool),
        )
        return scales.target.inverse(out)[0, -1] / sigma

    J = jax.vmap(jax.jacrev(last))(ys)
    return jnp.sqrt(jnp.sum(J**2, axis=(1, 3))).mean(0)[::-1]


ys = jnp.asarray(few.ys)
lags = np.arange(SHORT - 10)
deepest = list(asked_for)[-1]
figure, ax = plt.subplots(figsize=(6, 3))
ax.plot(
    lags,
    kf.training.gradient_per_lag(kf.extended(), model, few, scale=sigma)[
        : len(lags)
    ],
    color="#222222",
    label="filter",
)
ax.plot(
    lags,
    slope_per_lag(Options(), base[0], standard, ys)[: len(lags)],
    label="base",
)
ax.plot(
    lags,
    slope_per_lag(AS_ASKED, asked_for[deepest], unit, ys)[: len(lags)],
    label=f"as asked, layers {deepest}",
)
ax.set(
    yscale="log",
    xlabel="lag",
    ylabel="dependence on y",
    title="What the last estimate depends on",
)
ax.legend()
plt.show()

# %% [markdown]
# ## 13. Repairing the network of the question, one change at a time
#
# The network has two layers of 64 and 32 and starts from the setting of the question. Every line
# keeps the changes above it.

# %%
ladder = {
    "contiguous streams": (AS_ASKED, prepared(unit), unit),
    "+ no dropout": (AS_ASKED._replace(dropout=0.0), prepared(unit), unit),
    "+ standardised, Adam at 0.01": (Options(), prepared()),
    "+ output fed back, and added to": (
        Options(feedback=1.0, increment=1.0),
        prepared(),
    ),
}
asked_size = (32,) if QUICK else TWO
errors = {"as asked": failed[f"as asked, layers {asked_size}"]}
errors |= report(ladder, students(ladder, asked_size))
bars(errors, f"Layers {asked_size}")

# %% [markdown]
# Nothing was wrong with the network itself.
#
# ## 14. The recipe
#
# 1. Define what counts: measure errors in the filter's own standard deviations.
# 2. Ask the filter for its forgetting time; it is the memory that the network needs.
# 3. Use contiguous streams or whole trajectories, standardised series, no dropout, one layer, and
#    Adam with a falling rate that starts as high as training allows. Clip gradients.
# 4. Let the network say how the last estimate *changes*. It is best to pass it the innovation,
#    which the filter also uses, and to add its output to the model's prediction. A bounded memory
#    then need not hold a drifting state.
# 5. Test on longer runs than those trained on.
#
# One call does all of this: `kf.training.distil(teacher, student, data, ...)`. The student sees the
# innovation (F2) and its last correction (F4), and its output is added to f(x). Its loss is in
# units of the teacher's standard deviations; no true state is used. The teacher is the filter of
# the free clock, whose bias keeps drifting.


# %%
def observations(key, count, steps):
    xs, ys = jax.vmap(lambda k: kf.simulate(k, free, steps))(
        jax.random.split(key, count)
    )
    return kf.Dataset(ys, xs)


count, tested, updates = (32, 64, 10) if QUICK else (96, 32, 800)
lessons, validation = observations(
    jax.random.key(10), 2 * count, SHORT
).split(count, count)
student = kf.learned.recurrent(
    kf.learned.RecurrentStack(6, (32,), "gru"), 7, ("F2", "F4"), "update"
)
constants = kf.learned.measure_scales(free, lessons.ys) | {
    "x": {"centre": jnp.zeros(6), "spread": sigma}
}
params = kf.learned.init_params(
    jax.random.key(12), student, free, constants
)

teacher = (kf.extended(), free)
distilled = kf.training.distil(
    teacher,
    (student, params),
    lessons,
    validation=validation,
    key=jax.random.key(13),
    updates=updates,
    optimizer=kf.training.clipped_adam(kf.training.Cosine(1e-2, updates)),
)

# %% [markdown]
# The report shows the error per component in units of the filter's standard deviations, the floors
# of windows of N observations (the best affine map from them), and how long the teacher remembers.

# %%
found = distilled.diagnosis
print("error of the student     ", found.error.round(3))
for N, floor in found.floors.items():
    print(f"best affine map, N = {N:2}   ", floor.round(3))
print(
    "the teacher forgets to 1/e in",
    found.forgetting.to_1_e,
    "steps;  gates",
    found.saturation,
)

# %% [markdown]
# The final test is the error with respect to the *truth*, on new trajectories of the same length
# and of ten times the length.

# %%
test = observations(jax.random.key(14), tested, LONGER * SHORT)
comparison = kf.compare(
    {"EKF (teacher)": teacher, "student": (student, distilled.params)},
    test,
    repeats=1,
)
for row in comparison.rows:
    inside = 10 ** (
        comparison.evaluations[row.name].error_over_time()[:SHORT] / 10
    )
    print(
        f"{row.name:14} MSE within the horizon"
        f" {10 * np.log10(inside.mean()):6.2f} dB; over ten times the"
        " horizon",
        end=" ",
    )
    print(
        f"{row.mse_db.value:6.2f} dB  ({row.mse_db.low:6.2f} .."
        f" {row.mse_db.high:6.2f})"
    )
figure, ax = plt.subplots(figsize=(7, 2.8))
for name, evaluation in comparison.evaluations.items():
    ax.plot(evaluation.error_over_time(), label=name)
ax.axvline(SHORT, color="#222222", ls="--", lw=1)
ax.set(
    xlabel="step",
    ylabel="MSE [dB]",
    title="Error to the truth, ten times the horizon"
    " (line: end of training)",
)
ax.legend()
plt.show()

# %% [markdown]
# At ten times the horizon, the student is within a fraction of a decibel of the filter that it
# imitates, without using a covariance. It is not better than the filter, and cannot be: if you have
# the filter, run the filter. Distil if the teacher is too expensive (a particle filter, a
# smoother), or if you want to train the student further, from labels, beyond what the model knows.
#
# ## The answers
#
# | question | answer, from the experiments above |
# |---|---|
# | Is the approach flawed? | No. The same network learns once the rest is right (13). |
# | Why are more layers worse? | They are not, once the training works; until then they train more slowly (2, 10). |
# | Gradients? | Look at them per lag, beside the filter's, before you blame them (12). |
# | Batch normalisation? | Not needed; neither is layer normalisation in one layer (11). |
# | Learning rate, optimiser? | After this many updates the rate matters much, the optimiser little (5). |
# | Scaling to [0, 1]? | Standardise; and measure errors in the filter's standard deviations (1, 5). |
# | Dropout? | A floor under the training error; the sign is a validation loss below the training loss (6). |
# | How long a window? | Some forgetting times of the filter (7). Two: only if the output is added to (8). |
# | Stateful? | Yes, if rows are contiguous streams; if not, it is worse than stateless (4). |
# | Burn-in? | Do not use the first steps of a window; leaving them out of the loss changed little here (7). |
# | Feedback of the output? | Not necessary with a kept memory; needed with short windows and for drifting states (8, 9). |
# | Ten times the horizon? | Levels fail outside the range of the training; innovations hold (9, 14). |
#
# ## References
#
# * S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9 (1997). F. Gers, J.
#   Schmidhuber, F. Cummins, Learning to forget, Neural Computation 12 (2000).
# * R. Jozefowicz, W. Zaremba, I. Sutskever, An empirical exploration of recurrent network
#   architectures, ICML 2015 (the forget bias).
# * A. Saxe, J. McClelland, S. Ganguli, Exact solutions to the nonlinear dynamics of learning in
#   deep linear networks, ICLR 2014 (orthogonal starts).
# * R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, ICML
#   2013 (clipping). R. Williams, J. Peng, Neural Computation 2 (1990) (truncated backpropagation).
# * W. Zaremba, I. Sutskever, O. Vinyals, Recurrent neural network regularization, arXiv 1409.2329
#   (2014). Y. Gal, Z. Ghahramani, A theoretically grounded application of dropout in recurrent
#   neural networks, NeurIPS 2016.
# * S. Ioffe, C. Szegedy, Batch normalization, ICML 2015. J. Ba, J. Kiros, G. Hinton, Layer
#   normalization, arXiv 1607.06450 (2016). T. Cooijmans et al., Recurrent batch normalization, ICLR
#   2017.
# * G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, arXiv 1503.02531
#   (2015).
# * B. Anderson, J. Moore, Optimal Filtering (1979), chapter 4 (how a filter forgets).
# * G. Revach et al., KalmanNet, IEEE Trans. Signal Process. 70 (2022) (difference features). I.
#   Greenberg, N. Yannay, S. Mannor, Optimization or architecture, NeurIPS 2023 (tune the filter
#   first).
