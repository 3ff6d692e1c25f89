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
    Target("W1", "float64", 10.0, "loops"),
    Target("W2", "float64", 1.5),
    Target("W2", "float64", 2.0, "fusion"),
    Target("W2", "float32", 2.5),
    Target("W3", "float64", 2.0),
    Target("W3", "float64", 3.0, "fusion"),
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


def target_table(rows, ratios):
    """Return the table of targets, in markdown; `ratios(row)` has the ratios to others, the lowest first."""
    lines = ["| | | wanted | reached | |", "|---|---|---|---|---|"]
    by_key = {(row["workload"], row["precision"], row["options"]): row for row in rows}
    for target in TARGETS:
        row = by_key.get((target.workload, target.precision, target.options))
        if row is not None and (others := ratios(row)):
            name, reached = next(iter(others.items()))
            where = ", ".join(filter(None, (target.precision, target.options)))
            verdict = "holds" if reached >= target.factor else "**does not hold**"
            lines.append(f"| {target.workload} | {where} | {target.factor:.2f} | {reached:.2f} ({name}) | {verdict} |")
    for (workload, precision, options), row in by_key.items():
        if workload in COMPILE and not options:
            seconds = row["contenders"]["kfjax"]["compile_s"][1]
            verdict = "holds" if seconds <= COMPILE[workload] else "**does not hold**"
            wanted = f"at most {COMPILE[workload]:.1f} s"
            lines.append(f"| {workload} | {precision}, compilation | {wanted} | {seconds:.1f} s | {verdict} |")
    return lines
