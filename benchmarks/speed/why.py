"""Explanations of the times: the workloads that are profiled, and the tables of their profiles."""

# precisions and options of XLA with which each profile starts JAX, as in `benchmarks.speed.targets`
STARTS = {
    "W1": [("float64", ""), ("float64", "kfjax")],
    "W6l": [("float64", ""), ("float64", "kfjax")],
    "W7": [("float64", "")],
    "W7l": [("float64", "")],
    "c4": [("float32", ""), ("float32", "kfjax")],
    "c4_200": [("float32", "")],
    "W3": [("float64", "")],
    "W4": [("float64", "")],
}
# single trajectories of small matrices, whose kernels take less time than calling them
CHAINS = ("W1", "W6l")
# readings of the tables, by workload
WHY = {
    "W1": """\
A long trajectory of small matrices is one chain: a step waits for the step before, and in it the \
factor of S, the gain and the covariance wait for each other. By default every kernel of a step \
is called separately, and these calls take most of the time in any library. With the options the \
loop is one function without calls, also for the other libraries; predictions alone show what the \
chain leaves to gain.""",
    "W6l": """\
As W1: most of the time goes into calling kernels, and the backward step has about twice as many \
as the filter's. Tried: all gains of the backward pass at once before its loop, since they do not \
depend on each other. That made one trajectory faster, but batches (W6) slower by more.""",
    "W7": """\
kfjax computes (I - K H) P (I - K H)' + K R K', which remains definite in any precision; the \
others compute P - K S K' or (I - K H) P with fewer operations. With P - K C' kfjax does the same \
as they do. kalmax, the fastest here, computes no likelihood.""",
    "W7l": """\
As W7; above 8 rows products, factors and solutions are library calls. These alone, as JAX's \
profiler traces them, are a lower bound for any arrangement of the remaining operations. Between \
them are sums, copies from the order of one call to that of the next, and results of 330 MB, \
written once and copied once. simdkalman calls the same kind of library from NumPy, and neither \
reorders nor copies results.""",
    "c4": """\
A step is a chain of products of vectors with matrices, each of which is a library call. These \
alone, in a loop where each waits for the one before, are a lower bound for a scan over library \
calls; the target is below it.""",
    "c4_200": "As one trajectory; the products now have 200 rows.",
    "W3": """\
Algebra of at most 8 rows is written out, which makes a step fast but takes time to compile; \
where sums of outer products are as fast as single entries, they are used. A quarter to a half of \
the time is XLA's newer code generator. With `kfjax.set_xla_options` it is the older one, whose \
code is no slower.""",
    "W4": "As W3, with sigma points.",
}


def why_tables(rows):
    """Yield the lines of the tables of all profiles."""
    found = {(row["why"], row["options"]): row for row in rows.values() if "why" in row}
    for (name, options), row in sorted(found.items(), key=_place):
        started = f", JAX started with `{options}`" if options else ""
        yield f"**{name}**, {row['precision']}{started}. {WHY[name]}\n"
        if "parts" in row:
            yield from part_table(row["parts"])
        else:
            yield from phase_table(row["compilation"])
        if options and name in CHAINS:
            yield f"\n{calls_told(found[name, '']['parts']['kfjax'], row)}"
        yield ""


def _place(item):
    """Return the place of a profile in `WHY`."""
    (name, _), _ = item
    return list(WHY).index(name)


def calls_told(usual, row):
    """Tell how much time calling kernels takes, which a step compiled as one function saves.

    Args:
        usual: the part "kfjax" of the profile without options.
        row: the profile with options.
    """
    before, after = usual["ms"]["median"], row["parts"]["kfjax"]["ms"]["median"]
    each = 1e6 * (before - after) / (row["size"]["steps"] * usual["kernels"])
    return (
        f"Of {before:.3g} ms, {after:.3g} remain if a step is one function: calling its"
        f" {usual['kernels']} kernels takes {1 - after / before:.0%}, {each:.0f} ns each."
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
