"""Good calls of structural time series, for `support.good_calls`."""

import numpy as np
from support.good_values import KEY, YS, Rows, data, model, recorded

import kfjax as kf
from kfjax import structural as st

LEVEL = st.level(0.5) + st.irregular(1.0)
EMISSION = kf.GaussianEmission(np.array([[0.0], [1.0]]), np.ones((2, 1, 1)))
MEMBERS = (kf.kalman(), kf.extended())


def hidden() -> kf.HiddenMarkovModel:
    """Two regimes of one channel."""
    return kf.HiddenMarkovModel(EMISSION, np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0.5, 0.5]))


def switching() -> kf.IMMParams:
    """Two models of one motion."""
    return kf.IMMParams((model(), model()), np.full((2, 2), 0.5), np.full(2, 0.5))


SEASONAL_YS = np.arange(8.0)[:, None] % 4

REGIMES: Rows = {
    "HiddenMarkovModel": lambda: {
        "emission": EMISSION,
        "transition": np.array([[0.9, 0.1], [0.2, 0.8]]),
        "weights": np.array([0.5, 0.5]),
        "first": "update",
    },
    "GaussianEmission": lambda: {"mean": np.zeros((2, 1)), "cov": np.ones((2, 1, 1))},
    "PoissonEmission": lambda: {"rate": np.ones((2, 1))},
    "CategoricalEmission": lambda: {"probabilities": np.array([[0.5, 0.5], [0.1, 0.9]])},
    "forward_backward": lambda: recorded(model=hidden(), length=3),
    "viterbi": lambda: recorded(model=hidden(), length=3),
    "run (forward)": lambda: {"filter": kf.forward(), "params": hidden(), "ys": YS},
    "simulate (regimes)": lambda: {"key": KEY, "model": hidden(), "steps": 3},
    "imm_smooth": lambda: {
        "filters": MEMBERS,
        "params": switching(),
        "states": kf.run(kf.imm(MEMBERS), switching(), YS, emit=kf.whole_state).outputs,
        "length": 3,
    },
    "training.em (regimes)": lambda: {
        "model": hidden(),
        "data": data(),
        "learn": ("mean", "transition"),
        "iterations": 1,
    },
}

STRUCTURAL: Rows = {
    "stationary_covariance": lambda: {"F": np.array([[0.5, 0.1], [0.0, 0.3]]), "Q": np.eye(2)},
    "structural.Structural": lambda: {"components": LEVEL.components, "diffuse_variance": 1e6},
    "structural.level": lambda: {"std": 0.5, "dt": 1.0, "name": "level"},
    "structural.trend": lambda: {"level_std": 0.5, "slope_std": 0.1, "damping": 0.9},
    "structural.seasonal": lambda: {"period": 4, "std": 0.5},
    "structural.seasonal (waves)": lambda: {"period": 12.5, "std": 0.5, "harmonics": 3},
    "structural.cycle": lambda: {"period": 10.0, "std": 0.5, "damping": 0.9},
    "structural.autoregression": lambda: {"coefficients": np.array([0.5, 0.2]), "std": 0.5},
    "structural.arima": lambda: {
        "ar": np.array([0.5]),
        "ma": np.array([0.3]),
        "std": 1.0,
        "difference": 1,
        "period": 4,
        "seasonal_ma": np.array([0.2]),
        "seasonal_difference": 1,
    },
    "structural.vector_autoregression": lambda: {
        "coefficients": np.array([[[0.5, 0.1], [0.0, 0.3]]]),
        "std": np.array([1.0, 2.0]),
    },
    "structural.regression": lambda: {"count": 2, "std": 0.1},
    "structural.irregular": lambda: {"std": 0.5},
    "structural.matern": lambda: {"smoothness": 1.5, "std": 1.0, "length_scale": 2.0, "dt": 1.0},
    "structural.ornstein_uhlenbeck": lambda: {"std": 1.0, "length_scale": 2.0},
    "structural.periodic": lambda: {"period": 7.0, "std": 1.0, "harmonics": 3},
    "structural.pulse": lambda: {"steps": 4, "at": 1},
    "structural.shift": lambda: {"steps": 4, "at": 1},
    "structural.ramp": lambda: {"steps": 4, "at": 1},
    "structural.holidays": lambda: {
        "stamps": np.arange(5.0),
        "dates": {"feast": [2.0]},
        "before": 1,
        "after": 1,
    },
    "structural.check_record": lambda: {"model": LEVEL, "ys": SEASONAL_YS, "times": np.arange(8.0)},
    "structural.decompose": lambda: {
        "model": LEVEL,
        "estimate": kf.Estimate(np.zeros((3, 1)), np.ones((3, 1, 1)), np.zeros(3)),
    },
}
