"""Times of compiled functions, by the wall clock and in processor time."""

import jax
import numpy as np

import kfjax as kf


def timed(function, rounds):
    """Return the wall and processor seconds of each round, [rounds, 2], after a call that compiles.

    The first call has to end before the rounds begin, or the first round would wait for it.
    """
    jax.block_until_ready(function())
    return np.array([kf.evaluation.first_call(function)[1] for _ in range(rounds)])
