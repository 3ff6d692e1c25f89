"""Filters: functions that return a `kfjax.Filter`."""

from kfjax.filters.combinators.consider_states import schmidt
from kfjax.filters.combinators.constraints import (
    Constrained,
    Inequalities,
    box,
    constrained,
    nearest,
    truncated,
)
from kfjax.filters.combinators.guards import Watched, fading, fallback, gated
from kfjax.filters.combinators.lags import FixedLag, fixed_lag
from kfjax.filters.combinators.mixtures import IMM, Mixture, imm
from kfjax.filters.combinators.noise_adaptation import Adaptive, adaptive
from kfjax.filters.combinators.robust import huber, student_t
from kfjax.filters.combinators.several_sensors import Sensors, sequential
from kfjax.filters.ensembles.ensemble_filter import Ensemble, ensemble
from kfjax.filters.ensembles.forms import Perturbed, Transform
from kfjax.filters.ensembles.localisation import GaspariCohn
from kfjax.filters.gaussian import (
    Iterated,
    Standard,
    cubature,
    extended,
    gauss_hermite,
    gaussian_filter,
    kalman,
    unscented,
)
from kfjax.filters.particles.bootstrap import auxiliary_particle, particle
from kfjax.filters.particles.rao_blackwell import rao_blackwellised
from kfjax.filters.particles.resampling import (
    Multinomial,
    Residual,
    Soft,
    StopGradient,
    Stratified,
    Systematic,
)
from kfjax.filters.particles.states import Particles
from kfjax.filters.registry import COMMON, FILTERS, by_name
from kfjax.filters.square_root_form import SquareRoot, square_root

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
