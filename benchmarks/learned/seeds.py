"""Training of KalmanNet #2 from twenty random starts: numbers that are not finite, and errors."""

import jax
import numpy as np

import kfjax as kf
from benchmarks.estimates import decibels
from benchmarks.learned import decimated
from benchmarks.learned.lorenz_spherical import MODEL as SPHERICAL
from benchmarks.learned.results import Measured, Study, Target
from benchmarks.training import Budget, train
from benchmarks.trajectories import official

SEEDS = 20
PIECE = 50
NOT_FINITE = "seeds not finite"
REFUSED = "refused steps"
ERROR = "test, dB"
SPLIT, LONG = (
    Budget(updates, split=400, learning_rate=1e-3, seeds=SEEDS) for updates in (500, 200)
)


def from_twenty_starts(model, parts, test, budget):
    """Return the row of a data set.

    A seed is finite if its parameters, validation loss and test error are.
    """
    method = kf.learned.published("C4", n=3, m=3)
    fitted = train(method, model, parts, budget)
    errors = decibels(method, fitted.params, test, many=True)
    sound = np.isfinite(errors) & np.isfinite(fitted.validation)
    for leaf in jax.tree.leaves(fitted.params.network):
        sound &= np.isfinite(leaf).reshape(len(errors), -1).all(axis=1)
    refused = fitted.history.refused[:, -1].tolist()
    values = {NOT_FINITE: int((~sound).sum()), REFUSED: refused, ERROR: errors}
    return Measured(values, budget._asdict())


def rows(quick):
    """Return the rows of the study."""
    split = SPLIT.quick() if quick else SPLIT
    long = LONG.quick() if quick else LONG

    def spherical():
        parts = official("lorenz_spherical_v0_r0_T20")
        return from_twenty_starts(SPHERICAL, parts, parts.test, split)

    def chaotic():
        parts = decimated.parts(quick)
        test = decimated.official_test()
        parts = parts._replace(train=kf.data.pieces(parts.train, PIECE))
        return from_twenty_starts(decimated.design(), parts, test, long)

    return {"lorenz_spherical_v0_r0_T20": spherical, "decimated Lorenz attractor": chaotic}


def all_finite(values):
    """Return whether all seeds of all data sets are finite."""
    return all(values(row, NOT_FINITE) == 0 for row in values.rows)


STUDY = Study(
    "Twenty seeds of KalmanNet #2",
    """\
Features are normalised as published (C4). Networks are trained on pieces of 5 steps that start at \
true states, then on whole trajectories of 20 steps, or on pieces of 50 steps of the decimated \
attractor (J = 5, simulated trajectories), all seeds at once. They are tested on the official test \
sets, 200 trajectories of 20 steps and 10 of 2999. Updates whose gradient is not finite are \
rejected ("refused steps"). Training is shorter than for the other tables.""",
    (NOT_FINITE, REFUSED, ERROR),
    rows,
    targets=(Target("All seeds are finite", all_finite),),
    digits=2,
)
