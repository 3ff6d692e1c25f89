"""One good call of each public function, by its arguments: what `support.bad_calls` spoils.

Functions of `kfjax.linalg` are not among them: they are traced in the innermost loops, for arrays
that the functions here have checked.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from kfjax import evaluation, learned, training

T = 4
Arguments = dict[str, Any]

KEY = jax.random.key(0)
EYE = np.eye(2, dtype=np.float32)
YS = np.linspace(0.0, 1.0, T, dtype=np.float32)[:, None]
SEEN = np.array([True, False, True, True])
PRIOR = kf.Gaussian(jnp.zeros(2), jnp.eye(2))


@functools.cache
def model() -> kf.StateSpaceModel:
    """Constant velocity: n = 2, m = 1."""
    return kf.systems.constant_velocity()


@functools.cache
def estimate() -> kf.Estimate:
    """Filtered beliefs [T]."""
    return kf.run(kf.kalman(), model(), YS).outputs


@functools.cache
def states() -> Any:
    """The states of a particle filter [T]."""
    return kf.run(kf.particle(8), model(), YS, key=KEY, emit=kf.whole_state).outputs


@functools.cache
def data() -> kf.Dataset:
    """Six trajectories with their states."""
    rng = np.random.default_rng(0)
    return kf.Dataset(rng.normal(size=(6, 8, 1)), rng.normal(size=(6, 8, 2)))


@functools.cache
def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two trajectories of states, estimates and covariances."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(2, T, 2))
    return xs, xs + 0.1, np.broadcast_to(np.eye(2), (2, T, 2, 2)).copy()


def frame() -> Any:
    """A table of one trajectory."""
    import pandas as pd

    return pd.DataFrame({"t": np.arange(T) * 0.5, "y": YS[:, 0]})


def xarray() -> Any:
    """The same with named axes."""
    import xarray as xr

    return xr.Dataset({"y": (("time", "channel"), YS)}, {"time": np.arange(T) * 0.5})


def sensors() -> kf.Sensors:
    """A motion that one sensor sees."""
    return kf.Sensors(model().f, model().Q, PRIOR, {"a": kf.Sensor(model().h, model().R)})


def drift(x: Any) -> Any:
    """dx / dt = -x."""
    return -x


def filtered(**more: Any) -> Arguments:
    """Return the arguments of a function of an estimate."""
    return {"filter": kf.kalman(), "params": model(), "estimate": estimate()} | more


def recorded(**more: Any) -> Arguments:
    """Return the arguments of a function of a whole record."""
    return {"model": model(), "ys": YS, "observed": SEEN} | more


def compared(*names: str, **more: Any) -> Arguments:
    """Return truth, mean and covariances, as far as they are named."""
    return dict(zip(names, truth(), strict=False)) | more


INNOVATIONS = {"innovation": np.ones((2, 8, 1)), "cov": np.ones((2, 8, 1, 1))}

MODELS: dict[str, Callable[[], Arguments]] = {
    "StateSpaceModel": lambda: {
        "f": model().f,
        "h": model().h,
        "Q": EYE,
        "R": EYE[:1, :1],
        "prior": PRIOR,
        "state_space": None,
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
}

RUNNING: dict[str, Callable[[], Arguments]] = {
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
    "forecast": lambda: {"filter": kf.kalman(), "params": model(), "state": PRIOR, "steps": 2},
    "log_likelihood": lambda: {"filter": kf.kalman(), "params": model(), "ys": YS},
    "split_missing": lambda: {"ys": YS},
    "smooth": lambda: filtered(prior=PRIOR),
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

FILTERS: dict[str, Callable[[], Arguments]] = {
    "extended": lambda: {"iterations": 2},
    "unscented": lambda: {"alpha": 1.0, "beta": 2.0, "kappa": 0.0},
    "gauss_hermite": lambda: {"order": 3},
    "gaussian_filter": lambda: {"rule": kf.moments.Taylor(), "form": kf.filters.Standard()},
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

DATA: dict[str, Callable[[], Arguments]] = {
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
    "data.take": lambda: {"tree": data(), "index": np.arange(2)},
    "data.whole_windows": lambda: {"data": data(), "steps": 4},
    "data.run_trajectory": lambda: {
        "filter": kf.kalman(),
        "params": model(),
        "trajectory": jax.tree.map(lambda a: a[0], data()),
    },
    "data.read_data": lambda: {"path": "no such file"},
    "data.read_npz": lambda: {"path": "no such file"},
    "data.read_folder": lambda: {"folder": "no such folder"},
    "data.read_nclt": lambda: {"folder": "no such folder", "rate": 1.0},
    "data.read_indoor_uwb": lambda: {"folder": "no such folder"},
    "to_bytes": lambda: {"state": PRIOR},
    "from_bytes": lambda: {"data": kf.to_bytes(PRIOR), "like": PRIOR},
}

EVALUATION: dict[str, Callable[[], Arguments]] = {
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
    "evaluation.rmse_interval": lambda: {"mses": np.arange(1.0, 5.0), "level": 0.95},
    "evaluation.to_db": lambda: {"x": np.arange(1.0, 5.0)},
    "evaluation.whiteness": lambda: (
        evaluation.innovation_products(**INNOVATIONS, lags=3)
        and {"products": np.ones((4, 3)), "counts": np.full((4, 3), 5), "level": 0.95}
    ),
}

SYSTEMS: dict[str, Callable[[], Arguments]] = {
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
    "systems.wiener_velocity": lambda: {"dt": 1.0, "q_density": 1.0, "r_std": 1.0},
}

LEARNED: dict[str, Callable[[], Arguments]] = {
    "learned.MLP": lambda: {"hidden": (8,), "updates": 3, "learning_rate": 1e-3, "batch_size": 2},
    "learned.Polynomial": lambda: {"degree": 2, "ridge": 1e-8},
    "learned.Architecture1": lambda: {"n": 2, "m": 1, "layers": 1},
    "learned.Architecture2": lambda: {"n": 2, "m": 1, "wiring": "corrected"},
    "learned.Asinh": lambda: {"scale": 1.0},
    "learned.Normalised": lambda: {"eps": 1e-12},
    "learned.RecurrentStack": lambda: {
        "outputs": 2,
        "hidden": (4,),
        "cell": "gru",
        "dropout": 0.1,
    },
    "learned.corrected_gain": lambda: {"n": 2, "m": 1, "hidden": 4},
    "learned.split_kalman_net": lambda: {"n": 2, "m": 1, "hidden": 4},
    "learned.sequence_regressor": lambda: {"n": 2, "m": 1, "hidden": (4,), "cell": "lstm"},
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

TRAINING: dict[str, Callable[[], Arguments]] = {
    "training.Checkpoints": lambda: {"directory": "checkpoints", "every": 1},
    "training.clipped_adam": lambda: {"learning_rate": 1e-3, "clip": 1.0, "weight_decay": 0.0},
    "training.nll": lambda: {"filter": kf.kalman(), "floor": 0.0},
    "training.state_mse": lambda: {"filter": kf.kalman()},
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

GOOD = MODELS | RUNNING | FILTERS | DATA | EVALUATION | SYSTEMS | LEARNED | TRAINING


# functions of numbers through which NaN goes, as it goes through those of NumPy
THROUGH = {"wrap_angle", "data.as_streams", "data.take", "to_bytes", "evaluation.to_db"}
THROUGH |= {  # a filter that broke shows as such
    *(f"evaluation.{name}" for name in ("anees", "anis", "chi_square_interval", "whiteness")),
    *(f"evaluation.{name}" for name in ("innovation_products", "mean_interval", "median_db")),
    *(f"evaluation.{name}" for name in ("mse_db", "paired_db", "rmse_interval")),
}
THROUGH |= {f"systems.{name}" for name in ("rk4", "rotate", "rotation", "known")}
THROUGH |= {"training.relative_error", "training.fit"}  # the latter has no validation loss here


def function_of(name: str) -> Callable[..., Any]:
    """Return the public function of a row, whose name may end with a remark in parentheses."""
    value: Any = kf
    for part in name.partition(" (")[0].split("."):
        value = getattr(value, part)
    return value
