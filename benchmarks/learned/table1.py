"""Table I of the KalmanNet paper: trained on 20 steps, tested on 20 and on 200, and on an official set of 100."""

import functools

import jax
import jax.numpy as jnp

import kfjax as kf
from benchmarks.estimates import floor_db
from benchmarks.learned.results import Measured, Study
from benchmarks.learned.running import classical, learned, tuned
from benchmarks.training import Budget
from benchmarks.trajectories import official, shortened, simulated

SHORT, LONG, OFFICIAL = "T = 20", "T = 200", "lin2x2_v0_r20_T100"
MODEL = kf.systems.canonical(2, q_std=0.1, r_std=0.1, prior=kf.systems.known(jnp.zeros(2)))


@functools.cache
def parts():
    keys = jax.random.split(jax.random.key(0), 4)
    sizes = ((2000, 20), (200, 20), (1000, 20), (500, 200))
    drawn = [simulated(key, MODEL, *size, std=1.0) for key, size in zip(keys, sizes, strict=True)]
    return kf.data.Parts(*drawn[:3]), drawn[3]


def rows(quick):
    def tests():
        data, long = parts()
        return {SHORT: data.test, LONG: long, OFFICIAL: official("lin2x2_v0_r20_T100").test}

    def network(name, budget):
        budget = budget.quick() if quick else budget
        return learned(kf.learned.published(name, n=2, m=2), MODEL, parts()[0], tests(), budget)

    def on_official(name, budget):
        budget = budget.quick() if quick else budget
        data = official("lin2x2_v0_r20_T100")
        return learned(
            kf.learned.published(name, n=2, m=2),
            MODEL,
            shortened(data, 20),
            {OFFICIAL: data.test},
            budget,
        )

    def theory():
        return Measured(
            {column: floor_db(MODEL, steps) for column, steps in ((SHORT, 20), (LONG, 200))}
        )

    def tuned_kf():
        wrong = MODEL.replace(Q=100 * MODEL.Q)
        return tuned(kf.kalman(), wrong, parts()[0], tests(), updates=40 if quick else 150)

    return {
        "theory": theory,
        "KF": lambda: classical(kf.kalman(), MODEL, tests()),
        "KF, Q and R tuned from 100 Q": tuned_kf,
        "KalmanNet #2 (C4)": lambda: network("C4", Budget(3000)),
        "KalmanNet #1 (C1)": lambda: network("C1", Budget(2000)),
        "KalmanNet #2 (C4), trained on the official set cut to 20 steps": lambda: on_official(
            "C4", Budget(3000)
        ),
    }


STUDY = Study(
    "Table I: a linear system, 2 x 2",
    "F = [[1, 1], [0, 1]], H = I, q^2 = r^2 = 0.01, x_0 random and known; 2000 trajectories of 20"
    " steps to train on, "
    "200 to choose on; tested on 1000 of 20 and 500 of 200, and on the official test set (x_0 = 0;"
    " KF -21.903). MSE in"
    " dB. Wanted: KalmanNet within 0.15 dB of the KF everywhere. In the paper: KF -21.97, -21.91,"
    " KalmanNet -21.92 and"
    " -21.90.",
    (SHORT, LONG, OFFICIAL),
    rows,
)
