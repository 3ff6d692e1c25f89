"""Table IV: inference time, for trajectories of 100 steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.estimates import means
from benchmarks.kalmannet import paper
from benchmarks.kalmannet.lorenz import start
from benchmarks.kalmannet.study import Cell, Row, Study, Verdict
from benchmarks.timing import timed
from benchmarks.trajectories import simulated

STEPS = 100
ONE = "one trajectory"
MANY = "200 at once, each"
RATIO = "one, in EKFs"
RATIO_MANY = "200, in EKFs"
MODEL = start(0, -20)
EKF = "EKF"
PF = "PF, 100 particles"
C3, C4 = "KalmanNet C3", "KalmanNet C4"
CUBIC = "EKF, J = 5 + learned cubic"
RK4 = "EKF, Runge-Kutta"
STARTED = "gain that starts at the EKF"
RECURRENT = "MB RNN, 48 units"
STACK = kf.learned.RecurrentStack(3, (48,), encode=48)
FILTERS = {
    EKF: kf.extended(),
    "UKF": kf.unscented(),
    PF: kf.particle(100),
    C3: kf.learned.published("C3", n=3, m=3),
    C4: kf.learned.published("C4", n=3, m=3),
    CUBIC: kf.extended(),
    RK4: kf.extended(),
    STARTED: kf.learned.corrected_gain(3, 3, context=True),
    RECURRENT: kf.learned.recurrent(STACK, 3, ("y", "prediction"), "update"),
}


def params_of(name):
    """Return the parameters of a filter; the values of its weights do not change its time."""
    if name == RK4:
        return kf.systems.lorenz(integrator="rk4", q_std=0.1, r_std=1.0, prior=MODEL.prior)
    if name == CUBIC:
        return kf.learned.residual_model(MODEL, "f", kf.learned.Polynomial(3))
    if name in (C3, C4, STARTED, RECURRENT):
        return kf.learned.init_params(jax.random.key(0), FILTERS[name], MODEL)
    return MODEL


@functools.cache
def measured(size):
    """Return milliseconds per trajectory of rounds in turn, by filter and number of trajectories.

    Each is the smaller of wall and processor time.
    """
    data = jax.tree.map(jnp.asarray, simulated(jax.random.key(0), MODEL, 200, STEPS))
    some = {ONE: data[:1], MANY: data}
    params = {name: params_of(name) for name in FILTERS}
    found = {(name, count): [] for name in FILTERS for count in some}
    for _ in range(size.choose(2, 15, 30)):
        for (name, count), times in found.items():
            call = functools.partial(means, FILTERS[name], params[name], some[count])
            seconds = timed(call, 1)[0]
            times.append(1e3 * min(seconds) / some[count].size)
    return {key: np.array(times) for key, times in found.items()}


def rows(size):
    """Return the rows of the study."""
    return {name: functools.partial(row, size, name) for name in FILTERS}


def row(size, name):
    """Return the times of a filter, and their ratios to those of the EKF."""
    medians = {key: float(np.median(times)) for key, times in measured(size).items()}
    one, many = medians[name, ONE], medians[name, MANY]
    ratio, ratio_many = one / medians[EKF, ONE], many / medians[EKF, MANY]
    cells = {ONE: one, MANY: many, RATIO: ratio, RATIO_MANY: ratio_many}
    return Row({condition: Cell([value]) for condition, value in cells.items()})


PRINTED = {EKF: "EKF", PF: "PF", C3: "KalmanNet C3", C4: "KalmanNet C4"}  # names in the paper
PAPER = {
    row: {ONE: paper.TIMES[name], RATIO: paper.TIMES[name] / paper.TIMES["EKF"]}
    for row, name in PRINTED.items()
}


def verdicts(results):
    """Compare the times of KalmanNet C4 with those of the classical filters."""
    return tuple(
        Verdict(
            f"Compiled, KalmanNet C4 is faster than the {name}",
            f"{one:.2f} times its time for one trajectory {paper.quoted(in_paper, unit='times')},"
            f" {many:.2f} for each of 200",
            max(one, many) < 1,
        )
        for name, one, many, in_paper in _ratios(results)
    )


def _ratios(results):
    """Yield a classical filter, and the time of C4 in its times: one, each of 200, in the paper."""
    for name, row in (("EKF", EKF), ("particle filter", PF)):
        one, many = (results(C4, count) / results(row, count) for count in (ONE, MANY))
        yield name, one, many, PAPER[C4][ONE] / PAPER[row][ONE]


def details(results):
    """Describe the times of all filters of the paper's table, and their ratios to the EKF."""
    return tuple(
        f"{row}: {results(row, ONE):.2f} ms {paper.quoted(PAPER[row][ONE], unit='ms')},"
        f" {results(row, RATIO):.2f} times the EKF {paper.quoted(PAPER[row][RATIO], unit='times')}."
        for row in PRINTED
    )


STUDY = Study(
    "Table IV: inference time",
    """\
Lorenz attractor, h = I, J = 5, T = 100, n = m = 3, float32. Milliseconds (ms) of one compiled \
run over a trajectory: the median of rounds in which all filters take turns, each the smaller of \
wall and processor time, since the machine is shared. Ratios are to the EKF.""",
    rows,
    verdicts,
    details,
    paper=PAPER,
    notes=(
        (
            "The paper's times are those of Python loops on a laptop; only ratios can be compared."
            " The paper does not say how many particles its particle filter has; ours has 100."
        ),
    ),
    unit="ms",
    digits=3,
)
