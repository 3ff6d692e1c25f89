"""Autoregressive and moving-average components of one series."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Real

from kfjax._support.arguments import check_count
from kfjax._support.pytrees import STATIC
from kfjax._support.types import Nested
from kfjax._support.values import real_array
from kfjax.base import Inputs
from kfjax.linear.lyapunov import stationary_covariance
from kfjax.structural.components import (
    INVERTIBLE,
    POSITIVE,
    STATIONARY,
    Component,
    checked_loading,
    checked_name,
    checked_std,
    count_series,
)
from kfjax.structural.lag_polynomials import (
    check_stationary,
    coefficients_of,
    degree,
    differencing,
    product,
    signed,
    spread,
)
from kfjax.structural.sums import Structural

__all__ = ["arima", "autoregression"]

LARGEST = 1_000  # lags in a state


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Arima(Component):
    """A process a(B) A(B^s) (1 - B)^d (1 - B^s)^D y_t = m(B) M(B^s) e_t."""

    ar: Any = None
    ma: Any = None
    seasonal_ar: Any = None
    seasonal_ma: Any = None
    std: Any = None
    difference: int = dataclasses.field(default=0, metadata=STATIC)
    seasonal_difference: int = dataclasses.field(default=0, metadata=STATIC)
    period: int = dataclasses.field(default=0, metadata=STATIC)

    KINDS: ClassVar[dict[str, str]] = {
        "ar": STATIONARY,
        "ma": INVERTIBLE,
        "seasonal_ar": STATIONARY,
        "seasonal_ma": INVERTIBLE,
        "std": POSITIVE,
    }

    @property
    def period_length(self) -> float:
        return float(self.period)

    @property
    def lags(self) -> int:
        """The number of earlier values that differencing needs."""
        return self.difference + self.period * self.seasonal_difference

    @property
    def order(self) -> int:
        """The number of states of the differenced process."""
        p = degree(self.ar) + self.period * degree(self.seasonal_ar)
        q = degree(self.ma) + self.period * degree(self.seasonal_ma)
        return max(p, q + 1)

    @property
    def width(self) -> int:
        return self.order + self.lags

    def _of_stationary_part(self) -> tuple[Array, Array]:
        """Return F and the column g of e_t of the differenced process (Harvey's form)."""
        ar = -product(signed(self.ar, -1), spread(signed(self.seasonal_ar, -1), self.period))
        ma = product(signed(self.ma, 1), spread(signed(self.seasonal_ma, 1), self.period))
        r = self.order
        # The first state is w_t, and state i what is known at t of w_t+i-1 through the terms from
        # lag i on: a_i w_t-1 + ... + m_i-1 e_t + ... So F has the coefficients in its first column
        # and ones above the diagonal, and one disturbance e_t drives all states by g = (1, m_1,
        # m_2, ...).
        order = ar.shape[0] - 1
        first_column = jnp.zeros((r, r)).at[:order, 0].set(ar[1:])
        F = first_column + np.eye(r, k=1)
        return F, jnp.zeros(r).at[: ma.shape[0]].set(ma)

    def _differences(self) -> np.ndarray:
        """Return the coefficients of y_{t-1}, y_{t-2}, ... that differencing adds back."""
        return -differencing(self.difference, self.seasonal_difference, self.period)[1:]

    def transition_of_one(self, u: Inputs) -> Any:
        F, _ = self._of_stationary_part()
        if not self.lags:
            return F
        # With w_t the differenced process, y_t = w_t + d_1 y_t-1 + d_2 y_t-2 + ...: the state is
        # (states of w, y_t-1, y_t-2, ...), and the observation adds w_t and the earlier values
        # (Durbin and Koopman, 2012, section 3.4). In a step the first earlier value becomes the
        # last y, and the others move on. They are not stationary, and start diffuse.
        above = jnp.pad(F, ((0, 0), (0, self.lags)))
        return jnp.concatenate([above, self._transition_of_lags()])

    def _transition_of_lags(self) -> np.ndarray:
        """Return the rows of F of the earlier values [lags, order + lags]."""
        shift = np.eye(self.lags, k=-1)
        shift[:1] = self._differences()
        into = np.zeros((self.lags, self.order))
        into[:1, 0] = 1.0
        return np.concatenate([into, shift], axis=1)

    def known_transition(self) -> np.ndarray:
        above = np.eye(self.order, self.width, k=1)
        above[:, self.order :] = 0.0
        above[:, 0] = np.nan
        return np.concatenate([above, self._transition_of_lags()])

    def noise_of_one(self, u: Inputs) -> dict[str, Any]:
        _, g = self._of_stationary_part()
        g = jnp.concatenate([g, jnp.zeros(self.lags)])
        return {"std": jnp.outer(g, g)}

    def observed_of_one(self, u: Inputs) -> Any:
        return np.concatenate([np.eye(self.order)[0], self._differences()])

    def start_of_one(self) -> tuple[dict[str, Any], np.ndarray]:
        F, g = self._of_stationary_part()
        # The stationary part has a proper prior, which the likelihood of an autoregression needs to
        # be exact; only differences are diffuse.
        cov = jnp.pad(stationary_covariance(F, jnp.outer(g, g)), (0, self.lags))
        return {"std": cov}, np.arange(self.width) >= self.order

    def frequencies(self) -> frozenset[Fraction]:
        waves = {
            Fraction(j, self.period) for j in range(self.period // 2 + 1 if self.period else 0)
        }
        whole = frozenset(waves) if self.seasonal_difference else frozenset()
        return whole | {Fraction(0)} if self.difference else whole


def autoregression(
    coefficients: Real[ArrayLike, " p"] | Nested,
    std: Real[ArrayLike, " ..."] | Nested = 1.0,
    *,
    loading: Real[ArrayLike, "m k"] | Nested | None = None,
    name: str | None = None,
) -> Structural:
    """Return a stationary autoregression.

    z_t = c_1 z_{t-1} + ... + c_p z_{t-p} + e_t,  e_t ~ N(0, std^2).

    Args:
        coefficients: c [p].
        std: standard deviation of e_t, in the unit of y. [k] or a factor [k, k] for k series that
            share the coefficients, as in `level`.
        loading: [m, k], as in `level`; a dynamic factor model has k common autoregressions.
        name: the name of the block; default "autoregression".

    Returns:
        A `Structural` of one component, which starts from its stationary distribution.

    Raises:
        ValueError: if the coefficients are not those of a stationary process, or an argument is
            out of its range.

    Example:
        >>> model = kf.structural.autoregression([0.5], std=3.0**0.5)
        >>> model.prior.cov.round(3).tolist()
        [[4.0]]

    References:
        A. C. Harvey, Forecasting, Structural Time Series Models and the Kalman Filter (1989),
        section 2.4.
    """
    name = checked_name("autoregression", name, "autoregression")
    shape = np.shape(real_array("autoregression: coefficients", coefficients))
    if len(shape) != 1 or not shape[0]:
        raise ValueError(f"autoregression: coefficients have shape {shape}; expected [p].")
    return arima(ar=coefficients, std=std, loading=loading, name=name)


def arima(
    ar: Any = None,
    ma: Any = None,
    std: Any = 1.0,
    *,
    difference: int = 0,
    period: int | None = None,
    seasonal_ar: Any = None,
    seasonal_ma: Any = None,
    seasonal_difference: int = 0,
    loading: Any = None,
    name: str | None = None,
) -> Structural:
    """Return an ARIMA process, which may be seasonal.

    a(B) A(B^s) (1 - B)^d (1 - B^s)^D y_t = m(B) M(B^s) e_t,  e_t ~ N(0, std^2), with B y_t =
    y_{t-1}, a(B) = 1 - a_1 B - ... and m(B) = 1 + m_1 B + ...

    Args:
        ar: a [p], or None.
        ma: m [q], or None.
        std: standard deviation of e_t, in the unit of y; shapes as in `level`.
        difference: d.
        period: s, at least 2, for the seasonal parts.
        seasonal_ar: A [P], or None.
        seasonal_ma: M [Q], or None.
        seasonal_difference: D.
        loading: [m, k], as in `level`.
        name: the name of the block; default "arima".

    Returns:
        A `Structural` of one component. The differenced process starts from its stationary
        distribution; the d + s D earlier values are diffuse.

    Raises:
        ValueError: if the autoregression is not stationary, or an argument is out of its range.

    Example:
        The airline model, with 14 + 13 states.

        >>> model = kf.structural.arima(
        ...     ma=[-0.4],
        ...     difference=1,
        ...     period=12,
        ...     seasonal_ma=[-0.6],
        ...     seasonal_difference=1,
        ... )
        >>> model.n, len(model.diffuse)
        (27, 13)

    References:
        G. E. P. Box, G. M. Jenkins, Time Series Analysis: Forecasting and Control (1970); J.
        Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed. (2012), section
        3.4.
    """
    std = checked_std("arima: std", std)
    if std is None:
        raise ValueError("arima: std is None; expected a standard deviation.")
    check_count("arima: difference", difference, least=0, most=LARGEST)
    check_count("arima: seasonal_difference", seasonal_difference, least=0, most=LARGEST)
    parts = {"ar": ar, "ma": ma, "seasonal_ar": seasonal_ar, "seasonal_ma": seasonal_ma}
    parts = {key: coefficients_of(f"arima: {key}", part) for key, part in parts.items()}
    is_seasonal = seasonal_difference or any(
        parts[key] is not None for key in ("seasonal_ar", "seasonal_ma")
    )
    if is_seasonal and period is None:
        raise ValueError("arima: period is None; expected the period of the seasonal parts.")
    if period is not None:
        check_count("arima: period", period, least=2, most=LARGEST)
    component = Arima(
        name=checked_name("arima", name, "arima"),
        std=std,
        difference=int(difference),
        seasonal_difference=int(seasonal_difference),
        period=int(period) if is_seasonal and period else 0,
        loading=checked_loading("arima: loading", loading, count_series(std)),
        **parts,
    )
    check_count("arima: the number of states", component.width, most=LARGEST)
    for key in ("ar", "seasonal_ar"):
        check_stationary(component.name, key, parts[key])
    return Structural.of(component)
