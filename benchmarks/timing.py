"""Times of compiled functions by two clocks."""

import jax
import numpy as np

import kfjax as kf


def timed(function, rounds):
    """Return the wall and processor seconds of each round [rounds, 2], after one that compiles."""
    # the first call compiles, and all that it started has to end before the first round
    jax.block_until_ready(function())
    return np.array([kf.evaluation.first_call(function)[1] for _ in range(rounds)])
