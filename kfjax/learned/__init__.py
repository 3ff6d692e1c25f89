"""Learned filters: filters whose gain, state or model comes from a network."""

from kfjax.learned.adapting import Adaptation, adapt, start_adapting
from kfjax.learned.gains.corrections import corrected_gain, state_scales
from kfjax.learned.gains.feature_maps import Asinh, Normalised, Raw, Whitened
from kfjax.learned.gains.features import FEATURES
from kfjax.learned.gains.gain_covariances import covariance_from_gain
from kfjax.learned.gains.gain_filters import GainRule, GainState, GainUpdate, gain_filter
from kfjax.learned.gains.kalman_nets import GainNetwork, kalman_net, published
from kfjax.learned.gains.learned_smoother import RTSNet, SmoothedMeans, rts_net
from kfjax.learned.gains.module_networks import ModuleNetwork
from kfjax.learned.gains.networks import (
    Architecture1,
    Architecture2,
    BackwardArchitecture,
)
from kfjax.learned.gains.recursive_gain import recursive_kalman_net
from kfjax.learned.gains.scales import measure_scales
from kfjax.learned.gains.split_gain import split_kalman_net
from kfjax.learned.gains.torch_weights import Pretrained, from_torch
from kfjax.learned.gated_unit import GRU
from kfjax.learned.models.calibration import Calibration, calibrate_sensors
from kfjax.learned.models.labelled import fit_labelled
from kfjax.learned.models.noise_from_context import context_noise, input_context, state_context
from kfjax.learned.models.regressors import MLP, Polynomial
from kfjax.learned.models.residual_fitting import fit_residual, refine
from kfjax.learned.models.residuals import learned_weights, residual_model
from kfjax.learned.params import Learned, init_params
from kfjax.learned.recurrent_networks.cells import LSTM, PlainRNN, RecurrentStack
from kfjax.learned.recurrent_networks.imitators import imitator
from kfjax.learned.recurrent_networks.model_free import DanseState, danse
from kfjax.learned.recurrent_networks.recurrent_filter import recurrent, with_dropout
from kfjax.learned.recurrent_networks.sequence_models import (
    recurrent_baseline,
    sequence_regressor,
    series_scales,
)
from kfjax.learned.registry import LEARNED_FILTERS, learned_by_name

__all__ = [
    "FEATURES",
    "GRU",
    "LEARNED_FILTERS",
    "LSTM",
    "MLP",
    "Adaptation",
    "Architecture1",
    "Architecture2",
    "Asinh",
    "BackwardArchitecture",
    "Calibration",
    "DanseState",
    "GainNetwork",
    "GainRule",
    "GainState",
    "GainUpdate",
    "Learned",
    "ModuleNetwork",
    "Normalised",
    "PlainRNN",
    "Polynomial",
    "Pretrained",
    "RTSNet",
    "Raw",
    "RecurrentStack",
    "SmoothedMeans",
    "Whitened",
    "adapt",
    "calibrate_sensors",
    "context_noise",
    "corrected_gain",
    "covariance_from_gain",
    "danse",
    "fit_labelled",
    "fit_residual",
    "from_torch",
    "gain_filter",
    "imitator",
    "init_params",
    "input_context",
    "kalman_net",
    "learned_by_name",
    "learned_weights",
    "measure_scales",
    "published",
    "recurrent",
    "recurrent_baseline",
    "recursive_kalman_net",
    "refine",
    "residual_model",
    "rts_net",
    "sequence_regressor",
    "series_scales",
    "split_kalman_net",
    "start_adapting",
    "state_context",
    "state_scales",
    "with_dropout",
]
