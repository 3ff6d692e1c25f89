"""The decimated Lorenz attractor: a design model with a coarse step, and learned corrections."""

import functools

import jax
import numpy as np

import kfjax as kf
from benchmarks.decimation import FLOWS, START, dense
from benchmarks.learned.results import Measured, Study, Target
from benchmarks.learned.running import classical, tuned
from benchmarks.trajectories import official

OFFICIAL, OWN = "official test set", "other trajectories"
CORRECTED = "EKF, J = 5 + learned polynomial of degree {}, tuned"
DEGREES = (3, 5)
WANTED = -17.0  # dB
design = functools.partial(kf.systems.lorenz, q_std=0.1, r_std=1.0, prior=START)


def official_test():
    """Return the official test set, whose first stored state is x_0.

    It is 1e-5 s after (1, 1, 1), and thus the start, not the first step.
    """
    test = official("lorenz_decimated_size10_T3000").test
    return kf.Dataset(test.ys[:, 1:], test.xs[:, 1:], prior_mean=test.xs[:, 0])


@functools.cache
def parts(quick):
    """Return training, validation and test parts.

    Short trajectories from a known start would need no Q at all.
    """
    if quick:
        return kf.data.Parts(*dense(0, 8, 50).split(4, 2, 2))
    return kf.data.Parts(*dense(0, 34, 1000).split(16, 8, 10))


def rows(quick):
    """Return the rows of the study."""

    def tests():
        return {OFFICIAL: official_test(), OWN: parts(quick).test}

    def tuned_ekf(model):
        options = {"structure": "scalar", "updates": 30 if quick else 80}
        return tuned(kf.extended(), model, parts(quick), tests(), **options)

    def corrected(degree):
        model = kf.learned.residual_model(design(), "f", kf.learned.Polynomial(degree))
        model = kf.learned.fit_residual(model, parts(quick).train)
        values, settings = tuned_ekf(model)
        told = {"degree": degree, "one_step_rmse": one_step_rmse(model, parts(quick).test)}
        return Measured(values, settings | told)

    def untuned():
        return classical(kf.extended(), design(q_std=0.15**0.5, **FLOWS["J = 2"]), tests())

    found = {"EKF, J = 2, q^2 = 0.15": untuned}
    for name, options in FLOWS.items():
        found[f"EKF, {name}, tuned"] = lambda options=options: tuned_ekf(design(**options))
    for degree in DEGREES:
        found[CORRECTED.format(degree)] = functools.partial(corrected, degree)
    return found


def one_step_rmse(model, data):
    """Return the root mean squared error of f over one step."""
    before, after = data.xs[:, :-1].reshape(-1, 3), data.xs[:, 1:].reshape(-1, 3)
    error = np.asarray(jax.vmap(lambda x: model.f(x, None))(before)) - after
    return round(float(np.sqrt(np.mean(error**2))), 5)


def best_is_good(values):
    """Return whether a learned filter reaches the target on both test sets."""
    names = [CORRECTED.format(degree) for degree in DEGREES]
    return any(all(values(row, column) <= WANTED for column in (OFFICIAL, OWN)) for row in names)


STUDY = Study(
    "Decimated Lorenz attractor",
    """\
The truth is sampled every 1e-5 s and decimated to 0.02 s; r² = 1. Estimators are trained on 16 \
trajectories of 1000 samples from different initial states and validated on 8 others. They are \
tested on the official set (its first stored state is x_0) and on 10 more trajectories of 1000 \
samples. Values are MSE in dB. In the paper the EKF has -6.43, and KalmanNet, which runs on two \
half-steps, -11.28.""",
    (OFFICIAL, OWN),
    rows,
    targets=(
        Target(
            "The best learned filter with the authors' J = 5 as design model is at -17.0 dB or"
            " below",
            best_is_good,
        ),
    ),
    notes=(
        """\
When it was tuned on 40 trajectories of 200 samples from known x_0 instead, the EKF with \
Runge-Kutta had too little process noise and lost the official trajectories (17.2 dB; -13.1 on the \
others).""",
        """\
The cubic was fixed beforehand. Degree 5 is better on trajectories like those of the training data \
(validation -18.1, the cubic -17.3) and worse on the official ones, where, tuned by likelihood, \
degree 5 has -17.02, degree 4 -16.96 and the cubic -17.34.""",
        """\
The EKF with Runge-Kutta has a lower error on the page of \
[Table III](../kalmannet/studies/table3.md), where q is chosen on the authors' validation data, \
which share the true trajectory of the official test set. With a q of other trajectories, as here, \
the pages agree.""",
    ),
    digits=2,
)
