"""Training: one trainer, losses, checkpoints, distillation, and noise covariances."""

from kfjax.training.checkpoints import Checkpoints, load_params, save_params
from kfjax.training.diagnosing import diagnose, relative_error
from kfjax.training.diagnosis import Diagnosis
from kfjax.training.distilling import Distilled, Divergence, distil
from kfjax.training.expectation_maximisation import LEARNABLE, Maximised, em
from kfjax.training.filter_memory import Forgetting, forgetting, gradient_per_lag
from kfjax.training.finite_memory import finite_memory_floor
from kfjax.training.fitting import fit
from kfjax.training.free_parameters import COVARIANCES
from kfjax.training.gates import Saturation, gate_saturation
from kfjax.training.history import Fitted, History, Report, Spread, spread
from kfjax.training.imitation import Targets, imitation_targets
from kfjax.training.imitation_figures import ImitationFigures, last_tenth
from kfjax.training.likelihood import maximum_likelihood
from kfjax.training.likelihood_ratio import LikelihoodRatio, likelihood_ratio_test
from kfjax.training.likelihood_results import MaximumLikelihood, Parameter
from kfjax.training.linear_recursion import LinearRecursion, fit_recursion
from kfjax.training.log_cholesky import constrain, unconstrain
from kfjax.training.losses import (
    innovation_nll,
    nll,
    prediction_error,
    smoothed_mse,
    state_mse,
)
from kfjax.training.many import fit_many
from kfjax.training.many_results import FittedMany
from kfjax.training.mean_losses import FilterLoss, SmootherLoss
from kfjax.training.missing_gain import ResidualGain
from kfjax.training.noise import Scales, scale_noise
from kfjax.training.noise_fitting import FreeNoise, fit_noise, free_noise, noise_of
from kfjax.training.optimizers import Cosine, clipped_adam, replicate
from kfjax.training.partitioning import merge, partition
from kfjax.training.rollout import Rollout, roll
from kfjax.training.staging import curriculum, fit_stages
from kfjax.training.tuning import OBJECTIVES, STRUCTURES, Tuned, tune
from kfjax.training.verdicts import Verdict
from kfjax.training.wrapping import BatchLoss, l2, random_start, through, weighted_sum

__all__ = [
    "COVARIANCES",
    "LEARNABLE",
    "OBJECTIVES",
    "STRUCTURES",
    "BatchLoss",
    "Checkpoints",
    "Cosine",
    "Diagnosis",
    "Distilled",
    "Divergence",
    "FilterLoss",
    "Fitted",
    "FittedMany",
    "Forgetting",
    "FreeNoise",
    "History",
    "ImitationFigures",
    "LikelihoodRatio",
    "LinearRecursion",
    "Maximised",
    "MaximumLikelihood",
    "Parameter",
    "Report",
    "ResidualGain",
    "Rollout",
    "Saturation",
    "Scales",
    "SmootherLoss",
    "Spread",
    "Targets",
    "Tuned",
    "Verdict",
    "clipped_adam",
    "constrain",
    "curriculum",
    "diagnose",
    "distil",
    "em",
    "finite_memory_floor",
    "fit",
    "fit_many",
    "fit_noise",
    "fit_recursion",
    "fit_stages",
    "forgetting",
    "free_noise",
    "gate_saturation",
    "gradient_per_lag",
    "imitation_targets",
    "innovation_nll",
    "l2",
    "last_tenth",
    "likelihood_ratio_test",
    "load_params",
    "maximum_likelihood",
    "merge",
    "nll",
    "noise_of",
    "partition",
    "prediction_error",
    "random_start",
    "relative_error",
    "replicate",
    "roll",
    "save_params",
    "scale_noise",
    "smoothed_mse",
    "spread",
    "state_mse",
    "through",
    "tune",
    "unconstrain",
    "weighted_sum",
]
