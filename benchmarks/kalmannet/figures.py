"""Figures in the form of the paper's."""

import numpy as np
from matplotlib.figure import Figure

from kfjax.plotting import COLOURS

MARKERS = "osD^vPX*"
TOP = 45  # dB; what lies above has diverged and is not drawn


def panels(count, width=4.6, height=3.6):
    """Return a figure and its axes, side by side."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def against_noise(axes, results, rows, condition, title="", levels=None, above=None):
    """Draw MSE against 1 / r^2, with the spread of the seeds as a band.

    Args:
        axes: where to draw.
        results: the `Results`.
        rows: names of the rows to draw; those that are missing are left out.
        condition: `(level) -> name of the condition`.
        title: the title.
        levels: values of 1 / r^2 in dB, by default those of the size.
        above: a row whose errors are subtracted from the others, or None.
    """
    levels = results.stored["size"]["levels"] if levels is None else levels
    levels = [level for level in levels if condition(level) in results.conditions]
    for number, row in enumerate(row for row in rows if row in results.rows):
        at = [level for level in levels if results.has(row, condition(level))]
        if not at:
            continue
        seeds = np.array([results.seeds(row, condition(level)) for level in at])
        if above is not None:
            seeds -= np.array([[results(above, condition(level))] for level in at])
        draw_line(axes, at, seeds.T, row, number, floor=row.startswith("floor"))
    ylabel = "MSE [dB]" if above is None else "above the floor [dB]"
    axes.set(xlabel="1 / r² [dB]", ylabel=ylabel, title=title)
    finish(axes)


def draw_line(axes, x, seeds, label, number, *, floor=False, top=TOP):
    """Draw the median over seeds [S, X], and their range as a band."""
    seeds = np.where(np.isfinite(seeds) & (seeds < top), seeds, np.nan)
    style = {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "fillstyle": "none",
    }
    if floor:
        style = {"color": "black", "ls": "--", "lw": 1}
    axes.plot(x, np.median(seeds, axis=0), label=label, ms=6, **style)
    if len(seeds) > 1:
        band = {"color": style["color"], "alpha": 0.2, "lw": 0}
        axes.fill_between(x, seeds.min(axis=0), seeds.max(axis=0), **band)


def one_legend(figure, axes):
    """Put one legend below axes that draw the same lines."""
    for ax in axes:
        if ax.get_legend():
            ax.get_legend().remove()
    handles, names = axes[0].get_legend_handles_labels()
    columns = max(1, int(figure.get_figwidth() / 2.6))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)


def learning_curves(axes, results, rows, floor=None):
    """Draw the validation loss in dB against the updates of the optimiser."""
    for number, row in enumerate(row for row in rows if results.rows[row].get("curves")):
        curve = results.rows[row]["curves"]["validation"]
        loss = np.array(np.atleast_2d(curve["y"]), float)
        draw_line(axes, curve["x"], 10 * np.log10(loss), row, number)
        axes.lines[-1].set_marker("")
    if floor is not None:
        axes.axhline(floor, color="black", ls="--", lw=1, label="floor")
    axes.set(xlabel="update", ylabel="validation MSE [dB]")
    finish(axes)


def finish(axes):
    """Add a legend and a light grid, and remove the upper and right spines."""
    if axes.get_legend_handles_labels()[0]:  # nothing is drawn before rows are measured
        axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
