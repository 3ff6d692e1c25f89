"""Estimates as tables: pandas data frames and xarray datasets, which are optional packages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Shaped

from kfjax._support.naming import described, not_installed
from kfjax._support.types import AnyArray, PyTree

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["to_pandas", "to_xarray"]


class _Columns(NamedTuple):
    """An estimate in numpy, with its coordinates.

    Attributes:
        mean: [T, n] or [N, T, n].
        cov: [..., n, n], or None.
        log_likelihood: [...], or None.
        times: coordinate of time [T].
        states: n names of the components.
    """

    mean: np.ndarray
    cov: np.ndarray | None
    log_likelihood: np.ndarray | None
    times: np.ndarray
    states: list[str]


def to_xarray(
    estimate: PyTree,
    *,
    times: Sequence[float] | Shaped[AnyArray, " T"] | Shaped[np.ndarray, " T"] | None = None,
    states: Sequence[str] | None = None,
) -> xr.Dataset:
    """Return estimates as an xarray dataset.

    Its dimensions are (trajectory,) time, state and state_2.

    Args:
        estimate: an `Estimate`, `Gaussian` or `Smoothed`: mean [T, n] or [N, T, n], cov and
            log_likelihood or None.
        times: coordinate of time [T], numbers or dates; default 1..T.
        states: names of the components; default x1, x2, ...

    Returns:
        A dataset with the variables mean, cov and log_likelihood, as far as the estimate has them.

    Raises:
        ValueError: if times or states do not fit.
        ImportError: if xarray is not installed.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> estimate = kf.run(kf.kalman(), model, jnp.zeros((5, 1))).outputs
        >>> dict(kf.to_xarray(estimate, states=["position", "speed"]).sizes)
        {'time': 5, 'state': 2, 'state_2': 2}
    """
    try:
        import xarray as xr
    except ImportError as error:
        raise not_installed("xarray", error) from error
    table = _columns("to_xarray", estimate, times, states)
    leading = ["time"] if table.mean.ndim == 2 else ["trajectory", "time"]
    variables = {"mean": ([*leading, "state"], table.mean)}
    coordinates = {"time": table.times, "state": table.states}
    if table.cov is not None:
        variables["cov"] = ([*leading, "state", "state_2"], table.cov)
        coordinates["state_2"] = table.states
    if table.log_likelihood is not None:
        variables["log_likelihood"] = (leading, table.log_likelihood)
    return xr.Dataset(variables, coordinates)


def to_pandas(
    estimate: PyTree,
    *,
    times: Sequence[float] | Shaped[AnyArray, " T"] | Shaped[np.ndarray, " T"] | None = None,
    states: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return estimates as a data frame with one row per step.

    Its columns are means and standard deviations.

    Args:
        estimate: an `Estimate`, `Gaussian` or `Smoothed`: mean [T, n] or [N, T, n], cov and
            log_likelihood or None.
        times: index [T], numbers or dates; default 1..T.
        states: names of the components; default x1, x2, ...

    Returns:
        A data frame with columns NAME and NAME_std for every component, and log_likelihood, as far
        as the estimate has them; its index is time, or (trajectory, time) for a batch.

    Raises:
        ValueError: if times or states do not fit.
        ImportError: if pandas is not installed.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> estimate = kf.run(kf.kalman(), model, jnp.zeros((5, 1))).outputs
        >>> list(kf.to_pandas(estimate, states=["p", "v"]).columns)
        ['p', 'v', 'p_std', 'v_std', 'log_likelihood']
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise not_installed("pandas", error) from error
    table = _columns("to_pandas", estimate, times, states)
    index = pd.Index(table.times, name="time")
    if table.mean.ndim == 3:
        index = pd.MultiIndex.from_product(
            [range(len(table.mean)), table.times], names=["trajectory", "time"]
        )
    columns = _by_name(table.states, table.mean)
    if table.cov is not None:
        variance = np.diagonal(table.cov, axis1=-2, axis2=-1)
        std = np.sqrt(np.maximum(variance, 0))
        columns |= _by_name([f"{name}_std" for name in table.states], std)
    if table.log_likelihood is not None:
        columns["log_likelihood"] = table.log_likelihood.reshape(-1)
    return pd.DataFrame(columns, index=index)


def _by_name(names: list[str], values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the components of values [..., n] by name, each flattened."""
    rows = values.reshape(-1, len(names))
    return dict(zip(names, rows.T, strict=True))


def _columns(
    who: str,
    estimate: PyTree,
    times: Sequence[float] | AnyArray | np.ndarray | None,
    states: Sequence[str] | None,
) -> _Columns:
    """Return the parts of an estimate in numpy, with coordinates that fit."""
    if not hasattr(estimate, "mean"):
        raise ValueError(
            f"{who}: got {type(estimate).__name__}; expected an estimate with a mean, as kf.run"
            " returns."
        )
    mean = np.asarray(estimate.mean)
    if mean.ndim not in (2, 3):
        raise ValueError(f"{who}: mean has shape {mean.shape}; expected [T, n] or [N, T, n].")
    T, n = mean.shape[-2:]
    clock = np.arange(1, T + 1)
    if times is not None:
        clock = _times(f"{who}: times", times)
    names = [f"x{j + 1}" for j in range(n)]
    if states is not None:
        names = _texts(f"{who}: states", states)
    if clock.shape != (T,) or len(names) != n:
        raise ValueError(
            f"{who}: got times of shape {clock.shape} and {len(names)} names of states; expected"
            f" ({T},) and {n}."
        )
    cov = _optional(estimate, "cov")
    log_likelihood = _optional(estimate, "log_likelihood")
    return _Columns(mean, cov, log_likelihood, clock, names)


def _times(name: str, value: Sequence[float] | AnyArray | np.ndarray) -> np.ndarray:
    """Return an array of times, which may be dates."""
    try:
        return np.asarray([value] if np.isscalar(value) else list(value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {described(value)}; expected [T] ({error}).") from error


def _texts(name: str, value: Sequence[str]) -> list[str]:
    """Return a list of names."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{name} is {described(value)}; expected a list of names.")
    return list(value)


def _optional(estimate: PyTree, name: str) -> np.ndarray | None:
    """Return a field of an estimate in numpy, or None if it has none."""
    value = getattr(estimate, name, None)
    return None if value is None else np.asarray(value)
