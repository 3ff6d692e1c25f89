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

__all__ = [
    "Iterated",
    "Standard",
    "cubature",
    "extended",
    "gauss_hermite",
    "gaussian_filter",
    "kalman",
    "unscented",
]
