"""Learned filters: filters whose gain, state or model comes from a network."""

from kfjax.learned.adapting import Adaptation, adapt, start_adapting
from kfjax.learned.context_noise import context_noise, input_context, state_context
from kfjax.learned.corrections import corrected_gain, state_scales
from kfjax.learned.feature_maps import Asinh, Normalised, Raw, Whitened
from kfjax.learned.features import FEATURES
from kfjax.learned.gain_covariances import covariance_from_gain
from kfjax.learned.gains import Gained, GainRule, GainState, gain_filter
from kfjax.learned.kalman_nets import configuration, kalman_net
from kfjax.learned.labelled import calibrate_sensors, fit_labelled
from kfjax.learned.networks import GRU, Architecture1, Architecture2
from kfjax.learned.params import Learned, init
from kfjax.learned.recurrent_cells import LSTM, PlainRNN, RecurrentStack
from kfjax.learned.recurrents import recurrent, training
from kfjax.learned.recursive_gain import recursive_kalman_net
from kfjax.learned.registry import LEARNED, learned_by_name
from kfjax.learned.regressors import MLP, Polynomial
from kfjax.learned.residuals import fit_residual, learned_weights, refine, residual_model
from kfjax.learned.scales import measure_scales
from kfjax.learned.sequence_models import recurrent_baseline, sequence_regressor, series_scales
from kfjax.learned.split_gain import split_kalman_net
from kfjax.learned.torch_weights import Pretrained, from_torch

__all__ = [
    "FEATURES",
    "GRU",
    "LEARNED",
    "LSTM",
    "MLP",
    "Adaptation",
    "Architecture1",
    "Architecture2",
    "Asinh",
    "GainRule",
    "GainState",
    "Gained",
    "Learned",
    "Normalised",
    "PlainRNN",
    "Polynomial",
    "Pretrained",
    "Raw",
    "RecurrentStack",
    "Whitened",
    "adapt",
    "calibrate_sensors",
    "configuration",
    "context_noise",
    "corrected_gain",
    "covariance_from_gain",
    "fit_labelled",
    "fit_residual",
    "from_torch",
    "gain_filter",
    "init",
    "input_context",
    "kalman_net",
    "learned_by_name",
    "learned_weights",
    "measure_scales",
    "recurrent",
    "recurrent_baseline",
    "recursive_kalman_net",
    "refine",
    "residual_model",
    "sequence_regressor",
    "series_scales",
    "split_kalman_net",
    "start_adapting",
    "state_context",
    "state_scales",
    "training",
]
