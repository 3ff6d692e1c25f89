"""Kernels in time: constructors of the components of `kernel_components`."""

from __future__ import annotations

from typing import Any

from jaxtyping import ArrayLike, Real

from kfjax._support.arguments import check_count, check_positive
from kfjax._support.types import Nested, Numbers, Scalar
from kfjax._support.values import real_array
from kfjax.structural.components import (
    checked_loading,
    checked_name,
    checked_std,
    count_series,
)
from kfjax.structural.kernel_components import POINTS, Matern, Periodic
from kfjax.structural.sums import Structural
from kfjax.structural.trends import checked_step

__all__ = ["matern", "ornstein_uhlenbeck", "periodic"]


def matern(
    smoothness: float = 1.5,
    std: Any = 1.0,
    length_scale: Any = 1.0,
    *,
    loading: Any = None,
    dt: float | None = 1.0,
    name: str | None = None,
) -> Structural:
    """Return a Gaussian process with a Matern kernel of smoothness 1/2, 3/2 or 5/2.

    With r = |t - t'| / length_scale the covariance of its values at t and t' is std^2 times

        exp(-r),  (1 + 3^(1/2) r) exp(-3^(1/2) r),  (1 + 5^(1/2) r + 5 r^2 / 3) exp(-5^(1/2) r).

    The process has 0, 1 or 2 derivatives. The model is exact for steps of any length.

    Args:
        smoothness: 0.5, 1.5 or 2.5.
        std: standard deviation of the process, in the unit of y; shapes as in `level`.
        length_scale: in the unit of time.
        loading: [m, k], as in `level`.
        dt: step length, or None to read it from the inputs (u_t, or u_t["dt"]).
        name: the name of the block; default "matern".

    Returns:
        A `Structural` of one component with 1, 2 or 3 states, which starts from its stationary
        distribution.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> times = np.array([0.0, 0.4, 2.0, 2.1])
        >>> kernel = kf.structural.matern(1.5, dt=None)
        >>> model = kernel + kf.structural.irregular(0.1)
        >>> us = kf.time_steps(times, start=0.0)
        >>> kf.run(kf.kalman(), model, jnp.ones((4, 1)), us=us).outputs.mean.shape
        (4, 2)

    References:
        J. Hartikainen, S. Sarkka, Kalman filtering and smoothing solutions to temporal Gaussian
        process regression models, MLSP (2010); S. Sarkka, A. Solin, Applied Stochastic Differential
        Equations (2019), section 12.3.
    """
    derivatives = {0.5: 0, 1.5: 1, 2.5: 2}
    if not isinstance(smoothness, float) or smoothness not in derivatives:
        raise ValueError(f"matern: smoothness is {smoothness!r}; expected 0.5, 1.5 or 2.5.")
    std = _checked_scale("matern: std", std)
    return Structural.of(
        Matern(
            name=checked_name("matern", name, "matern"),
            std=std,
            length_scale=_checked_length("matern: length_scale", length_scale),
            derivatives=derivatives[smoothness],
            loading=checked_loading("matern: loading", loading, count_series(std)),
            dt=checked_step("matern: dt", dt),
        )
    )


def ornstein_uhlenbeck(
    std: Any = 1.0,
    length_scale: Any = 1.0,
    *,
    loading: Any = None,
    dt: float | None = 1.0,
    name: str | None = None,
) -> Structural:
    """Return an Ornstein-Uhlenbeck process, an autoregression of first order in continuous time.

    The covariance of its values at t and t' is std^2 exp(-|t - t'| / length_scale).

    Args:
        std: standard deviation of the process, in the unit of y; shapes as in `level`.
        length_scale: in the unit of time.
        loading: [m, k], as in `level`.
        dt: step length, or None to read it from the inputs (u_t, or u_t["dt"]).
        name: the name of the block; default "ornstein_uhlenbeck".

    Returns:
        A `Structural` of one component with one state, which starts from its stationary
        distribution.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> float(kf.structural.ornstein_uhlenbeck(2.0, 10.0).prior.cov[0, 0])
        4.0
    """
    name = checked_name("ornstein_uhlenbeck", name, "ornstein_uhlenbeck")
    return matern(0.5, std, length_scale, loading=loading, dt=dt, name=name)


def periodic(
    period: Scalar,
    std: Real[ArrayLike, " ..."] | Nested = 1.0,
    length_scale: Scalar = 1.0,
    *,
    harmonics: int = 6,
    dt: float | None = 1.0,
    name: str | None = None,
) -> Structural:
    """Return a Gaussian process that repeats exactly, with the periodic kernel.

    The covariance of its values at t and t' is std^2 exp(-2 sin^2(pi (t - t') / period) /
    length_scale^2), as a Fourier series up to `harmonics`. The product with a Matern kernel changes
    its shape slowly.

    Args:
        period: period, in the unit of time.
        std: standard deviation of the process, in the unit of y; shapes as in `level`.
        length_scale: length scale of the kernel, relative to the period. With a length scale of 1
            and 6 harmonics, the series leaves out less than 1e-5 of the variance; smaller scales
            need more harmonics.
        harmonics: number of waves.
        dt: step length, or None to read it from the inputs (u_t, or u_t["dt"]).
        name: the name of the block; default "periodic".

    Returns:
        A `Structural` of one component with 2 harmonics + 1 states.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> slow = kf.structural.matern(1.5, length_scale=50.0)
        >>> weekly = slow * kf.structural.periodic(7.0)
        >>> weekly.n
        26

    References:
        A. Solin, S. Sarkka, Explicit link between periodic covariance functions and state space
        models, AISTATS (2014).
    """
    check_count("periodic: harmonics", harmonics, most=POINTS // 2 - 1)
    std = _checked_scale("periodic: std", std)
    return Structural.of(
        Periodic(
            name=checked_name("periodic", name, "periodic"),
            std=std,
            period=_checked_length("periodic: period", period),
            length_scale=_checked_length("periodic: length_scale", length_scale),
            harmonics=int(harmonics),
            dt=checked_step("periodic: dt", dt),
        )
    )


def _checked_scale(name: str, std: Numbers) -> Any:
    """Return a standard deviation; raise if it is None, since a kernel needs one."""
    std = checked_std(name, std)
    if std is None:
        raise ValueError(f"{name} is None; expected a standard deviation.")
    return std


def _checked_length(name: str, value: object) -> Any:
    """Return a positive number as an array."""
    check_positive(name, value)
    return real_array(name, value)
