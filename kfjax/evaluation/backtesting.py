"""Backtests: forecasts of one series from many origins in its past, scored by what followed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.arguments import check_count, check_function, check_key
from kfjax._support.compiling import jit
from kfjax._support.types import Key
from kfjax.base import Filter, Gaussian, Params, whole_state
from kfjax.data import Dataset, run_trajectory
from kfjax.data.batches import check_noise_on
from kfjax.data.series import as_dataset
from kfjax.evaluation.backtest_results import Backtest
from kfjax.evaluation.backtest_scores import NAIVE, SEASONAL, scores_of
from kfjax.evaluation.forecast_scores import (
    Gaussians,
    naive_forecasts,
    naive_scales,
)
from kfjax.filters.checks import check_filter, check_params
from kfjax.runner import forecast

__all__ = ["backtest"]

WHO = "backtest"


def backtest(
    filter: Filter,
    params: Params,
    data: Any,
    *,
    horizon: int,
    first: int | None = None,
    every: int = 1,
    season: int = 1,
    fit: Callable[[Params, Dataset], Params] | None = None,
    refit_every: int | None = None,
    us: Any = None,
    observed: Any = None,
    channel: int = 0,
    name: str = "model",
    key: Key | None = None,
) -> Backtest:
    """Forecast a series from many origins in its past, and score the forecasts by what followed.

    From every origin t = first, first + every, ... the filter, which has seen y_1, ..., y_t,
    forecasts y_{t+1}, ..., y_{t+H}. One compiled program does it for all origins. The same origins
    are forecast by the last value (naive) and the last value of the same season (seasonal naive).
    At each horizon h,

        MASE = mean |y - mean| / (mean |y_t - y_{t-s}| before the origin),
        RMSE = sqrt(mean (y - mean)^2),   CRPS = mean of `gaussian_crps`,

    and the share of observations in their central 80 % and 95 % intervals. The variance of a naive
    forecast is the mean square of past changes over one period, times the number of periods.

    Params that were fitted to the whole series know its future: pass `fit`, or params that were
    fitted to the steps before `first`.

    Args:
        filter: a `Filter` that forecasts observations.
        params: its parameters; with `fit`, the start of the first fit.
        data: one series ys [T, m], NaN where missing; or a `Dataset` of one trajectory. Inputs of
            future steps are taken as known.
        horizon: H, the number of steps ahead.
        first: number of steps known at the first origin; default half of the series, but at least
            two seasons.
        every: number of steps between origins.
        season: number of steps of a season, such as 12; 1 for none.
        fit: function (params, data up to an origin) -> params, such as one that calls
            `kfjax.training.maximum_likelihood`; it is called at the first origin, and again as
            `refit_every` says, with the previous params as a start. The data have the shape of the
            whole series, and `length` says how much of it is known, so that all fits share one
            compilation. Default: the params stay as they are.
        refit_every: number of origins after which to fit again; default never.
        us: inputs of one series, with a leading axis of T, or None.
        observed: mask of one series, booleans [T] or [T, m]; default where ys is not NaN.
        channel: number of the channel that is scored, from 0.
        name: name of the model in the table.
        key: random key of a filter that draws; default `jax.random.key(0)`.

    Returns:
        `Backtest`; `print` shows a table and which method is best.

    Raises:
        ValueError: if the series is too short for one origin, there are several trajectories, or
            the filter has no forecasts of observations.

    Example:
        >>> from kfjax import structural as st
        >>> months = np.arange(60)
        >>> ys = np.sin(2 * np.pi * months / 12) + 0.1 * np.cos(9.0 * months**2)
        >>> model = st.level(0.02) + st.seasonal(12, 0.02) + st.irregular(0.1)
        >>> result = kf.evaluation.backtest(
        ...     kf.exact_diffuse(), model, ys[:, None], horizon=3, season=12
        ... )
        >>> [(row.method, row.forecasts) for row in result.overall]
        [('model', 84), ('naive', 84), ('seasonal naive', 84)]

    References:
        R. J. Hyndman, A. B. Koehler, Int. J. Forecasting 22 (2006). D. Harvey, S. Leybourne,
        P. Newbold, Int. J. Forecasting 13 (1997).
    """
    check_filter(WHO, filter)
    check_params(WHO, params)
    for what, count in (("horizon", horizon), ("every", every), ("season", season)):
        check_count(f"{WHO}: {what}", count)
    key = jax.random.key(0) if key is None else key
    check_key(f"{WHO}: key", key)
    series = _one_series(as_dataset(WHO, data, us, observed))
    check_noise_on(WHO, params, series)
    check_count(f"{WHO}: channel", channel, least=0, most=series.ys.shape[2] - 1)
    ys = _values(series, channel)
    origins = _origins(ys, horizon, first, every, season)
    fitted, groups, refits = _fitted(params, series, origins, fit, refit_every)
    one = jax.tree.map(lambda a: jnp.asarray(a)[0], series)
    # the groups of params are numbered, since there may be no array in them to count
    at = (jnp.arange(groups[-1] + 1), jnp.asarray(groups), jnp.asarray(origins))
    ahead = _from_all_origins(filter, fitted, one, *at, horizon, key)
    if ahead is None:
        raise ValueError(
            f"{WHO}: {filter} has no forecasts of observations; expected a filter that moves"
            " Gaussians, such as kf.kalman() or kf.unscented()."
        )
    mean = np.asarray(ahead.mean, np.float64)[:, :, channel]
    variance = np.asarray(ahead.cov, np.float64)[:, :, channel, channel]
    methods = {
        name: Gaussians(mean, np.sqrt(np.maximum(variance, 0))),
        NAIVE: naive_forecasts(ys, origins, horizon, 1),
    }
    if season > 1:
        methods[SEASONAL] = naive_forecasts(ys, origins, horizon, season)
    if len(methods) < 2 + (season > 1):
        raise ValueError(f"{WHO}: name is {name!r}, which is another method; expected another one.")
    truth = ys[origins[:, None] + np.arange(horizon)]
    scales = naive_scales(ys, origins, season)
    rows, best = scores_of(methods, truth, scales, every)
    return Backtest(rows, best, origins, refits, *methods[name], truth, season)


def _one_series(data: Dataset) -> Dataset:
    """Return a dataset of one series."""
    if data.size != 1:
        raise ValueError(
            f"{WHO}: got {data.size} trajectories; expected one series. Call it for each of them."
        )
    return data


def _values(data: Dataset, channel: int) -> np.ndarray:
    """Return the observations of a channel [T] up to the last one, NaN where missing."""
    values = np.array(data.ys[0, :, channel], np.float64)
    values[int(data.lengths[0]) :] = np.nan
    if data.observed is not None:
        values[~np.asarray(data.observed)[0, :, channel]] = np.nan
    known = np.flatnonzero(~np.isnan(values))
    if known.size == 0:
        raise ValueError(f"{WHO}: nothing was observed of channel {channel}; expected a series.")
    return values[: known[-1] + 1]


def _origins(
    ys: np.ndarray, horizon: int, first: int | None, every: int, season: int
) -> np.ndarray:
    """Return how many steps are known at each origin [O]."""
    if first is None:
        first = max(ys.size // 2, 2 * season)
    check_count(f"{WHO}: first", first)
    if first <= season:
        raise ValueError(
            f"{WHO}: first is {first} and season {season}; expected an origin that knows more than"
            " one season, since errors are measured in its changes."
        )
    origins = np.arange(first, ys.size - horizon + 1, every)
    if origins.size == 0:
        raise ValueError(
            f"{WHO}: a first origin after {first} steps and a horizon of {horizon} need"
            f" {first + horizon} steps, and there are {ys.size}; expected a longer series, or a"
            " smaller first, horizon or season."
        )
    return origins


def _fitted(
    params: Params,
    data: Dataset,
    origins: np.ndarray,
    fit: Callable[[Params, Dataset], Params] | None,
    refit_every: int | None,
) -> tuple[Params, np.ndarray, np.ndarray]:
    """Return stacked params [G, ...], which of them each origin has [O], and the refits."""
    if fit is None:
        if refit_every is not None:
            raise ValueError(f"{WHO}: got refit_every without fit; expected both, or fit alone.")
        return _stacked([params]), np.zeros(origins.size, int), np.zeros(0, int)
    check_function(f"{WHO}: fit", fit)
    if refit_every is not None:
        check_count(f"{WHO}: refit_every", refit_every)
    each = origins.size if refit_every is None else refit_every
    refits = origins[::each]
    found = []
    for origin in refits:
        params = fit(params, _known(data, int(origin)))
        check_params(f"{WHO}: what fit returns", params)
        found.append(params)
    return _stacked(found), np.arange(origins.size) // each, refits


def _known(data: Dataset, origin: int) -> Dataset:
    """Return the data up to an origin, in the shape of all of them."""
    later = np.arange(data.steps)[:, None] >= origin
    ys = np.where(later, 0, np.asarray(data.ys))
    return dataclasses.replace(data, ys=ys, length=np.array([origin]))


def _stacked(found: list[Params]) -> Params:
    """Return params with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *found)


@functools.partial(jit, static_argnums=(0, 6))
def _from_all_origins(
    filter: Filter,
    params: Params,
    data: Dataset,
    numbers: Array,
    groups: Array,
    origins: Array,
    horizon: int,
    key: Array,
) -> Gaussian | None:
    """Return the forecasts of the observations from all origins [O, H, ...]."""

    def past(params: Params, number: Array) -> Any:
        del number
        return run_trajectory(filter, params, data, key=key, emit=whole_state).outputs

    # the state of an origin does not depend on what comes later: one run serves all of them
    states = jax.vmap(past)(params, numbers)

    def ahead(group: Array, origin: Array) -> Gaussian | None:
        own = jax.tree.map(lambda a: a[group], params)
        state = jax.tree.map(lambda a: a[group, origin - 1], states)
        us = jax.tree.map(
            lambda a: jax.lax.dynamic_slice_in_dim(a, origin, horizon, axis=0), data.us
        )
        return forecast(filter, own, state, us=us, steps=horizon).observation

    return jax.vmap(ahead)(groups, origins)
