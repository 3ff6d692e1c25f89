"""Measure one workload in one precision beside all libraries: a process of its own, which prints its result as JSON.

Options of XLA and the precision are read when JAX starts, so they come with the environment.
"""

import argparse
import functools
import json
import time

import jax
import numpy as np

from benchmarks.speed import agreement
from benchmarks.speed.peers import contenders
from benchmarks.speed.peers.common import Contender
from kfjax.evaluation.timing import environment, first_call, in_turn, quartiles
from kfjax.evaluation.workloads import WORKLOADS

BUDGET = 20.0  # seconds that a contender may take for its rounds


def ours(workload, size, problem):
    """Return kfjax as one of the contenders."""
    solve = jax.jit(workload.solve(size))
    return Contender(functools.partial(solve, problem))


def measure(name, *, quick, rounds, only=()):
    """Return the row of a workload: what each contender takes, or why it is not there."""
    workload = WORKLOADS[name]
    size = workload.quick if quick else workload.size
    about = environment()
    precision = about["precision"]
    problem = jax.block_until_ready(workload.problem(size))
    found, skipped = contenders(workload, problem, size, precision)
    found = {"kfjax": ours(workload, size, problem)} | {key: c for key, c in found.items() if not only or key in only}
    rows, first, reference = {}, {}, None
    for key, contender in found.items():
        try:
            outputs, first[key] = first_call(contender.call)
        except Exception as error:  # another library may raise anything
            skipped[key] = f"{type(error).__name__}: {error}"[:200]
            continue
        outputs = contender.read(outputs)
        reference = outputs if reference is None else reference
        different = agreement.differences(workload.kind, reference, outputs)
        rows[key] = {"differences": different, "share": contender.share, "note": contender.note}
        if not agreement.agree(workload.kind, precision, different):
            skipped[key] = f"does not agree: {different}"
            del rows[key]
        print(f"  {key}: first call {first[key][1]:.2f} s, {different}", flush=True)
    for key, samples in in_turn({key: found[key].call for key in rows}, rounds, budget=BUDGET).items():
        wall, processor = (samples / found[key].share).T
        compiling = first[key] - np.median(samples, axis=0)
        rows[key] |= {"ms": quartiles(processor), "wall_ms": quartiles(wall), "samples": len(wall)}
        rows[key] |= {"compile_s": np.maximum(compiling, 0).round(3).tolist()}
    return {
        "workload": name,
        "kind": workload.kind,
        "text": workload.text,
        "size": size._asdict(),
        "contenders": rows,
        "skipped": skipped,
        "quick": quick,
        "time": time.strftime("%Y-%m-%d %H:%M"),
        **about,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="other libraries to measure, with commas between")
    parser.add_argument("--to", required=True, help="the file to write")
    arguments = parser.parse_args()
    only = tuple(filter(None, arguments.only.split(",")))
    row = measure(arguments.workload, quick=arguments.quick, rounds=arguments.rounds, only=only)
    with open(arguments.to, "w") as file:
        json.dump(row, file)


if __name__ == "__main__":
    main()
