"""Evaluation: metrics with intervals, Monte Carlo trials, and comparisons on the same data."""

from kfjax.evaluation.backtest_results import Backtest, ForecastScore
from kfjax.evaluation.backtesting import backtest
from kfjax.evaluation.comparison import compare
from kfjax.evaluation.consistency import anees, anis, chi_square_interval
from kfjax.evaluation.disturbances import (
    AuxiliaryResiduals,
    Disturbance,
    auxiliary_residuals,
)
from kfjax.evaluation.forecast_scores import gaussian_crps
from kfjax.evaluation.forecasts import SeriesForecast, forecast_series
from kfjax.evaluation.innovations import Whiteness, innovation_products, whiteness
from kfjax.evaluation.intervals import (
    Interval,
    mean_interval,
    median_db,
    mse_db,
    paired_db,
    rmse_interval,
    to_db,
)
from kfjax.evaluation.measured_gains import gains
from kfjax.evaluation.metrics import Sums, coverage, mse, nees, rmse, squared_error
from kfjax.evaluation.reports import Comparison
from kfjax.evaluation.residuals import ChannelChecks, ResidualChecks, residual_checks
from kfjax.evaluation.results import Evaluation
from kfjax.evaluation.rows import Row
from kfjax.evaluation.timing import clocks, environment, first_call, in_turn, pin, quartiles
from kfjax.evaluation.trials import monte_carlo
from kfjax.linear.mismatch import expected_error

__all__ = [
    "AuxiliaryResiduals",
    "Backtest",
    "ChannelChecks",
    "Comparison",
    "Disturbance",
    "Evaluation",
    "ForecastScore",
    "Interval",
    "ResidualChecks",
    "Row",
    "SeriesForecast",
    "Sums",
    "Whiteness",
    "anees",
    "anis",
    "auxiliary_residuals",
    "backtest",
    "chi_square_interval",
    "clocks",
    "compare",
    "coverage",
    "environment",
    "expected_error",
    "first_call",
    "forecast_series",
    "gains",
    "gaussian_crps",
    "in_turn",
    "innovation_products",
    "mean_interval",
    "median_db",
    "monte_carlo",
    "mse",
    "mse_db",
    "nees",
    "paired_db",
    "pin",
    "quartiles",
    "residual_checks",
    "rmse",
    "rmse_interval",
    "squared_error",
    "to_db",
    "whiteness",
]
