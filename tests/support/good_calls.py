"""One good call of each public callable, by its arguments, for `support.bad_calls` to spoil.

A name that begins with a star holds positional arguments, any number of them.
"""

import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from support.good_calls_of_learning import LEARNED, TRAINING
from support.good_calls_of_output import EXPORTING, LINALG, PLOTTING, TIMING
from support.good_calls_of_series import REGIMES, STRUCTURAL
from support.good_values import (
    EYE,
    KEY,
    PRIOR,
    SEEN,
    YS,
    Rows,
    T,
    compared,
    data,
    drift,
    estimate,
    filtered,
    frame,
    model,
    recorded,
    sensors,
    states,
    xarray,
)

import kfjax as kf
from kfjax import evaluation

INNOVATIONS = {"innovation": np.ones((2, 8, 1)), "cov": np.ones((2, 8, 1, 1))}

MODELS: Rows = {
    "StateSpaceModel": lambda: {
        "f": model().f,
        "h": model().h,
        "Q": EYE,
        "R": EYE[:1, :1],
        "prior": PRIOR,
        "state_space": None,
        "names": ("p", "v"),
    },
    "Linear": lambda: {"A": EYE, "B": EYE, "b": EYE[0]},
    "linear_gaussian": lambda: {
        "F": EYE,
        "H": EYE[:1],
        "Q": EYE,
        "R": EYE[:1, :1],
        "prior": PRIOR,
        "B": EYE,
    },
    "Sensors": lambda: {
        "f": model().f,
        "Q": EYE,
        "prior": PRIOR,
        "sensors": {"a": kf.Sensor(model().h, EYE[:1, :1])},
    },
    "Sensor": lambda: {"h": model().h, "R": EYE[:1, :1]},
    "with_model": lambda: {"params": model(), "Q": EYE},
    "simulate": lambda: {"key": KEY, "model": model(), "steps": T, "x0": EYE[0]},
    "wrap_angle": lambda: {"angle": EYE[0]},
    "van_loan": lambda: {"A": EYE, "diffusion": EYE, "dt": 0.1, "B": EYE},
    "time_steps": lambda: {"times": np.arange(T) * 0.5, "start": 0.0},
    "time_steps (late)": lambda: {
        "times": np.array([0.5, 1.5, 1.0, 2.0]),
        "start": 0.0,
        "ordered": False,
    },
    "diffuse": lambda: {"model": model(), "components": [1], "variance": 1e6},
    "non_additive": lambda: {
        "f": lambda x, w, u: x + w,
        "h": lambda x, u: x[:1],
        "Q": EYE,
        "R": EYE[:1, :1],
        "prior": PRIOR,
    },
    "correlated": lambda: {"model": model(), "cross": np.full((2, 1), 0.01, np.float32)},
    "leading": lambda: {"n": 1},
    "angles": lambda: {"*indices": (0, 1)},
    "constructor": lambda: {"build": drift},
}

RUNNING: Rows = {
    "run": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "ys": YS,
        "observed": SEEN,
        "length": 3,
        "emit": kf.estimate,
    },
    "run (particle)": lambda: {"filter": kf.particle(8), "params": model(), "ys": YS, "key": KEY},
    "run (from a state)": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "ys": YS,
        "state": PRIOR,
    },
    "run (sequential)": lambda: {
        "filter": kf.sequential(kf.kalman()),
        "params": sensors(),
        "ys": {"a": YS},
        "observed": {"a": SEEN},
    },
    "run (inputs)": lambda: {
        "filter": kf.kalman(),
        "params": kf.linear_gaussian(EYE, EYE[:1], EYE, EYE[:1, :1], PRIOR, EYE),
        "ys": YS,
        "us": np.ones((T, 2), np.float32),
    },
    "step": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "state": PRIOR,
        "y": YS[0],
        "observed": True,
    },
    "stepper": lambda: {"filter": kf.kalman(), "params": model()},
    "forecast": lambda: {"filter": kf.kalman(), "params": model(), "state": PRIOR, "steps": 2},
    "log_likelihood": lambda: {"filter": kf.kalman(), "params": model(), "ys": YS},
    "split_missing": lambda: {"ys": YS},
    "smooth": lambda: filtered(prior=PRIOR, length=3),
    "two_filter_smooth": recorded,
    "sample_posterior": lambda: filtered(key=KEY, trajectories=3),
    "simulate_smoothed": lambda: {
        "key": KEY,
        "params": model(),
        "states": states(),
        "trajectories": 3,
    },
    "parallel_filter": recorded,
    "parallel_smooth": recorded,
    "parallel_iterated_smooth": lambda: recorded(rule=kf.moments.Taylor(), iterations=2),
    "predicted": lambda: filtered(prior=PRIOR),
    "observation_estimate": filtered,
    "impute": lambda: filtered(ys=YS, observed=SEEN),
    "steady_state": lambda: {"model": model()},
    "observability": lambda: {"model": model(), "x": EYE[0]},
    "controllability": lambda: {"model": model(), "x": EYE[0]},
}

FILTERS: Rows = {
    "extended": lambda: {"iterations": 2},
    "unscented": lambda: {"alpha": 1.0, "beta": 2.0, "kappa": 0.0},
    "gauss_hermite": lambda: {"order": 3},
    "gaussian_filter": lambda: {"rule": kf.moments.Taylor(), "form": kf.filters.Standard()},
    "exact_diffuse": lambda: {"filter": kf.kalman(), "components": (0,)},
    "square_root": lambda: {"rule": kf.moments.Taylor()},
    "particle": lambda: {
        "particles": 8,
        "resampling": kf.filters.Systematic(),
        "ess": 0.5,
        "proposal": kf.moments.Taylor(),
    },
    "auxiliary_particle": lambda: {"particles": 8, "ess": 1.0},
    "rao_blackwellised": lambda: {"linear": (1,), "particles": 8, "ess": 0.5},
    "ensemble": lambda: {"members": 8, "form": kf.filters.Perturbed(), "inflation": 1.1},
    "gated": lambda: {"filter": kf.kalman(), "probability": 0.99},
    "fading": lambda: {"filter": kf.kalman(), "factor": 1.1},
    "fallback": lambda: {"filter": kf.kalman(), "probability": 0.999, "patience": 5},
    "huber": lambda: {"filter": kf.kalman(), "threshold": 1.3, "iterations": 5},
    "student_t": lambda: {"filter": kf.kalman(), "dof": 4.0, "iterations": 5},
    "adaptive": lambda: {"filter": kf.kalman(), "forgetting_R": 0.98, "forgetting_Q": 1.0},
    "imm": lambda: {"filters": (kf.kalman(), kf.extended())},
    "IMMParams": lambda: {
        "members": (model(), model()),
        "transition": np.full((2, 2), 0.5),
        "weights": np.full(2, 0.5),
    },
    "constrained": lambda: {"filter": kf.kalman(), "project": kf.filters.nearest},
    "ConstrainedParams": lambda: {
        "params": model(),
        "constraints": kf.Inequalities(EYE, EYE[0]),
    },
    "Inequalities": lambda: {"A": EYE, "b": EYE[0]},
    "box": lambda: {"lower": EYE[0], "upper": 1 + EYE[0]},
    "schmidt": lambda: {"filter": kf.kalman(), "considered": (1,)},
    "sequential": lambda: {"filters": kf.kalman()},
    "fixed_lag": lambda: {"filter": kf.kalman(), "lag": 2},
    "delayed": lambda: {"filter": kf.kalman(), "window": 2},
    "filters.GaspariCohn": lambda: {
        "radius": 1.0,
        "states": np.arange(3.0),
        "observations": np.arange(2.0),
        "period": 3.0,
    },
    "filters.StopGradient": lambda: {"scheme": kf.filters.Systematic()},
    "filters.Soft": lambda: {"alpha": 0.5},
    "filters.Iterated": lambda: {"iterations": 2, "halvings": 7},
    "filters.by_name": lambda: {"name": "kalman"},
    "filters.nearest": lambda: {
        "belief": PRIOR,
        "constraints": kf.Inequalities(EYE, EYE[0]),
        "sweeps": 5,
    },
    "filters.truncated": lambda: {"belief": PRIOR, "constraints": kf.Inequalities(EYE, EYE[0])},
    "moments.GaussHermite": lambda: {"order": 3},
    "moments.Unscented": lambda: {"alpha": 1.0, "beta": 2.0, "kappa": 0.0},
}

DATA: Rows = {
    "Dataset": lambda: {
        "ys": data().ys,
        "xs": data().xs,
        "us": np.ones((6, 8, 1)),
        "observed": np.ones((6, 8), bool),
        "length": np.full(6, 7),
        "prior_mean": np.zeros((6, 2)),
    },
    "from_pandas": lambda: {"frame": frame(), "ys": ["y"], "time": "t", "start": 0.0},
    "from_pandas (columns)": lambda: {
        "frame": frame(),
        "ys": ["y"],
        "xs": ["y", "t"],
        "us": ["t"],
        "by": "t",
        "time": "t",
        "time_format": "ms",
        "gps": ["t", "y"],
    },
    "read_table": lambda: {"path": "no such file", "ys": ["y"]},
    "data.read_parts": lambda: {"path": "no such file"},
    "data.LocalFrame": lambda: {"latitude": 50.0, "longitude": 8.0, "height": 100.0},
    "data.Labels": lambda: {"ys": ["y"], "xs": ["p", "v"], "times": np.zeros((1, 3))},
    "from_xarray": lambda: {"data": xarray(), "ys": "y", "time": "time", "start": 0.0},
    "to_pandas": lambda: {
        "estimate": estimate(),
        "times": np.arange(T),
        "states": ["p", "v"],
    },
    "to_xarray": lambda: {"estimate": estimate(), "times": np.arange(T)},
    "data.as_streams": lambda: {"series": np.arange(12.0), "streams": 2, "steps": 3},
    "data.first_steps": lambda: {"data": data(), "steps": 3},
    "data.parallel_streams": lambda: {"data": data(), "streams": 2},
    "data.pieces": lambda: {"data": data(), "steps": 4, "prior_mean": np.zeros(2)},
    "data.split_parts": lambda: {"data": data(), "fractions": (0.6, 0.2, 0.2)},
    "data.split_time": lambda: {"*terms": (data(), 0.5, 0.5)},
    "data.split_future": lambda: {"data": data(), "steps": 2},
    "data.take": lambda: {"tree": data(), "index": np.arange(2)},
    "data.whole_windows": lambda: {"data": data(), "steps": 4},
    "data.run_trajectory": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "trajectory": jax.tree.map(lambda a: a[0], data()),
    },
    "data.check_streams": lambda: {"times": np.arange(12).reshape(3, 2, 2)},
    "data.fetch": lambda: {"url": "no such address", "sha256": 64 * "0", "folder": "downloads"},
    "data.npz_splits": lambda: {"path": "no such file"},
    "data.on_disk": lambda: {"tree": data()},
    "data.start_at": lambda: {"params": model(), "mean": EYE[0]},
    "data.window_at": lambda: {"batch": data(), "start": 0, "steps": 4},
    "data.write_folder": lambda: {"folder": Path("folder"), "parts": [data()]},
    "data.read_data": lambda: {"path": "no such file"},
    "data.read_npz": lambda: {"path": "no such file"},
    "data.read_folder": lambda: {"folder": "no such folder"},
    "data.read_nclt": lambda: {"folder": "no such folder", "rate": 1.0},
    "data.read_indoor_uwb": lambda: {"folder": "no such folder"},
    "to_bytes": lambda: {"state": PRIOR},
    "from_bytes": lambda: {"data": kf.to_bytes(PRIOR), "like": PRIOR},
}

EVALUATION: Rows = {
    "compare": lambda: {
        "filters": {"kalman": (kf.kalman(), model())},
        "data": data(),
        "skip": 1,
        "repeats": 1,
        "level": 0.95,
    },
    "monte_carlo": lambda: {
        "key": KEY,
        "truth": model(),
        "filter": kf.kalman(),
        "params": model(),
        "trials": 3,
        "steps": T,
        "skip": 1,
    },
    "evaluation.anees": lambda: {
        "totals": np.full(3, 8.0),
        "dofs": np.full(3, 8),
        "steps": np.full(3, 4),
        "level": 0.95,
    },
    "evaluation.anis": lambda: {"totals": np.full(3, 8.0), "dofs": np.full(3, 8), "level": 0.95},
    "evaluation.chi_square_interval": lambda: {"dof": 3.0, "level": 0.95},
    "evaluation.coverage": lambda: compared("truth", "mean", "cov", probability=0.95),
    "evaluation.nees": lambda: compared("truth", "mean", "cov", length=np.full(2, 3)),
    "evaluation.mse": lambda: compared("truth", "mean", length=np.full(2, 3)),
    "evaluation.rmse": lambda: compared("truth", "mean"),
    "evaluation.squared_error": lambda: compared("truth", "mean"),
    "evaluation.expected_error": lambda: {"truth": model(), "design": model(), "steps": 3},
    "evaluation.gains": lambda: {"filter": kf.kalman(), "params": model(), "ys": YS},
    "evaluation.innovation_products": lambda: INNOVATIONS | {"lags": 3},
    "evaluation.mean_interval": lambda: {"values": np.arange(5.0), "level": 0.95},
    "evaluation.median_db": lambda: {"mses": np.arange(1.0, 5.0)},
    "evaluation.mse_db": lambda: {"mses": np.arange(1.0, 5.0), "level": 0.95},
    "evaluation.paired_db": lambda: {
        "mses": np.arange(1.0, 5.0),
        "reference": np.arange(2.0, 6.0),
        "level": 0.95,
    },
    "evaluation.auxiliary_residuals": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "ys": YS,
    },
    "evaluation.residual_checks": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "data": data(),
        "lags": 2,
        "skip": 1,
        "key": KEY,
    },
    "evaluation.backtest": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "data": np.arange(9.0)[:, None] ** 2,
        "horizon": 2,
        "first": 4,
        "every": 2,
        "season": 2,
        "fit": lambda params, known: params,
        "refit_every": 1,
        "observed": np.ones(9, bool),
        "channel": 0,
        "name": "KF",
        "key": KEY,
    },
    "evaluation.gaussian_crps": lambda: {"mean": np.zeros(3), "std": np.ones(3), "y": np.ones(3)},
    "evaluation.forecast_series": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "data": data(),
        "steps": 2,
        "level": 0.9,
        "key": KEY,
    },
    "evaluation.rmse_interval": lambda: {"mses": np.arange(1.0, 5.0), "level": 0.95},
    "evaluation.to_db": lambda: {"x": np.arange(1.0, 5.0)},
    "evaluation.whiteness": lambda: (
        evaluation.innovation_products(**INNOVATIONS, lags=3)
        and {"products": np.ones((4, 3)), "counts": np.full((4, 3), 5), "level": 0.95}
    ),
}

SYSTEMS: Rows = {
    "systems.bearing_range": lambda: {
        "dt": 1.0,
        "sensor": (0.0, 0.0),
        "q_density": 0.01,
        "range_std": 1.0,
        "bearing_std": 0.02,
    },
    "systems.bearings_only": lambda: {
        "dt": 1.0,
        "sensors": ((0.0, 0.0), (100.0, -50.0)),
        "q_density": 0.01,
        "r_std": 0.02,
    },
    "systems.canonical": lambda: {"n": 2, "m": 1, "form": "identity", "q_std": 0.1, "r_std": 1.0},
    "systems.constant_acceleration": lambda: {"dimensions": 1, "dt": 1.0, "q_density": 0.01},
    "systems.constant_velocity": lambda: {
        "dimensions": 1,
        "dt": 1.0,
        "q_density": 0.01,
        "r_std": 1.0,
        "measure": "position",
        "prior": PRIOR,
    },
    "systems.coordinated_turn": lambda: {"dt": 1.0, "q_density": 0.01, "turn_rate_density": 1e-4},
    "systems.get": lambda: {"name": "lorenz"},
    "systems.known": lambda: {"x0": EYE[0]},
    "systems.lorenz": lambda: {
        "dt": 0.02,
        "integrator": "taylor",
        "substeps": 1,
        "observation": "identity",
        "q_std": 0.1,
        "r_std": 1.0,
    },
    "systems.noise_free": lambda: {"model": model(), "x0": EYE[0]},
    "systems.pendulum": lambda: {"dt": 0.01, "gravity": 9.81, "length": 1.0, "damping": 0.0},
    "systems.range_only": lambda: {"dimensions": 2, "ranges": 1, "q_density": 1.0, "r_std": 0.1},
    "systems.rk4": lambda: {"drift": drift, "x": EYE[0], "dt": 0.1},
    "systems.rotate": lambda: {"matrix": EYE, "degrees": 10.0, "order": "left"},
    "systems.rotation": lambda: {"degrees": 10.0, "n": 2},
    "systems.toy": lambda: {"parameters": "full", "dimensions": 2, "q_std": 0.1, "r_std": 0.1},
    "systems.tutorial_line": lambda: {"r_std": 10.0},
    "systems.example_inputs": lambda: {"name": "lorenz", "steps": 3},
    "systems.bearing": lambda: {"x": EYE[0, 0], "y": EYE[0, 0]},
    "systems.decimated_lorenz": lambda: {"dt": 0.02, "dense_dt": 1e-5, "q_std": 0.1},
    "systems.norm": lambda: {"d": EYE[0]},
    "systems.roll_pitch_yaw": lambda: {"roll": 0.1, "pitch": 0.2, "yaw": 0.3},
    "systems.spherical": lambda: {"x": np.ones(3)},
    "systems.tutorial_climb": lambda: {"faults": ("euler",), "r_std": 0.7},
    "systems.tutorial_helix": lambda: {"faults": ("start",), "r_std": 1.0},
    "systems.wiener_velocity": lambda: {"dt": 1.0, "q_density": 1.0, "r_std": 1.0},
}

GOOD = MODELS | RUNNING | FILTERS | DATA | EVALUATION | SYSTEMS | LEARNED | TRAINING
GOOD |= LINALG | PLOTTING | EXPORTING | TIMING | STRUCTURAL | REGIMES


# rows whose results may have NaN, with the reason
THROUGH = {
    "functions of numbers, as those of NumPy: data have gaps": (
        *("wrap_angle", "evaluation.to_db", "systems.norm", "systems.spherical", "systems.rk4"),
        *("learned.input_context", "learned.state_context"),
    ),
    "cuts arrays, in which NaN marks what is missing": ("data.as_streams",),
    "NaN where an observation is missing, as documented": ("evaluation.auxiliary_residuals",),
    "NaN stands for nothing to count, in every entry by itself": (
        "evaluation.chi_square_interval",
    ),
    "statistics of errors, which are NaN where no truth is known": (
        *(f"evaluation.{name}" for name in ("mean_interval", "median_db", "mse_db", "paired_db")),
        "evaluation.rmse_interval",
    ),
    "a filter that broke has no autocorrelation, and the table of compare says so": (
        *("evaluation.innovation_products", "evaluation.whiteness"),
    ),
    "runs inside loops, where values are not known; what calls it checks them": tuple(LINALG),
}


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every callable of kfjax and its public modules, with its shortest name."""
    modules = [name for name in kf.__all__ if inspect.ismodule(getattr(kf, name))]
    seen: set[int] = set()
    for prefix in ("", *(f"{name}." for name in modules)):
        module = getattr(kf, prefix[:-1]) if prefix else kf
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and not inspect.ismodule(value) and id(value) not in seen:
                seen.add(id(value))
                yield prefix + name, value


def takes_arguments(value: Callable[..., Any]) -> bool:
    """Return whether a callable has arguments that can be wrong when it is called.

    A NamedTuple holds anything, as JAX requires; the functions that take one check it. The name of
    a type, such as `moments.MomentRule`, is not called.
    """
    if typing.get_origin(value) is not None:
        return False
    if inspect.isclass(value) and (inspect.isabstract(value) or hasattr(value, "_fields")):
        return False
    return bool(inspect.signature(value).parameters)


# callables with arguments but without a row, with the reason
WITHOUT_ROW = {
    "called by kf.run, for states and Info that it made": (
        *("estimate", "estimate_and_info", "whole_state", "lagged"),
    ),
    "called by kf.training.fit, for paths that it made": ("learned.learned_weights",),
    "a protocol, which nobody calls": ("learned.GainNetwork",),
    "changes the process that calls it": ("evaluation.pin",),
    "compiles the function that it is given, whose arguments and errors are its own": (
        "describe_loops",
    ),
    "made by functions that return them": (
        *("data.DiskArray", "evaluation.Comparison", "evaluation.Evaluation", "evaluation.Row"),
        *(
            "evaluation.ResidualChecks",
            "evaluation.SeriesForecast",
            "evaluation.Backtest",
            "evaluation.ForecastScore",
        ),
        *(
            "exporting.Program",
            "learned.RTSNet",
            "training.FilterLoss",
            "training.SmootherLoss",
            "training.FittedMany",
            "training.MaximumLikelihood",
            "Stepper",
        ),
    ),
}


def function_of(name: str) -> Callable[..., Any]:
    """Return the public function of a row, whose name may end with a remark in parentheses."""
    value: Any = kf
    for part in name.partition(" (")[0].split("."):
        value = getattr(value, part)
    return value
