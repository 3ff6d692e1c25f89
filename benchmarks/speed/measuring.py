"""Measure one workload in one precision beside all libraries: a process of its own, which writes its result as JSON.

Options of XLA and the precision are read when JAX starts, so they come with the environment.
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
    """Return the row of a workload: what each contender takes, or why it is not there."""
    workload, about = WORKLOADS[name], environment((*PACKAGES, *LIBRARIES))
    problem = jax.block_until_ready(workload.problem(size))
    solve = workload.solve(size)
    others, skipped = contenders(workload, problem, size, about["precision"])
    found = {"kfjax": Contender(functools.partial(jax.jit(solve), problem))}
    found |= {key: contender for key, contender in others.items() if not only or key in only}
    rows, first = checked(workload.kind, about["precision"], found, skipped)
    for key, samples in in_turn(
        {key: found[key].call for key in rows}, rounds, budget=BUDGET
    ).items():
        wall, processor = (samples / found[key].share).T
        compiling = np.maximum(first[key] - np.median(samples, axis=0), 0).round(3).tolist()
        told = (
            processor if about["platform"] == "cpu" else wall
        )  # the time of another device is nobody's processor time
        rows[key] |= {"ms": quartiles(told), "wall_ms": quartiles(wall), "samples": len(wall)}
        rows[key] |= {"compile_s": compiling}
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


def checked(kind, precision, found, skipped):
    """Call all contenders once; return those that agree with the first, with how far, and the seconds that it took."""
    rows, first, reference = {}, {}, None
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
            rows[key] = {
                "differences": differences,
                "share": contender.share,
                "note": contender.note,
            }
        else:
            skipped[key] = f"does not agree: {differences}"
    return rows, first


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--size", type=json.loads, default={}, help="another size, as JSON")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--only", default="", help="other libraries to measure, with commas between"
    )
    parser.add_argument("--to", required=True, help="the file to write")
    arguments = parser.parse_args()
    workload = WORKLOADS[arguments.workload]
    size = (workload.quick if arguments.quick else workload.size)._replace(**arguments.size)
    only = tuple(filter(None, arguments.only.split(",")))
    row = measure(arguments.workload, size, rounds=arguments.rounds, only=only)
    with open(arguments.to, "w") as file:
        json.dump(row, file)


if __name__ == "__main__":
    main()
