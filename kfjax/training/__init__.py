"""Training: one trainer for anything with a gradient, losses, checkpoints, distillation, and noise fitted to data."""

from kfjax.training.checkpoints import Checkpoints, load_params, save_params
from kfjax.training.covariances import (
    FreeNoise,
    constrain,
    fit_noise,
    free_noise,
    noise_of,
    unconstrain,
)
from kfjax.training.diagnostics import (
    Forgetting,
    Saturation,
    finite_memory_floor,
    forgetting,
    gate_saturation,
    gradient_per_lag,
    relative_error,
)
from kfjax.training.distilling import (
    Diagnosis,
    Distilled,
    Divergence,
    Targets,
    diagnose,
    distil,
    imitation_targets,
)
from kfjax.training.expectation_maximisation import LEARNABLE, Maximised, em
from kfjax.training.fitting import Fitted, fit
from kfjax.training.history import History, Spread, spread
from kfjax.training.losses import FilterLoss, innovation_nll, mse, nll, prediction_error
from kfjax.training.noise import Scales, scale_noise
from kfjax.training.optimizers import Cosine, clipped_adam, replicate
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
    "Cosine",
    "Diagnosis",
    "Distilled",
    "Divergence",
    "FilterLoss",
    "Fitted",
    "Forgetting",
    "FreeNoise",
    "History",
    "Maximised",
    "Rollout",
    "Saturation",
    "Scales",
    "Spread",
    "Targets",
    "Tuned",
    "clipped_adam",
    "constrain",
    "curriculum",
    "diagnose",
    "distil",
    "em",
    "finite_memory_floor",
    "fit",
    "fit_noise",
    "fit_stages",
    "forgetting",
    "free_noise",
    "gate_saturation",
    "gradient_per_lag",
    "imitation_targets",
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
    "relative_error",
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
