"""Explanations of the times: the workloads that are profiled, and the tables of their profiles."""

# the precision of each profile, as in `benchmarks.speed.targets`
PROFILED = {
    "W1": "float64",
    "W6l": "float64",
    "W7": "float64",
    "W7l": "float64",
    "c4": "float32",
    "c4_200": "float32",
    "W3": "float64",
    "W4": "float64",
}
# the part of a profile whose loops are not compiled as one function
SEPARATE = "kernel by kernel"
# single trajectories of small matrices, whose kernels take less time than calling them
CHAINS = ("W1", "W6l")
# readings of the tables, by workload
WHY = {
    "W1": """\
A long trajectory of small matrices is one chain: each step depends on the step before, and within \
a step the covariance depends on the gain and the gain on the factor of S. If every kernel of a \
step is called separately, these calls take most of the time; a loop that is one function has no \
such calls. The time of the predictions alone shows how much the chain leaves to gain.""",
    "W6l": """\
As W1; the backward step has about twice as many kernels as the step of the filter. Computing all \
gains of the backward pass at once before its loop, which is possible since they do not depend on \
each other, made one trajectory faster, but slowed batches (W6) by more.""",
    "W7": """\
kfjax computes (I - K H) P (I - K H)' + K R K', which remains definite in any precision; the \
others compute P - K S K' or (I - K H) P with fewer operations. With P - K C', kfjax does the same \
work. kalmax, the fastest here, computes no likelihood.""",
    "W7l": """\
As W7; above 8 rows products, factors and solutions are library calls. These alone, as JAX's \
profiler traces them, are a lower bound for any arrangement of the remaining operations. Between \
them are sums, copies from the order of one call to that of the next, and results of 330 MB, \
written once and copied once. simdkalman calls the same kind of library from NumPy, and neither \
reorders nor copies results.""",
    "c4": """\
A step is a chain of products of vectors with matrices. These products alone, in a loop where each \
depends on the one before, are a lower bound for any loop that is compiled in the same way.""",
    "c4_200": "As c4; the products now have 200 rows.",
    "W3": """\
Algebra of at most 8 rows is written out, which makes a step fast but takes time to compile; \
where sums of outer products are as fast as single entries, they are used.""",
    "W4": "As W3, with sigma points.",
}


def why_tables(rows):
    """Yield the lines of the tables of all profiles."""
    found = {(row["why"], row["options"]): row for row in rows.values() if "why" in row}
    for (name, options), row in sorted(found.items(), key=_place):
        started = f", JAX started with `{options}`" if options else ""
        day = row["time"].partition(" ")[0]
        yield f"**{name}**, {row['precision']}{started}, {day}. {WHY[name]}\n"
        if "parts" in row:
            yield from part_table(row["parts"])
        else:
            yield from phase_table(row["compilation"])
        if SEPARATE in row.get("parts", ()):
            yield f"\n{calls_told(row)}"
        yield ""


def _place(item):
    """Return the place of a profile in `WHY`."""
    (name, _), _ = item
    return list(WHY).index(name)


def calls_told(row):
    """Describe how much time a loop compiled as one function saves by not calling kernels."""
    separate = row["parts"][SEPARATE]
    before, after = separate["ms"]["median"], row["parts"]["kfjax"]["ms"]["median"]
    each = 1e6 * (before - after) / (row["size"]["steps"] * separate["kernels"])
    return (
        f"Of {before:.3g} ms, {after:.3g} remain if the loop is one function: calling the"
        f" {separate['kernels']} kernels of a step takes {1 - after / before:.0%},"
        f" {each:.0f} ns each."
    )


def part_table(parts):
    """Yield the lines of the times of parts, their share of the whole, and their kernels."""
    whole = parts["kfjax"]["ms"]["median"]
    yield "| | ms | of the whole | kernels of a step |\n|---|---|---|---|"
    for name in sorted(parts, key=lambda name: (name != "kfjax", name)):
        ms = parts[name]["ms"]
        kernels = parts[name]["kernels"]
        share = ms["median"] / whole
        times = f"{ms['median']:.3g} ({ms['minimum']:.3g}) | {share:.2f}"
        yield f"| {name} | {times} | {kernels} |"


def phase_table(compilation):
    """Yield the lines of the seconds of the phases of compilation."""
    yield f"| {compilation['operations']} operations | seconds |\n|---|---|"
    for phase, seconds in compilation["seconds"].items():
        yield f"| {phase} | {seconds:.2f} |"
