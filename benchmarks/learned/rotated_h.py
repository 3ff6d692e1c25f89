"""A rotated sensor: h is learned from labelled trajectories by least squares."""

import functools

import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.learned.results import Measured, Study, Target
from benchmarks.learned.running import classical, tuned
from benchmarks.trajectories import official

TEST = "test, dB"
LEAST_SQUARES = "EKF, h by least squares"
CUBIC = "EKF, h = I + learned cubic"
OF_TRUE_H, NEAR = -10.53, 0.1  # dB
lorenz = functools.partial(
    kf.systems.lorenz, q_std=0.1, r_std=1.0, prior=kf.systems.known(jnp.ones(3))
)


def rows(quick):
    """Return the rows of the study."""
    parts = functools.partial(official, "lorenz_Hrot1_v-20_r0_T100")
    rotated = lorenz(observation="rotated", rotation_degrees=1.0)

    def plain(model):
        return classical(kf.extended(), model, {TEST: parts().test})

    def tuned_ekf():
        options = {"updates": 20 if quick else 80}
        return tuned(kf.extended(), lorenz(), parts(), {TEST: parts().test}, **options)

    def learned_h(degree, full):
        model = kf.learned.residual_model(lorenz(), "h", kf.learned.Polynomial(degree), full=full)
        model = kf.learned.fit_residual(model, parts().train)
        states = parts().test.xs.reshape(-1, 3)[::100]
        error = [np.asarray(model.h(x, None) - rotated.h(x, None)) for x in states]
        rmse = round(float(np.sqrt(np.mean(np.square(error)))), 4)
        return Measured(plain(model).values, {"h_rmse": rmse})

    return {
        "EKF, h = I": lambda: plain(lorenz()),
        "EKF, h = I, Q and R tuned": tuned_ekf,
        "EKF, true h": lambda: plain(rotated),
        LEAST_SQUARES: lambda: learned_h(1, full=True),
        CUBIC: lambda: learned_h(3, full=False),
    }


def near_true_h(values):
    """Return whether learned functions h reach the true one."""
    return all(values(row, TEST) <= OF_TRUE_H + NEAR for row in (LEAST_SQUARES, CUBIC))


STUDY = Study(
    "A rotated sensor",
    """\
Official set lorenz_Hrot1_v-20_r0_T100: h is the identity rotated by 1 degree about each axis, \
and the design model has h = I. There are 1000 labelled trajectories of 100 steps to learn h \
from, and 200 for testing.""",
    (TEST,),
    rows,
    targets=(
        Target("A learned h is within 0.1 dB of -10.53, which the true h gives", near_true_h),
    ),
    digits=2,
)
