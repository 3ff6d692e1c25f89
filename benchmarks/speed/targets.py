"""Targets of speed, and whether they hold."""

from typing import NamedTuple


class Target(NamedTuple):
    """The least ratio of the time of the fastest other library to that of kfjax.

    Attributes:
        workload: name of the workload.
        precision: "float64" or "float32".
        factor: the ratio that is wanted.
        options: name of the options of XLA, or "".
    """

    workload: str
    precision: str
    factor: float
    options: str = ""


TARGETS = (
    Target("W1", "float64", 1.0),
    Target("W1", "float64", 10.0, "kfjax"),
    Target("W2", "float64", 1.5),
    Target("W2", "float64", 2.0, "kfjax"),
    Target("W2", "float32", 2.5),
    Target("W3", "float64", 2.0),
    Target("W3", "float64", 3.0, "kfjax"),
    Target("W3", "float32", 3.0),
    Target("W2s", "float64", 1.0),
    Target("W4", "float64", 3.0),
    Target("W5", "float64", 1.5),
    Target("W6", "float64", 2.0),
    Target("W6l", "float64", 2.0),
    Target("W7", "float64", 1.0),
    Target("W7l", "float64", 1.0),
    Target("c4", "float32", 1 / 0.6),
    Target("c4_200", "float32", 1 / 0.6),
)
COMPILE = {"W2": 2.0, "W3": 2.0, "W4": 2.0}  # most seconds of compilation


def target_table(rows):
    """Return the lines of the table of targets."""
    lines = ["| | | wanted | by medians | by minima | |", "|---|---|---|---|---|---|"]
    by_key = {(row["workload"], row["precision"], row["options"]): row for row in rows}
    for target in TARGETS:
        row = by_key.get((target.workload, target.precision, target.options))
        if row is not None and ratios(row):
            usual = None
            if target.options:
                usual = by_key.get((target.workload, target.precision, ""))
            lines.append(_speed_line(target, row, usual))
    for (workload, precision, options), row in by_key.items():
        if workload in COMPILE and not options:
            lines.append(_compilation_line(workload, precision, row))
    return lines


def _speed_line(target, row, usual):
    """Return the line of a target; `usual` is the same workload without options, or None."""
    where = ", ".join(filter(None, (target.precision, target.options)))
    cells = " | ".join(reached(row, usual, statistic) for statistic in ("median", "minimum"))
    word = verdict(min(ratios(row).values()) >= target.factor)
    return f"| {target.workload} | {where} | {target.factor:.2f} | {cells} | {word} |"


def _compilation_line(workload, precision, row):
    """Return the line of a target for compilation."""
    seconds = row["contenders"]["kfjax"]["compile_s"][1]
    most = COMPILE[workload]
    cells = f"at most {most:.1f} s | {seconds:.1f} s | | {verdict(seconds <= most)}"
    return f"| {workload} | {precision}, compilation | {cells} |"


def reached(row, usual, statistic):
    """Return the lowest ratio with its name, and in brackets that to libraries without options."""
    name, ratio = next(iter(ratios(row, statistic).items()))
    if usual is None:
        return f"{name} {ratio:.2f}"
    return f"{name} {ratio:.2f} ({min(ratios(usual, statistic, row).values()):.2f})"


def ratios(row, statistic="median", own=None):
    """Return the ratios of the times of other libraries to that of kfjax, the fastest first.

    Args:
        row: the row of a workload.
        statistic: "median" or "minimum".
        own: the row from which the time of kfjax is taken, by default `row`.
    """
    kfjax = (own or row)["contenders"]["kfjax"]["ms"][statistic]
    found = {
        name: contender["ms"][statistic] / kfjax
        for name, contender in row["contenders"].items()
        if name != "kfjax"
    }
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def verdict(holds):
    """Return a verdict in words."""
    return "holds" if holds else "**does not hold**"
