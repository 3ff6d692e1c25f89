"""The Lorenz attractor in spherical coordinates with noise of 1 rad: an official set of 20 steps."""

import functools

import jax
import jax.numpy as jnp

import kfjax as kf
from benchmarks.learned.results import Study
from benchmarks.learned.running import classical, learned, tuned
from benchmarks.training import Budget
from benchmarks.trajectories import official

TEST, PARTICLES = "test, dB", 5000
MODEL, WRAPPED = (
    kf.systems.lorenz(
        observation="spherical",
        wrap=wrap,
        q_std=1.0,
        r_std=1.0,
        prior=kf.systems.known(jnp.ones(3)),
    )
    for wrap in (False, True)
)
SPLIT = Budget(1500, split=1000, learning_rate=1e-3)


def rows(quick):
    parts = functools.partial(official, "lorenz_spherical_v0_r0_T20")
    updates = 40 if quick else 150

    def plain(method, model):
        return classical(method, model, {TEST: parts().test})

    def searched(method, model):
        return tuned(method, model, parts(), {TEST: parts().test}, updates=updates)

    def network(method, model, budget, constants=None):
        budget = budget.quick() if quick else budget
        constants = constants and constants(model)
        return learned(method, model, parts(), {TEST: parts().test}, budget, constants)

    def scales(model):
        return kf.learned.measure_scales(model, parts().train.ys)

    def places(model):
        return kf.learned.state_scales(model, parts().train.xs)

    def start_at_ekf():
        found = kf.training.tune(
            kf.extended(),
            MODEL,
            parts().train,
            validation=parts().validation,
            key=jax.random.key(0),
            structure="diagonal",
            objective="mse",
            updates=updates,
        )
        return network(kf.learned.corrected_gain(3, 3, context=True), found.params, SPLIT, places)

    asinh = kf.learned.published("C4", n=3, m=3, feature_map=kf.learned.Asinh())
    return {
        "EKF, phi as it is": lambda: plain(kf.extended(), MODEL),
        "EKF, phi wrapped": lambda: plain(kf.extended(), WRAPPED),
        "EKF, phi as it is, tuned": lambda: searched(kf.extended(), MODEL),
        "EKF, phi wrapped, tuned": lambda: searched(kf.extended(), WRAPPED),
        "UKF, phi as it is": lambda: plain(kf.unscented(), MODEL),
        "UKF, phi as it is, tuned": lambda: searched(kf.unscented(), MODEL),
        "UKF, phi wrapped": lambda: plain(kf.unscented(), WRAPPED),
        "UKF, phi wrapped, tuned": lambda: searched(kf.unscented(), WRAPPED),
        "KalmanNet #2 (C4)": lambda: network(
            kf.learned.published("C4", n=3, m=3), MODEL, SPLIT
        ),
        "KalmanNet #2, features as asinh of whitened": lambda: network(asinh, MODEL, SPLIT, scales),
        "gain that starts at the EKF (phi as it is, tuned)": start_at_ekf,
        f"floor: particle filter, {PARTICLES}": lambda: plain(kf.particle(PARTICLES), MODEL),
    }


NOTES = (
    (
        "KalmanNet trained on 20 steps from the first step on, at twice the rate: one of two seeds"
        " had no finite loss"
        " after about ten steps, with either features; the other reached 4.3 and 4.1 dB. With"
        " pieces of 5 steps that"
        " start at true states first, a warm start and half the rate, no seed refused more than 4"
        " of 1500."
    ),
    "Wrapping phi makes the EKF and the UKF worse here, since the noise of 1 rad was never"
    " wrapped.",
    (
        "7 to 8 dB is one trajectory of 200 lost to the mirror image (x, y) -> (-x, -y), 9 dB two:"
        " the others have 4.0."
        " It hangs on rounding whether a seed loses them: none of five of either KalmanNet did in"
        " this run, one of five"
        " of each in the run before, in which sums were ordered otherwise; most seeds of the gain"
        " that starts at the"
        " EKF did in both."
    ),
    (
        "Trained for calibration (see there: noise drawn anew in copies, wrong starts) the"
        " Recursive KalmanNet and"
        " the gain that starts at the EKF lose none: 4.30 and 4.20 dB, with a covariance."
    ),
)

STUDY = Study(
    "Lorenz attractor, spherical observations",
    "Official set lorenz_spherical_v0_r0_T20 (q^2 = r^2 = 1, J = 5, x_0 known, noise added to phi"
    " without wrapping it):"
    " 1000 trajectories to train on, 100 to choose on, 200 to test on. Wanted: KalmanNet below 6.0"
    " dB (the authors'"
    " code, trained in full, 7.13), the best learned filter below 4.5.",
    (TEST,),
    rows,
    NOTES,
    digits=2,
)
