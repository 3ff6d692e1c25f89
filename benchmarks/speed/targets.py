"""What was set out to reach, and whether it holds."""

from typing import NamedTuple


class Target(NamedTuple):
    """How many times longer the fastest other library should take, or the plain scan of the same network."""

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
COMPILE = {"W2": 2.0, "W3": 2.0, "W4": 2.0}  # seconds


def target_table(rows):
    """Return the table of targets, in markdown."""
    lines = ["| | | wanted | by medians | by minima | |", "|---|---|---|---|---|---|"]
    by_key = {(row["workload"], row["precision"], row["options"]): row for row in rows}
    for target in TARGETS:
        row = by_key.get((target.workload, target.precision, target.options))
        if row is not None and ratios(row):
            usual = by_key.get((target.workload, target.precision, "")) if target.options else None
            cells = [reached(row, usual, statistic) for statistic in ("median", "minimum")]
            where = ", ".join(filter(None, (target.precision, target.options)))
            holds = min(ratios(row).values()) >= target.factor
            lines.append(
                f"| {target.workload} | {where} | {target.factor:.2f} | {' | '.join(cells)} |"
                f" {verdict(holds)} |"
            )
    for (workload, precision, options), row in by_key.items():
        if workload in COMPILE and not options:
            seconds, most = row["contenders"]["kfjax"]["compile_s"][1], COMPILE[workload]
            cells = f"{precision}, compilation | at most {most:.1f} s | {seconds:.1f} s | | {verdict(seconds <= most)}"
            lines.append(f"| {workload} | {cells} |")
    return lines


def reached(row, usual, statistic):
    """Return the lowest ratio with its name, and that to the others as they are started usually."""
    name, ratio = next(iter(ratios(row, statistic).items()))
    if usual is None:
        return f"{name} {ratio:.2f}"
    return f"{name} {ratio:.2f} ({min(ratios(usual, statistic, row).values()):.2f})"


def ratios(row, statistic="median", own=None):
    """Return how many times longer others take than kfjax, by name, the fastest first; `own` is another row of it."""
    times = {
        name: found["ms"][statistic] for name, found in row["contenders"].items() if name != "kfjax"
    }
    kfjax = (own or row)["contenders"]["kfjax"]["ms"][statistic]
    return dict(
        sorted(((name, value / kfjax) for name, value in times.items()), key=lambda pair: pair[1])
    )


def verdict(holds):
    return "holds" if holds else "**does not hold**"
