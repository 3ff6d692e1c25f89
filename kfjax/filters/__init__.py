"""Filters: functions that return a `kfjax.Filter`."""

from kfjax.filters.gaussians import (
    Iterated,
    Standard,
    cubature,
    extended,
    gauss_hermite,
    gaussian_filter,
    kalman,
    unscented,
)
from kfjax.filters.registry import FILTERS, LINEAR_ONLY, by_name

__all__ = [
    "FILTERS",
    "LINEAR_ONLY",
    "Iterated",
    "Standard",
    "by_name",
    "cubature",
    "extended",
    "gauss_hermite",
    "gaussian_filter",
    "kalman",
    "unscented",
]
