"""The page of results, in markdown: made of the saved rows alone."""

from benchmarks.speed import store
from benchmarks.speed.crossover import crossover_tables
from benchmarks.speed.plotting import draw
from benchmarks.speed.profiles import why_tables
from benchmarks.speed.reading import limits_of, ordered, points
from benchmarks.speed.scaling import CURVES
from benchmarks.speed.targets import ratios, target_table
from kfjax._cli.workloads import Size

PAGE = "RESULTS.md"
HEAD = """# Speed beside other libraries

Written by `python -m benchmarks.speed`; do not edit. `python -m benchmarks.speed all --again` measures everything.

Milliseconds of processor time of one warm call, which on a quiet core is what a clock shows: the median, and the least
in brackets. One process on one core of a shared machine, all libraries in turn: read ratios. All filtered means, full
covariances and log-likelihoods come out, and they agree with those of the others: no time is given before that is
known. What another library takes is given as times what kfjax takes, of medians. kfjax is `vmap` of `kfjax.run`, with
the model as an argument.

The limits are what copying the observations and the results, and the operations as kfjax writes them down, would take
at the speed of a large copy and of a large matrix product on this core; for particles the copy alone. On a GPU nothing
was measured: `python -m benchmarks.speed all --platform cuda --out results/cuda` would.
"""
TARGETS = """How many times longer the fastest other library takes than kfjax, in one run. With an option the others
have it, too; in brackets is the fastest without it.
"""
WHY = """The time of a workload beside that of its parts, each jitted by itself, in turn in one run: medians, and minima
in brackets. Kernels are the operations of the loops of the compiled program: `python -m benchmarks.speed why`.
"""
CROSSOVER = """Milliseconds of one operation on a batch, of matrices of so many rows, in a loop; and the seconds to
compile it, both ways. Up to `UNROLL` rows in kfjax.linalg it is written out: `python -m benchmarks.speed crossover`.
"""
AGREEMENT = """Largest differences from kfjax, over the largest entry: at most 1e-6 in double precision (dynamax adds
1e-9 to diagonals) and 2e-3 in single. Particle filters draw other particles: their means may differ by half of the
standard deviation of the posterior, in the root mean square, and log-likelihoods by 0.5
per step on average. kalmax has no
log-likelihood of the observations: it does less. Libraries that loop over trajectories in Python were timed on some of
them, and the time was multiplied.
"""


def write_page(folder):
    """Write the page of the results in a folder, and its pictures."""
    rows = store.load(folder)
    (folder / PAGE).write_text(page(rows))
    draw(folder, rows)


def page(rows):
    """Return the page of all rows."""
    table = [row for row in ordered(rows) if "contenders" in row and "curve" not in row]
    parts = [HEAD, "![Times](speed.png)\n", "## Targets\n", TARGETS]
    parts += [
        *target_table(table),
        "",
        "### Why, where a target does not hold\n",
        WHY,
        *why_tables(rows),
    ]
    for title, group in groups(table).items():
        parts += [f"## {title}\n", *speed_table(group), ""]
        parts += [
            "Seconds of processor time until the first result, less a warm call:\n",
            *compile_table(group),
            "",
        ]
    parts += [
        "## Agreement\n",
        AGREEMENT,
        "## Scaling\n",
        "![Curves](scaling.png)\n",
        *curve_tables(rows),
    ]
    parts += [
        "## Small algebra, written out or by library calls\n",
        CROSSOVER,
        *crossover_tables(rows),
    ]
    parts += [
        "## Latency of one streamed step\n",
        *latency_tables(rows),
        "## What was not measured\n",
    ]
    return "\n".join([*parts, *skipped(table), "", *made_by(rows)]) + "\n"


def groups(rows):
    """Return the rows of each precision and option, by title."""
    found = {}
    for row in sorted(rows, key=lambda row: (row["options"], row["precision"] != "float64")):
        option = f", JAX started with `{row['options']}`" if row["options"] else ""
        found.setdefault(f"{row['precision']}{option}", []).append(row)
    return found


def speed_table(rows):
    lines = [
        "| | what | size | limit, ms | kfjax, ms | fastest other | others |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        best, *rest = [f"{name} {value:.2f}" for name, value in ratios(row).items()] or [""]
        size, own = Size(**row["size"]).text, row["contenders"]["kfjax"]["ms"]
        cells = (
            row["workload"],
            row["text"],
            size,
            limit(row),
            time_of(own),
            best,
            ", ".join(rest),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def limit(row):
    """Return the larger of the two limits, and which it is."""
    kinds = limits_of(row)
    largest = max(kinds, key=lambda kind: row["bounds"][kind])
    return f"{row['bounds'][largest]:.2g} ({kinds[largest]})"


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


def curve_tables(rows):
    """Return a table for each curve: milliseconds of kfjax and of the library beside it."""
    for curve, about in CURVES.items():
        found = points(rows, curve)
        if found:
            yield f"| {about.axis} | precision | limit, ms | kfjax, ms | {about.only} |\n|---|---|---|---|---|"
            for row in found:
                other = ratios(row).get(about.only)
                times = (
                    limit(row),
                    time_of(row["contenders"]["kfjax"]["ms"]),
                    f"{other:.2f}" if other else "",
                )
                yield f"| {row['value']} | {row['precision']} | {' | '.join(times)} |"
            yield ""


def latency_tables(rows):
    for row in rows.values():
        if "latency" in row:
            yield f"Microseconds by the wall clock, {row['precision']}, {row['steps']} steps of each:\n"
            yield "| filter | n | m | median | 99 % |\n|---|---|---|---|---|"
            for case in row["latency"]:
                yield "| {name} | {n} | {m} | {median_us:.0f} | {high_us:.0f} |".format(**case)
            yield ""


def skipped(rows):
    """Return a line for each library that is left out of something."""
    reasons = {}
    for row in rows:
        for name, reason in row["skipped"].items():
            reasons.setdefault((name, reason), []).append(row["workload"])
    return [
        f"* {name}: {reason} ({', '.join(dict.fromkeys(where))})"
        for (name, reason), where in reasons.items()
    ]


def made_by(rows):
    """Tell the versions and the machine."""
    versions = {name: value for row in rows.values() for name, value in row["versions"].items()}
    devices = dict.fromkeys(row["device"] for row in rows.values())
    commits = dict.fromkeys(str(row["commit"]) for row in rows.values())
    listed = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
    return [f"{' and '.join(devices)}; {listed}; at {', '.join(commits)}."]
