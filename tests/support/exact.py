"""The joint Gaussian of a linear model in rational arithmetic, where a variance of zero is zero.

By the chain rule an observation that earlier ones determine has no density of its own: it adds
nothing where it agrees, and is impossible where it does not.
"""

from fractions import Fraction
from math import inf, log, pi

import numpy as np


def rational(a):
    """An array of exact fractions with the values of a float array."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(a, float))


def condition(mean, cov, h, noise, y):
    """Condition x ~ N(mean, cov) on y = h x + v of variance `noise`.

    Returns mean, cov, the log-likelihood, and 1 if y had a variance or 0.
    """
    column = cov @ h
    variance = h @ column + noise
    rest = y - h @ mean
    if variance == 0:
        return mean, cov, 0.0 if rest == 0 else -inf, 0
    gain = column / variance
    score = -0.5 * (float(rest**2 / variance) + log(float(variance)) + log(2 * pi))
    return mean + gain * rest, cov - np.outer(gain, column), score, 1


def kalman(F, H, Q, R, mean, cov, ys):
    """Filtered means and covariances, log-likelihoods and ranks of every step, as floats.

    R is diagonal, so that channels are conditioned on one after another.
    """
    F, H, Q, R, mean, cov, ys = map(rational, (F, H, Q, R, mean, cov, ys))
    steps = []
    for y in ys:
        mean, cov = F @ mean, F @ cov @ F.T + Q
        score, rank = 0.0, 0
        for h, noise, value in zip(H, np.diag(R), y, strict=True):
            mean, cov, term, counted = condition(mean, cov, h, noise, value)
            score, rank = score + term, rank + counted
        steps.append((mean.astype(float), cov.astype(float), score, rank))
    return [np.array(part) for part in zip(*steps, strict=True)]
