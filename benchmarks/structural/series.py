"""Simulated monthly series."""

import numpy as np

STEPS = 120


def monthly(count, seed=0):
    """Return count monthly series [N, T, 1] with a level, a season and noise, in various units."""
    rng = np.random.default_rng(seed)

    def factors(low, high):
        return np.exp(rng.uniform(low, high, size=(count, 1)))

    level = (rng.normal(size=(count, STEPS)) * factors(-4, 0)).cumsum(1)
    angle = 2 * np.pi * np.arange(STEPS) / 12 + rng.uniform(0, 2 * np.pi, (count, 1))
    season = np.sin(angle) * rng.uniform(0, 2, (count, 1))
    noise = rng.normal(size=(count, STEPS)) * factors(-2, 0)
    return (factors(-3, 5) * (level + season + noise))[..., None]
