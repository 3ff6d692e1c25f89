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
from kfjax.filters.registry import FILTERS, by_name

__all__ = [
    "FILTERS",
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
