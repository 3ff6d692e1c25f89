"""Table I of the KalmanNet paper: training on 20 steps, tests on 20, 200 and an official set."""

import functools

import jax
import jax.numpy as jnp

import kfjax as kf
from benchmarks.estimates import floor_db
from benchmarks.learned.results import Measured, Study, Target
from benchmarks.learned.running import classical, learned, tuned
from benchmarks.training import Budget
from benchmarks.trajectories import official, shortened, simulated

SHORT = "T = 20"
LONG = "T = 200"
OFFICIAL = "lin2x2_v0_r20_T100"
MODEL = kf.systems.canonical(2, q_std=0.1, r_std=0.1, prior=kf.systems.known(jnp.zeros(2)))
KF = "KF"
NETWORKS = {
    "KalmanNet #2 (C4)": ("C4", Budget(3000)),
    "KalmanNet #1 (C1)": ("C1", Budget(2000)),
}
ON_OFFICIAL = "KalmanNet #2 (C4), trained on the official set cut to 20 steps"
NEAR = 0.15  # dB


@functools.cache
def parts():
    """Return the parts of 20 steps, and test trajectories of 200."""
    keys = jax.random.split(jax.random.key(0), 4)
    sizes = ((2000, 20), (200, 20), (1000, 20), (500, 200))
    train, validation, test, long = (
        simulated(key, MODEL, *size, std=1.0) for key, size in zip(keys, sizes, strict=True)
    )
    return kf.data.Parts(train, validation, test), long


def rows(quick):
    """Return the rows of the study."""

    def tests():
        data, long = parts()
        return {SHORT: data.test, LONG: long, OFFICIAL: official(OFFICIAL).test}

    def network(name, budget):
        method = kf.learned.published(name, n=2, m=2)
        budget = budget.quick() if quick else budget
        return learned(method, MODEL, parts()[0], tests(), budget)

    def on_official():
        data = official(OFFICIAL)
        method = kf.learned.published("C4", n=2, m=2)
        budget = Budget(3000).quick() if quick else Budget(3000)
        return learned(method, MODEL, shortened(data, 20), {OFFICIAL: data.test}, budget)

    def tuned_kf():
        wrong = MODEL.replace(Q=100 * MODEL.Q)
        return tuned(kf.kalman(), wrong, parts()[0], tests(), updates=40 if quick else 150)

    classical_ones = {
        "theory": lambda: Measured({SHORT: floor_db(MODEL, 20), LONG: floor_db(MODEL, 200)}),
        KF: lambda: classical(kf.kalman(), MODEL, tests()),
        "KF, Q and R tuned from 100 Q": tuned_kf,
    }
    networks = {name: functools.partial(network, *pair) for name, pair in NETWORKS.items()}
    return classical_ones | networks | {ON_OFFICIAL: on_official}


def near_kf(values):
    """Return whether all networks are near the KF under all conditions."""
    return all(
        values(row, column) - values(KF, column) <= NEAR
        for row in (*NETWORKS, ON_OFFICIAL)
        for column in values.columns(row)
    )


STUDY = Study(
    "Table I: a linear system, 2 x 2",
    """\
F = [[1, 1], [0, 1]], H = I, q² = r² = 0.01, and x_0 is random and known. Estimators are trained \
on 2000 trajectories of 20 steps and validated on 200. They are tested on 1000 of 20 and 500 of \
200 steps, and on the official test set (x_0 = 0; KF -21.903). Values are MSE in dB. In the paper \
the KF has -21.97 and -21.91, KalmanNet -21.92 and -21.90.""",
    (SHORT, LONG, OFFICIAL),
    rows,
    targets=(Target("KalmanNet is within 0.15 dB of the KF everywhere", near_kf),),
)
