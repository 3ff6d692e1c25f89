"""Starting points of the fits of many series, in the unit of each series."""

from __future__ import annotations

import numpy as np

from kfjax.data import Dataset
from kfjax.data.counting import counted_observations
from kfjax.training.free_parameters import FreeStart, Layout

__all__: list[str] = []

PLACES = 8  # that are looked at before a climb
DEEP = 5.0  # logarithms below the scale of a series, down to which standard deviations start
STILL = 1e-12  # of the mean: a series that varies less is constant
POWERS = {"std": 1.0, "var": 2.0, "density": 2.0}  # of the unit of a series, by the end of a name


def observations_of(data: Dataset, skip: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the observations [N, T, m], and which of them count."""
    return np.asarray(data.ys, np.float64), counted_observations(data, skip)


def scales_of(ys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each series [N] over its channels; 0 if it is constant."""
    count = np.maximum(seen.sum(1), 1)
    total = np.where(seen, ys, 0).sum(1)
    mean = total / count
    deviations = np.where(seen, ys - mean[:, None], 0)
    squares = (deviations**2).sum(1)
    variances = squares / count
    scale = np.sqrt(variances.mean(1))
    largest = np.abs(mean).max(1)
    return np.where(scale > STILL * largest, scale, 0.0)


def places_of(free: FreeStart, scale: np.ndarray) -> np.ndarray:
    """Return where to look before a climb [N, K, p]: at the given place, and at others."""
    theta = free.theta
    power = _powers(free.layout)
    in_units = power > 0
    draws = np.random.default_rng(0)
    normal = draws.normal(size=(PLACES - 1, theta.size))
    others = theta + free.spread * normal
    offset = np.zeros(theta.size)
    if in_units.any():
        divisor = np.where(in_units, power, 1.0)
        log_stds = np.where(in_units, theta / divisor, -np.inf)
        # half the logarithm of the sum of the variances
        size = np.logaddexp.reduce(2 * log_stds) / 2
        theta = np.where(in_units, theta - power * size, theta)
        below = -DEEP * draws.uniform(size=others.shape)
        others = np.where(in_units, power * below, others)
        offset = power
    every = np.vstack([theta, others])
    units = np.where(scale > 0, scale, 1.0)
    log_units = np.log(units)[:, None, None]
    return every + log_units * offset


def _powers(layout: Layout) -> np.ndarray:
    """Return the power of the unit of a series in each natural value [p]; 0 for none."""
    powers = []
    for name, bounds in zip(layout.names, layout.bounds, strict=True):
        is_positive = bounds == (0.0, np.inf)
        power = _power(name) if is_positive else 0.0
        powers.append(power)
    return np.array(powers)


def _power(name: str) -> float:
    """Return the power of the unit of a series in a value with this name."""
    end, *_ = name.split("[")
    for word, power in POWERS.items():
        if end.endswith(word):
            return power
    return 0.0
