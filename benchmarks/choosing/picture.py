"""The picture of the results: how far every filter is behind the best one."""

import numpy as np
from matplotlib.figure import Figure

from kfjax.plotting import COLOURS

PICTURE = "choosing.png"
MOST = 15.0  # dB; what is further behind is drawn there
SHAPES = {
    "extended": "o",
    "iterated extended": "D",
    "unscented": "s",
    "cubature": "P",
    "Gauss-Hermite 3": "^",
}
KINDS = ("Gaussian", "ensemble", "particle")


def draw(folder, results):
    """Write the picture."""
    names = [row["problem"] for row in results["problems"]]
    figure = Figure(figsize=(8.5, 0.55 * len(names) + 1.6), layout="constrained")
    ax = figure.subplots()
    seen = {}
    for row in results["rows"]:
        height = len(names) - 1 - names.index(row["problem"])
        kind = KINDS.index(row["kind"])
        behind = MOST if row["behind"][0] is None else min(row["behind"][0], MOST)
        others = "other Gaussian filters" if kind == 0 else f"{row['kind']} filters"
        name = row["filter"] if row["filter"] in SHAPES else others
        shape = SHAPES.get(row["filter"], "ov*"[kind])
        how = {"marker": shape, "s": 34, "facecolors": "none", "edgecolors": COLOURS[kind]}
        if name.startswith("other Gaussian"):
            how |= {"marker": ".", "s": 20}
        seen[name] = ax.scatter(behind, height + 0.22 * (1 - kind), **how)
    ax.set_yticks(range(len(names)), names[::-1])
    for height in np.arange(len(names) - 1) + 0.5:
        ax.axhline(height, color="0.85", lw=0.8)
    ax.set_xscale("symlog", linthresh=1, linscale=0.8)
    ticks = [0, 0.5, 1, 2, 5, 10, MOST]
    ax.set_xticks(ticks, [*(f"{tick:g}" for tick in ticks[:-1]), f"  {MOST:g}+"])
    ax.set_xlim(-0.1, 1.15 * MOST)
    ax.grid(axis="x", alpha=0.3)
    ax.set_xlabel("dB behind the best filter of the problem")
    order = [name for name in SHAPES if name in seen] + [n for n in seen if n not in SHAPES]
    figure.legend(
        [seen[name] for name in order], order, loc="outside lower center", ncols=4, frameon=False
    )
    figure.savefig(folder / PICTURE, dpi=110, metadata={"Software": None})
