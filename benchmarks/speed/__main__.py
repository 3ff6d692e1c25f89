"""Measure speed beside other libraries, and write the page of all results.

    python -m benchmarks.speed W2 W3          these workloads, in the precisions and with the options that matter
    python -m benchmarks.speed why            the parts of workloads that miss a target
    python -m benchmarks.speed crossover      small algebra written out, and by library calls
    python -m benchmarks.speed all --again    everything, curves and the latency of a step, too
    python -m benchmarks.speed                the page alone

Each row is measured in a process of its own, pinned to one core, all libraries in turn; rows that
are there are kept. The libraries come with `pip install -e .[bench]`; what is not installed is
skipped.
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
from benchmarks.speed.profiles import STARTS
from benchmarks.speed.scaling import CURVES
from benchmarks.speed.targets import TARGETS
from kfjax._cli.workloads import WORKLOADS
from kfjax._support import xla_options
from kfjax.evaluation import pin

HERE = Path(__file__).parent
NAMES = (*WORKLOADS, *CURVES, "latency", "why", "crossover")
PRECISIONS = ("float64", "float32")
ON_JAX = "dynamax,cuthbert,smcx,kalmax,kalman_py"  # whom options of XLA concern
# read when JAX starts; by name, since they must not be combined
OPTIONS = {
    "kfjax": " ".join(
        f"{name}={value}" for name, value in xla_options.OPTIONS.items()
    ),  # kfjax.set_xla_options
    "fusion": "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true",
    "loops": "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=100000",
}


def child(command, precision, options, platform):
    """Run a process that measures; return its result."""
    environment = os.environ | {
        "JAX_ENABLE_X64": str(precision == "float64"),
        "JAX_PLATFORMS": platform,
    }
    if options:
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {OPTIONS[options]}".strip()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        command = [sys.executable, "-m", *command, "--to", str(file)]
        subprocess.run(command, env=environment, check=True, cwd=HERE.parents[1])
        return json.loads(file.read_text()) | {"options": options}


class Task(NamedTuple):
    """One row to measure: its name, how JAX is started, the command, and what is added to its result."""

    name: str
    precision: str
    options: str
    command: list[str]
    more: dict | None = None


def tasks(arguments):
    """Yield the rows that were asked for."""
    names = NAMES if "all" in arguments.name else arguments.name
    measuring = [
        "benchmarks.speed.measuring",
        "--rounds",
        str(arguments.rounds),
        *["--quick"] * arguments.quick,
    ]
    for name in names:
        if name == "why":
            yield from profiles(arguments)
            continue
        for precision, options in starts(name, arguments):
            if name == "latency":
                yield Task(
                    name,
                    precision,
                    options,
                    ["benchmarks.latency", *["--steps", "20"] * arguments.quick],
                )
            elif name == "crossover":
                yield Task(
                    name,
                    precision,
                    options,
                    ["benchmarks.speed.crossover", *["--quick"] * arguments.quick],
                )
            elif name in CURVES:
                curve = CURVES[name]
                for value, size in curve.sizes().items():
                    command = [
                        *measuring,
                        curve.workload,
                        "--only",
                        curve.only,
                        "--size",
                        json.dumps(size),
                    ]
                    more = {"curve": name, "value": value}
                    yield Task(
                        f"{curve.workload} {curve.field} {value}", precision, options, command, more
                    )
            else:
                only = arguments.only or (ON_JAX if options else "")
                yield Task(name, precision, options, [*measuring, name, "--only", only])


def profiles(arguments):
    """Yield the profiles of workloads that miss a target."""
    for name, started in STARTS.items():
        command = ["benchmarks.speed.profiles", name, "--rounds", str(arguments.rounds)]
        for precision, options in started:
            yield Task(
                f"why {name}", precision, options, [*command, *["--quick"] * arguments.quick]
            )


def starts(name, arguments):
    """Return how JAX is started for a row: with the precisions and options asked for, or with all that matter."""
    if arguments.precision or arguments.options:
        return [(precision, arguments.options) for precision in arguments.precision or PRECISIONS]
    if name.startswith("W"):
        wanted = [
            (target.precision, target.options) for target in TARGETS if target.workload == name
        ]
        return dict.fromkeys([*((precision, "") for precision in PRECISIONS), *wanted])
    return [("float64" if name in (*CURVES, "crossover") else "float32", "")]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = [*NAMES, "all"]
    parser.add_argument(
        "name", nargs="*", choices=[*choices, []], metavar="NAME", help=", ".join(choices)
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, action="append", help="only this one; may be repeated"
    )
    parser.add_argument(
        "--options", choices=OPTIONS, default="", help="only with these options of XLA"
    )
    parser.add_argument("--only", default="", metavar="A,B", help="beside these libraries only")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--again", action="store_true", help="measure rows that are there, too")
    parser.add_argument(
        "--rounds", type=int, default=15, help="samples of each library (default 15)"
    )
    parser.add_argument("--core", type=int, help="the core to stay on (default the last)")
    parser.add_argument("--platform", default="cpu", help="of JAX (default cpu)")
    parser.add_argument(
        "--out", type=Path, help="folder of the results (default here; results/speed with --quick)"
    )
    arguments = parser.parse_args()
    out = arguments.out or (Path("results/speed") if arguments.quick else HERE)
    pin(arguments.core)
    for name, precision, options, command, more in tasks(arguments):
        key = store.key(name, precision, options)
        if arguments.again or key not in store.load(out):
            print(f"{key} ...", flush=True)
            row = child(command, precision, options, arguments.platform)
            store.save(out, key, row | (more or {}) | {"quick": arguments.quick})
            write_page(out)
    write_page(out)


if __name__ == "__main__":
    main()
