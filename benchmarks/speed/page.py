"""The page of results in markdown, made from the stored rows alone."""

from benchmarks.speed import store
from benchmarks.speed.crossover import crossover_tables
from benchmarks.speed.plotting import draw
from benchmarks.speed.reading import limits_of, ordered, points
from benchmarks.speed.scaling import CURVES
from benchmarks.speed.targets import ratios, target_table
from benchmarks.speed.why import why_tables
from kfjax._cli.problems import Size

PAGE = "RESULTS.md"
HEAD = """\
# Speed beside other libraries

Written by `python -m benchmarks.speed`; do not edit. `python -m benchmarks.speed all --again` \
measures everything.

* **Times** are milliseconds (ms) of processor time of one warm call: the median, and the minimum \
in brackets. On a quiet core this is the time by a clock. Each row is measured in one process on \
one core of a shared machine, with all libraries in turn: read ratios.
* **Ratios**: the time of another library is given as a multiple of kfjax's, by medians.
* **Outputs** are all filtered means, full covariances and log-likelihoods. A library is timed \
only after its outputs agreed with those of kfjax.
* **kfjax** is `vmap` of `kfjax.run`, with the model as an argument.
* **The limit** is the larger of two times: copying the observations and the results at the speed \
of a large copy ("memory"), and the operations as kfjax writes them down at the speed of a large \
matrix product on this core ("arithmetic"). For particle filters only the copy counts.
* **Workloads** are W1 to W9, and those of Table IV of the KalmanNet paper, named after their \
filters. n is the dimension of the state. "plain" is a jitted scan without kfjax's filters.
* **GPU**: nothing was measured; `python -m benchmarks.speed all --platform cuda --out \
results/cuda` would.
"""
TARGETS = """\
A target is the least ratio of the time of the fastest other library to that of kfjax, in one \
run.
"""
WHY = """\
The time of a workload beside that of its parts, each jitted separately and timed in turn in one \
run: medians, and minima in brackets. Kernels are the operations in the loops of the compiled \
program, which XLA calls one by one; a loop that is one function has none. A profile may be older \
than the times in the tables below; its date is given. `python -m benchmarks.speed why` measures \
them.
"""
CROSSOVER = """\
Milliseconds of one operation in a loop, on a batch of matrices with the given number of rows, \
and the seconds to compile the loop in both ways. Up to `UNROLL` rows kfjax.linalg writes \
operations out. `python -m benchmarks.speed crossover` measures this.
"""
AGREEMENT = """\
The largest difference from kfjax, relative to the largest entry, may be 1e-6 in double precision \
(dynamax adds 1e-9 to diagonals) and 2e-3 in single precision. Particle filters draw different \
particles: the root mean square difference of their means may be half of the standard deviation \
of the posterior, and log-likelihoods may differ by 0.5 per step on average.

kalmax has no log-likelihood of the observations and thus does less. Libraries that loop over \
trajectories in Python were timed on some of them, and their time was extrapolated.
"""
COMPILATION = "Seconds of processor time until the first result, less a warm call:\n"


def write_page(folder):
    """Write the page of the results in a folder, and its pictures."""
    rows = store.load(folder)
    (folder / PAGE).write_text(page(rows))
    draw(folder, rows)


def page(rows):
    """Return the page of all rows."""
    table = [row for row in ordered(rows) if "contenders" in row and "curve" not in row]
    lines = [HEAD, "![Times](speed.png)\n"]
    lines += ["## Targets\n", TARGETS, *target_table(table), ""]
    lines += ["### Profiles of some workloads\n", WHY, *why_tables(rows)]
    for title, group in groups(table).items():
        lines += [f"## {title}\n", *speed_table(group), ""]
        lines += [COMPILATION, *compile_table(group), ""]
    lines += ["## Agreement\n", AGREEMENT]
    lines += ["## Scaling\n", "![Curves](scaling.png)\n", *curve_tables(rows)]
    lines += ["## Small algebra, written out or by library calls\n", CROSSOVER]
    lines += crossover_tables(rows)
    lines += ["## Latency of one streamed step\n", *latency_tables(rows)]
    lines += ["## What was not measured\n", *skipped(table), "", *made_by(rows)]
    return "\n".join(lines) + "\n"


def groups(rows):
    """Return the rows of each precision and option, by title."""
    found = {}
    for row in sorted(rows, key=lambda row: (row["options"], row["precision"] != "float64")):
        title = row["precision"]
        if row["options"]:
            title += f", JAX started with `{row['options']}`"
        found.setdefault(title, []).append(row)
    return found


def speed_table(rows):
    """Return the table of times."""
    lines = [
        "| | what | size | limit, ms | kfjax, ms | fastest other | others |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        best, *rest = [f"{name} {value:.2f}" for name, value in ratios(row).items()] or [""]
        cells = (
            row["workload"],
            row["text"],
            Size(**row["size"]).text,
            limit(row),
            time_of(row["contenders"]["kfjax"]["ms"]),
            best,
            ", ".join(rest),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def limit(row):
    """Return the larger of the two limits, and its name."""
    kinds = limits_of(row)
    largest = max(kinds, key=lambda kind: row["bounds"][kind])
    return f"{row['bounds'][largest]:.2g} ({kinds[largest]})"


def time_of(ms):
    """Return a median, and the minimum in brackets."""
    return f"{ms['median']:.3g} ({ms['minimum']:.3g})"


def compile_table(rows):
    """Return the table of compilation times."""
    names = list(dict.fromkeys(name for row in rows for name in row["contenders"]))
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for row in rows:
        cells = (row["contenders"].get(name) for name in names)
        shown = ("" if cell is None else f"{cell['compile_s'][1]:.1f}" for cell in cells)
        lines.append(f"| {row['workload']} | {' | '.join(shown)} |")
    return lines


def curve_tables(rows):
    """Yield the lines of a table for each curve, of kfjax and the library beside it."""
    for curve, about in CURVES.items():
        found = points(rows, curve)
        if not found:
            continue
        yield f"| {about.axis} | precision | limit, ms | kfjax, ms | {about.only} |"
        yield "|---|---|---|---|---|"
        for row in found:
            other = ratios(row).get(about.only)
            ratio = f"{other:.2f}" if other else ""
            times = f"{limit(row)} | {time_of(row['contenders']['kfjax']['ms'])} | {ratio}"
            yield f"| {row['value']} | {row['precision']} | {times} |"
        yield ""


def latency_tables(rows):
    """Yield the lines of the tables of latency."""
    for row in rows.values():
        if "latency" not in row:
            continue
        yield f"Microseconds by the wall clock, {row['precision']}, {row['steps']} steps of each:\n"
        yield "| filter | n | m | median | 99 % |\n|---|---|---|---|---|"
        for case in row["latency"]:
            yield "| {name} | {n} | {m} | {median_us:.0f} | {high_us:.0f} |".format(**case)
        yield ""


def skipped(rows):
    """Return a line for each reason why a library is left out."""
    reasons = {}
    for row in rows:
        for name, reason in row["skipped"].items():
            reasons.setdefault((name, reason), []).append(row["workload"])
    return [
        f"* {name}: {reason} ({', '.join(dict.fromkeys(where))})"
        for (name, reason), where in reasons.items()
    ]


def made_by(rows):
    """Return a line with the machine, the versions and the commits."""
    versions = {name: value for row in rows.values() for name, value in row["versions"].items()}
    devices = dict.fromkeys(row["device"] for row in rows.values())
    commits = dict.fromkeys(str(row["commit"]) for row in rows.values())
    listed = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
    return [f"{' and '.join(devices)}; {listed}; at {', '.join(commits)}."]
