"""Profiles of workloads: times of their parts, and with a part written in another way.

A separate process, like `benchmarks.speed.measuring`: `python -m benchmarks.speed why`.
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
from benchmarks.speed.why import CHAINS, SEPARATE, WHY
from kfjax import linalg
from kfjax._cli.workloads import GAUSSIAN, WORKLOADS, solve
from kfjax._support import one_kernel
from kfjax.evaluation import environment, first_call, in_turn, quartiles
from kfjax.models.lens import with_model
from kfjax.models.observing import innovation_info

BUDGET = 3.0  # seconds that a part may take for all its rounds
# operations of a compiled loop that are not kernels
FREE = {"parameter", "tuple", "get-tuple-element", "constant", "bitcast"}
TRACED = 3  # number of calls that are traced
LIBRARY = (
    "ynn",
    "dot",
    "triangular",
    "cholesky",
)  # first letters of kernels that are library calls


@dataclasses.dataclass(frozen=True)
class Subtracted:
    """The update of most libraries, P - K C', which may lose definiteness."""

    def __call__(self, rule, belief, seen, space):
        """Return the posterior belief and Info."""
        moments = rule(seen.fn, belief, space, seen.space)
        S = linalg.factorise(moments.cov + seen.R)
        K = S.solve(moments.cross.T).T
        innovation = seen.innovation(moments.mean)
        mean = space.retract(belief.mean, linalg.matmul(K, innovation))
        cov = belief.cov - linalg.matmul(K, moments.cross.T)
        return kf.Gaussian(mean, cov), innovation_info(innovation, S, seen.mask)


def kernel_by_kernel(function):
    """Return a function whose loops are compiled as by JAX alone."""

    def separate(problem):
        with kf.separate_kernels():
            return function(problem)

    return separate


def only_means(problem):
    """Filter without stacking covariances."""

    def one(ys, prior):
        model = problem.params if prior is None else with_model(problem.params, prior=prior)
        return kf.run(kf.kalman(), model, ys, emit=lambda state, _: state.mean).outputs

    each = one if problem.ys.ndim == 2 else jax.vmap(one)
    return each(problem.ys, problem.priors)


def only_predictions(problem):
    """Predict for as many steps, and keep the beliefs."""

    def one(prior):
        def body(state, _):
            state = kf.kalman().predict(problem.params, state)
            return state, state

        return one_kernel.scan(body, prior, length=problem.ys.shape[-2])[1]

    if problem.priors is None:
        return one(problem.params.prior)
    return jax.vmap(one)(problem.priors)


def only_smoothing(given):
    """Smooth estimates that were filtered before."""
    problem, estimate = given
    return kf.smooth(kf.kalman(), problem.params, estimate)


def plain(problem):
    """Run the same network in a plain scan, as in a textbook."""
    one = plain_peer.build("C4", problem)
    mapped = one if problem.ys.ndim == 2 else jax.vmap(one, in_axes=(None, None, 0))
    return mapped(problem.params.network, problem.params.model, problem.ys)


def only_products(problem):
    """Multiply vectors by all matrices of a network in turn, in a loop as kfjax compiles it.

    There is one vector for each matrix and trajectory.
    """
    matrices = [leaf for leaf in jax.tree.leaves(problem.params.network) if leaf.ndim == 2]
    rows = problem.ys.shape[:-2]

    def body(vectors, _):
        last = jnp.zeros(rows)
        for vector, A in zip(vectors, matrices, strict=True):
            product = (vector + last[..., None]) @ A
            last = jnp.tanh(product[..., 0])  # the next product waits for it
        return [vector + last[..., None] for vector in vectors], last

    vectors = [jnp.ones((*rows, A.shape[0])) for A in matrices]
    return one_kernel.scan(body, vectors, length=problem.ys.shape[-2])[1]


def parts_of(name, problem, size):
    """Return the jitted functions that are timed, with their argument, by name."""
    functions = {"kfjax": WORKLOADS[name].solve(size)}
    if name in CHAINS:
        functions[SEPARATE] = kernel_by_kernel(WORKLOADS[name].solve(size))
    if name in ("W1", "W7", "W7l"):
        subtracted = kf.gaussian_filter(kf.moments.Taylor(), Subtracted())
        functions["with P - K C' instead"] = functools.partial(solve, subtracted, False)
        functions["without covariances in the output"] = only_means
        functions["predictions alone"] = only_predictions
    elif name == "W6l":
        functions["the filter alone"] = functools.partial(solve, GAUSSIAN["kalman"], False)
    elif name.startswith("c4"):
        functions["a plain scan of the same network"] = plain
        functions["its matrix products alone"] = only_products
    parts = {part: (jax.jit(function), problem) for part, function in functions.items()}
    if name == "W6l":
        estimate = kf.run(kf.kalman(), problem.params, problem.ys).outputs
        parts["the smoother alone"] = jax.jit(only_smoothing), (problem, estimate)
    return parts


def kernels(text):
    """Count the kernels of a step: the operations of a compiled program's outermost loops.

    Loops that are compiled as one function have none.
    """
    pattern = r"^(?:ENTRY )?%?([\w.-]+) \(.*?\{\n(.*?)^\}"
    blocks = dict(re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL))
    inside = {
        name: set(re.findall(r"\bwhile\(.*?body=%?([\w.-]+)", block))
        for name, block in blocks.items()
    }
    loops = set().union(*inside.values())
    nested = set().union(*(inside[name] for name in loops))
    whole = re.findall(r"\bcall\(.*?to_apply=%?([\w.-]+).*xla_cpu_small_call", text)
    within = set().union(*(inside[name] for name in whole))
    counted = loops - nested - within
    operations = [re.findall(r"= .*?\s([a-z][\w-]*)\(", blocks[name]) for name in counted]
    return sum(operation not in FREE for found in operations for operation in found)


def traced(function, given):
    """Return the nanoseconds of every operation of a compiled program, from JAX's profiler."""
    program = function.lower(given).compile()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(TRACED):
                jax.block_until_ready(program(given))
        (file,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    known = set(re.findall(r"%([\w.-]+) = ", program.as_text()))
    found = collections.defaultdict(list)
    for plane in planes:
        for line in plane.lines:
            for event in line.events:
                if event.name in known:
                    found[event.name].append(event.duration_ns)
    return found


def library_calls(function, given, steps):
    """Return the median time of the library calls in a loop, and their number per step."""
    times = traced(function, given)
    in_loop = [
        found
        for name, found in times.items()
        if name.startswith(LIBRARY) and len(found) >= TRACED * steps
    ]
    ms = sum(np.median(found) * len(found) for found in in_loop) / TRACED / 1e6
    return {"ms": {"median": ms, "minimum": ms}, "kernels": len(in_loop)}


def compilation(function, problem):
    """Return the seconds of the phases of compilation, and the number of operations."""
    seconds = {}

    def timed(phase, call):
        begin = time.process_time()
        result = call()
        seconds[phase] = round(time.process_time() - begin, 3)
        return result

    traced = timed("tracing", lambda: jax.jit(function).trace(problem))
    lowered = timed("lowering", traced.lower)
    compiled = timed("compiling", lowered.compile)
    lazily = {"xla_backend_optimization_level": 0}
    timed("compiling, not optimised", lambda: lowered.compile(lazily))
    return {"seconds": seconds, "operations": compiled.as_text().count(" = ")}


def profile(name, size, rounds):
    """Return the row of a workload."""
    problem = jax.block_until_ready(WORKLOADS[name].problem(size))
    about = {"why": name, "size": size._asdict(), "time": time.strftime("%Y-%m-%d %H:%M")}
    about |= environment()
    if name in ("W3", "W4"):
        return about | {"compilation": compilation(WORKLOADS[name].solve(size), problem)}
    return about | {"parts": timed_parts(name, parts_of(name, problem, size), size, rounds)}


def timed_parts(name, found, size, rounds):
    """Return the times and kernels of the parts of a workload."""
    calls = {part: functools.partial(function, given) for part, (function, given) in found.items()}
    for call in calls.values():
        first_call(call)
    parts = {}
    for part, taken in in_turn(calls, rounds, budget=BUDGET).items():
        function, given = found[part]
        count = kernels(function.lower(given).compile().as_text())
        parts[part] = {"ms": quartiles(taken[:, 1]), "kernels": count}
    if name.startswith("W7"):
        parts["library calls alone, traced"] = library_calls(*found["kfjax"], size.steps)
    return parts


def main():
    """Profile one workload and write its row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WHY)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--to", required=True, help="the file to write")
    arguments = parser.parse_args()
    workload = WORKLOADS[arguments.workload]
    size = workload.quick if arguments.quick else workload.size
    row = profile(arguments.workload, size, arguments.rounds)
    with open(arguments.to, "w") as file:
        json.dump(row, file)


if __name__ == "__main__":
    main()
