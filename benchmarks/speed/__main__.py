"""Measure speed against other libraries, and write the page of all results.

    python -m benchmarks.speed W2 W3          workloads, with the precisions and options that matter
    python -m benchmarks.speed why            the parts of workloads that miss a target
    python -m benchmarks.speed crossover      small algebra written out, and by library calls
    python -m benchmarks.speed all --again    everything, with curves and the latency of a step
    python -m benchmarks.speed                only the page

Each row is measured in its own process, pinned to one core, with all libraries in turn; stored
rows are kept. The libraries come with `pip install -e .[bench]`; those that are not installed
are skipped.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.speed import store
from benchmarks.speed.page import write_page
from benchmarks.speed.scaling import CURVES
from benchmarks.speed.why import PROFILED
from kfjax._cli.workloads import WORKLOADS
from kfjax.evaluation import pin

HERE = Path(__file__).parent
NAMES = (*WORKLOADS, *CURVES, "latency", "why", "crossover")
PRECISIONS = ("float64", "float32")
ON_JAX = "dynamax,cuthbert,smcx,kalmax,kalman_py"  # the libraries that options of XLA affect
# options of XLA by name, read when JAX starts; they must not be combined
OPTIONS = {
    "fusion": "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true",
    "loops": "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=100000",
}


class Task(NamedTuple):
    """One row to measure.

    Attributes:
        name: name of the row.
        precision: "float64" or "float32".
        options: name of the options of XLA, or "".
        command: the module to run, and its arguments.
        more: entries that are added to the result, or None.
    """

    name: str
    precision: str
    options: str
    command: list[str]
    more: dict | None = None


def child(task, platform):
    """Run the process of a task and return its result."""
    environment = os.environ | {
        "JAX_ENABLE_X64": str(task.precision == "float64"),
        "JAX_PLATFORMS": platform,
    }
    if task.options:
        flags = f"{environment.get('XLA_FLAGS', '')} {OPTIONS[task.options]}"
        environment["XLA_FLAGS"] = flags.strip()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        command = [sys.executable, "-m", *task.command, "--to", str(file)]
        subprocess.run(command, env=environment, check=True, cwd=HERE.parents[1])
        return json.loads(file.read_text()) | {"options": task.options}


def tasks(arguments):
    """Yield the rows that were asked for."""
    for name in NAMES if "all" in arguments.name else arguments.name:
        if name == "why":
            yield from profiles(arguments)
            continue
        for precision, options in starts(name, arguments):
            if name in CURVES:
                yield from points(CURVES[name], name, precision, options, arguments)
            else:
                command = command_of(name, options, arguments)
                yield Task(name, precision, options, command)


def command_of(name, options, arguments):
    """Return the module that measures a row, and its arguments."""
    if name == "latency":
        return ["benchmarks.latency", *["--steps", "20"] * arguments.quick]
    quick = ["--quick"] * arguments.quick
    if name == "crossover":
        return ["benchmarks.speed.crossover", *quick]
    only = arguments.only or (ON_JAX if options else "")
    return [*measuring(arguments), name, "--only", only]


def measuring(arguments):
    """Return the module that measures workloads, and its common arguments."""
    quick = ["--quick"] * arguments.quick
    return ["benchmarks.speed.measuring", "--rounds", str(arguments.rounds), *quick]


def points(curve, name, precision, options, arguments):
    """Yield the points of a curve."""
    for value, size in curve.sizes().items():
        chosen = [curve.workload, "--only", curve.only, "--size", json.dumps(size)]
        row = f"{curve.workload} {curve.field} {value}"
        more = {"curve": name, "value": value}
        yield Task(row, precision, options, [*measuring(arguments), *chosen], more)


def profiles(arguments):
    """Yield the profiles of workloads that miss a target."""
    quick = ["--quick"] * arguments.quick
    for name, precision in PROFILED.items():
        command = ["benchmarks.speed.profiles", name, "--rounds", str(arguments.rounds), *quick]
        yield Task(f"why {name}", precision, "", command)


def starts(name, arguments):
    """Return the precisions and options of a row: those asked for, or the usual ones."""
    if arguments.precision or arguments.options:
        return [(precision, arguments.options) for precision in arguments.precision or PRECISIONS]
    if name.startswith("W"):
        return [(precision, "") for precision in PRECISIONS]
    return [("float64" if name in (*CURVES, "crossover") else "float32", "")]


def parsed():
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*NAMES, "all"]
    given = {"choices": [*names, []], "metavar": "NAME", "help": ", ".join(names)}
    parser.add_argument("name", nargs="*", **given)
    precision = {"choices": PRECISIONS, "action": "append"}
    parser.add_argument("--precision", **precision, help="only this one; may be repeated")
    options = "only with these options of XLA"
    parser.add_argument("--options", choices=OPTIONS, default="", help=options)
    parser.add_argument("--only", default="", metavar="A,B", help="only beside these libraries")
    quick = "small sizes: only show that everything runs"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--again", action="store_true", help="also measure rows that are stored")
    rounds = "samples of each library (default 15)"
    parser.add_argument("--rounds", type=int, default=15, help=rounds)
    parser.add_argument("--core", type=int, help="the core to stay on (default the last)")
    parser.add_argument("--platform", default="cpu", help="platform of JAX (default cpu)")
    out = "folder of the results (default here; results/speed with --quick)"
    parser.add_argument("--out", type=Path, help=out)
    return parser.parse_args()


def main():
    """Measure the rows that are missing, and write the page."""
    arguments = parsed()
    out = arguments.out or (Path("results/speed") if arguments.quick else HERE)
    pin(arguments.core)
    for task in tasks(arguments):
        key = store.key(task.name, task.precision, task.options)
        if key in store.load(out) and not arguments.again:
            continue
        print(f"{key} ...", flush=True)
        row = child(task, arguments.platform) | (task.more or {})
        store.save(out, key, row | {"quick": arguments.quick})
        write_page(out)
    write_page(out)


if __name__ == "__main__":
    main()
