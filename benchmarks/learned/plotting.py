"""The picture of learned and classical filters, from the stored results."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from kfjax.plotting import COLOURS

PICTURE = "learned.png"
# the studies with one error per row, and the column that is drawn
SHOWN = {
    "lorenz_spherical": "test, dB",
    "decimated": "official test set",
    "rotated_h": "test, dB",
}
LEARNED = ("KalmanNet", "gain that", "learned", "least squares")


def draw(folder, stored, titles):
    """Write the picture of the studies that are stored, if there are any.

    Args:
        folder: where to.
        stored: the stored studies.
        titles: the title of every study by name.
    """
    found = {study["study"]: study["rows"] for study in stored if study["study"] in SHOWN}
    if not found:
        return
    heights = [len(rows) + 2 for rows in found.values()]
    figure = Figure(figsize=(8, 0.3 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (name, rows) in zip(panels, found.items(), strict=True):
        _panel(ax, rows, SHOWN[name])
        ax.set_title(titles[name], loc="left", fontsize="medium")
    panels[-1].set_xlabel("MSE on the test set, dB; with the range over seeds")
    figure.savefig(folder / PICTURE, dpi=110, metadata={"Software": None})


def _panel(ax, rows, column):
    """Draw the rows of a study below one another: a dot, and a bar over the seeds."""
    known = {name: np.ravel(row["values"][column]) for name, row in rows.items()}
    for height, (name, seeds) in enumerate(reversed(known.items())):
        is_floor = name.startswith("floor")
        colour = "0.4" if is_floor else COLOURS[any(word in name for word in LEARNED)]
        ax.plot([seeds.min(), seeds.max()], [height] * 2, color=colour, lw=3, alpha=0.4)
        ax.plot(np.median(seeds), height, "o", color=colour)
    names = [textwrap.shorten(name, 60, placeholder=" ...") for name in known]
    ax.set_yticks(range(len(known)), names[::-1], fontsize="small")
    ax.margins(y=0.12)
    ax.grid(axis="x", alpha=0.3)
