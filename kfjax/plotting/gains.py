"""Gains over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import ArrayLike, Real
from matplotlib.axes import Axes

from kfjax._support.arguments import check_count, check_mapping, items_of, real_numbers
from kfjax._support.types import Nested
from kfjax.plotting.style import colours_of, column, ink, steps_of, style

__all__ = ["plot_gain"]


def plot_gain(
    gains: Mapping[str, Real[ArrayLike, "_ n m"] | Nested],
    *,
    entries: Iterable[tuple[int, int]] | None = None,
    steady: Real[ArrayLike, "n m"] | Nested | None = None,
    colours: Mapping[str, str] | None = None,
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw entries of gains over time, one below another, with one line per filter.

    Args:
        gains: gains [T, n, m] by name, as from `kfjax.evaluation.gains`, or `Info.extra["gain"]` of
            a learned filter.
        entries: pairs (i, j) to draw: how much channel j of y moves component i of x; default the
            first three.
        steady: steady-state gain [n, m] of a Kalman filter, `kfjax.steady_state(model).gain`, or
            None.
        colours: colours by name; default one after the other.
        axes: axes to draw into, one per entry; default a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: if gains is empty, the shapes differ, or there are fewer axes than entries.

    Example:
        >>> from kfjax.plotting import plot_gain
        >>> model = kf.systems.constant_velocity()
        >>> _, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> K = kf.evaluation.gains(kf.kalman(), model, ys)
        >>> axes = plot_gain({"KF": K}, steady=kf.steady_state(model).gain)
        >>> [line.get_label() for line in axes[0].lines]
        ['steady state', 'KF']
    """
    check_mapping("plot_gain: gains", gains, "gains by name, {'KF': [T, n, m]}")
    arrays = {name: real_numbers(f"plot_gain: {name}", gain) for name, gain in gains.items()}
    shape = _shape(arrays)
    colours = colours_of(arrays, colours)
    chosen = _chosen(entries, shape)
    settled = None if steady is None else real_numbers("plot_gain: steady", steady)
    if settled is not None and settled.shape != shape:
        raise ValueError(f"plot_gain: steady has shape {settled.shape}; expected {shape}.")
    axes = column(len(chosen), axes, "plot_gain")
    for ax, (i, j) in zip(axes, chosen, strict=False):
        if settled is not None:
            ax.axhline(settled[i, j], color=ink(ax), lw=1, ls="--", label="steady state")
        for name, gain in arrays.items():
            ax.plot(steps_of(gain, 1), gain[:, i, j], color=colours[name], lw=1.2, label=name)
        style(ax, ylabel=f"$K_{{{i + 1},{j + 1}}}$")
    axes[0].legend(loc="best")
    axes[len(chosen) - 1].set_xlabel("step")
    return axes


def _chosen(
    entries: Iterable[tuple[int, int]] | None, shape: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the entries of gains [n, m] to draw, the first three by default."""
    if entries is None:
        return list(np.ndindex(shape))[:3]
    chosen = []
    for entry in items_of("plot_gain: entries", entries, "pairs (i, j) of indices"):
        pair = items_of("plot_gain: an entry", entry, "a pair (i, j) of indices")
        if len(pair) != 2:
            raise ValueError(f"plot_gain: an entry is {pair}; expected a pair (i, j) of indices.")
        for index, size in zip(pair, shape, strict=True):
            check_count("plot_gain: an index", index, least=0, most=size - 1)
        chosen.append((pair[0], pair[1]))
    return chosen


def _shape(gains: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Return the common shape (n, m) of all gains."""
    shapes = {gain.shape[1:] for gain in gains.values()}
    if len(shapes) != 1 or any(gain.ndim != 3 for gain in gains.values()):
        raise ValueError(
            f"plot_gain: got gains of shapes {[gain.shape for gain in gains.values()]}; expected"
            " at least one, all [T, n, m]. Select one of a batch with gain[0]."
        )
    return shapes.pop()
