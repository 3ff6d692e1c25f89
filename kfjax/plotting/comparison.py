"""The figure of a comparison of filters."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import jax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kfjax._support.arguments import as_path, check_kind
from kfjax._support.files import write_file
from kfjax.evaluation.reports import Comparison
from kfjax.evaluation.results import Evaluation
from kfjax.plotting.checks import check_texts
from kfjax.plotting.consistency import plot_consistency
from kfjax.plotting.errors import plot_errors
from kfjax.plotting.records import Record, finish
from kfjax.plotting.style import colours_of, share_x
from kfjax.plotting.times import Clock

__all__ = ["plot_comparison"]

PANELS = 3  # states, and channels, that are drawn unless they are chosen

Curve = TypeVar("Curve")


def plot_comparison(
    comparison: Comparison,
    path: str | os.PathLike | None = None,
    *,
    states: Iterable[int | str] | None = None,
    parts: Mapping[str, int] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a `Comparison`: one trajectory, the error over time and the consistency over time.

    The trajectory is the first, or the `example` of `kfjax.compare`, and its estimates are those
    of the best filter: states, and channels with what it predicted of them,
    three of each by default, with the names and times of the data. `plot_record` draws all of them.
    Without true states, errors are those of predicting y, and consistency is that of the
    innovations.

    Args:
        comparison: the `Comparison`.
        path: PNG file to write, or None; an earlier file is replaced only when the new one is
            complete.
        states: names or indices of the states to draw; default the first three.
        parts: the number of the first step of every part of the record by name, as in
            `plot_record`; by default, where steps do not count, their end is marked.
        title: what is compared, such as the file and the model; the name of the best filter and
            the sizes of the data follow.

    Returns:
        The figure.

    Example:
        >>> from kfjax.plotting import plot_comparison
        >>> model = kf.systems.constant_velocity()
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> xs, ys = jax.vmap(lambda key: kf.simulate(key, model, steps=10))(keys)
        >>> comparison = kf.compare(
        ...     {"KF": (kf.kalman(), model)}, kf.Dataset(ys, xs)
        ... )
        >>> figure = plot_comparison(comparison, title="a cart on a rail")
        >>> len(figure.axes), figure.get_suptitle()
        (5, 'a cart on a rail, KF: 20 trajectories of 10 steps, n = 2, m = 1')
    """
    check_kind("plot_comparison: comparison", comparison, Comparison)
    check_texts("plot_comparison", title=title)
    if path is not None:
        path = as_path("plot_comparison: path", path)
    shown = shown_filter(comparison)
    skip = comparison.settings["skip"]
    if parts is None and skip:
        parts = {"not counted": 1, "counted": skip + 1}
    record = Record(comparison.example, parts)
    estimate = comparison.estimates[shown]
    n = estimate.mean.shape[1]
    chosen = record.chosen_states(range(min(n, PANELS)) if states is None else states, n)
    channels = range(min(PANELS, comparison.example.ys.shape[2]))
    figure, left, upper, lower = _panels(len(chosen) + len(channels))
    colour = colours_of(comparison.evaluations)[shown]
    record.draw_states(left[: len(chosen)], chosen, {shown: estimate}, {shown: colour})
    record.draw_channels(left[len(chosen) :], channels, comparison.infos[shown], colour)
    record.draw_times(left)
    which = record.name or _ordinal(comparison.settings["example"])
    heading = shown if comparison.settings["trajectories"] == 1 else f"{which}: {shown}"
    left[0].set_title(heading, loc="left", pad=18 if parts else None)
    _draw_curves(comparison, record.clock, upper, lower)
    share_x([upper, lower])
    sizes = f"{shown}: {_sizes(comparison)}"
    finish(figure, sizes if title is None else f"{title}, {sizes}", [*left, upper, lower])
    if path is not None:
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=150)
        write_file(path, data.getvalue())
    return figure


def _ordinal(index: int) -> str:
    """Return which trajectory it is, in words."""
    return f"Trajectory {index + 1}" if index else "First trajectory"


def shown_filter(comparison: Comparison) -> str:
    """Return the name of the filter whose estimates are drawn: the best one, or the first."""
    return comparison.best or comparison.rows[0].name


def _panels(rows: int) -> tuple[Figure, list[Axes], Axes, Axes]:
    """Return a figure with rows on the left, and errors above consistency on the right."""
    figure = Figure(figsize=(13, max(7.5, 1.8 + 1.4 * rows)), layout="constrained")
    grid = figure.add_gridspec(2 * rows, 2, width_ratios=(1.15, 1))
    left = [figure.add_subplot(grid[2 * j : 2 * j + 2, 0]) for j in range(rows)]
    upper = figure.add_subplot(grid[:rows, 1])
    lower = figure.add_subplot(grid[rows:, 1])
    return figure, left, upper, lower


def _draw_curves(comparison: Comparison, clock: Clock, upper: Axes, lower: Axes) -> None:
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
    times = None  # trajectories have times of their own; the error is a mean over all of them
    if settings["trajectories"] == 1:
        times = clock.rows(slice(settings["skip"], None))
        errors, ratios = jax.tree.map(lambda a: a[: len(times.values)], (errors, ratios))
    how: dict[str, Any] = {"first": first, "times": times, "colours": colours_of(evaluations)}
    plot_errors(_given(errors), ax=upper, **how)
    upper.set_title(title, loc="left")
    plot_consistency(_given(ratios), ylabel=ylabel, level=level, ax=lower, **how)
    lower.set_title("Consistency over time", loc="left")


def _with_failures(comparison: Comparison) -> dict[str, Evaluation]:
    """Return the evaluations by name, with the number of failures if there are any."""
    named = {}
    for row in comparison.rows:
        name = f"{row.name} (failed {row.failed})" if row.failed else row.name
        named[name] = comparison.evaluations[row.name]
    return named


def _sizes(comparison: Comparison) -> str:
    """Return the sizes of the data and of the model."""
    settings = comparison.settings
    known = [name for name in ("n", "m") if settings[name] is not None]
    sizes = ", ".join(f"{name} = {settings[name]}" for name in known)
    counted = next(iter(comparison.evaluations.values())).statistics.steps
    steps = sorted({int(counted.min()), int(counted.max())})
    length = " to ".join(str(count + settings["skip"]) for count in steps)
    many = "one trajectory" if len(counted) == 1 else f"{len(counted)} trajectories"
    return f"{many} of {length} steps, {sizes}"


def _given(curves: Mapping[str, Curve | None]) -> dict[str, Curve]:
    """Return the curves that are not None."""
    return {name: curve for name, curve in curves.items() if curve is not None}
