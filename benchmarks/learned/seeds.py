"""KalmanNet #2 from twenty random starts: whether any training ends in something that is no number."""

import jax
import numpy as np

import kfjax as kf
from benchmarks.estimates import decibels
from benchmarks.learned import decimated
from benchmarks.learned.lorenz_spherical import MODEL as SPHERICAL
from benchmarks.learned.results import Measured, Study
from benchmarks.training import Budget, train
from benchmarks.trajectories import official

SEEDS, PIECE = 20, 50
COLUMNS = ("seeds not finite", "refused steps", "test, dB")
SPLIT, LONG = (Budget(steps, split=400, learning_rate=1e-3, seeds=SEEDS) for steps in (500, 200))


def from_twenty_starts(model, parts, test, budget):
    """Return the row of a set; a seed counts as finite if its parameters, validation loss and test error are."""
    method = kf.learned.published("C4", n=3, m=3)
    fitted = train(method, model, parts, budget)
    errors = decibels(method, fitted.params, test, many=True)
    sound = np.isfinite(errors) & np.isfinite(fitted.validation)
    for leaf in jax.tree.leaves(fitted.params.network):
        sound &= np.isfinite(leaf).reshape(len(errors), -1).all(axis=1)
    refused = fitted.history.refused[:, -1].tolist()
    return Measured(
        dict(zip(COLUMNS, (int((~sound).sum()), refused, errors), strict=True)), budget._asdict()
    )


def rows(quick):
    def spherical():
        parts = official("lorenz_spherical_v0_r0_T20")
        return from_twenty_starts(SPHERICAL, parts, parts.test, SPLIT.quick() if quick else SPLIT)

    def chaotic():
        parts, test = decimated.parts(quick), decimated.official_test()
        parts = parts._replace(train=kf.data.pieces(parts.train, PIECE))
        return from_twenty_starts(decimated.design(), parts, test, LONG.quick() if quick else LONG)

    return {"lorenz_spherical_v0_r0_T20": spherical, "decimated Lorenz attractor": chaotic}


STUDY = Study(
    "Twenty seeds of KalmanNet #2",
    "Features normalised as published (C4); trained on pieces of 5 steps that start at true states,"
    " then on whole"
    " trajectories of 20 steps, or on pieces of 50 of the decimated attractor (J = 5, trajectories"
    " of its own), all"
    " seeds at once. Tested on the official test sets, 200 trajectories of 20 steps and 10 of 2999."
    " Wanted: none that"
    " is not finite. A step whose gradient is not finite is refused. The training is shorter than"
    " in the other tables.",
    COLUMNS,
    rows,
    digits=2,
)
