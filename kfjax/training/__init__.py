"""Training: one trainer for anything with a gradient, losses, checkpoints, and noise covariances fitted to data."""

from kfjax.training.checkpoints import Checkpoints, load_params, save_params
from kfjax.training.covariances import FreeNoise, constrain, fit_noise, free_noise, noise_of, unconstrain
from kfjax.training.expectation_maximisation import LEARNABLE, Maximised, em
from kfjax.training.fitting import Fitted, fit
from kfjax.training.history import History, Spread, spread
from kfjax.training.losses import FilterLoss, innovation_nll, mse, nll, prediction_error
from kfjax.training.noise import Scales, scale_noise
from kfjax.training.optimizers import clipped_adam, replicate
from kfjax.training.partition import merge, partition
from kfjax.training.rollout import Rollout, roll
from kfjax.training.staging import curriculum, fit_stages
from kfjax.training.tuning import OBJECTIVES, STRUCTURES, Tuned, tune
from kfjax.training.wrapping import l2, random_start, through, weighted_sum

__all__ = [
    "LEARNABLE",
    "OBJECTIVES",
    "STRUCTURES",
    "Checkpoints",
    "FilterLoss",
    "Fitted",
    "FreeNoise",
    "History",
    "Maximised",
    "Rollout",
    "Scales",
    "Spread",
    "Tuned",
    "clipped_adam",
    "constrain",
    "curriculum",
    "em",
    "fit",
    "fit_noise",
    "fit_stages",
    "free_noise",
    "innovation_nll",
    "l2",
    "load_params",
    "merge",
    "mse",
    "nll",
    "noise_of",
    "partition",
    "prediction_error",
    "random_start",
    "replicate",
    "roll",
    "save_params",
    "scale_noise",
    "spread",
    "through",
    "tune",
    "unconstrain",
    "weighted_sum",
]
