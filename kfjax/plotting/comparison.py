"""The picture of a comparison of filters."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kfjax._support.saving import write_whole
from kfjax.evaluation.reports import Comparison
from kfjax.plotting.components import plot_trajectory
from kfjax.plotting.consistency import plot_consistency
from kfjax.plotting.errors import plot_errors
from kfjax.plotting.style import colours_of, share_x

__all__ = ["plot_comparison"]


def plot_comparison(comparison: Comparison, path: str | os.PathLike | None = None) -> Figure:
    """Draw a `Comparison`: the first trajectory, the error over time and the consistency over time.

    The trajectory is that of the best filter. Without true states, errors are those of predicting
    y, and consistency is that of the innovations.

    Args:
        comparison: the `Comparison`.
        path: PNG file to write, or None; an earlier file is replaced only when all is written.

    Returns:
        The figure.
    """
    best = comparison.best or comparison.rows[0].name
    truth = comparison.example.xs is not None
    estimate, steps = comparison.estimates[best], comparison.example.lengths[0]
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    left, upper, lower = _panels(figure, min(3, estimate.mean.shape[1]))
    plot_trajectory(
        estimate.mean[:steps],
        None if estimate.cov is None else estimate.cov[:steps],
        comparison.example.xs[0, :steps] if truth else None,
        label=best,
        colour=colours_of(comparison.evaluations)[best],
        axes=left,
    )
    left[0].legend(loc="best", ncols=3)
    left[0].set_title(f"First trajectory, {best}", loc="left")
    _draw_curves(comparison, truth, upper, lower)
    share_x(left)
    share_x([upper, lower])
    handles, names = upper.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(6, len(names)), frameon=False
    )
    figure.suptitle(_title(comparison), x=0.01, ha="left", fontsize="medium")
    if path is not None:
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=150)
        write_whole(path, data.getvalue())
    return figure


def _panels(figure: Figure, components: int) -> tuple[list[Axes], Axes, Axes]:
    """Components on the left, errors above consistency on the right."""
    grid = figure.add_gridspec(2 * components, 2, width_ratios=(1.15, 1))
    left = [figure.add_subplot(grid[2 * j : 2 * j + 2, 0]) for j in range(components)]
    upper, lower = (
        figure.add_subplot(grid[rows, 1])
        for rows in (slice(0, components), slice(components, None))
    )
    return left, upper, lower


def _draw_curves(comparison: Any, truth: bool, upper: Axes, lower: Axes) -> None:
    """The curves over time of a comparison."""
    names = {
        row.name: f"{row.name} (failed {row.failed})" if row.failed else row.name
        for row in comparison.rows
    }
    evaluations = {names[name]: evaluation for name, evaluation in comparison.evaluations.items()}
    options = {"first": comparison.settings["skip"] + 1, "colours": colours_of(evaluations)}
    level = comparison.settings["level"]
    if truth:
        errors = {name: e.error_over_time() for name, e in evaluations.items()}
        ratios = {name: e.nees_over_time(level) for name, e in evaluations.items()}
    else:
        errors = {name: e.prediction_over_time() for name, e in evaluations.items()}
        ratios = {name: e.nis_over_time(level) for name, e in evaluations.items()}
    plot_errors(_given(errors), ax=upper, **options)
    upper.set_title(
        "Error over time" if truth else "Error of y, one step ahead, over time", loc="left"
    )
    plot_consistency(
        _given(ratios),
        ylabel="ANEES" if truth else "NIS per channel",
        level=level,
        ax=lower,
        **options,
    )
    lower.set_title("Consistency over time", loc="left")
    lower.legend(
        list(lower.collections), [str(c.get_label()) for c in lower.collections], loc="best"
    )


def _title(comparison: Any) -> str:
    settings = comparison.settings
    sizes = ", ".join(
        f"{name} = {settings[name]}" for name in ("n", "m") if settings[name] is not None
    )
    return f"{settings['trajectories']} trajectories of {settings['steps']} steps, {sizes}"


def _given(curves: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a filter does not have."""
    return {name: curve for name, curve in curves.items() if curve is not None}
