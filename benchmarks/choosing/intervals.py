"""Bootstrap intervals over records."""

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def draws(count):
    """Return the records [RESAMPLES, N] of every resample; the same ones at every call."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def of(statistic, *values):
    """Return a statistic of values [N] with its bootstrap interval, rounded.

    Args:
        statistic: maps arrays [..., N], one for each argument, to [...].
        *values: numbers of every record, resampled together.
    """
    rows = draws(len(values[0]))
    found = statistic(*(value[rows] for value in values))
    tail = 50 * (1 - LEVEL)
    with np.errstate(invalid="ignore"):
        ends = np.percentile(found, [tail, 100 - tail])
    return [_rounded(number) for number in (statistic(*values), *ends)]


def rmse(squared):
    """Return the root of the mean over records."""
    return np.sqrt(squared.mean(-1))


def decibels(squared, reference):
    """Return by how many dB the mean is above that of a reference on the same records."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(squared.mean(-1) / reference.mean(-1))


def _rounded(number):
    return float(f"{number:.4g}")
