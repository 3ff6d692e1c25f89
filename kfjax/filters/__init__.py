"""Filters: functions that return a `kfjax.Filter`."""

from kfjax.filters.adaptive import Adaptive, adaptive
from kfjax.filters.combinators import Watched, fading, fallback, gated
from kfjax.filters.constraints import Constrained, Inequalities, box, constrained, nearest, truncated
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
from kfjax.filters.mixtures import IMM, Mixture, imm
from kfjax.filters.registry import FILTERS, by_name
from kfjax.filters.robust import huber, student_t
from kfjax.filters.schmidt import schmidt
from kfjax.filters.sequential import Sensors, sequential
from kfjax.filters.square_roots import SquareRoot, square_root

__all__ = [
    "FILTERS",
    "IMM",
    "Adaptive",
    "Constrained",
    "Inequalities",
    "Iterated",
    "Mixture",
    "Sensors",
    "SquareRoot",
    "Standard",
    "Watched",
    "adaptive",
    "box",
    "by_name",
    "constrained",
    "cubature",
    "extended",
    "fading",
    "fallback",
    "gated",
    "gauss_hermite",
    "gaussian_filter",
    "huber",
    "imm",
    "kalman",
    "nearest",
    "schmidt",
    "sequential",
    "square_root",
    "student_t",
    "truncated",
    "unscented",
]
