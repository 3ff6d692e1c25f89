"""Table IV: what inference takes, for trajectories of 100 steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.estimates import means
from benchmarks.kalmannet.lorenz import start
from benchmarks.kalmannet.study import Cell, Row, Study
from benchmarks.timing import timed
from benchmarks.trajectories import simulated

STEPS = 100
ONE, MANY, RATIO, RATIO_MANY = "one trajectory", "200 at once, each", "one, in EKFs", "200, in EKFs"
MODEL = start(0, -20)
EKF, PF, C4 = "EKF", "PF, 100 particles", "KalmanNet C4"
FILTERS = {
    EKF: kf.extended(),
    "UKF": kf.unscented(),
    PF: kf.particle(100),
    "KalmanNet C3": kf.learned.published("C3", n=3, m=3),
    C4: kf.learned.published("C4", n=3, m=3),
    "EKF, J = 5 + learned cubic": kf.extended(),
    "EKF, Runge-Kutta": kf.extended(),
    "gain that starts at the EKF": kf.learned.corrected_gain(3, 3, context=True),
    "MB RNN, 48 units": kf.learned.recurrent(
        kf.learned.RecurrentStack(3, (48,), encode=48), 3, ("y", "prediction"), "update"
    ),
}


def params_of(name):
    """Return the params of a filter; what its weights are does not change how long it takes."""
    if name == "EKF, Runge-Kutta":
        return kf.systems.lorenz(integrator="rk4", q_std=0.1, r_std=1.0, prior=MODEL.prior)
    if name == "EKF, J = 5 + learned cubic":
        return kf.learned.residual_model(MODEL, "f", kf.learned.Polynomial(3))
    learned = name in (C4, "KalmanNet C3", "gain that starts at the EKF", "MB RNN, 48 units")
    return kf.learned.init_params(jax.random.key(0), FILTERS[name], MODEL) if learned else MODEL


@functools.cache
def measured(size):
    """Return milliseconds of processor time by filter and number of trajectories, in rounds that take turns."""
    data = jax.tree.map(jnp.asarray, simulated(jax.random.key(0), MODEL, 200, STEPS))
    some = {ONE: data[:1], MANY: data}
    params = {name: params_of(name) for name in FILTERS}
    found = {(name, count): [] for name in FILTERS for count in some}
    for _ in range(size.choose(2, 15, 30)):
        for (name, count), times in found.items():
            seconds = timed(functools.partial(means, FILTERS[name], params[name], some[count]), 1)[
                0
            ]
            times.append(1e3 * min(seconds) / some[count].size)
    return {key: np.array(times) for key, times in found.items()}


def rows(size):
    def row(name):
        times = {count: float(np.median(measured(size)[name, count])) for count in (ONE, MANY)}
        base = {count: float(np.median(measured(size)[EKF, count])) for count in (ONE, MANY)}
        cells = times | {RATIO: times[ONE] / base[ONE], RATIO_MANY: times[MANY] / base[MANY]}
        return Row({condition: Cell([value]) for condition, value in cells.items()})

    return {name: functools.partial(row, name) for name in FILTERS}


def verdict(results):
    one, many = results(C4, RATIO), results(C4, RATIO_MANY)
    return (
        f"KalmanNet C4 takes {one:.1f} times what the EKF takes for one trajectory and {many:.1f}"
        " times for each of"
        f" 200: the paper's claim that it is faster than the classical filters"
        f" {'stands' if max(one, many) < 1 else 'does not stand where all of them are compiled'};"
        " the particle filter"
        f" takes {results(PF, RATIO):.1f} and {results(PF, RATIO_MANY):.1f} times as long as the"
        " EKF."
    )


STUDY = Study(
    "Table IV: inference time",
    "Lorenz attractor, h = I, J = 5, T = 100, n = m = 3, float32; milliseconds of one compiled run"
    " over a trajectory,"
    " median of rounds in which all filters take turns, each the smaller of wall and processor time"
    " (the machine is"
    " shared). The ratios are to the EKF.",
    rows,
    verdict,
    notes=(
        "The paper's times are those of Python loops on another machine; only the order can be"
        " compared.",
    ),
    unit="ms",
    digits=3,
)
