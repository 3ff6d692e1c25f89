"""Good calls of learned filters and of training."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from support.good_values import EYE, KEY, PRIOR, YS, Rows, data, model

import kfjax as kf
from kfjax import learned, training
from kfjax.learned.gains.kalman_nets import NetworkGain


@functools.cache
def corrected() -> tuple[kf.Filter, learned.Learned]:
    """A learned filter with its params."""
    net = learned.corrected_gain(2, 1, hidden=4)
    return net, learned.init_params(KEY, net, model())


@functools.cache
def recurrent() -> tuple[kf.Filter, learned.Learned]:
    """A recurrent filter with its params."""
    net = learned.recurrent(stack(), m=1)
    return net, learned.init_params(KEY, net, model())


def stack(dropout: float = 0.0) -> learned.RecurrentStack:
    """A recurrent network of two outputs."""
    return learned.RecurrentStack(2, (4,), "gru", dropout=dropout)


@functools.cache
def residual() -> kf.StateSpaceModel:
    """A model with a learned part of f."""
    small = learned.MLP((4,), updates=2, batch_size=2)
    return learned.residual_model(model(), "f", small, key=KEY)


@functools.cache
def targets() -> training.Targets:
    """Estimates of a Kalman filter on the data."""
    return training.imitation_targets((kf.kalman(), model()), data())


@functools.cache
def constant_gain() -> tuple[kf.Filter, kf.ConstantGainParams]:
    """A filter of constant gain with its params, a student of few parameters."""
    return kf.constant_gain(), kf.ConstantGainParams(model(), np.zeros((2, 1), np.float32))


def rts_net() -> learned.RTSNet:
    """A learned smoother."""
    return learned.rts_net(learned.Architecture2(2, 1), learned.BackwardArchitecture(2))


@functools.cache
def likely(*learn: str) -> training.MaximumLikelihood:
    """A fit of some covariances."""
    return training.maximum_likelihood(
        kf.kalman(), model(), data(), learn=learn, starts=1, standard_errors=False
    )


def torch_weights() -> dict[str, np.ndarray]:
    """Weights of a first architecture of the authors, n = m = 1."""
    layers = {"KG_l1": (160, 2), "KG_l2": (4, 20), "KG_l3": (1, 4)}
    weights: dict[str, Any] = {}
    for name, shape in layers.items():
        weights[f"{name}.weight"] = np.ones(shape)
        weights[f"{name}.bias"] = np.ones(shape[0])
    for name, size in (("ih", 160), ("hh", 20)):
        weights[f"rnn_GRU.weight_{name}_l0"] = np.ones((60, size))
        weights[f"rnn_GRU.bias_{name}_l0"] = np.ones(60)
    return weights


def small_module(key: jax.Array) -> nnx.Module:
    """A module of Flax nnx."""
    return nnx.Linear(2, 2, rngs=nnx.Rngs(key))


LEARNED: Rows = {
    "learned.MLP": lambda: {"hidden": (8,), "updates": 3, "learning_rate": 1e-3, "batch_size": 2},
    "learned.Polynomial": lambda: {"degree": 2, "ridge": 1e-8},
    "learned.Architecture1": lambda: {"n": 2, "m": 1, "layers": 1},
    "learned.Architecture2": lambda: {"n": 2, "m": 1, "wiring": "corrected"},
    "learned.ModuleNetwork": lambda: {"make": small_module, "n": 2, "m": 1},
    "learned.Asinh": lambda: {"scale": 1.0},
    "learned.Normalised": lambda: {"eps": 1e-12},
    "learned.RecurrentStack": lambda: {
        "outputs": 2,
        "hidden": (4,),
        "cell": "gru",
        "dropout": 0.1,
    },
    "learned.corrected_gain": lambda: {"n": 2, "m": 1, "hidden": 4},
    "learned.danse": lambda: {"n": 2, "m": 1, "hidden": 4},
    "learned.rts_net": lambda: {
        "forward": learned.Architecture2(2, 1),
        "backward": learned.BackwardArchitecture(2),
        "refining": (learned.Architecture2(2, 2),),
        "features": ("F1", "F2"),
    },
    "learned.BackwardArchitecture": lambda: {"n": 2, "in_mult": 2, "out_mult": 2},
    "learned.split_kalman_net": lambda: {"n": 2, "m": 1, "hidden": 4},
    "learned.sequence_regressor": lambda: {"n": 2, "m": 1, "hidden": (4,), "cell": "lstm"},
    "learned.imitator": lambda: {"key": KEY, "data": data(), "hidden": (4,), "cell": "gru"},
    "learned.recurrent_baseline": lambda: {"kind": "vanilla", "n": 2, "m": 1},
    "learned.kalman_net": lambda: {
        "network": learned.Architecture2(2, 1),
        "features": ("F1", "F2"),
    },
    "learned.init_params": lambda: {
        "key": KEY,
        "filter": learned.corrected_gain(2, 1, hidden=4),
        "model": model(),
    },
    "learned.learned_by_name": lambda: {"name": "kalman_net", "n": 2, "m": 1},
    "learned.covariance_from_gain": lambda: {
        "K": 0.5 * EYE,
        "H": EYE,
        "R": EYE,
    },
    "learned.residual_model": lambda: {"model": model(), "learn": "f", "inputs": 0},
}

LEARNED |= {
    "learned.GRU": lambda: {"size": 4},
    "learned.LSTM": lambda: {"size": 4},
    "learned.PlainRNN": lambda: {"size": 4},
    "learned.adapt": lambda: {
        "filter": corrected()[0],
        "adaptation": learned.start_adapting(*corrected()),
        "ys": YS,
        "stride": 2,
        "updates": 1,
    },
    "learned.calibrate_sensors": lambda: {
        "model": model(),
        "data": kf.Dataset(2 * data().xs[..., :1], data().xs),
        "learn": ("scale",),
    },
    "learned.context_noise": lambda: {
        "model": model(),
        "learn": ("Q",),
        "size": 1,
        "key": KEY,
        "hidden": (4,),
        "centre": 0.0,
        "spread": 1.0,
    },
    "learned.fit_labelled": lambda: {"model": model(), "data": data(), "learn": ("f", "Q")},
    "learned.fit_residual": lambda: {"model": residual(), "data": data(), "key": KEY},
    "learned.from_torch": lambda: {"state_dict": torch_weights(), "wiring": "corrected", "n": 1},
    "learned.gain_filter": lambda: {
        "rule": NetworkGain(learned.Architecture2(2, 1)),
        "features": ("F1", "F2"),
        "feature_map": learned.Raw(),
    },
    "learned.input_context": lambda: {"x": EYE[0], "u": EYE[0]},
    "learned.measure_scales": lambda: {"model": model(), "ys": YS, "filter": kf.kalman()},
    "learned.published": lambda: {"name": "C1", "n": 2, "m": 1},
    "learned.recurrent": lambda: {
        "network": stack(),
        "m": 1,
        "sees": ("y", "mask"),
        "output": "increment",
        "inputs": 0,
        "feature_map": learned.Raw(),
    },
    "learned.recursive_kalman_net": lambda: {
        "network": learned.Architecture2(2, 1),
        "features": ("F1", "F2"),
        "hidden": 4,
        "scale": 1.0,
        "floor": 1e-3,
    },
    "learned.refine": lambda: {
        "filter": kf.extended(),
        "model": residual(),
        "data": data(),
        "key": KEY,
        "learn": ("Q",),
        "updates": 1,
        "batch_size": 2,
    },
    "learned.series_scales": lambda: {"model": model(), "data": data()},
    "learned.start_adapting": lambda: {"filter": corrected()[0], "params": corrected()[1]},
    "learned.state_context": lambda: {"x": EYE[0], "u": None},
    "learned.state_scales": lambda: {"model": model(), "states": data().xs},
    "learned.with_dropout": lambda: {"filter": learned.recurrent(stack(0.1), m=1)},
}

TRAINING: Rows = {
    "training.Checkpoints": lambda: {"directory": "checkpoints", "every": 1},
    "training.clipped_adam": lambda: {"learning_rate": 1e-3, "clip": 1.0, "weight_decay": 0.0},
    "training.nll": lambda: {"filter": kf.kalman(), "floor": 0.0},
    "training.state_mse": lambda: {"filter": kf.kalman()},
    "training.smoothed_mse": lambda: {"smoother": rts_net()},
    "training.prediction_error": lambda: {"filter": kf.kalman()},
    "training.innovation_nll": lambda: {"filter": kf.kalman()},
    "training.random_start": lambda: {"loss": training.state_mse(kf.kalman()), "std": 0.5},
    "training.em": lambda: {"model": model(), "data": data(), "learn": ("Q", "R"), "iterations": 1},
    "training.free_noise": lambda: {"params": model(), "learn": ("Q", "R")},
    "training.unconstrain": lambda: {"cov": EYE, "floor": 0.1},
    "training.partition": lambda: {"params": model()},
    "training.scale_noise": lambda: {"params": model(), "factors": training.Scales(1.0, 4.0)},
    "training.relative_error": lambda: {"error": np.ones(2), "cov": EYE},
    "training.tune": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "data": data(),
        "validation": data(),
        "key": KEY,
        "structure": "scalar",
        "objective": "likelihood",
        "updates": 2,
        "batch_size": 2,
    },
    "training.fit": lambda: {
        "loss": training.state_mse(kf.kalman()),
        "params": model(),
        "data": data(),
        "key": KEY,
        "updates": 2,
        "batch_size": 2,
    },
}

TRAINING |= {
    "training.Divergence": lambda: {"filter": kf.kalman()},
    "training.constrain": lambda: {"theta": training.unconstrain(EYE), "floor": 0.1},
    "training.curriculum": lambda: {"data": data(), "lengths": (4, 8), "updates": 2},
    "training.diagnose": lambda: {
        "teacher": (kf.kalman(), model()),
        "student": constant_gain(),
        "train": targets(),
        "validation": targets(),
        "scale": EYE[0] + 1,
        "burn_in": 1,
        "memories": (1, 2),
    },
    "training.distil": lambda: {
        "teacher": (kf.kalman(), model()),
        "student": constant_gain(),
        "data": data(),
        "validation": data(),
        "key": KEY,
        "updates": 1,
        "memories": (1,),
        "learn": kf.ConstantGainParams(False, True),
        "batch_size": 2,
    },
    "training.fit_recursion": lambda: {"data": targets().data},
    "training.finite_memory_floor": lambda: {
        "train": targets().data,
        "validation": targets().data,
        "memory": 2,
        "params": model(),
        "scale": EYE[0] + 1,
        "start": 3,
    },
    "training.fit_noise": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "data": data(),
        "key": KEY,
        "learn": ("Q", "R"),
        "floor": 0.1,
        "updates": 1,
        "learning_rate": 0.01,
        "batch_size": 2,
    },
    "training.fit_stages": lambda: {
        "loss": training.state_mse(kf.kalman()),
        "params": model(),
        "stages": [{"data": data(), "updates": 1}],
        "key": KEY,
        "batch_size": 2,
    },
    "training.forgetting": lambda: filtered_data(lags=2, scale=EYE[0] + 1),
    "training.gate_saturation": lambda: {
        "filter": recurrent()[0],
        "params": recurrent()[1],
        "data": data(),
    },
    "training.gradient_per_lag": lambda: filtered_data(scale=EYE[0] + 1),
    "training.imitation_targets": lambda: {
        "teacher": (kf.kalman(), model()),
        "data": data(),
        "key": KEY,
        "smoothing": True,
    },
    "training.load_params": lambda: {"path": "no such file", "like": model()},
    "training.fit_many": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "data": data(),
        "learn": ("R",),
        "skip": 1,
        "updates": 1,
        "chunk": 4,
        "progress": False,
    },
    "training.likelihood_ratio_test": lambda: {
        "smaller": likely("R"),
        "larger": likely("Q", "R"),
        "at_ends": 0,
    },
    "training.maximum_likelihood": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "data": data(),
        "learn": ("R",),
        "starts": 1,
        "updates": 1,
        "skip": 1,
        "level": 0.9,
        "key": KEY,
    },
    "training.merge": lambda: dict(
        zip(("trained", "frozen"), training.partition(model()), strict=True)
    ),
    "training.last_tenth": lambda: {"history": np.exp(-np.arange(100.0) / 100)},
    "training.noise_of": lambda: {"free": training.free_noise(model(), ("Q", "R"))},
    "training.replicate": lambda: {"params": model(), "runs": 2},
    "training.roll": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "trajectory": jax.tree.map(lambda a: a[0], data()),
        "rollout": training.Rollout(burn_in=2),
        "key": KEY,
        "state": PRIOR,
        "emit": kf.estimate,
    },
    "training.save_params": lambda: {"path": Path("params.npz"), "params": model()},
    "training.spread": lambda: {"values": np.arange(4.0)},
    "training.through": lambda: {
        "loss": training.state_mse(kf.kalman()),
        "transform": training.noise_of,
    },
    "training.weighted_sum": lambda: {"*terms": ((1.0, training.state_mse(kf.kalman())),)},
}


def filtered_data(**more: Any) -> dict[str, Any]:
    """Return the arguments of a function that runs a filter over data."""
    return {"filter": kf.kalman(), "params": model(), "data": data()} | more
