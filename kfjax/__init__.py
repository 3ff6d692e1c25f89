"""kfjax: a functional filtering toolkit for JAX."""

from kfjax import moments, systems
from kfjax.base import Estimate, Filter, Gaussian, Info, estimate, estimate_and_info
from kfjax.discretisation import Discretised, time_steps, van_loan
from kfjax.filters import (
    cubature,
    extended,
    gauss_hermite,
    gaussian_filter,
    kalman,
    unscented,
)
from kfjax.imputation import impute, observation_estimate, predicted
from kfjax.models import (
    Linear,
    StateSpaceModel,
    linear_gaussian,
    with_model,
)
from kfjax.runner import Forecast, forecast, run, split_missing, step
from kfjax.simulation import simulate
from kfjax.smoothers import Smoothed, smooth
from kfjax.spaces import Space, angle_difference, angle_retract, wrap_angle

__version__ = "0.1.0"

__all__ = [
    "Discretised",
    "Estimate",
    "Filter",
    "Forecast",
    "Gaussian",
    "Info",
    "Linear",
    "Smoothed",
    "Space",
    "StateSpaceModel",
    "angle_difference",
    "angle_retract",
    "cubature",
    "estimate",
    "estimate_and_info",
    "extended",
    "forecast",
    "gauss_hermite",
    "gaussian_filter",
    "impute",
    "kalman",
    "linear_gaussian",
    "moments",
    "observation_estimate",
    "predicted",
    "run",
    "simulate",
    "smooth",
    "split_missing",
    "step",
    "systems",
    "time_steps",
    "unscented",
    "van_loan",
    "with_model",
    "wrap_angle",
]
