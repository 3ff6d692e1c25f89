"""The Lorenz attractor in spherical coordinates, noise of 1 rad: an official set of 20 steps."""

import functools

import jax
import jax.numpy as jnp

import kfjax as kf
from benchmarks.learned.results import Study, Target
from benchmarks.learned.running import classical, learned, tuned
from benchmarks.training import Budget
from benchmarks.trajectories import official

TEST = "test, dB"
PARTICLES = 5000
lorenz = functools.partial(
    kf.systems.lorenz,
    observation="spherical",
    q_std=1.0,
    r_std=1.0,
    prior=kf.systems.known(jnp.ones(3)),
)
MODEL, WRAPPED = lorenz(wrap=False), lorenz(wrap=True)
SPLIT = Budget(1500, split=1000, learning_rate=1e-3)
C4 = "KalmanNet #2 (C4)"
ASINH = "KalmanNet #2, features as asinh of whitened"
STARTED = "gain that starts at the EKF (phi as it is, tuned)"


def rows(quick):
    """Return the rows of the study."""
    parts = functools.partial(official, "lorenz_spherical_v0_r0_T20")
    updates = 40 if quick else 150
    budget = SPLIT.quick() if quick else SPLIT

    def plain(method, model):
        return classical(method, model, {TEST: parts().test})

    def searched(method, model):
        return tuned(method, model, parts(), {TEST: parts().test}, updates=updates)

    def network(method, model, constants=None):
        return learned(method, model, parts(), {TEST: parts().test}, budget, constants)

    def asinh():
        method = kf.learned.published("C4", n=3, m=3, feature_map=kf.learned.Asinh())
        return network(method, MODEL, kf.learned.measure_scales(MODEL, parts().train.ys))

    def start_at_ekf():
        options = {"structure": "diagonal", "objective": "mse", "updates": updates}
        given = {"validation": parts().validation, "key": jax.random.key(0)}
        found = kf.training.tune(kf.extended(), MODEL, parts().train, **given, **options)
        method = kf.learned.corrected_gain(3, 3, context=True)
        places = kf.learned.state_scales(found.params, parts().train.xs)
        return network(method, found.params, places)

    return {
        "EKF, phi as it is": lambda: plain(kf.extended(), MODEL),
        "EKF, phi wrapped": lambda: plain(kf.extended(), WRAPPED),
        "EKF, phi as it is, tuned": lambda: searched(kf.extended(), MODEL),
        "EKF, phi wrapped, tuned": lambda: searched(kf.extended(), WRAPPED),
        "UKF, phi as it is": lambda: plain(kf.unscented(), MODEL),
        "UKF, phi as it is, tuned": lambda: searched(kf.unscented(), MODEL),
        "UKF, phi wrapped": lambda: plain(kf.unscented(), WRAPPED),
        "UKF, phi wrapped, tuned": lambda: searched(kf.unscented(), WRAPPED),
        C4: lambda: network(kf.learned.published("C4", n=3, m=3), MODEL),
        ASINH: asinh,
        STARTED: start_at_ekf,
        f"floor: particle filter, {PARTICLES}": lambda: plain(kf.particle(PARTICLES), MODEL),
    }


def kalman_net_is_good(values):
    """Return whether both forms of KalmanNet reach their target."""
    return max(values(C4, TEST), values(ASINH, TEST)) < 6.0


def best_is_good(values):
    """Return whether the best learned filter reaches its target."""
    return min(values(row, TEST) for row in (C4, ASINH, STARTED)) < 4.5


STUDY = Study(
    "Lorenz attractor, spherical observations",
    """\
Official set lorenz_spherical_v0_r0_T20: q² = r² = 1, J = 5, x_0 is known, and noise is added to \
phi without wrapping it. There are 1000 trajectories for training, 100 for validation and 200 for \
testing.""",
    (TEST,),
    rows,
    targets=(
        Target(
            "KalmanNet is below 6.0 dB (the authors' code, trained in full, has 7.13)",
            kalman_net_is_good,
        ),
        Target("The best learned filter is below 4.5 dB", best_is_good),
    ),
    notes=(
        """\
KalmanNet was also trained on all 20 steps from the start, at twice the rate. One of two seeds had \
no finite loss after about ten updates, with either set of features; the other reached 4.3 and 4.1 \
dB. With a first stage on pieces of 5 steps that start at true states, a warm-up and half the \
rate, no seed rejected more than 4 of 1500 updates.""",
        """\
Wrapping phi makes the EKF and the UKF worse here, since the noise of 1 rad was never wrapped.""",
        """\
An error of 7 to 8 dB means that the estimate of one trajectory of 200 follows the mirror image \
(x, y) -> (-x, -y), and 9 dB that two do; without such trajectories the error is 4.0 dB. Whether \
this happens with a seed depends on rounding. It happened with none of the five seeds of either \
KalmanNet in this run, but with one of five of each in the run before, in which sums were ordered \
differently, and with most seeds of the gain that starts at the EKF in both.""",
        """\
Trained as for calibration (see there: copies with new noise, and wrong starts), the Recursive \
KalmanNet and the gain that starts at the EKF lose no trajectory: 4.30 and 4.20 dB, with a \
covariance.""",
    ),
    digits=2,
)
