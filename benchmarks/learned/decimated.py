"""The decimated Lorenz attractor: a design model whose step is too coarse, and what learning adds to it."""

import functools

import jax
import numpy as np

import kfjax as kf
from benchmarks.decimation import FLOWS, START, dense
from benchmarks.learned.results import Measured, Study
from benchmarks.learned.running import classical, tuned
from benchmarks.trajectories import official

OFFICIAL, OWN = "official test set", "other trajectories"
design = functools.partial(kf.systems.lorenz, q_std=0.1, r_std=1.0, prior=START)


def official_test():
    """The first stored state is x_0 itself, 1e-5 s after (1, 1, 1): it is the start, not the first step."""
    test = official("lorenz_decimated_size10_T3000").test
    return kf.Dataset(test.ys[:, 1:], test.xs[:, 1:], prior_mean=test.xs[:, 0])


@functools.cache
def parts(quick):
    """Return training, validation and test parts; short trajectories from a known start would call for no Q at all."""
    return kf.data.Parts(
        *dense(0, 8, 50).split(4, 2, 2) if quick else dense(0, 34, 1000).split(16, 8, 10)
    )


def rows(quick):
    def tests():
        return {OFFICIAL: official_test(), OWN: parts(quick).test}

    def plain(model):
        return tuned(
            kf.extended(),
            model,
            parts(quick),
            tests(),
            structure="scalar",
            updates=30 if quick else 80,
        )

    def residual(degree):
        model = kf.learned.residual_model(design(), "f", kf.learned.Polynomial(degree))
        model = kf.learned.fit_residual(model, parts(quick).train)
        measured = plain(model)
        before, after = (
            parts(quick).test.xs[:, cut].reshape(-1, 3) for cut in (slice(-1), slice(1, None))
        )
        error = np.asarray(jax.vmap(lambda x: model.f(x, None))(before)) - after
        one_step = round(float(np.sqrt(np.mean(error**2))), 5)
        return Measured(
            measured.values, measured.settings | {"degree": degree, "one_step_rmse": one_step}
        )

    def untuned():
        return classical(kf.extended(), design(q_std=0.15**0.5, **FLOWS["J = 2"]), tests())

    return (
        {"EKF, J = 2, q^2 = 0.15": untuned}
        | {
            f"EKF, {name}, tuned": functools.partial(lambda o: plain(design(**o)), o)
            for name, o in FLOWS.items()
        }
        | {
            f"EKF, J = 5 + learned polynomial of degree {degree}, tuned": functools.partial(
                residual, degree
            )
            for degree in (3, 5)
        }
    )


NOTES = (
    (
        "Tuned on 40 trajectories of 200 samples from known x_0 instead, Runge-Kutta was given too"
        " little process noise"
        " and lost the official trajectories (17.2 dB; -13.1 on the others)."
    ),
    (
        "The cubic was fixed beforehand. Degree 5 is better on trajectories like those trained on"
        " (validation -18.1,"
        " the cubic -17.3) and worse on the official ones; tuned by likelihood: -17.02 there,"
        " degree 4 -16.96, the"
        " cubic -17.34."
    ),
)

STUDY = Study(
    "Decimated Lorenz attractor",
    "The truth is sampled every 1e-5 s and decimated to 0.02 s; r^2 = 1. Trained on 16 trajectories"
    " of 1000 samples"
    " from initial states of their own, chosen on 8 others; tested on the official set (its first"
    " stored state is x_0)"
    " and on 10 more of 1000 samples. MSE in dB. Wanted: the best learned filter at or below -17.0"
    " with the authors'"
    " J = 5 as design model. In the paper: EKF -6.43, KalmanNet -11.28, which runs on two"
    " half-steps.",
    (OFFICIAL, OWN),
    rows,
    NOTES,
    digits=2,
)
