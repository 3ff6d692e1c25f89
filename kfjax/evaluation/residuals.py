"""Checks of the standardised innovations of a series: uncorrelated, normal, of steady variance."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy import special

from kfjax._support.arguments import check_count, check_key
from kfjax._support.compiling import jit
from kfjax._support.types import Key
from kfjax.base import Filter, Info, Params, info_only
from kfjax.data import Dataset, run_trajectory
from kfjax.data.batches import check_noise_on
from kfjax.data.counting import counted_steps
from kfjax.data.series import as_dataset
from kfjax.evaluation.innovations import innovation_products, whitened, whiteness
from kfjax.filters.checks import check_filter, check_params

__all__ = ["ChannelChecks", "ResidualChecks", "residual_checks"]

WHO = "residual_checks"
# 10 lags, or a fifth of the series if that is shorter (Hyndman and Athanasopoulos, Forecasting:
# Principles and Practice, section 5.4).
LAGS = 10
WIDTH = 78


class ChannelChecks(NamedTuple):
    """Tests of the standardised innovations of one channel.

    A small p-value speaks against the model: at 0.05, one in twenty correct models is rejected.

    Attributes:
        name: name of the channel, or its number.
        observations: number of residuals.
        mean: their mean, near 0.
        variance: their mean square, near 1.
        lags: number of lags in the test of Ljung and Box.
        ljung_box: its statistic; large if residuals are correlated in time.
        ljung_box_p: its p-value.
        jarque_bera: statistic of Jarque and Bera; large if residuals are not normal.
        jarque_bera_p: its p-value.
        skewness: 0 if normal.
        kurtosis: 3 if normal.
        heteroskedasticity: mean square in the last third of the series over that in the first.
        heteroskedasticity_p: p-value of the two-sided test that it is 1.
    """

    name: str
    observations: int
    mean: float
    variance: float
    lags: int
    ljung_box: float
    ljung_box_p: float
    jarque_bera: float
    jarque_bera_p: float
    skewness: float
    kurtosis: float
    heteroskedasticity: float
    heteroskedasticity_p: float


@dataclasses.dataclass(frozen=True)
class ResidualChecks:
    """The result of `residual_checks`; `print` shows it as text.

    Attributes:
        channels: a `ChannelChecks` for each channel.
        residuals: standardised innovations [N, T, m], NaN where there is none.
    """

    channels: tuple[ChannelChecks, ...]
    residuals: Float[np.ndarray, "N T m"]

    def to_dict(self) -> dict[str, Any]:
        """Return the tests by channel as values that JSON can hold."""
        return {checks.name: checks._asdict() for checks in self.channels}

    def lines(self) -> list[str]:
        """Return the lines of text, 78 columns wide."""
        lines: list[str] = []
        for checks in self.channels:
            if len(self.channels) > 1:
                lines.append(f"Residuals of {checks.name}")
            lines += _lines(checks)
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def residual_checks(
    filter: Filter,
    params: Params,
    data: Any,
    *,
    us: Any = None,
    observed: Any = None,
    lags: int | None = None,
    skip: int = 0,
    key: Key | None = None,
) -> ResidualChecks:
    """Test the standardised innovations of a series, w_t = L_t^-1 (y_t - E[y_t | y_1..t-1]).

    If the model is right, they are independent and standard normal. Three tests for each channel:
    Ljung-Box (no correlation in time), Jarque-Bera (normal), and the ratio of their mean squares in
    the last and the first third (steady variance). Missing observations have no residual, and the
    tests count the others. Several trajectories are pooled. With several channels, the factor L_t
    of their covariance removes what a channel shares with those before it.

    Args:
        filter: a `Filter` that reports its innovation and its covariance.
        params: its parameters.
        data: one series ys [T, m], NaN where missing; or a `Dataset`.
        us: inputs of one series, or None.
        observed: mask of one series, booleans [T] or [T, m].
        lags: number of lags; default 10, or a fifth of the steps that count.
        skip: number of leading steps to leave out, such as those of a diffuse prior.
        key: random key of a filter that draws; default `jax.random.key(0)`.

    Returns:
        `ResidualChecks`.

    Raises:
        ValueError: if the filter has no innovations, or there are fewer than six residuals.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=200)
        >>> checks = kf.evaluation.residual_checks(kf.kalman(), model, ys)
        >>> (channel,) = checks.channels
        >>> channel.observations
        200
        >>> channel.ljung_box_p > 0.05, channel.jarque_bera_p > 0.05
        (True, True)

    References:
        J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012),
        section 2.12.
    """
    check_filter(WHO, filter)
    check_params(WHO, params)
    key = jax.random.key(0) if key is None else key
    check_key(f"{WHO}: key", key)
    series = as_dataset(WHO, data, us, observed)
    check_noise_on(WHO, params, series)
    shortest = int(series.lengths.min())
    check_count(f"{WHO}: skip", skip, least=0, most=shortest - 1)
    steps = int(series.lengths.max()) - skip
    lags = min(LAGS, max(1, steps // 5)) if lags is None else lags
    check_count(f"{WHO}: lags", lags, most=max(steps - 1, 1))
    arrays = jax.tree.map(jnp.asarray, series)
    residuals, seen = map(np.asarray, _residuals(filter, params, arrays, key))
    counted = seen & counted_steps(series, skip)[:, :, None]
    residuals = np.where(counted, residuals, np.nan).astype(np.float64)
    names = None if series.labels is None else series.labels.ys
    m = residuals.shape[2]
    channels = tuple(
        _checks(
            f"channel {j + 1}" if names is None else names[j],
            residuals[:, :, j],
            counted[:, :, j],
            series.lengths,
            lags,
            skip,
        )
        for j in range(m)
    )
    return ResidualChecks(channels, residuals)


@functools.partial(jit, static_argnums=0)
def _residuals(filter: Filter, params: Params, data: Dataset, key: Array) -> tuple[Array, Array]:
    """Return standardised innovations, and which of them exist, [N, T, m]."""

    def one(trajectory: Dataset, key: Array) -> tuple[Array, Array]:
        info: Info = run_trajectory(filter, params, trajectory, key=key, emit=info_only).outputs
        if info.innovation is None or info.innovation_cov is None:
            raise ValueError(
                f"{WHO}: {filter} reports no innovation, or not its covariance; expected both. Use"
                " a filter that has them, such as kf.extended()."
            )
        return jax.vmap(whitened)(info.innovation, info.innovation_cov)

    keys = jax.random.split(key, data.ys.shape[0])
    return jax.vmap(one)(data, keys)


def _checks(
    name: str, residuals: np.ndarray, seen: np.ndarray, lengths: np.ndarray, lags: int, skip: int
) -> ChannelChecks:
    """Return the tests of one channel, from residuals [N, T] where they exist."""
    values = residuals[seen]
    count = values.size
    if count < 6:
        raise ValueError(
            f"{WHO}: {name} has {count} residuals; expected at least 6. Pass a longer series, or a"
            " smaller skip."
        )
    mean = values.mean()
    about_mean = values - mean
    spread = np.mean(about_mean**2)
    skewness = np.mean(about_mean**3) / spread**1.5
    kurtosis = np.mean(about_mean**4) / spread**2
    # S^2 / 6 and (K - 3)^2 / 24, times the count, are squares of asymptotically standard normals:
    # together chi-square with two degrees of freedom.
    jarque_bera = count / 6 * (skewness**2 + (kurtosis - 3) ** 2 / 4)
    statistic, p_value = _ljung_box(np.where(seen, residuals - mean, 0), seen, lags)
    ratio, ratio_p = _heteroskedasticity(residuals, seen, lengths, skip)
    return ChannelChecks(
        name=name,
        observations=count,
        mean=float(mean),
        variance=float(np.mean(values**2)),
        lags=lags,
        ljung_box=statistic,
        ljung_box_p=p_value,
        jarque_bera=float(jarque_bera),
        jarque_bera_p=float(special.chdtrc(2, jarque_bera)),
        skewness=float(skewness),
        kurtosis=float(kurtosis),
        heteroskedasticity=ratio,
        heteroskedasticity_p=ratio_p,
    )


def _ljung_box(residuals: np.ndarray, seen: np.ndarray, lags: int) -> tuple[float, float]:
    """Return the statistic and the p-value of residuals [N, T] about their mean."""
    products = innovation_products(
        residuals[..., None], seen[..., None, None].astype(np.float64), lags
    )
    test = whiteness(*products)
    return test.statistic, test.p_value


def _heteroskedasticity(
    residuals: np.ndarray, seen: np.ndarray, lengths: np.ndarray, skip: int
) -> tuple[float, float]:
    """Return the mean square in the last third over that in the first, and its p-value.

    If the variance is steady, it is an F variable.
    """
    at = np.arange(residuals.shape[1])
    third = np.round((lengths - skip) / 3).astype(int)[:, None]
    early = seen & (at < skip + third)
    late = seen & (at >= lengths[:, None] - third)
    dof_early, dof_late = int(early.sum()), int(late.sum())
    if min(dof_early, dof_late) == 0:
        return float("nan"), float("nan")
    square_early = np.mean(residuals[early] ** 2)
    square_late = np.mean(residuals[late] ** 2)
    ratio = float(square_late / square_early)
    above = float(special.fdtrc(dof_late, dof_early, ratio))
    return ratio, 2 * min(above, 1 - above)


def _lines(checks: ChannelChecks) -> list[str]:
    """Return the tests of one channel as text, as statsmodels prints them."""
    cells = [
        (f"Ljung-Box (L{checks.lags}) (Q):", checks.ljung_box),
        ("Jarque-Bera (JB):", checks.jarque_bera),
        ("Prob(Q):", checks.ljung_box_p),
        ("Prob(JB):", checks.jarque_bera_p),
        ("Heteroskedasticity (H):", checks.heteroskedasticity),
        ("Skew:", checks.skewness),
        ("Prob(H) (two-sided):", checks.heteroskedasticity_p),
        ("Kurtosis:", checks.kurtosis),
        ("Mean:", checks.mean),
        ("Mean square:", checks.variance),
    ]
    half = WIDTH // 2 - 1
    texts = [f"{name:<26}{value:>{half - 26}.2f}" for name, value in cells]
    return [f"{left}  {right}" for left, right in zip(texts[::2], texts[1::2], strict=True)]
