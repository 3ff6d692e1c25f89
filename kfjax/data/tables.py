"""Tables in and out.

Pandas data frames and xarray datasets, neither of which is needed for anything else.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kfjax.data.dataset import Dataset
from kfjax.models.discretisation import time_steps

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["from_pandas", "from_xarray", "to_pandas", "to_xarray"]


def from_pandas(
    frame: pd.DataFrame,
    ys: Sequence[str],
    *,
    xs: Sequence[str] | None = None,
    us: Sequence[str] = (),
    time: str | None = None,
    trajectory: str | None = None,
    start: Any = None,
) -> Dataset:
    """Return the rows of a data frame as a `Dataset`, one row per step.

    Args:
        frame: the rows, in order of time.
        ys: columns of the observations; NaN is missing.
        xs: columns of the true state, or None.
        us: columns of inputs, each under its name in `Dataset.us`.
        time: column (or name of the index) of timestamps, numbers or dates; `us` then has "dt",
            the time since the row before, in seconds for dates. None if the steps are all alike.
        trajectory: column that tells trajectories apart, which may be of different lengths; None
            for one trajectory.
        start: the time of x_0; default that of the first row, whose dt is then 0.

    Returns:
        The `Dataset`, trajectories in the order of their first rows.

    Raises:
        ValueError: if a column is not there or time goes backwards, and as `Dataset`.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"t": [0.0, 0.5, 2.0], "range": [3.1, np.nan, 3.4]})
        >>> data = kf.from_pandas(frame, ["range"], time="t")
        >>> data.us["dt"].tolist(), data.observed[0, :, 0].tolist()
        ([[0.0, 0.5, 1.5]], [True, False, True])
    """
    if isinstance(ys, str):
        raise ValueError(f"from_pandas: ys is {ys!r}; expected a list of columns. Write [{ys!r}].")
    frame = frame.reset_index() if time is not None and time == frame.index.name else frame
    named = [
        *ys,
        *(xs or ()),
        *us,
        *(name for name in (time, trajectory) if name is not None),
    ]
    if absent := [name for name in named if name not in frame.columns]:
        raise ValueError(
            f"from_pandas: no columns {absent}; expected some of {list(frame.columns)}."
        )
    parts = (
        [frame]
        if trajectory is None
        else [part for _, part in frame.groupby(trajectory, sort=False)]
    )
    fields: dict[str, Any] = {"ys": [_numbers(part[list(ys)]) for part in parts]}
    if xs is not None:
        fields["xs"] = [_numbers(part[list(xs)]) for part in parts]
    series = {name: [part[name].to_numpy() for part in parts] for name in us}
    if time is not None:
        series["dt"] = [_steps(part[time].to_numpy(), start) for part in parts]
    lengths = np.array([len(part) for part in parts])
    fields = {name: _padded(rows) for name, rows in fields.items()}
    inputs = {name: _padded(rows) for name, rows in series.items()} or None
    return Dataset(**fields, us=inputs, length=lengths)


def from_xarray(
    data: xr.Dataset,
    ys: str,
    *,
    xs: str | None = None,
    us: Sequence[str] = (),
    time: str = "time",
    trajectory: str | None = None,
    start: Any = None,
) -> Dataset:
    """Return variables of an xarray dataset as a `Dataset`.

    Args:
        data: the variables.
        ys: the variable of the observations, of dimensions (trajectory,) time and channels; NaN is
            missing.
        xs: the variable of the true state, likewise, or None.
        us: variables of inputs, each under its name in `Dataset.us`.
        time: the dimension of time; if it has a coordinate, `us` has "dt", in seconds for dates.
        trajectory: the dimension of trajectories, or None for one.
        start: the time of x_0; default the first time, whose dt is then 0.

    Returns:
        The `Dataset`.

    Raises:
        ValueError: if a variable or a dimension is not there or time goes backwards, and as
            `Dataset`.

    Example:
        >>> import xarray as xr
        >>> columns = {"y": (("time", "channel"), np.ones((3, 2)))}
        >>> data = xr.Dataset(columns, {"time": [0.0, 0.5, 2.0]})
        >>> kf.from_xarray(data, "y").us["dt"].tolist()
        [[0.0, 0.5, 1.5]]
    """
    names = [ys, *(name for name in (xs,) if name is not None), *us]
    if absent := [name for name in names if name not in data]:
        raise ValueError(
            f"from_xarray: no variables {absent}; expected some of {list(data.data_vars)}."
        )
    leading = [name for name in (trajectory, time) if name is not None]
    if bare := [name for name in names if not set(leading) <= set(data[name].dims)]:
        raise ValueError(
            f"from_xarray: {bare} lack a dimension; expected {leading}. Rename them with"
            " data.rename."
        )
    arrays = {name: data[name].transpose(*leading, ...).to_numpy() for name in names}
    arrays = {name: array[None] if trajectory is None else array for name, array in arrays.items()}
    series = {name: arrays[name] for name in us}
    if time in data.coords:
        steps = _steps(data[time].to_numpy(), start)
        series["dt"] = np.tile(steps, (len(arrays[ys]), 1))
    return Dataset(arrays[ys], None if xs is None else arrays[xs], series or None)


def to_xarray(
    estimate: Any, *, times: Any = None, states: Sequence[str] | None = None
) -> xr.Dataset:
    """Return estimates as an xarray dataset.

    Its dimensions are (trajectory,) time, state and state_2.

    Args:
        estimate: an `Estimate`, `Gaussian` or `Smoothed`: mean [T, n] or [N, T, n], cov and
            log_likelihood or None.
        times: coordinate of time [T]; default 1..T.
        states: names of the components; default x1, x2, ...

    Returns:
        Variables mean, cov and log_likelihood, those that there are.

    Raises:
        ValueError: if times or states do not fit.
        ImportError: if xarray is not installed.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> estimate = kf.run(kf.kalman(), model, jnp.zeros((5, 1))).outputs
        >>> dict(kf.to_xarray(estimate, states=["position", "speed"]).sizes)
        {'time': 5, 'state': 2, 'state_2': 2}
    """
    xarray = _required("xarray")
    mean, cov, likelihood, times, states = _arrays("to_xarray", estimate, times, states)
    leading = ("trajectory", "time")[-mean.ndim + 1 :]
    dimensions = {
        "mean": (mean, "state"),
        "cov": (cov, "state", "state_2"),
        "log_likelihood": (likelihood,),
    }
    variables = {
        name: ((*leading, *dims), a) for name, (a, *dims) in dimensions.items() if a is not None
    }
    coordinates = {"time": times, "state": states} | ({} if cov is None else {"state_2": states})
    return xarray.Dataset(variables, coordinates)


def to_pandas(
    estimate: Any, *, times: Any = None, states: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return estimates as a data frame.

    One row per step, with columns for means and standard deviations.

    Args:
        estimate: an `Estimate`, `Gaussian` or `Smoothed`: mean [T, n] or [N, T, n], cov and
            log_likelihood or None.
        times: index [T]; default 1..T.
        states: names of the components; default x1, x2, ...

    Returns:
        Columns NAME and NAME_std of every component, and log_likelihood, those that there are; the
        index is time, or (trajectory, time) of a batch.

    Raises:
        ValueError: if times or states do not fit.
        ImportError: if pandas is not installed.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> estimate = kf.run(kf.kalman(), model, jnp.zeros((5, 1))).outputs
        >>> list(kf.to_pandas(estimate, states=["p", "v"]).columns)
        ['p', 'v', 'p_std', 'v_std', 'log_likelihood']
    """
    pandas = _required("pandas")
    mean, cov, likelihood, times, states = _arrays("to_pandas", estimate, times, states)
    index = pandas.Index(times, name="time")
    if mean.ndim == 3:
        index = pandas.MultiIndex.from_product(
            [range(len(mean)), times], names=["trajectory", "time"]
        )
    n = len(states)
    columns = dict(zip(states, mean.reshape(-1, n).T, strict=True))
    if cov is not None:
        std = np.sqrt(np.maximum(np.diagonal(cov, axis1=-2, axis2=-1), 0))
        columns |= dict(zip([f"{name}_std" for name in states], std.reshape(-1, n).T, strict=True))
    if likelihood is not None:
        columns["log_likelihood"] = likelihood.reshape(-1)
    return pandas.DataFrame(columns, index=index)


def _required(package: str) -> Any:
    """Import an optional package."""
    try:
        return __import__(package)
    except ImportError as error:
        raise ImportError(
            f"{package} is not installed ({error}). Install it with pip install 'kfjax[data]'."
        ) from error


def _arrays(
    who: str, estimate: Any, times: Any, states: Sequence[str] | None
) -> tuple[Any, Any, Any, Any, list[str]]:
    """The parts of an estimate in numpy, and names that fit."""
    if not hasattr(estimate, "mean"):
        raise ValueError(
            f"{who}: got {type(estimate).__name__}; expected an estimate with a mean, as kf.run"
            " returns."
        )
    optional = functools.partial(getattr, estimate)
    mean, cov, likelihood = estimate.mean, optional("cov", None), optional("log_likelihood", None)
    mean, cov, likelihood = (
        np.asarray(mean),
        *(None if a is None else np.asarray(a) for a in (cov, likelihood)),
    )
    if mean.ndim not in (2, 3):
        raise ValueError(f"{who}: mean has shape {mean.shape}; expected [T, n] or [N, T, n].")
    T, n = mean.shape[-2:]
    times = np.arange(1, T + 1) if times is None else np.asarray(times)
    states = [f"x{j + 1}" for j in range(n)] if states is None else list(states)
    if times.shape != (T,) or len(states) != n:
        raise ValueError(
            f"{who}: got {times.shape} times and {len(states)} names of states; expected ({T},) and"
            f" {n}."
        )
    return mean, cov, likelihood, times, states


def _numbers(columns: pd.DataFrame) -> np.ndarray:
    """The columns as floats, NaN where missing."""
    try:
        return columns.to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"from_pandas: columns {list(columns)} hold what is no number ({error}); expected"
            " numbers, NaN where"
            " missing. Convert them with pandas.to_numeric."
        ) from error


def _steps(times: np.ndarray, start: Any) -> np.ndarray:
    """Steps between timestamps, in seconds for dates."""
    start = times[0] if start is None else start
    if times.dtype.kind == "M":
        times, start = (
            (times - times[0]) / np.timedelta64(1, "s"),
            (start - times[0]) / np.timedelta64(1, "s"),
        )
    return np.asarray(time_steps(times.astype(np.float64), float(start)))


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    """Stack arrays of different lengths, with zeros after the end (which never count)."""
    longest = max(map(len, rows))
    return np.stack([np.pad(a, [(0, longest - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in rows])
