"""Structural time series: components that add, `level() + seasonal(12) + irregular()`."""

from kfjax.structural.autoregressions import arima, autoregression
from kfjax.structural.decomposition import check_record, decompose
from kfjax.structural.kernels import matern, ornstein_uhlenbeck, periodic
from kfjax.structural.regressions import holidays, pulse, ramp, regression, shift
from kfjax.structural.seasonals import cycle, seasonal
from kfjax.structural.sums import Structural
from kfjax.structural.trends import irregular, level, trend
from kfjax.structural.vector_autoregressions import vector_autoregression

__all__ = [
    "Structural",
    "arima",
    "autoregression",
    "check_record",
    "cycle",
    "decompose",
    "holidays",
    "irregular",
    "level",
    "matern",
    "ornstein_uhlenbeck",
    "periodic",
    "pulse",
    "ramp",
    "regression",
    "seasonal",
    "shift",
    "trend",
    "vector_autoregression",
]
