"""The pictures of the results."""

import matplotlib.pyplot as plt

from benchmarks.speed.reading import limits_of, ordered, points
from benchmarks.speed.scaling import CURVES

OTHERS = (
    "dynamax",
    "cuthbert",
    "smcx",
    "kalmax",
    "kalman_py",
    "simdkalman",
    "filterpy",
    "pykalman",
)
COLOURS = {"kfjax": "black", "plain": "tab:gray"}
COLOURS |= {name: f"C{index}" for index, name in enumerate(OTHERS)}


def draw(folder, rows):
    """Write `speed.png` and `scaling.png`."""
    timed = [row for row in ordered(rows) if "contenders" in row and "curve" not in row]
    table = [row for row in timed if not row["options"]]
    if table:
        save(bars(table), folder / "speed.png")
    if any(points(rows, curve) for curve in CURVES):
        save(curves(rows), folder / "scaling.png")


def save(figure, path):
    """Write a figure and close it."""
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def bars(rows):
    """Return a figure of all times and limits, in double precision where it was measured."""
    single_first = sorted(rows, key=lambda row: row["precision"] == "float64")
    rows = ordered({row["workload"]: row for row in single_first})
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(rows) + 1.2))
    for height, row in enumerate(reversed(rows)):
        for name, found in row["contenders"].items():
            style = {"s": 60, "marker": "D", "zorder": 3} if name == "kfjax" else {"s": 28}
            axes.scatter(found["ms"]["median"], height, color=COLOURS[name], label=name, **style)
        limit = max(row["bounds"][kind] for kind in limits_of(row))
        axes.scatter(limit, height, color="black", marker="|", s=120, label="limit")
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False}
    axes.legend(once.values(), once.keys(), **place)
    axes.set(xscale="log", xlabel="ms per call, W in double precision, others in single")
    axes.set_yticks(range(len(rows)), [row["workload"] for row in reversed(rows)])
    axes.grid(axis="x", alpha=0.3)
    return figure


def curves(rows):
    """Return a figure with a panel for each curve: kfjax, one other library, and the limits."""
    figure, panels = plt.subplots(2, 2, figsize=(9, 7))
    for axes, (curve, about) in zip(panels.flat, CURVES.items(), strict=True):
        found = [row for row in points(rows, curve) if row["precision"] == "float64"]
        axes.set_visible(bool(found))  # or it was not measured yet
        if found:
            panel(axes, about, found)
    figure.tight_layout()
    return figure


def panel(axes, about, rows):
    """Draw one curve."""
    for name in ("kfjax", about.only):
        there = [row for row in rows if name in row["contenders"]]
        times = {row["value"]: row["contenders"][name]["ms"]["median"] for row in there}
        axes.plot(times.keys(), times.values(), marker="o", color=COLOURS[name], label=name)
    for kind, style in (("memory_ms", ":"), ("arithmetic_ms", "--")):
        limits = {row["value"]: row["bounds"][kind] for row in rows if kind in limits_of(row)}
        if limits:
            label = f"limit, {kind.removesuffix('_ms')}"
            axes.plot(limits.keys(), limits.values(), style, color="black", lw=1, label=label)
    axes.set(xscale="log", yscale="log", xlabel=about.axis, ylabel="ms per call")
    axes.legend(frameon=False)
