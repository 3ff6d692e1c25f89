"""Filters: functions that return a `kfjax.Filter`."""

from kfjax.filters.combinators.consider_states import schmidt
from kfjax.filters.combinators.constraints import ConstrainedParams, constrained
from kfjax.filters.combinators.guards import fading, gated
from kfjax.filters.combinators.inequalities import Inequalities, box, nearest, truncated
from kfjax.filters.combinators.interacting_models import IMMParams, IMMState, imm
from kfjax.filters.combinators.lags import FixedLagState, fixed_lag
from kfjax.filters.combinators.late_data import DelayedState, delayed
from kfjax.filters.combinators.noise_adaptation import AdaptiveState, adaptive
from kfjax.filters.combinators.resets import FallbackState, fallback
from kfjax.filters.combinators.robust import huber, student_t
from kfjax.filters.combinators.several_sensors import sequential
from kfjax.filters.constant_gain_filter import ConstantGainParams, PointState, constant_gain
from kfjax.filters.diffuse_beliefs import DiffuseState
from kfjax.filters.diffuse_start import exact_diffuse
from kfjax.filters.ensembles.ensemble_filter import EnsembleState, ensemble
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
from kfjax.filters.hidden_regimes import RegimeState, forward
from kfjax.filters.particles.bootstrap import auxiliary_particle, particle
from kfjax.filters.particles.rao_blackwell import rao_blackwellised
from kfjax.filters.particles.resampling import (
    Multinomial,
    Resampling,
    Residual,
    Soft,
    StopGradient,
    Stratified,
    Systematic,
)
from kfjax.filters.particles.states import ParticleState
from kfjax.filters.registry import COMMON, FILTERS, by_name
from kfjax.filters.square_root_form import SquareRootGaussian, square_root

__all__ = [
    "COMMON",
    "FILTERS",
    "AdaptiveState",
    "ConstantGainParams",
    "ConstrainedParams",
    "DelayedState",
    "DiffuseState",
    "EnsembleState",
    "FallbackState",
    "FixedLagState",
    "GaspariCohn",
    "IMMParams",
    "IMMState",
    "Inequalities",
    "Iterated",
    "Multinomial",
    "ParticleState",
    "Perturbed",
    "PointState",
    "RegimeState",
    "Resampling",
    "Residual",
    "Soft",
    "SquareRootGaussian",
    "Standard",
    "StopGradient",
    "Stratified",
    "Systematic",
    "Transform",
    "adaptive",
    "auxiliary_particle",
    "box",
    "by_name",
    "constant_gain",
    "constrained",
    "cubature",
    "delayed",
    "ensemble",
    "exact_diffuse",
    "extended",
    "fading",
    "fallback",
    "fixed_lag",
    "forward",
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
