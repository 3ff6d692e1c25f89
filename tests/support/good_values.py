"""Models, data and beliefs that the tables of good calls share."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf

T = 4
Arguments = dict[str, Any]
Rows = dict[str, Callable[[], Arguments]]

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
    """Return those of truth, mean and covariances that are named."""
    return dict(zip(names, truth(), strict=False)) | more
