"""The page of results, in markdown, and its tables."""

from benchmarks.speed import store
from kfjax.evaluation.workloads import Size

PAGE = "RESULTS.md"
HEAD = """# Speed beside other libraries

Written by `python -m benchmarks.speed`; do not edit.

Milliseconds of processor time of one warm call, which on a quiet core is what a clock shows: the median, and the least
in brackets. One process on one core of a shared machine, all libraries in turn: read ratios. All filtered means, full
covariances and log-likelihoods come out, and they agree with those of the others: no time is given before that is
known. What another library takes is given as times what kfjax takes, of medians.
"""


def write_page(folder):
    """Write the page of the results in a folder."""
    (folder / PAGE).write_text(page(store.load(folder)))


def page(rows):
    """Return the page of all rows."""
    parts = [HEAD]
    for title, group in groups(rows).items():
        parts += [
            f"## {title}\n",
            *speed_table(group),
            "",
            "Seconds of processor time until the first result, less a warm call:\n",
        ]
        parts += [*compile_table(group), ""]
    parts += ["## What was not measured\n", *skipped(rows)]
    return "\n".join(parts) + "\n"


def groups(rows):
    """Return the rows of each precision and option, by title."""
    found = {}
    for row in rows.values():
        option = f", with the option `{row['options']}`" if row["options"] else ""
        found.setdefault(f"{row['precision']}{option}", []).append(row)
    return found


def speed_table(rows):
    lines = ["| | what | size | kfjax | best other | others |", "|---|---|---|---|---|---|"]
    for row in rows:
        own = row["contenders"]["kfjax"]["ms"]
        others = ratios(row)
        best, *rest = [f"{name} {value:.2f}" for name, value in others.items()] or [""]
        cells = (row["workload"], row["text"], Size(**row["size"]).text, time_of(own), best, ", ".join(rest))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def ratios(row, statistic="median"):
    """Return how many times longer others take, by name, the fastest first."""
    times = {name: found["ms"][statistic] for name, found in row["contenders"].items()}
    own = times.pop("kfjax")
    return dict(sorted(((name, value / own) for name, value in times.items()), key=lambda pair: pair[1]))


def time_of(ms):
    return f"{ms['median']:.3g} ({ms['minimum']:.3g})"


def compile_table(rows):
    names = list(dict.fromkeys(name for row in rows for name in row["contenders"]))
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for row in rows:
        cells = (row["contenders"].get(name) for name in names)
        shown = ("" if cell is None else f"{cell['compile_s'][1]:.1f}" for cell in cells)
        lines.append(f"| {row['workload']} | {' | '.join(shown)} |")
    return lines


def skipped(rows):
    """Return a line for each library that is left out of something."""
    reasons = {}
    for row in rows.values():
        for name, reason in row["skipped"].items():
            reasons.setdefault((name, reason), []).append(row["workload"])
    return [f"* {name}: {reason} ({', '.join(dict.fromkeys(where))})" for (name, reason), where in reasons.items()]
