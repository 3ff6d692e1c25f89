"""Why a workload takes what it takes: its time beside those of its parts, or with a part written otherwise.

A process of its own, like `benchmarks.speed.measuring`: `python -m benchmarks.speed why`.
"""

import argparse
import collections
import dataclasses
import functools
import json
import re
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.speed.peers import plain_peer
from kfjax import linalg
from kfjax._cli.workloads import GAUSSIAN, WORKLOADS, solve
from kfjax.evaluation import environment, first_call, in_turn, quartiles
from kfjax.models.observing import innovation_info
from kfjax.models.lens import with_model

BUDGET = 3.0  # seconds that a part may take for its rounds
# what is no work of its own when a compiled loop runs
FREE = {"parameter", "tuple", "get-tuple-element", "constant", "bitcast"}

CHAINS = (
    "W1",
    "W6l",
)  # one trajectory of small matrices, whose kernels take less than it takes to call them
TRACED = 3  # calls that are traced
LIBRARY = ("ynn", "dot", "triangular", "cholesky")  # how kernels that are library calls begin

# how JAX is started for each: precisions and options, as in `benchmarks.speed.targets`
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
# by workload: the reading of its table
WHY = {
    "W1": (
        "A long trajectory of small matrices is one chain: a step waits for the one before, and in"
        " it the factor of S,"
        " the gain and the covariance wait for each other. Usually every kernel of a step is called"
        " by itself, and the"
        " calls are most of the time, in any library. With the option the loop is one function"
        " without calls, for the"
        " others, too; predictions alone show what the chain leaves to gain."
    ),
    "W6l": (
        "As W1: calls of kernels are most of it, and the backward step has about twice as many as"
        " the filter's."
        " Tried: all gains of the backward pass at once before its loop, since they do not wait for"
        " each other. That"
        " made one trajectory faster, and batches (W6) slower by more."
    ),
    "W7": (
        "kfjax forms (I - K H) P (I - K H)' + K R K', which stays definite in any precision, the"
        " others P - K S K' or"
        " (I - K H) P, in fewer operations; with P - K C' kfjax does what they do. kalmax, the"
        " fastest here,"
        " computes no likelihood."
    ),
    "W7l": (
        "As W7; above 8 rows products, factors and solutions are library calls. These alone, as"
        " JAX's profiler traces"
        " them, are what no other arrangement of the rest goes below; the rest is what lies between"
        " them: sums, copies"
        " from the order of one call to that of the next, and results of 330 MB, written once and"
        " copied once."
        " simdkalman calls the same kind of library from NumPy, and neither reorders nor copies"
        " results."
    ),
    "c4": (
        "A step is a chain of products of vectors with matrices, each of which is a library call."
        " These alone, in a"
        " loop with nothing between them but what makes one wait for the other, are what no scan"
        " over library calls"
        " goes below; the target does."
    ),
    "c4_200": "As one trajectory; the products are now of 200 rows.",
    "W3": (
        "Algebra of at most 8 rows is written out, which is what makes a step fast, and is what has"
        " to be compiled;"
        " where sums of outer products are as fast as single entries, they are in use. A quarter to"
        " a half is XLA's"
        " newer code generator: with `kfjax.set_xla_options` it is the older one, and what that"
        " makes is no slower."
    ),
    "W4": "As W3, with sigma points.",
}


@dataclasses.dataclass(frozen=True)
class Subtracted:
    """The update of most libraries: P - K C', which may lose definiteness."""

    def __call__(self, rule, belief, seen, space):
        """Return the posterior belief and Info."""
        moments = rule(seen.fn, belief, space, seen.space)
        S = linalg.factorise(moments.cov + seen.R)
        K = S.solve(moments.cross.T).T
        innovation = seen.innovation(moments.mean)
        mean = space.retract(belief.mean, linalg.matmul(K, innovation))
        cov = belief.cov - linalg.matmul(K, moments.cross.T)
        return kf.Gaussian(mean, cov), innovation_info(innovation, S, seen.mask)


def only_means(problem):
    """Filter without stacking covariances."""

    def one(ys, prior):
        model = problem.params if prior is None else with_model(problem.params, prior=prior)
        return kf.run(kf.kalman(), model, ys, emit=lambda state, _: state.mean).outputs

    return (one if problem.ys.ndim == 2 else jax.vmap(one))(problem.ys, problem.priors)


def only_predictions(problem):
    """Predict for as many steps, and keep beliefs."""

    def one(prior):
        def body(state, _):
            state = kf.kalman().predict(problem.params, state)
            return state, state

        return jax.lax.scan(body, prior, length=problem.ys.shape[-2])[1]

    return one(problem.params.prior) if problem.priors is None else jax.vmap(one)(problem.priors)


def only_smoothing(given):
    """Smooth what was filtered before."""
    problem, estimate = given
    return kf.smooth(kf.kalman(), problem.params, estimate)


def plain(problem):
    """Run the same network in a scan as a textbook writes it."""
    one = plain_peer.build("C4", problem)
    mapped = one if problem.ys.ndim == 2 else jax.vmap(one, in_axes=(None, None, 0))
    return mapped(problem.params.network, problem.params.model, problem.ys)


def only_products(problem):
    """Multiply a vector, or one for each trajectory, by all matrices of a network in turn, in a loop."""
    matrices = [leaf for leaf in jax.tree.leaves(problem.params.network) if leaf.ndim == 2]
    rows = problem.ys.shape[:-2]

    def body(vectors, _):
        last = jnp.zeros(rows)
        for i, A in enumerate(matrices):
            product = (vectors[i] + last[..., None]) @ A
            last = jnp.tanh(product[..., 0])  # the next one waits for it
        return [vector + last[..., None] for vector in vectors], last

    return jax.lax.scan(
        body, [jnp.ones((*rows, A.shape[0])) for A in matrices], length=problem.ys.shape[-2]
    )[1]


def parts_of(name, problem, size):
    """Return what is timed, by name: functions with their argument."""
    whole, parts = WORKLOADS[name].solve(size), {}
    if name in ("W1", "W7", "W7l"):
        subtracted = functools.partial(
            solve, kf.gaussian_filter(kf.moments.Taylor(), Subtracted()), False
        )
        parts = {
            "with P - K C' instead": subtracted,
            "without covariances in the output": only_means,
        }
        parts |= {"predictions alone": only_predictions}
    elif name == "W6l":
        estimate = kf.run(kf.kalman(), problem.params, problem.ys).outputs
        parts = {"the filter alone": functools.partial(solve, GAUSSIAN["kalman"], False)}
        return pairs({"kfjax": whole} | parts, problem) | {
            "the smoother alone": (jax.jit(only_smoothing), (problem, estimate))
        }
    elif name.startswith("c4"):
        parts = {
            "a plain scan of the same network": plain,
            "its matrix products alone": only_products,
        }
    return pairs({"kfjax": whole} | parts, problem)


def pairs(functions, problem):
    return {name: (jax.jit(function), problem) for name, function in functions.items()}


def kernels(text):
    """Return how many kernels a step has: the operations of all loops of a compiled program that stand in no other."""
    blocks = dict(
        re.findall(
            r"^(?:ENTRY )?%?([\w.-]+) \(.*?\{\n(.*?)^\}", text, flags=re.MULTILINE | re.DOTALL
        )
    )
    inside = {
        name: set(re.findall(r"\bwhile\(.*?body=%?([\w.-]+)", block))
        for name, block in blocks.items()
    }
    loops = set().union(*inside.values())
    nested = set().union(*(inside[name] for name in loops))
    operations = [re.findall(r"= .*?\s([a-z][\w-]*)\(", blocks[name]) for name in loops - nested]
    return sum(operation not in FREE for found in operations for operation in found)


def traced(function, given):
    """Return the nanoseconds of every operation of a compiled program, by name, from JAX's own profiler."""
    program = function.lower(given).compile()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(TRACED):
                jax.block_until_ready(program(given))
        (file,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    known, found = (
        set(re.findall(r"%([\w.-]+) = ", program.as_text())),
        collections.defaultdict(list),
    )
    for event in (
        event
        for plane in planes
        for line in plane.lines
        for event in line.events
        if event.name in known
    ):
        found[event.name].append(event.duration_ns)
    return found


def library_calls(function, given, steps):
    """Return what the library calls of the loop take, medians, and how many a step has."""
    found = {
        name: times for name, times in traced(function, given).items() if name.startswith(LIBRARY)
    }
    found = {name: times for name, times in found.items() if len(times) >= TRACED * steps}
    ms = sum(np.median(times) * len(times) for times in found.values()) / TRACED / 1e6
    return {"ms": {"median": ms, "minimum": ms}, "kernels": len(found)}


def compilation(function, problem):
    """Return the seconds of the phases of compilation, and how many operations the program has."""
    seconds = {}

    def timed(phase, call):
        result, taken = first_call_of(call)
        seconds[phase] = round(taken, 3)
        return result

    traced = timed("tracing", lambda: jax.jit(function).trace(problem))
    lowered = timed("lowering", traced.lower)
    compiled = timed("compiling", lowered.compile)
    older = {"xla_cpu_use_fusion_emitters": False}
    timed(
        "compiling, the code generator of `kfjax.set_xla_options`", lambda: lowered.compile(older)
    )
    lazily = older | {"xla_backend_optimization_level": 0}
    timed("compiling, the same, not optimised", lambda: lowered.compile(lazily))
    return {"seconds": seconds, "operations": compiled.as_text().count(" = ")}


def first_call_of(call):
    begin = time.process_time()
    return call(), time.process_time() - begin


def profile(name, size, rounds):
    """Return the row of a workload."""
    problem = jax.block_until_ready(WORKLOADS[name].problem(size))
    row = {
        "why": name,
        "size": size._asdict(),
        "time": time.strftime("%Y-%m-%d %H:%M"),
        **environment(),
    }
    if name in ("W3", "W4"):
        return row | {"compilation": compilation(WORKLOADS[name].solve(size), problem)}
    found = parts_of(name, problem, size)
    calls = {part: functools.partial(function, given) for part, (function, given) in found.items()}
    for call in calls.values():
        first_call(call)
    samples = in_turn(calls, rounds, budget=BUDGET)
    counts = {
        part: kernels(function.lower(given).compile().as_text())
        for part, (function, given) in found.items()
    }
    parts = {
        part: {"ms": quartiles(taken[:, 1]), "kernels": counts[part]}
        for part, taken in samples.items()
    }
    if name.startswith("W7"):
        parts["library calls alone, traced"] = library_calls(*found["kfjax"], size.steps)
    return row | {"parts": parts}


def why_tables(rows):
    """Return the tables of all profiles, in markdown."""
    found = {(row["why"], row["options"]): row for row in rows.values() if "why" in row}
    for (name, options), row in sorted(found.items(), key=lambda pair: list(WHY).index(pair[0][0])):
        started = f", JAX started with `{options}`" if options else ""
        yield f"**{name}**, {row['precision']}{started}. {WHY[name]}\n"
        yield from part_table(row["parts"]) if "parts" in row else phase_table(row["compilation"])
        if options and name in CHAINS:
            yield f"\n{calls_told(found[name, '']['parts']['kfjax'], row)}"
        yield ""


def calls_told(usual, row):
    """Tell what the calls of kernels take, which are not there where a step is one function."""
    before, after = usual["ms"]["median"], row["parts"]["kfjax"]["ms"]["median"]
    each = 1e6 * (before - after) / (row["size"]["steps"] * usual["kernels"])
    return (
        f"Of {before:.3g} ms, {after:.3g} are left where a step is one function: calling its"
        f" {usual['kernels']} kernels"
        f" takes {1 - after / before:.0%}, {each:.0f} ns each."
    )


def part_table(parts):
    """Return the milliseconds of parts, with how much of the whole that is, and the kernels of a step."""
    whole = parts["kfjax"]["ms"]["median"]
    yield "| | ms | of the whole | kernels of a step |\n|---|---|---|---|"
    for part in sorted(parts, key=lambda part: (part != "kfjax", part)):
        ms, of = parts[part]["ms"], parts[part]
        cells = f"{ms['median']:.3g} ({ms['minimum']:.3g}) | {ms['median'] / whole:.2f} | {of['kernels']}"
        yield f"| {part} | {cells} |"


def phase_table(compilation):
    """Return the seconds of the phases of compilation."""
    yield f"| {compilation['operations']} operations | seconds |\n|---|---|"
    for phase, seconds in compilation["seconds"].items():
        yield f"| {phase} | {seconds:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WHY)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--to", required=True, help="the file to write")
    arguments = parser.parse_args()
    workload = WORKLOADS[arguments.workload]
    row = profile(
        arguments.workload, workload.quick if arguments.quick else workload.size, arguments.rounds
    )
    with open(arguments.to, "w") as file:
        json.dump(row, file)


if __name__ == "__main__":
    main()
