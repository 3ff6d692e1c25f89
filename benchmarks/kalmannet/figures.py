"""Figures in the form of the paper's."""

import numpy as np
from matplotlib.figure import Figure

from kfjax.plotting import COLOURS

MARKERS = "osD^vPX*"
TOP = 45  # dB: what is above has diverged


def panels(count, width=4.6, height=3.6):
    """Return a figure and its axes beside each other."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def against_noise(axes, results, rows, condition, title="", levels=None, above=None):
    """Draw MSE against 1 / r^2, the spread of the seeds as a band; `condition(level)` names a condition.

    With `above` what is drawn is how far rows are above that one.
    """
    levels = results.stored["size"]["levels"] if levels is None else levels
    levels = [level for level in levels if condition(level) in results.conditions]
    for number, row in enumerate(row for row in rows if row in results.rows):
        at = [level for level in levels if condition(level) in results.rows[row]["cells"]]
        if not at:
            continue
        seeds = np.array([results.seeds(row, condition(level)) for level in at])
        if above is not None:
            seeds -= np.array([[results(above, condition(level))] for level in at])
        draw_line(axes, at, seeds.T, row, number, floor=row.startswith("floor"))
    axes.set(
        xlabel="1 / r² [dB]",
        ylabel="MSE [dB]" if above is None else "above the floor [dB]",
        title=title,
    )
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
        axes.fill_between(
            x, seeds.min(axis=0), seeds.max(axis=0), color=style["color"], alpha=0.2, lw=0
        )


def one_legend(figure, axes):
    """Put one legend below, for axes that draw the same lines."""
    for ax in axes:
        if ax.get_legend():
            ax.get_legend().remove()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=max(1, int(figure.get_figwidth() / 2.6)),
        frameon=False,
    )


def learning_curves(axes, results, rows, floor=None):
    """Draw the validation loss in dB against the steps of the optimiser."""
    for number, row in enumerate(row for row in rows if results.rows[row].get("curves")):
        curve = results.rows[row]["curves"]["validation"]
        loss = np.array(np.atleast_2d(curve["y"]), float)
        draw_line(axes, curve["x"], 10 * np.log10(loss), row, number)
        axes.lines[-1].set_marker("")
    if floor is not None:
        axes.axhline(floor, color="black", ls="--", lw=1, label="floor")
    axes.set(xlabel="step of the optimiser", ylabel="validation MSE [dB]")
    finish(axes)


def finish(axes):
    """A legend, few lines, a light grid."""
    if axes.get_legend_handles_labels()[0]:  # none where nothing was measured yet
        axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
