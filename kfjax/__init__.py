"""kfjax: a functional filtering toolkit for JAX.

Models, filters, the runner and smoothers are imported at once; what needs Flax, optax, rich or
matplotlib is imported on first use, so that `import kfjax` costs little more than `import jax`.
"""

__version__ = "0.1.0"

import importlib
from typing import TYPE_CHECKING

from kfjax._support.interrupts import quiet_while_importing

quiet_while_importing()  # before JAX is imported, which takes seconds

# ruff: noqa: E402
from kfjax import filters, linalg, moments, systems
from kfjax._support.one_kernel import Loop, describe_loops, separate_kernels
from kfjax._support.persistence import from_bytes, to_bytes
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
from kfjax.filters import (
    ConstantGainParams,
    ConstrainedParams,
    IMMParams,
    Inequalities,
    adaptive,
    auxiliary_particle,
    box,
    constant_gain,
    constrained,
    cubature,
    delayed,
    ensemble,
    exact_diffuse,
    extended,
    fading,
    fallback,
    fixed_lag,
    forward,
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
from kfjax.linear.lyapunov import stationary_covariance
from kfjax.linear.rank_tests import Rank, controllability, observability
from kfjax.linear.riccati import SteadyState, steady_state
from kfjax.models.augmentation import correlated, non_additive
from kfjax.models.discretisation import Discretised, time_steps, van_loan
from kfjax.models.emissions import CategoricalEmission, GaussianEmission, PoissonEmission
from kfjax.models.functions import Linear
from kfjax.models.hidden_markov import HiddenMarkovModel
from kfjax.models.lens import with_model
from kfjax.models.masks import split_missing
from kfjax.models.priors import diffuse
from kfjax.models.sensors import Sensor, Sensors
from kfjax.models.simulation import simulate
from kfjax.models.spaces import Space, angles, wrap_angle
from kfjax.models.state_space import StateSpaceModel, linear_gaussian
from kfjax.runner import Forecast, forecast, log_likelihood, run
from kfjax.smoothers.backward_simulation import Trajectories, simulate_smoothed
from kfjax.smoothers.hidden_regimes import (
    RegimePath,
    SmoothedRegimes,
    forward_backward,
    viterbi,
)
from kfjax.smoothers.imputation import impute
from kfjax.smoothers.iterated import parallel_iterated_smooth
from kfjax.smoothers.parallel import parallel_filter, parallel_smooth
from kfjax.smoothers.posterior_draws import sample_posterior
from kfjax.smoothers.rauch_tung_striebel import Smoothed, smooth
from kfjax.smoothers.switching import SmoothedIMM, imm_smooth
from kfjax.smoothers.two_filter import two_filter_smooth
from kfjax.streaming import Stepper, step, stepper

if TYPE_CHECKING:  # type checkers and editors cannot follow `__getattr__`
    from kfjax import data, evaluation, exporting, learned, plotting, structural, training
    from kfjax.data import Dataset, from_pandas, from_xarray, read_table, to_pandas, to_xarray
    from kfjax.evaluation import compare, monte_carlo

__all__ = [  # noqa: RUF022  # by theme
    # Models
    "StateSpaceModel",
    "Linear",
    "linear_gaussian",
    "Gaussian",
    "Sensors",
    "Sensor",
    "with_model",
    "simulate",
    # Spaces, discretisation, priors and noise that is not additive
    "Space",
    "angles",
    "wrap_angle",
    "van_loan",
    "Discretised",
    "time_steps",
    "diffuse",
    "non_additive",
    "correlated",
    "leading",
    # Filters and what they return
    "Filter",
    "constructor",
    "Run",
    "Estimate",
    "Info",
    "Forecast",
    # Running a filter
    "run",
    "step",
    "stepper",
    "Stepper",
    "forecast",
    "log_likelihood",
    "split_missing",
    # What to keep of every step
    "estimate",
    "estimate_and_info",
    "whole_state",
    "lagged",
    # Gaussian filters
    "kalman",
    "extended",
    "unscented",
    "cubature",
    "gauss_hermite",
    "gaussian_filter",
    "square_root",
    "exact_diffuse",
    "constant_gain",
    "ConstantGainParams",
    # Particle and ensemble filters
    "particle",
    "auxiliary_particle",
    "rao_blackwellised",
    "ensemble",
    # Filters made of filters
    "gated",
    "fading",
    "fallback",
    "huber",
    "student_t",
    "adaptive",
    "imm",
    "IMMParams",
    "constrained",
    "ConstrainedParams",
    "Inequalities",
    "box",
    "schmidt",
    "sequential",
    "fixed_lag",
    "delayed",
    # Hidden regimes
    "HiddenMarkovModel",
    "GaussianEmission",
    "PoissonEmission",
    "CategoricalEmission",
    "forward",
    "forward_backward",
    "SmoothedRegimes",
    "viterbi",
    "RegimePath",
    "imm_smooth",
    "SmoothedIMM",
    # Smoothers and posterior draws
    "smooth",
    "Smoothed",
    "two_filter_smooth",
    "sample_posterior",
    "simulate_smoothed",
    "Trajectories",
    # Parallel in time
    "parallel_filter",
    "parallel_smooth",
    "parallel_iterated_smooth",
    # Beliefs about observations
    "predicted",
    "observation_estimate",
    "impute",
    # Analysis of linear models
    "steady_state",
    "SteadyState",
    "stationary_covariance",
    "observability",
    "controllability",
    "Rank",
    # Data, evaluation, persistence and compilation
    "Dataset",
    "read_table",
    "from_pandas",
    "from_xarray",
    "to_pandas",
    "to_xarray",
    "compare",
    "monte_carlo",
    "to_bytes",
    "from_bytes",
    "describe_loops",
    "Loop",
    "separate_kernels",
    # Subpackages
    "data",
    "evaluation",
    "exporting",
    "filters",
    "learned",
    "linalg",
    "moments",
    "plotting",
    "structural",
    "systems",
    "training",
]

_SUBPACKAGES = ("data", "evaluation", "exporting", "learned", "plotting", "structural", "training")
_FROM_SUBPACKAGES = {
    "Dataset": "data",
    "from_pandas": "data",
    "read_table": "data",
    "from_xarray": "data",
    "to_pandas": "data",
    "to_xarray": "data",
    "compare": "evaluation",
    "monte_carlo": "evaluation",
}


def __getattr__(name: str) -> object:
    """Import a subpackage, or a name that one of them defines, on first use (PEP 562)."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"kfjax.{name}")
    if name in _FROM_SUBPACKAGES:
        value = getattr(importlib.import_module(f"kfjax.{_FROM_SUBPACKAGES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'kfjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, whether or not they have been imported."""
    return sorted(__all__)
