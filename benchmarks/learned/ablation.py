"""Features that KalmanNet #2 needs, on a linear and on a chaotic system."""

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
SHORT_COLUMN, LONG_COLUMN = f"linear, {SHORT}", f"linear, {LONG}"
SET = "lorenz_id_v0_r0_T20"
LORENZ = kf.systems.lorenz(q_std=1.0, r_std=1.0, prior=kf.systems.known(jnp.ones(3)))


def linear_tests():
    """Return the test data of the linear system, by column."""
    data, long = linear_parts()
    return {SHORT_COLUMN: data.test, LONG_COLUMN: long}


def rows(quick):
    """Return the rows of the study."""
    found = {"KF, EKF": reference}
    for features in SUBSETS:
        found[", ".join(features)] = functools.partial(network, features, quick)
    return found


def reference():
    """Return the row of the KF on the linear system and the EKF on the attractor."""
    linear = classical(kf.kalman(), MODEL, linear_tests())
    chaotic = classical(kf.extended(), LORENZ, {SET: official(SET).test})
    return Measured(linear.values | chaotic.values)


def network(features, quick):
    """Return the row of KalmanNet #2 with these features."""
    budgets = Budget(1000), Budget(400, split=300, learning_rate=1e-3)
    if quick:
        budgets = [budget.quick() for budget in budgets]
    small, large = (kf.learned.kalman_net(kf.learned.Architecture2(n, n), features) for n in (2, 3))
    linear = learned(small, MODEL, linear_parts()[0], linear_tests(), budgets[0])
    parts = official(SET)
    chaotic = learned(large, LORENZ, parts, {SET: parts.test}, budgets[1])
    settings = {"linear": linear.settings, "lorenz": chaotic.settings}
    return Measured(linear.values | chaotic.values, settings)


STUDY = Study(
    "Features",
    """\
KalmanNet #2 with subsets of its features, normalised as published: on the linear system of Table \
I, and on the official set lorenz_id_v0_r0_T20 (3000 trajectories for training, 10 for validation, \
1000 for testing). Values are MSE in dB of five seeds, trained for about a third of the updates of \
the other tables, so that slow learning shows.""",
    (SHORT_COLUMN, LONG_COLUMN, SET),
    rows,
    notes=(
        """\
Every subset is within 0.01 dB of the KF and within 0.05 dB of the EKF: with so little left to \
gain, these two sets do not show which features matter.""",
    ),
    digits=2,
)
