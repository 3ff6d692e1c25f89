"""Scores of the methods of a backtest, for each horizon and for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from kfjax.evaluation.backtest_results import ForecastScore
from kfjax.evaluation.forecast_scores import (
    Gaussians,
    crps_of,
    mean_of,
    mean_of_overlapping,
)

__all__: list[str] = []

NAIVE = "naive"
SEASONAL = "seasonal naive"


def scores_of(
    methods: dict[str, Gaussians], truth: np.ndarray, scales: np.ndarray, every: int
) -> tuple[tuple[ForecastScore, ...], str | None]:
    """Return the scores of all methods, and the name of the best."""
    naive = [method.mean for name, method in methods.items() if name in (NAIVE, SEASONAL)]
    counted = ~np.isnan(sum(naive, truth)) & (scales > 0)[:, None]
    if not counted.any():
        raise ValueError(
            "backtest: no forecast can be scored: what followed the origins is missing, or the"
            " series does not change before them; expected observations that vary. See first and"
            " season."
        )
    scaled = {
        name: np.where(counted, np.abs(truth - method.mean) / scales[:, None], 0)
        for name, method in methods.items()
    }
    weights = np.where(counted, 1 / np.maximum(counted.sum(axis=1, keepdims=True), 1), 0)
    used = counted.any(axis=1)
    losses = {name: (weights * values).sum(axis=1)[used] for name, values in scaled.items()}
    means = {name: loss.mean() for name, loss in losses.items() if np.isfinite(loss.mean())}
    best = min(means, key=lambda name: means[name]) if means else None
    overlap = -(-truth.shape[1] // every)
    rows = []
    for name, method in methods.items():
        loss = losses[name]
        difference = None
        if best is not None and name != best:
            difference = mean_of_overlapping(loss - losses[best], overlap)
        mase = mean_of_overlapping(loss, overlap)
        rows.append(_row(name, None, mase, method, truth, counted, difference))
        for h in range(truth.shape[1]):
            at = counted[:, h]
            errors = scaled[name][at, h]
            mase = mean_of_overlapping(errors, -(-(h + 1) // every))
            one = Gaussians(method.mean[:, h], method.std[:, h])
            rows.append(_row(name, h + 1, mase, one, truth[:, h], at, None))
    return tuple(rows), best


def _row(
    method: str,
    horizon: int | None,
    mase: Any,
    forecasts: Gaussians,
    truth: np.ndarray,
    counted: np.ndarray,
    difference: Any,
) -> ForecastScore:
    """Return the scores of one method; NaN for forecasts that are not numbers."""
    mean = forecasts.mean[counted]
    std = forecasts.std[counted]
    y = truth[counted]
    size = np.abs(y - mean)
    inside = {p: size <= special.ndtri((1 + p) / 2) * std for p in (0.8, 0.95)}
    return ForecastScore(
        method=method,
        horizon=horizon,
        forecasts=y.size,
        mase=mase,
        rmse=float(np.sqrt(mean_of(size**2))),
        crps=mean_of(crps_of(mean, std, y)),
        coverage_80=mean_of(inside[0.8]),
        coverage_95=mean_of(inside[0.95]),
        difference=difference,
    )
