"""Fitting to data: noise covariances."""

from kfjax.training.noise import Scales, scale_noise
from kfjax.training.tuning import OBJECTIVES, STRUCTURES, Tuned, tune

__all__ = ["OBJECTIVES", "STRUCTURES", "Scales", "Tuned", "scale_noise", "tune"]
