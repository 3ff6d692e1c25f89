"""Which features KalmanNet #2 needs, on a linear and on a chaotic system."""

import functools

import jax.numpy as jnp

import kfjax as kf
from benchmarks.learned.results import Measured, Study
from benchmarks.learned.running import classical, learned
from benchmarks.learned.table1 import LONG, MODEL, SHORT
from benchmarks.learned.table1 import parts as linear_parts
from benchmarks.training import Budget
from benchmarks.trajectories import official

SUBSETS = (("F1", "F2", "F4"), ("F1", "F3", "F4"), ("F2", "F4"), ("F1", "F2", "F3", "F4"))
COLUMNS = (f"linear, {SHORT}", f"linear, {LONG}", "lorenz_id_v0_r0_T20")
LORENZ = kf.systems.lorenz(q_std=1.0, r_std=1.0, prior=kf.systems.known(jnp.ones(3)))


def linear_tests():
    data, long = linear_parts()
    return dict(zip(COLUMNS[:2], (data.test, long), strict=True))


def rows(quick):
    parts = functools.partial(official, COLUMNS[2])

    def reference():
        linear = classical(kf.kalman(), MODEL, linear_tests()).values
        return Measured(
            linear | classical(kf.extended(), LORENZ, {COLUMNS[2]: parts().test}).values
        )

    def network(features):
        linear, chaotic = Budget(1000), Budget(400, split=300, learning_rate=1e-3)
        linear, chaotic = (b.quick() if quick else b for b in (linear, chaotic))
        small, large = (
            kf.learned.kalman_net(kf.learned.Architecture2(n, n), features) for n in (2, 3)
        )
        first = learned(small, MODEL, linear_parts()[0], linear_tests(), linear)
        second = learned(large, LORENZ, parts(), {COLUMNS[2]: parts().test}, chaotic)
        return Measured(
            first.values | second.values, {"linear": first.settings, "lorenz": second.settings}
        )

    return {"KF, EKF": reference} | {", ".join(f): functools.partial(network, f) for f in SUBSETS}


NOTES = (
    (
        "Every subset is within 0.01 dB of the KF and within 0.05 dB of the EKF: with so little"
        " left to gain, these two"
        " sets do not tell the features apart."
    ),
)

STUDY = Study(
    "Features",
    "KalmanNet #2 with subsets of its features, normalised as published: on the linear system of"
    " Table I, and on the"
    " official set lorenz_id_v0_r0_T20 (3000 trajectories to train on, 10 to choose on, 1000 to"
    " test on). MSE in dB,"
    " five seeds, trained for about a third of the steps of the other tables: a subset that learns"
    " slowly shows it.",
    COLUMNS,
    rows,
    NOTES,
    digits=2,
)
