"""Cost of a step, and number of parameters, against the dimension of the state."""

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
from benchmarks.kalmannet.study import Cell, Row, Study, Verdict
from benchmarks.trajectories import simulated

STEPS = 100
BATCH = 32
PARAMETERS = "parameters"
SINGLE = "µs per step, one trajectory"
MANY = f"µs per step, each of {BATCH}"
KF = "KF"
FIRST = "KalmanNet #1"
SECOND = "KalmanNet #2"
STARTED = "gain that starts at the KF"
MOST = {KF: 16, FIRST: 8, SECOND: 8, STARTED: 8}  # largest n that is timed; others are counted
SIZES = (2, 4, 8, 16, 32, 64)


def model(n):
    """Return a linear model with n = m."""
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
    """Count the parameters of a network without drawing them."""
    draw = functools.partial(kf.learned.init_params, filter=filter_of(name, n), model=model(n))
    network = jax.eval_shape(lambda key: draw(key).network, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(network))


def timed(name, n, batch, rounds):
    """Return microseconds per step and trajectory, one figure per round."""
    method = filter_of(name, n)
    design = model(n)
    params = design
    if name != KF:
        params = kf.learned.init_params(jax.random.key(0), method, design)
    data = jax.tree.map(jnp.asarray, simulated(jax.random.key(1), design, batch, STEPS))
    jax.block_until_ready(means(method, params, data))
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        jax.block_until_ready(means(method, params, data))
        seconds.append(time.perf_counter() - begin)
    return (1e6 * np.array(seconds) / (batch * STEPS)).tolist()


def rows(size):
    """Return the rows of the study."""
    sizes = size.choose((2, 4), SIZES, SIZES)
    rounds = size.choose(2, 5, 21)

    def count(name):
        return Row({f"n = {n}": figure(parameters(name, n)) for n in sizes})

    def time_of(name, batch):
        known = [n for n in sizes if n <= MOST[name]]
        return Row({f"n = {n}": Cell(timed(name, n, batch, rounds)) for n in known})

    found = {}
    for name in (FIRST, SECOND, STARTED):
        found[f"{name}, {PARAMETERS}"] = functools.partial(count, name)
    for what, batch in ((SINGLE, 1), (MANY, BATCH)):
        for name in MOST:
            found[f"{name}, {what}"] = functools.partial(time_of, name, batch)
    return found


def growth(results, row):
    """Return the exponent of n between the last two sizes of a row."""
    last = [name for name in results.conditions if results.has(row, name)][-2:]
    a, b = (int(name.split()[-1]) for name in last)
    return math.log(results(row, last[1]) / results(row, last[0])) / math.log(b / a)


def verdicts(results):
    """Compare the cost of a step with that of the KF."""
    ratios = {name: ratio(results, name) for name in (FIRST, SECOND)}
    return (
        Verdict(
            "At n = 8 a step of KalmanNet costs no more than a step of the KF",
            ", ".join(f"{times:.0f} times ({name})" for name, times in ratios.items()),
            max(ratios.values()) <= 1,
        ),
    )


def ratio(results, name):
    """Return the time of a step at n = 8, in times of the KF."""
    return results(f"{name}, {SINGLE}", "n = 8") / results(f"{KF}, {SINGLE}", "n = 8")


def details(results):
    """Describe how parameters grow with n."""
    first, second = (growth(results, f"{name}, {PARAMETERS}") for name in (FIRST, SECOND))
    sentence = (
        "KalmanNet inverts no matrix, but the number of its parameters grows as n to the power"
        f" {first:.1f} (#1) and {second:.1f} (#2); the KF's arithmetic grows as n³."
    )
    return (sentence,)


def draw(results):
    """Draw parameters and times against n."""
    figure, axes = panels(3)
    for ax, what in zip(axes, (PARAMETERS, SINGLE, MANY), strict=True):
        for number, name in enumerate(MOST):
            row = f"{name}, {what}"
            if row in results.rows:
                at = [name for name in results.conditions if results.has(row, name)]
                seeds = np.array([[results(row, condition) for condition in at]])
                sizes = [int(condition.split()[-1]) for condition in at]
                draw_line(ax, sizes, seeds, name, number, top=np.inf)
        ax.set(xscale="log", yscale="log", xlabel="n = m", ylabel=what)
        ax.set_xticks(SIZES, SIZES)
        ax.minorticks_off()
        finish(ax)
    return figure


STUDY = Study(
    "Cost and parameters against n",
    """\
Linear systems with n = m, H = I; trajectories of 100 steps through one compiled function in \
single precision, means only. Networks are not trained, which does not change their cost. In the \
batch the KF computes its covariances once, since they do not depend on the data. Results are \
medians and ranges of rounds, not of seeds. Networks are timed up to n = 8: at n = 32, #1 has more \
than a billion parameters.""",
    rows,
    verdicts,
    details,
    notes=(
        """\
The features that KalmanNet needs are measured in \
[benchmarks/learned](../../learned/RESULTS.md#features): every subset that the paper uses is \
within 0.01 dB of the KF on the linear system and within 0.05 dB of the EKF on the Lorenz \
attractor, so that these systems do not show which features matter.""",
        "Timed on one core, while the other core was busy with another study: read ratios.",
    ),
    draw=draw,
    unit="",
    digits=1,
)
