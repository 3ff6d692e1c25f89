"""Measure one workload in one precision in all libraries, and write its row as JSON.

It is a separate process, since JAX reads the precision and the options of XLA from the environment
when it starts.
"""

import argparse
import functools
import json
import time

import jax
import numpy as np

from benchmarks.speed import agreement
from benchmarks.speed.peers import LIBRARIES, contenders
from benchmarks.speed.peers.common import Contender
from benchmarks.speed.roofline import bounds
from kfjax._cli.workloads import WORKLOADS
from kfjax.evaluation import environment, first_call, in_turn, quartiles

BUDGET = 3.0  # seconds that a contender may take for all its rounds
PACKAGES = ("kfjax", "jax", "jaxlib", "numpy", "flax", "optax")


def measure(name, size, *, rounds, only=()):
    """Return the row of a workload: the times of each contender, or why it was skipped.

    Args:
        name: name of the workload.
        size: its `Size`.
        rounds: number of samples.
        only: names of the libraries beside kfjax; all if empty.
    """
    workload = WORKLOADS[name]
    about = environment((*PACKAGES, *LIBRARIES))
    problem = jax.block_until_ready(workload.problem(size))
    solve = workload.solve(size)
    others, skipped = contenders(workload, problem, size, about["precision"])
    found = {"kfjax": Contender(functools.partial(jax.jit(solve), problem))}
    found |= {key: contender for key, contender in others.items() if not only or key in only}
    rows, first = checked(workload.kind, about["precision"], found, skipped)
    calls = {key: found[key].call for key in rows}
    for key, samples in in_turn(calls, rounds, budget=BUDGET).items():
        rows[key] |= times(samples, first[key], found[key].share, about["platform"])
    return {
        "workload": name,
        "kind": workload.kind,
        "text": workload.text,
        "size": size._asdict(),
        "contenders": rows,
        "skipped": skipped,
        "bounds": bounds(solve, problem, size.steps),
        "time": time.strftime("%Y-%m-%d %H:%M"),
        **about,
    }


def times(samples, first, share, platform):
    """Return the times of a contender from its samples [S, 2] and its first call [2].

    They are processor times on a CPU, and wall times on other devices.
    """
    wall, processor = (samples / share).T
    compiling = np.maximum(first - np.median(samples, axis=0), 0)
    return {
        "ms": quartiles(processor if platform == "cpu" else wall),
        "wall_ms": quartiles(wall),
        "samples": len(wall),
        "compile_s": compiling.round(3).tolist(),
    }


def checked(kind, precision, found, skipped):
    """Call all contenders once, and keep those that agree with the first one.

    Args:
        kind: kind of the workload.
        precision: "float64" or "float32".
        found: the contenders by name, kfjax first.
        skipped: reasons by name, to which those of the others are added.

    Returns:
        The rows of the contenders that are kept, and the seconds of all first calls.
    """
    rows = {}
    first = {}
    reference = None
    for key, contender in found.items():
        try:
            outputs, first[key] = first_call(contender.call)
        except Exception as error:  # another library may raise anything
            if key == "kfjax":
                raise
            skipped[key] = f"{type(error).__name__}: {error}"[:200]
            continue
        outputs = contender.read(outputs)
        reference = outputs if reference is None else reference
        differences = agreement.differences(kind, reference, outputs)
        print(f"  {key}: first call {first[key][1]:.2f} s, {differences}", flush=True)
        if agreement.agree(kind, precision, differences):
            about = {"share": contender.share, "note": contender.note}
            rows[key] = {"differences": differences} | about
        else:
            skipped[key] = f"does not agree: {differences}"
    return rows, first


def main():
    """Measure one workload and write its row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--size", type=json.loads, default={}, help="another size, as JSON")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="other libraries, separated by commas")
    parser.add_argument("--to", required=True, help="the file to write")
    arguments = parser.parse_args()
    workload = WORKLOADS[arguments.workload]
    size = workload.quick if arguments.quick else workload.size
    size = size._replace(**arguments.size)
    only = tuple(filter(None, arguments.only.split(",")))
    row = measure(arguments.workload, size, rounds=arguments.rounds, only=only)
    with open(arguments.to, "w") as file:
        json.dump(row, file)


if __name__ == "__main__":
    main()
