"""A rotated sensor: h is learned from labelled trajectories, by least squares."""

import functools

import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.learned.results import Measured, Study
from benchmarks.learned.running import classical, tuned
from benchmarks.trajectories import official

TEST = "test, dB"
lorenz = functools.partial(
    kf.systems.lorenz, q_std=0.1, r_std=1.0, prior=kf.systems.known(jnp.ones(3))
)


def rows(quick):
    parts = functools.partial(official, "lorenz_Hrot1_v-20_r0_T100")

    def plain(model):
        return classical(kf.extended(), model, {TEST: parts().test})

    def searched(model):
        return tuned(kf.extended(), model, parts(), {TEST: parts().test}, updates=20 if quick else 80)

    def learned_h(degree, full):
        model = kf.learned.residual_model(lorenz(), "h", kf.learned.Polynomial(degree), full=full)
        model = kf.learned.fit_residual(model, parts().train)
        states = parts().test.xs.reshape(-1, 3)[::100]
        truth = lorenz(observation="rotated", rotation_degrees=1.0).h
        error = [np.asarray(model.h(x, None) - truth(x, None)) for x in states]
        return Measured(
            plain(model).values, {"h_rmse": round(float(np.sqrt(np.mean(np.square(error)))), 4)}
        )

    return {
        "EKF, h = I": lambda: plain(lorenz()),
        "EKF, h = I, Q and R tuned": lambda: searched(lorenz()),
        "EKF, true h": lambda: plain(lorenz(observation="rotated", rotation_degrees=1.0)),
        "EKF, h by least squares": lambda: learned_h(1, full=True),
        "EKF, h = I + learned cubic": lambda: learned_h(3, full=False),
    }


STUDY = Study(
    "A rotated sensor",
    "Official set lorenz_Hrot1_v-20_r0_T100: h is the identity rotated by 1 degree about each axis,"
    " the design model"
    " has h = I. 1000 labelled trajectories of 100 steps to learn h from, 200 to test on. Wanted:"
    " within 0.1 dB of"
    " -10.53, which the true h gives.",
    (TEST,),
    rows,
    digits=2,
)
