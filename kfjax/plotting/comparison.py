"""The figure of a comparison of filters."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kfjax._support.arguments import as_path, check_kind
from kfjax._support.files import write_file
from kfjax.evaluation.reports import Comparison
from kfjax.evaluation.results import Evaluation
from kfjax.plotting.components import plot_trajectory
from kfjax.plotting.consistency import plot_consistency
from kfjax.plotting.errors import plot_errors
from kfjax.plotting.style import colours_of, share_x

__all__ = ["plot_comparison"]

Curve = TypeVar("Curve")


def plot_comparison(comparison: Comparison, path: str | os.PathLike | None = None) -> Figure:
    """Draw a `Comparison`: the first trajectory, the error over time and the consistency over time.

    The trajectory is that of the best filter. Without true states, errors are those of predicting
    y, and consistency is that of the innovations.

    Args:
        comparison: the `Comparison`.
        path: PNG file to write, or None; an earlier file is replaced only when the new one is
            complete.

    Returns:
        The figure.

    Example:
        >>> from kfjax.plotting import plot_comparison
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, steps=10))(keys)
        >>> comparison = kf.compare({"KF": (kf.kalman(), model)}, kf.Dataset(ys, xs))
        >>> len(plot_comparison(comparison).axes)
        4
    """
    check_kind("plot_comparison: comparison", comparison, Comparison)
    if path is not None:
        path = as_path("plot_comparison: path", path)
    best = comparison.best or comparison.rows[0].name
    components = min(3, comparison.estimates[best].mean.shape[1])
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    left, upper, lower = _panels(figure, components)
    _draw_example(comparison, best, left)
    _draw_curves(comparison, upper, lower)
    share_x(left)
    share_x([upper, lower])
    handles, names = upper.get_legend_handles_labels()
    columns = min(6, len(names))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(_title(comparison), x=0.01, ha="left", fontsize="medium")
    if path is not None:
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=150)
        write_file(path, data.getvalue())
    return figure


def _panels(figure: Figure, components: int) -> tuple[list[Axes], Axes, Axes]:
    """Return axes for components on the left, and for errors above consistency on the right."""
    grid = figure.add_gridspec(2 * components, 2, width_ratios=(1.15, 1))
    left = [figure.add_subplot(grid[2 * j : 2 * j + 2, 0]) for j in range(components)]
    upper = figure.add_subplot(grid[:components, 1])
    lower = figure.add_subplot(grid[components:, 1])
    return left, upper, lower


def _draw_example(comparison: Comparison, best: str, axes: list[Axes]) -> None:
    """Draw the first trajectory, up to its length, with the estimates of the best filter."""
    example = comparison.example
    estimate = comparison.estimates[best]
    steps = example.lengths[0]
    plot_trajectory(
        estimate.mean[:steps],
        None if estimate.cov is None else estimate.cov[:steps],
        None if example.xs is None else example.xs[0, :steps],
        label=best,
        colour=colours_of(comparison.evaluations)[best],
        axes=axes,
    )
    axes[0].legend(loc="best", ncols=3)
    axes[0].set_title(f"First trajectory, {best}", loc="left")


def _draw_curves(comparison: Comparison, upper: Axes, lower: Axes) -> None:
    """Draw the error over time into the upper axes, and the consistency into the lower ones."""
    settings = comparison.settings
    level = settings["level"]
    evaluations = _with_failures(comparison)
    if comparison.example.xs is not None:
        title = "Error over time"
        ylabel = "ANEES"
        errors = {name: e.error_over_time() for name, e in evaluations.items()}
        ratios = {name: e.nees_over_time(level) for name, e in evaluations.items()}
    else:
        title = "Error of y, one step ahead, over time"
        ylabel = "NIS per channel"
        errors = {name: e.prediction_over_time() for name, e in evaluations.items()}
        ratios = {name: e.nis_over_time(level) for name, e in evaluations.items()}
    first = settings["skip"] + 1
    colours = colours_of(evaluations)
    plot_errors(_given(errors), first=first, colours=colours, ax=upper)
    upper.set_title(title, loc="left")
    plot_consistency(
        _given(ratios), ylabel=ylabel, level=level, first=first, colours=colours, ax=lower
    )
    lower.set_title("Consistency over time", loc="left")
    bands = list(lower.collections)
    lower.legend(bands, [str(band.get_label()) for band in bands], loc="best")


def _with_failures(comparison: Comparison) -> dict[str, Evaluation]:
    """Return the evaluations by name, with the number of failures if there are any."""
    named = {}
    for row in comparison.rows:
        name = f"{row.name} (failed {row.failed})" if row.failed else row.name
        named[name] = comparison.evaluations[row.name]
    return named


def _title(comparison: Comparison) -> str:
    """Return the sizes of the data and of the model."""
    settings = comparison.settings
    known = [name for name in ("n", "m") if settings[name] is not None]
    sizes = ", ".join(f"{name} = {settings[name]}" for name in known)
    return f"{settings['trajectories']} trajectories of {settings['steps']} steps, {sizes}"


def _given(curves: Mapping[str, Curve | None]) -> dict[str, Curve]:
    """Return the curves that are not None."""
    return {name: curve for name, curve in curves.items() if curve is not None}
