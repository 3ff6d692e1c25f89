"""Time of training and inference of KalmanNet #2, through `fit` and as a plain jitted scan."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import kfjax as kf
from benchmarks import plain_networks
from benchmarks.estimates import means
from benchmarks.learned.lorenz_spherical import MODEL as SPHERICAL
from benchmarks.learned.results import Measured, Study, Target
from benchmarks.learned.table1 import MODEL
from benchmarks.timing import timed
from benchmarks.trajectories import simulated

BATCH = 30
STEPS = 100
ROUNDS = 7
WALL, PROCESSOR = "ms, wall", "ms, processor"
METHOD = kf.learned.published("C4", n=2, m=2)
NETWORK = kf.learned.Architecture2(2, 2)
OPTIMIZER = optax.adam(1e-4)
LORENZ = SPHERICAL.replace(Q=0.01 * SPHERICAL.Q)
CONTENDERS = {
    "EKF": kf.extended(),
    "KalmanNet #2": kf.learned.published("C4", n=3, m=3, feature_map=kf.learned.Asinh()),
    "gain that starts at the EKF": kf.learned.corrected_gain(3, 3, context=True),
}
RATIO = "ratio of the medians"
TWENTY_TIMES = 0.745  # of the plain scan's time: twenty times faster than the authors' step


def plain_loss(variables, model, xs, ys):
    """Return the squared error of KalmanNet #2 as one scan, without kfjax's filters."""
    carry = NETWORK.initial_carry(None, ys.dtype)
    network = plain_networks.architecture2
    names = plain_networks.ALL

    def one(ys):
        return plain_networks.estimates(network, names, variables, carry, model, ys)

    return jnp.mean((jax.vmap(one)(ys) - xs) ** 2)


@jax.jit
def plain_updates(state, model, data, count):
    """Take `count` updates of Adam on one batch."""

    def body(_, state):
        variables, moments = state
        slope = jax.grad(plain_loss)(variables, model, data.xs, data.ys)
        updates, moments = OPTIMIZER.update(slope, moments)
        return optax.apply_updates(variables, updates), moments

    return jax.lax.fori_loop(0, count, body, state)


def columns(milliseconds):
    """Return the values of a row from rounds [rounds, 2]."""
    wall, processor = np.round(milliseconds, 4).T.tolist()
    return {WALL: wall, PROCESSOR: processor}


def training(quick):
    """Return milliseconds per update [rounds, 2] of `fit` and of the plain scan, timed in turn.

    This is the time that each update adds to a call, without the overhead of the call.
    """
    count, rounds = (3, 2) if quick else (20, ROUNDS)
    data = simulated_batch(0, MODEL, BATCH)
    params = kf.learned.init_params(jax.random.key(1), METHOD, MODEL)
    start = params.network, OPTIMIZER.init(params.network)
    loss = kf.training.state_mse(METHOD)
    options = {
        "key": jax.random.key(2),
        "batch_size": BATCH,
        "optimizer": OPTIMIZER,
        "reports": 1,
        "progress": False,
    }

    def fit(updates):
        return kf.training.fit(loss, params, data, updates=updates, **options).params

    def plain(updates):
        return plain_updates(start, MODEL, data, updates)

    ways = {"fit": fit, "plain": plain}
    for way in ways.values():
        way(count)
    milliseconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            short = timed(functools.partial(way, count), 1)[0]
            long = timed(functools.partial(way, 3 * count), 1)[0]
            milliseconds[name].append(1e3 * (long - short) / (2 * count))
    return milliseconds


def simulated_batch(seed, model, batch):
    """Simulate a batch of trajectories as JAX arrays."""
    return jax.tree.map(jnp.asarray, simulated(jax.random.key(seed), model, batch, STEPS))


def inference(method, params, data, quick):
    """Return the row of the time of inference per trajectory."""
    seconds = timed(lambda: means(method, params, data), 3 if quick else 30)
    return Measured(columns(1e3 * seconds / data.size), {"batch": data.size})


def on_linear(batch, quick):
    """Return the row of inference on the linear system."""
    params = kf.learned.init_params(jax.random.key(1), METHOD, MODEL)
    return inference(METHOD, params, simulated_batch(3, MODEL, batch), quick)


def on_attractor(name, batch, quick):
    """Return the row of inference on the attractor in spherical coordinates."""
    method = CONTENDERS[name]
    params = SPHERICAL
    if name != "EKF":
        params = kf.learned.init_params(jax.random.key(1), method, SPHERICAL)
    return inference(method, params, simulated_batch(4, LORENZ, batch), quick)


def rows(quick):
    """Return the rows of the study."""
    measured = functools.cache(lambda: training(quick))

    def updates(name):
        return Measured(columns(measured()[name]), {"batch": BATCH, "steps_in_time": STEPS})

    def ratio():
        fit, plain = (np.median(measured()[name], axis=0) for name in ("fit", "plain"))
        return Measured(columns((fit / plain)[None]))

    found = {
        "training step, kfjax.training.fit": lambda: updates("fit"),
        "training step, a plain jitted scan": lambda: updates("plain"),
        RATIO: ratio,
        "inference, one trajectory": lambda: on_linear(1, quick),
        "inference, 200 at once, each": lambda: on_linear(200, quick),
    }
    for name in CONTENDERS:
        for batch in (1, 200):
            row = f"inference, Lorenz attractor, {name}, {batch} at once, each"
            found[row] = functools.partial(on_attractor, name, batch, quick)
    return found


STUDY = Study(
    "Speed of KalmanNet #2",
    """\
n = m = 2, 5,184 parameters, trajectories of 100 steps, 30 in a batch, float32. Times are \
milliseconds (ms), with both ways of training timed in turn in one run, on one core: `taskset -c 0 \
python -m benchmarks.learned speed`. A training step is one update of the optimiser. The plain \
scan is the same network as a textbook writes it (benchmarks/plain_networks.py).""",
    (WALL, PROCESSOR),
    rows,
    targets=(
        Target("`fit` is not slower than the plain scan", lambda v: v(RATIO, PROCESSOR) <= 1),
        Target(
            """\
`fit` takes at most 0.745 of the plain scan's time, 20 times less than the authors' step without \
its validation pass, about 155 ms on one quiet core""",
            lambda v: v(RATIO, PROCESSOR) <= TWENTY_TIMES,
        ),
    ),
    notes=(
        """\
The authors' step was not measured here. When it was, a plain jitted scan took 10.4 ms, so that \
twenty times faster is 0.745 of the plain scan.""",
        """\
On two cores both ways take longer than on one: XLA distributes operations of a few microseconds \
over threads.""",
        """\
The machine is shared, and its speed changes between rounds: earlier runs gave 0.57, 0.94 (minima \
of 9.3 and 12.8 ms; the other core was busy) and 0.55.""",
    ),
)
