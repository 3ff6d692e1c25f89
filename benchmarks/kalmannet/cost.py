"""What a step costs, and how many parameters it takes, against the dimension of the state."""

import functools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.estimates import means
from benchmarks.kalmannet.figures import draw_line, finish, panels
from benchmarks.kalmannet.judging import figure
from benchmarks.kalmannet.study import Cell, Row, Study
from benchmarks.trajectories import simulated

STEPS, BATCH = 100, 32
PARAMETERS, SINGLE, MANY = (
    "parameters",
    "µs per step, one trajectory",
    f"µs per step, each of {BATCH}",
)
KF, FIRST, SECOND, STARTED = "KF", "KalmanNet #1", "KalmanNet #2", "gain that starts at the KF"
MOST = {KF: 16, FIRST: 8, SECOND: 8, STARTED: 8}  # what is timed; larger ones are counted only
SIZES = (2, 4, 8, 16, 32, 64)


def model(n):
    return kf.systems.canonical(n, q_std=0.1, r_std=0.1, prior=kf.systems.known(jnp.zeros(n)))


def filter_of(name, n):
    """Return a filter for n = m."""
    makers = {
        KF: kf.kalman,
        FIRST: lambda: kf.learned.published("C1", n=n, m=n),
        SECOND: lambda: kf.learned.published("C4", n=n, m=n),
        STARTED: lambda: kf.learned.corrected_gain(n, n),
    }
    return makers[name]()


def parameters(name, n):
    """Count the parameters of the network, without drawing it."""
    draw = functools.partial(kf.learned.init_params, filter=filter_of(name, n), model=model(n))
    network = jax.eval_shape(lambda key: draw(key).network, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(network))


def timed(name, n, batch, rounds):
    """Return microseconds per step and trajectory, one figure per round."""
    method, design = filter_of(name, n), model(n)
    params = design if name == KF else kf.learned.init_params(jax.random.key(0), method, design)
    data = jax.tree.map(jnp.asarray, simulated(jax.random.key(1), design, batch, STEPS))
    jax.block_until_ready(means(method, params, data))
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        jax.block_until_ready(means(method, params, data))
        seconds.append(time.perf_counter() - begin)
    return (1e6 * np.array(seconds) / (batch * STEPS)).tolist()


def rows(size):
    sizes = size.choose((2, 4), SIZES, SIZES)
    rounds = size.choose(2, 5, 21)

    def count(name):
        return Row({f"n = {n}": figure(parameters(name, n)) for n in sizes})

    def time_of(name, batch):
        return Row(
            {f"n = {n}": Cell(timed(name, n, batch, rounds)) for n in sizes if n <= MOST[name]}
        )

    counts = {
        f"{name}, {PARAMETERS}": functools.partial(count, name) for name in (FIRST, SECOND, STARTED)
    }
    times = {
        f"{name}, {what}": functools.partial(time_of, name, batch)
        for what, batch in ((SINGLE, 1), (MANY, BATCH))
        for name in MOST
    }
    return counts | times


def growth(results, row):
    """Return the exponent of n between the last two sizes that a row has."""
    last = [name for name in results.conditions if name in results.rows[row]["cells"]][-2:]
    a, b = (int(name.split()[-1]) for name in last)
    return math.log(results(row, last[1]) / results(row, last[0])) / math.log(b / a)


def verdict(results):
    powers = [growth(results, f"{name}, {PARAMETERS}") for name in (FIRST, SECOND)]
    ratio = results(f"{FIRST}, {SINGLE}", "n = 8") / results(f"{KF}, {SINGLE}", "n = 8")
    second = results(f"{SECOND}, {SINGLE}", "n = 8") / results(f"{KF}, {SINGLE}", "n = 8")
    return (
        f"KalmanNet inverts no matrix, but its networks grow as n to the power {powers[0]:.1f} (#1)"
        f" and {powers[1]:.1f}"
        " (#2), and its cost with them, where the KF's arithmetic grows as n³: at n = 8 a step"
        " costs"
        f" {ratio:.0f} times (#1) and {second:.0f} times (#2) the KF's, so that the claim of low"
        " complexity is true of"
        " the network's size and not of the problem's."
    )


def draw(results):
    figure, axes = panels(3)
    for ax, what in zip(axes, (PARAMETERS, SINGLE, MANY), strict=True):
        for number, name in enumerate(MOST):
            if f"{name}, {what}" in results.rows:
                cells = results.rows[f"{name}, {what}"]["cells"]
                seeds = np.array([[results(f"{name}, {what}", at) for at in cells]])
                draw_line(
                    ax, [int(at.split()[-1]) for at in cells], seeds, name, number, top=np.inf
                )
        ax.set(xscale="log", yscale="log", xlabel="n = m", ylabel=what)
        ax.set_xticks(SIZES, SIZES)
        ax.minorticks_off()
        finish(ax)
    return figure


STUDY = Study(
    "Cost and parameters against n",
    "Linear systems with n = m, H = I; trajectories of 100 steps through one compiled function in"
    " single precision,"
    " means only; the networks are not trained, which changes nothing of their cost. Of the batch"
    " the KF computes its"
    " covariances once, since they do not depend on the data. Medians and ranges of rounds, not of"
    " seeds; networks"
    " are timed up to n = 8: at n = 32 #1 has more than a thousand million parameters.",
    rows,
    verdict,
    notes=(
        (
            "Which features KalmanNet needs is measured in"
            " [benchmarks/learned](../learned/RESULTS.md#features): there"
            " every subset that the paper uses comes within 0.01 dB of the KF on the linear system"
            " and within 0.05 dB"
            " of the EKF on the Lorenz attractor, so that these systems do not tell the features"
            " apart."
        ),
        "Timed on one core, while the other one was busy with another study: read ratios.",
    ),
    draw=draw,
    unit="",
    digits=1,
)
