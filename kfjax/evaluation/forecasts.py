"""Forecasts of observations after the end of data, with intervals, at the data's own times."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy import special

from kfjax._support.arguments import check_key
from kfjax._support.compiling import jit
from kfjax._support.naming import not_installed
from kfjax._support.types import Key
from kfjax.base import Filter, Inputs, Params
from kfjax.data import Dataset, Future, Labels, run_trajectory
from kfjax.data.batches import check_noise_on
from kfjax.data.future import future_of
from kfjax.data.series import as_dataset
from kfjax.evaluation.intervals import check_level
from kfjax.filters.checks import check_filter, check_params
from kfjax.runner import Forecast, forecast

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SeriesForecast", "forecast_series"]

WHO = "forecast_series"


@dataclasses.dataclass(frozen=True)
class SeriesForecast:
    """Forecasts of K steps after the end of N series, as from `forecast_series`.

    Attributes:
        mean: forecasts of the observations [N, K, m].
        std: their standard deviations [N, K, m], observation noise included.
        low: lower ends of their intervals [N, K, m].
        high: upper ends of their intervals [N, K, m].
        level: probability of the intervals.
        states: the forecasts of states and observations, a `kfjax.Forecast` of [N, K, ...].
        future: the times and inputs of the steps, a `kfjax.data.Future`.
        labels: names of the data, or None.
    """

    mean: Float[np.ndarray, "N K m"]
    std: Float[np.ndarray, "N K m"]
    low: Float[np.ndarray, "N K m"]
    high: Float[np.ndarray, "N K m"]
    level: float
    states: Forecast
    future: Future
    labels: Labels | None

    @property
    def channels(self) -> list[str]:
        """Names of the channels; y1, y2, ... where the data have none."""
        if self.labels is None or self.labels.ys is None:
            return [f"y{j + 1}" for j in range(self.mean.shape[2])]
        return list(self.labels.ys)

    def to_pandas(self, *, time: str = "time", series: str = "series") -> pd.DataFrame:
        """Return a table with one row per step, and NAME, NAME_std, NAME_low and NAME_high.

        Args:
            time: name of the column of times (of step numbers ahead, if the data have none).
            series: name of the column that tells several series apart.

        Raises:
            ImportError: if pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise not_installed("pandas", error) from error
        size, steps, _ = self.mean.shape
        columns: dict[str, Any] = {}
        if size > 1:
            known = None if self.labels is None else self.labels.series
            columns[series] = np.repeat(np.asarray(known or range(1, size + 1)), steps)
        if self.future.times is None:
            columns["step"] = np.tile(np.arange(1, steps + 1), size)
        else:
            times = pd.Series(self.future.times.reshape(-1))
            columns[time] = _shown(times, self.labels)
        for j, name in enumerate(self.channels):
            parts = {"": self.mean, "_std": self.std, "_low": self.low, "_high": self.high}
            columns |= {f"{name}{end}": part[:, :, j].reshape(-1) for end, part in parts.items()}
        return pd.DataFrame(columns)


def forecast_series(
    filter: Filter,
    params: Params,
    data: Any,
    *,
    steps: int | None = None,
    us: Inputs = None,
    level: float = 0.95,
    key: Key | None = None,
) -> SeriesForecast:
    """Forecast the observations after the end of data, with intervals.

    The filter runs to the last observation and predicts from there; `kfjax.forecast` does the
    second part alone. Times and the input "dt" continue in the spacing of the data, and rows at the
    end without observations are forecast: see `kfjax.data.split_future`. An interval of probability
    p is the mean and z standard deviations, z the (1 + p) / 2 quantile of the normal distribution;
    it accounts for the noise of states and observations, but not for the uncertainty of the params.

    Args:
        filter: a `Filter` that forecasts observations.
        params: its parameters, such as those of `kfjax.training.maximum_likelihood`.
        data: the series, such as from `kfjax.read_table`; or one series ys [T, m], NaN where
            missing.
        steps: number of steps ahead; default those of us, or the rows at the end without
            observations.
        us: inputs of the steps ahead, like those of the data, [N, K, ...] (or [K, ...] of one
            series); default those of the rows at the end, and the input "dt" continued.
        level: probability of the intervals, for each step separately.
        key: random key of a filter that draws; default `jax.random.key(0)`.

    Returns:
        `SeriesForecast`; its `to_pandas` is a table.

    Raises:
        ValueError: if the filter has no forecasts of observations, us does not fit the inputs of
            the data, and as in `split_future`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> ahead = kf.evaluation.forecast_series(
        ...     kf.kalman(), model, kf.Dataset(ys[None]), steps=3
        ... )
        >>> list(ahead.to_pandas().columns)
        ['step', 'y1', 'y1_std', 'y1_low', 'y1_high']
    """
    check_filter(WHO, filter)
    check_params(WHO, params)
    data = as_dataset(WHO, data)
    check_noise_on(WHO, params, data)
    check_level(level)
    key = jax.random.key(0) if key is None else key
    check_key(f"{WHO}: key", key)
    known, future = future_of(WHO, data, steps, us)
    arrays = jax.tree.map(jnp.asarray, (known, future.us))
    ahead = _ahead(filter, params, *arrays, future.steps, key)
    if ahead.observation is None:
        raise ValueError(
            f"{WHO}: {filter} has no forecasts of observations; expected a filter that moves"
            " Gaussians, such as kf.kalman() or kf.unscented(). kf.forecast gives its states."
        )
    ahead = jax.tree.map(lambda a: np.asarray(a, np.float64), ahead)
    mean, cov = ahead.observation
    std = np.sqrt(np.maximum(np.diagonal(cov, axis1=-2, axis2=-1), 0))
    reach = special.ndtri((1 + level) / 2) * std
    return SeriesForecast(mean, std, mean - reach, mean + reach, level, ahead, future, data.labels)


@functools.partial(jit, static_argnums=(0, 4))
def _ahead(
    filter: Filter, params: Params, data: Dataset, us: Inputs, steps: int, key: Array
) -> Forecast:
    """Return the forecasts of all trajectories."""

    def one(trajectory: Dataset, us: Inputs, key: Array) -> Forecast:
        final = run_trajectory(filter, params, trajectory, key=key, emit=_nothing).final
        return forecast(filter, params, final, us=us, steps=steps)

    keys = jax.random.split(key, data.ys.shape[0])
    return jax.vmap(one)(data, us, keys)


def _nothing(state: Any, info: Any) -> None:
    """Keep nothing of a step."""
    del state, info


def _shown(times: Any, labels: Labels | None) -> Any:
    """Return times in the time zone of the data; whole numbers, such as years, as integers."""
    if times.dtype.kind == "f" and (times % 1 == 0).all():
        return times.astype(np.int64)
    if labels is None or labels.zone is None:
        return times
    return times.dt.tz_localize("UTC").dt.tz_convert(labels.zone)
