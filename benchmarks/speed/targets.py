"""Targets for speed, and whether they are reached."""

from typing import NamedTuple


class Target(NamedTuple):
    """The lowest ratio wanted between the time of the fastest other library and that of kfjax.

    Attributes:
        workload: name of the workload.
        precision: "float64" or "float32".
        factor: the ratio that is wanted.
    """

    workload: str
    precision: str
    factor: float


TARGETS = (
    Target("W1", "float64", 6.0),
    Target("W2", "float64", 3.0),
    Target("W2s", "float64", 1.2),
    Target("W3", "float64", 3.0),
    Target("W4", "float64", 3.3),
    Target("W5", "float64", 1.5),
    Target("W6", "float64", 2.5),
    Target("W6l", "float64", 5.0),
    Target("W7", "float64", 1.0),
    Target("W7l", "float64", 0.9),
    Target("W8", "float64", 10.0),
    Target("W9", "float64", 3.0),
    Target("c4", "float32", 1 / 0.6),
    Target("train", "float32", 1 / 0.6),
)
COMPILE = {"W2": 2.0, "W3": 2.0, "W4": 2.0}  # most seconds of compilation


def target_table(rows):
    """Return the lines of the table of targets."""
    lines = ["| | | wanted | by medians | by minima | |", "|---|---|---|---|---|---|"]
    usual = [row for row in rows if not row["options"]]
    by_key = {(row["workload"], row["precision"]): row for row in usual}
    for target in TARGETS:
        row = by_key.get((target.workload, target.precision))
        if row is not None and ratios(row):
            lines.append(_speed_line(target, row))
    for (workload, precision), row in by_key.items():
        if workload in COMPILE:
            lines.append(_compilation_line(workload, precision, row))
    return lines


def _speed_line(target, row):
    """Return the line of a target."""
    cells = " | ".join(reached(row, statistic) for statistic in ("median", "minimum"))
    word = verdict(min(ratios(row).values()) >= target.factor)
    return f"| {target.workload} | {target.precision} | {target.factor:.2f} | {cells} | {word} |"


def _compilation_line(workload, precision, row):
    """Return the line of a target for compilation."""
    seconds = row["contenders"]["kfjax"]["compile_s"][1]
    most = COMPILE[workload]
    cells = f"at most {most:.1f} s | {seconds:.1f} s | | {verdict(seconds <= most)}"
    return f"| {workload} | {precision}, compilation | {cells} |"


def reached(row, statistic):
    """Return the lowest ratio, with its name."""
    name, ratio = next(iter(ratios(row, statistic).items()))
    return f"{name} {ratio:.2f}"


def ratios(row, statistic="median"):
    """Return the ratios of the times of other libraries to that of kfjax, the fastest first.

    Args:
        row: the row of a workload.
        statistic: "median" or "minimum".
    """
    kfjax = row["contenders"]["kfjax"]["ms"][statistic]
    found = {
        name: contender["ms"][statistic] / kfjax
        for name, contender in row["contenders"].items()
        if name != "kfjax"
    }
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def verdict(holds):
    """Return a verdict in words."""
    return "holds" if holds else "**does not hold**"
