"""kfjax: a functional filtering toolkit for JAX."""

__version__ = "0.1.0"

from kfjax import data, evaluation, exporting, filters, learned, linalg, moments, systems, training
from kfjax._support.persistence import from_bytes, to_bytes
from kfjax._support.xla_options import set_xla_options
from kfjax.base import (
    Estimate,
    Filter,
    Gaussian,
    Info,
    Run,
    constructor,
    estimate,
    estimate_and_info,
    lagged,
    leading,
    whole_state,
)
from kfjax.data import Dataset, from_pandas, from_xarray, to_pandas, to_xarray
from kfjax.evaluation import compare, monte_carlo
from kfjax.filters import (
    ConstrainedParams,
    IMMParams,
    Inequalities,
    adaptive,
    auxiliary_particle,
    box,
    constrained,
    cubature,
    ensemble,
    extended,
    fading,
    fallback,
    fixed_lag,
    gated,
    gauss_hermite,
    gaussian_filter,
    huber,
    imm,
    kalman,
    particle,
    rao_blackwellised,
    schmidt,
    sequential,
    square_root,
    student_t,
    unscented,
)
from kfjax.filters.beliefs import observation_estimate, predicted
from kfjax.filters.constant_gain_filter import ConstantGainParams, constant_gain
from kfjax.linear.rank_tests import controllability, observability
from kfjax.linear.riccati import SteadyState, steady_state
from kfjax.models.augmentation import correlated, non_additive
from kfjax.models.discretisation import Discretised, time_steps, van_loan
from kfjax.models.functions import Linear
from kfjax.models.lens import with_model
from kfjax.models.priors import diffuse
from kfjax.models.sensors import Sensor, Sensors
from kfjax.models.simulation import simulate
from kfjax.models.spaces import Space, angles, wrap_angle
from kfjax.models.state_space import StateSpaceModel, linear_gaussian
from kfjax.runner import Forecast, forecast, log_likelihood, run, split_missing, step
from kfjax.smoothers.imputation import impute
from kfjax.smoothers.iterated import parallel_iterated_smooth
from kfjax.smoothers.parallel import parallel_filter, parallel_smooth
from kfjax.smoothers.posterior_draws import sample_posterior, simulate_smoothed
from kfjax.smoothers.rauch_tung_striebel import Smoothed, smooth
from kfjax.smoothers.two_filter import two_filter_smooth

__all__ = [
    "ConstantGainParams",
    "ConstrainedParams",
    "Dataset",
    "Discretised",
    "Estimate",
    "Filter",
    "Forecast",
    "Gaussian",
    "IMMParams",
    "Inequalities",
    "Info",
    "Linear",
    "Run",
    "Sensor",
    "Sensors",
    "Smoothed",
    "Space",
    "StateSpaceModel",
    "SteadyState",
    "adaptive",
    "angles",
    "auxiliary_particle",
    "box",
    "compare",
    "constant_gain",
    "constrained",
    "constructor",
    "controllability",
    "correlated",
    "cubature",
    "data",
    "diffuse",
    "ensemble",
    "estimate",
    "estimate_and_info",
    "evaluation",
    "exporting",
    "extended",
    "fading",
    "fallback",
    "filters",
    "fixed_lag",
    "forecast",
    "from_bytes",
    "from_pandas",
    "from_xarray",
    "gated",
    "gauss_hermite",
    "gaussian_filter",
    "huber",
    "imm",
    "impute",
    "kalman",
    "lagged",
    "leading",
    "learned",
    "linalg",
    "linear_gaussian",
    "log_likelihood",
    "moments",
    "monte_carlo",
    "non_additive",
    "observability",
    "observation_estimate",
    "parallel_filter",
    "parallel_iterated_smooth",
    "parallel_smooth",
    "particle",
    "predicted",
    "rao_blackwellised",
    "run",
    "sample_posterior",
    "schmidt",
    "sequential",
    "set_xla_options",
    "simulate",
    "simulate_smoothed",
    "smooth",
    "split_missing",
    "square_root",
    "steady_state",
    "step",
    "student_t",
    "systems",
    "time_steps",
    "to_bytes",
    "to_pandas",
    "to_xarray",
    "training",
    "two_filter_smooth",
    "unscented",
    "van_loan",
    "whole_state",
    "with_model",
    "wrap_angle",
]
