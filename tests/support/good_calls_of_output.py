"""Good calls of linear algebra, figures, exported programs and timings."""

import functools
from typing import Any

import numpy as np
from support.good_values import EYE, KEY, PRIOR, YS, Rows, compared, data, estimate, model, truth

import kfjax as kf
from kfjax import evaluation, training

LINALG: Rows = {
    "linalg.cholesky": lambda: {"A": EYE},
    "linalg.diagonal": lambda: {"A": EYE},
    "linalg.factorise": lambda: {"A": EYE, "hidden": 0.1 * EYE[0]},
    "linalg.logdet": lambda: {"L": EYE},
    "linalg.matmul": lambda: {"A": EYE, "B": EYE},
    "linalg.quadratic": lambda: {"A": EYE[:1], "P": EYE},
    "linalg.solve_factored": lambda: {"L": EYE, "B": EYE},
    "linalg.solve_lower": lambda: {"L": EYE, "B": EYE[0], "transpose": False},
    "linalg.symmetric": lambda: {"A": EYE},
    "linalg.symmetric_product": lambda: {"A": EYE, "B": EYE},
    "linalg.triangularise": lambda: {"A": EYE, "rounding": 1.0},
    "linalg.weighted_gram": lambda: {"weights": EYE[0], "X": EYE, "Y": EYE},
}


@functools.cache
def comparison() -> kf.evaluation.Comparison:
    """A comparison of one filter."""
    return kf.compare({"kalman": (kf.kalman(), model())}, data(), repeats=1)


def curve() -> evaluation.Interval:
    """A value with its interval for each of three steps."""
    return evaluation.Interval(np.ones(3), np.full(3, 0.5), np.full(3, 2.0))


def history() -> training.History:
    """Losses of three reports."""
    nothing = np.full(3, np.nan)
    return training.History(np.array([0, 10, 20]), np.ones(3), nothing, nothing, np.zeros(3, int))


def path(**more: Any) -> dict[str, Any]:
    """Return one trajectory of estimates with the true states."""
    xs, means, covs = truth()
    return {"mean": means[0], "cov": covs[0], "truth": xs[0]} | more


def innovations() -> dict[str, Any]:
    """Return innovations and their covariances."""
    return {"innovation": YS, "cov": np.ones((*YS.shape, 1), np.float32)}


PLOTTING: Rows = {
    "plotting.plot_autocorrelation": lambda: innovations() | {"lags": 2, "level": 0.95},
    "plotting.plot_comparison": lambda: {"comparison": comparison(), "path": "figure.png"},
    "plotting.plot_consistency": lambda: {
        "curves": {"KF": curve()},
        "first": 1,
        "level": 0.95,
        "colours": {"KF": "#0072b2"},
    },
    "plotting.plot_ellipses": lambda: {
        "mean": EYE[0],
        "cov": EYE,
        "probability": 0.95,
        "colour": "#0072b2",
    },
    "plotting.plot_error_bounds": lambda: (
        compared("truth", "mean", "cov")
        | {name: array[0] for name, array in compared("truth", "mean", "cov").items()}
        | {"sigmas": 2.0, "components": (0,), "times": np.arange(4.0)}
    ),
    "plotting.plot_errors": lambda: {
        "curves": {"KF": np.ones(3)},
        "floor": np.ones(3),
        "first": 1,
    },
    "plotting.plot_forecast": lambda: {
        "data": data(),
        "forecast": evaluation.forecast_series(kf.kalman(), model(), data(), steps=2),
        "actual": data(),
        "trajectory": 1,
        "last": 3,
    },
    "plotting.plot_gain": lambda: {
        "gains": {"KF": np.ones((3, 2, 1))},
        "entries": ((0, 0),),
        "steady": np.ones((2, 1)),
    },
    "plotting.plot_history": lambda: {"history": history()},
    "plotting.plot_nees": lambda: compared("truth", "mean", "cov", level=0.95),
    "plotting.plot_nis": lambda: {"nis": np.ones(3), "dof": np.ones(3, int), "level": 0.95},
    "plotting.plot_noise_sweep": lambda: {
        "noise": np.arange(3.0),
        "curves": {"KF": np.ones(3)},
        "floor": np.zeros(3),
    },
    "plotting.plot_observations": lambda: {
        "ys": YS,
        "info": kf.Info(innovation=YS, innovation_cov=np.ones((*YS.shape, 1), np.float32)),
        "observed": np.ones(YS.shape, bool),
        "components": (0,),
        "names": ("y",),
        "times": np.arange(float(len(YS))),
    },
    "plotting.plot_record": lambda: {
        "data": kf.Dataset(YS[None]),
        "estimates": {"KF": kf.Gaussian(np.ones((len(YS), 2)), None)},
        "info": kf.Info(innovation=YS),
        "states": (0,),
        "parts": {"training": 1, "test": 2},
        "rows": 2,
    },
    "plotting.plot_decomposition": lambda: {
        "parts": {"level": kf.Gaussian(np.ones((4, 1)), np.ones((4, 1, 1)))},
        "channel": 0,
        "times": np.arange(4.0),
    },
    "plotting.plot_path": lambda: path(
        observations=np.ones((4, 2)), components=(0, 1), every=2, probability=0.95
    ),
    "plotting.plot_trajectory": lambda: path(components=(0,), times=np.arange(4.0)),
}

EXPORTING: Rows = {
    "exporting.export_step": lambda: {
        "path": "step.zip",
        "filter": kf.kalman(),
        "params": model(),
        "y": YS[0],
        "batch": 2,
        "state": PRIOR,
        "platforms": ("cpu",),
    },
    "exporting.export_run": lambda: {
        "path": "run.zip",
        "filter": kf.kalman(),
        "params": model(),
        "steps": 3,
        "y": YS[0],
        "batch": "b",
        "emit": kf.estimate,
    },
    "exporting.export_step (particle)": lambda: {
        "path": "step.zip",
        "filter": kf.particle(8),
        "params": model(),
        "key": KEY,
    },
    "exporting.load": lambda: {"path": "no such file"},
}

TIMING: Rows = {
    "evaluation.environment": lambda: {"packages": ("jax",)},
    "evaluation.first_call": lambda: {"call": estimate},
    "evaluation.in_turn": lambda: {"calls": {"one": estimate}, "rounds": 2, "budget": 1.0},
    "evaluation.quartiles": lambda: {"seconds": np.ones(3)},
}
