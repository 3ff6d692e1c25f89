"""Plots that test innovations for whiteness."""

from __future__ import annotations

import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib.axes import Axes

from kfjax.evaluation.innovations import innovation_products, whiteness
from kfjax.plotting.checks import check_colour
from kfjax.plotting.style import BAND, COLOURS, curve_axes, ink, style

__all__ = ["plot_autocorrelation"]


def plot_autocorrelation(
    innovation: Real[ArrayLike, "*N T m"] | None,
    cov: Real[ArrayLike, "*N T m m"] | None,
    *,
    lags: int = 20,
    level: float = 0.95,
    colour: str = COLOURS[0],
    ax: Axes | None = None,
) -> Axes:
    """Draw the autocorrelation of whitened innovations between the bounds of white ones.

    The innovations of a consistent filter are white; correlation at small lags means that Q is too
    small (positive) or too large (negative), or that the model is wrong.

    Args:
        innovation: [T, m] or [N, T, m], as in `Info.innovation`.
        cov: their covariances [..., T, m, m], as in `Info.innovation_cov`.
        lags: the largest lag, below T.
        level: probability of the bounds, at each lag.
        colour: colour of the autocorrelation.
        ax: axes to draw into; default a new figure.

    Returns:
        The axes; the legend has the p-value of the Ljung-Box test.

    Raises:
        ValueError: if lags is not below T, or a covariance is missing.

    Example:
        >>> from kfjax.plotting import plot_autocorrelation
        >>> model = kf.systems.constant_velocity()
        >>> _, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> _, info = kf.run(
        ...     kf.kalman(), model, ys, emit=kf.estimate_and_info
        ... ).outputs
        >>> ax = plot_autocorrelation(info.innovation, info.innovation_cov, lags=10)
        >>> ax.get_xlabel()
        'lag'
    """
    if innovation is None or cov is None:
        raise ValueError(
            "plot_autocorrelation: the filter gives no innovations or no covariances of them;"
            " expected both. Use a filter that has them, such as kf.extended()."
        )
    check_colour("plot_autocorrelation: colour", colour)
    test = whiteness(*innovation_products(innovation, cov, lags), level=level)
    ax = curve_axes(ax)
    at = np.arange(1, lags + 1)
    band = f"{100 * level:g} % if white"
    ax.fill_between(at, -test.bound, test.bound, color=BAND, alpha=0.3, lw=0, label=band)
    ax.axhline(0, color=ink(ax), lw=0.8)
    ax.vlines(at, 0, test.autocorrelation, color=colour, lw=1.6)
    label = f"innovations (p = {test.p_value:.2g})"
    ax.plot(at, test.autocorrelation, "o", color=colour, ms=4, label=label)
    ax.locator_params(axis="x", integer=True)
    ax.legend(loc="upper right", ncols=2)
    style(ax, xlabel="lag", ylabel="autocorrelation")
    return ax
