"""Time of one training step of KalmanNet #2, through `fit` and as a plain jitted scan, and of inference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import kfjax as kf
from benchmarks import plain_networks
from benchmarks.estimates import means
from benchmarks.learned.lorenz_spherical import MODEL as LORENZ
from benchmarks.learned.results import Measured, Study
from benchmarks.learned.table1 import MODEL
from benchmarks.timing import timed
from benchmarks.trajectories import simulated

BATCH, STEPS, ROUNDS = 30, 100, 7
COLUMNS = ("ms, wall", "ms, processor")
METHOD = kf.learned.published("C4", n=2, m=2)
NETWORK = kf.learned.Architecture2(2, 2)
OPTIMIZER = optax.adam(1e-4)
EKF = kf.extended()
CONTENDERS = {
    "EKF": EKF,
    "KalmanNet #2": kf.learned.published("C4", n=3, m=3, feature_map=kf.learned.Asinh()),
    "gain that starts at the EKF": kf.learned.corrected_gain(3, 3, context=True),
}


def plain_loss(variables, model, xs, ys):
    """The squared error of KalmanNet #2 written out as one scan, without anything of kfjax but weights and model."""
    carry = NETWORK.initial_carry(None, ys.dtype)
    one = functools.partial(
        plain_networks.estimates,
        plain_networks.architecture2,
        plain_networks.ALL,
        variables,
        carry,
        model,
    )
    return jnp.mean((jax.vmap(one)(ys) - xs) ** 2)


@jax.jit
def plain_steps(state, model, data, count):
    """Take `count` steps of Adam on one batch."""

    def body(_, state):
        variables, moments = state
        slope = jax.grad(plain_loss)(variables, model, data.xs, data.ys)
        updates, moments = OPTIMIZER.update(slope, moments)
        return optax.apply_updates(variables, updates), moments

    return jax.lax.fori_loop(0, count, body, state)


def columns(milliseconds):
    """Return the values of a row from rounds [rounds, 2]."""
    return dict(zip(COLUMNS, np.round(milliseconds, 4).T.tolist(), strict=True))


def training(quick):
    """Both ways in turn, so that what else the machine does falls on both."""
    count, rounds = (3, 2) if quick else (20, ROUNDS)
    data = jax.tree.map(jnp.asarray, simulated(jax.random.key(0), MODEL, BATCH, STEPS))
    params = kf.learned.init_params(jax.random.key(1), METHOD, MODEL)
    start = params.network, OPTIMIZER.init(params.network)
    options = {
        "key": jax.random.key(2),
        "batch_size": BATCH,
        "optimizer": OPTIMIZER,
        "reports": 1,
        "progress": False,
    }
    ways = {
        "fit": lambda steps: (
            kf.training.fit(kf.training.state_mse(METHOD), params, data, updates=steps, **options).params
        ),
        "plain": lambda steps: plain_steps(start, MODEL, data, steps),
    }
    seconds = {name: [] for name in ways}
    for way in ways.values():
        way(count)
    for _ in range(rounds):
        for name, way in ways.items():
            short, long = (timed(functools.partial(way, n), 1)[0] for n in (count, 3 * count))
            seconds[name].append(
                1e3 * (long - short) / (2 * count)
            )  # what a step adds, without what a call costs
    return seconds


def rows(quick):
    measured = functools.cache(lambda: training(quick))

    def steps(name):
        return Measured(columns(measured()[name]), {"batch": BATCH, "steps_in_time": STEPS})

    def ratio():
        fit, plain = (np.median(measured()[name], axis=0) for name in ("fit", "plain"))
        return Measured(columns((fit / plain)[None]))

    def inference(batch):
        data = jax.tree.map(jnp.asarray, simulated(jax.random.key(3), MODEL, batch, STEPS))
        params = kf.learned.init_params(jax.random.key(1), METHOD, MODEL)
        seconds = timed(lambda: means(METHOD, params, data), 3 if quick else 30)
        return Measured(columns(1e3 * seconds / batch), {"batch": batch})

    def lorenz(method, batch):
        """Inference per trajectory on the attractor in spherical coordinates."""
        data = jax.tree.map(
            jnp.asarray,
            simulated(jax.random.key(4), LORENZ.replace(Q=0.01 * LORENZ.Q), batch, STEPS),
        )
        learned = method is not EKF
        params = kf.learned.init_params(jax.random.key(1), method, LORENZ) if learned else LORENZ
        seconds = timed(lambda: means(method, params, data), 3 if quick else 30)
        return Measured(columns(1e3 * seconds / batch), {"batch": batch})

    attractor = {
        f"inference, Lorenz attractor, {name}, {batch} at once, each": functools.partial(
            lorenz, method, batch
        )
        for name, method in CONTENDERS.items()
        for batch in (1, 200)
    }
    return {
        "training step, kfjax.training.fit": lambda: steps("fit"),
        "training step, a plain jitted scan": lambda: steps("plain"),
        "ratio of the medians": ratio,
        "inference, one trajectory": lambda: inference(1),
        "inference, 200 at once, each": lambda: inference(200),
    } | attractor


STUDY = Study(
    "Speed of KalmanNet #2",
    "n = m = 2, 5,184 parameters, trajectories of 100 steps, 30 in a batch; float32. Milliseconds"
    " of rounds,"
    " both ways of training in turn in one run, on one core: `taskset -c 0 python -m"
    " benchmarks.learned speed`. The"
    " plain scan is the same network as a textbook writes it (benchmarks/plain_networks.py)."
    " Wanted: `fit` not slower"
    " than it, and 20 times faster than the authors' step without its validation pass, about 155 ms"
    " on one quiet core.",
    COLUMNS,
    rows,
    (
        (
            "The authors' step was not measured here. Beside it a plain jitted scan took 10.4 ms,"
            " so that twenty times"
            " faster is 0.745 of the plain scan. On two cores both ways take longer than on one:"
            " XLA hands pieces of"
            " operations of a few microseconds from thread to thread."
        ),
        (
            "The machine is shared, and its speed changes between rounds: runs before this one gave"
            " 0.57, 0.94"
            " (9.3 ms beside 12.8 by minima; the other core was busy) and 0.55."
        ),
    ),
)
