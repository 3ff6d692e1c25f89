"""Filters: functions that return a `kfjax.Filter`."""

from kfjax.filters.adaptive import Adaptive, adaptive
from kfjax.filters.combinators import Watched, fading, fallback, gated
from kfjax.filters.constraints import Constrained, Inequalities, box, constrained, nearest, truncated
from kfjax.filters.ensemble_forms import Perturbed, Transform
from kfjax.filters.ensembles import Ensemble, ensemble
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
from kfjax.filters.lags import FixedLag, fixed_lag, lagged
from kfjax.filters.localisation import GaspariCohn
from kfjax.filters.mixtures import IMM, Mixture, imm
from kfjax.filters.particle_states import Particles
from kfjax.filters.particles import auxiliary_particle, particle
from kfjax.filters.rao_blackwell import rao_blackwellised
from kfjax.filters.registry import COMMON, FILTERS, by_name
from kfjax.filters.resampling import Multinomial, Residual, Soft, StopGradient, Stratified, Systematic
from kfjax.filters.robust import huber, student_t
from kfjax.filters.schmidt import schmidt
from kfjax.filters.sequential import Sensors, sequential
from kfjax.filters.square_roots import SquareRoot, square_root

__all__ = [
    "COMMON",
    "FILTERS",
    "IMM",
    "Adaptive",
    "Constrained",
    "Ensemble",
    "FixedLag",
    "GaspariCohn",
    "Inequalities",
    "Iterated",
    "Mixture",
    "Multinomial",
    "Particles",
    "Perturbed",
    "Residual",
    "Sensors",
    "Soft",
    "SquareRoot",
    "Standard",
    "StopGradient",
    "Stratified",
    "Systematic",
    "Transform",
    "Watched",
    "adaptive",
    "auxiliary_particle",
    "box",
    "by_name",
    "constrained",
    "cubature",
    "ensemble",
    "extended",
    "fading",
    "fallback",
    "fixed_lag",
    "gated",
    "gauss_hermite",
    "gaussian_filter",
    "huber",
    "imm",
    "kalman",
    "lagged",
    "nearest",
    "particle",
    "rao_blackwellised",
    "schmidt",
    "sequential",
    "square_root",
    "student_t",
    "truncated",
    "unscented",
]
