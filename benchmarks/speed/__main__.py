"""Measure speed beside other libraries, and write the page of all results.

    python -m benchmarks.speed W2 W3          these workloads, in both precisions
    python -m benchmarks.speed all            everything that is missing
    python -m benchmarks.speed                the page alone

Each row is measured in a process of its own, pinned to one core, all libraries in turn; rows that are there are kept.
The libraries come with `pip install -e .[bench]`; what is not installed is skipped.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.speed import store
from benchmarks.speed.page import write_page
from kfjax.evaluation.timing import pin
from kfjax.evaluation.workloads import WORKLOADS

HERE = Path(__file__).parent
PRECISIONS = ("float64", "float32")
# read when JAX starts; by name, since they must not be combined
OPTIONS = {
    "fusion": "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true",
    "loops": "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=100000",
}


def measure(workload, precision, options, arguments):
    """Run the process of one row; return its result."""
    environment = os.environ | {"JAX_ENABLE_X64": str(precision == "float64"), "JAX_PLATFORMS": arguments.platform}
    if options:
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {OPTIONS[options]}".strip()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "row.json"
        command = [sys.executable, "-m", "benchmarks.speed.measuring", workload, "--to", str(file)]
        command += ["--rounds", str(arguments.rounds), "--only", arguments.only, *["--quick"] * arguments.quick]
        subprocess.run(command, env=environment, check=True, cwd=HERE.parents[1])
        return json.loads(file.read_text()) | {"options": options}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="*", choices=[*WORKLOADS, "all", []], metavar="WORKLOAD")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="default both; may be repeated")
    parser.add_argument("--options", choices=OPTIONS, default="", help="start JAX with these options of XLA")
    parser.add_argument("--only", default="", metavar="A,B", help="beside these libraries only")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--again", action="store_true", help="measure rows that are there, too")
    parser.add_argument("--rounds", type=int, default=15, help="samples of each library (default 15)")
    parser.add_argument("--core", type=int, help="the core to stay on (default the last)")
    parser.add_argument("--platform", default="cpu", help="of JAX (default cpu)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    arguments = parser.parse_args()
    pin(arguments.core)
    for workload in WORKLOADS if "all" in arguments.workload else arguments.workload:
        for precision in arguments.precision or PRECISIONS:
            key = store.key(workload, precision, arguments.options)
            if arguments.again or key not in store.load(arguments.out):
                print(f"{key} ...", flush=True)
                store.save(arguments.out, key, measure(workload, precision, arguments.options, arguments))
                write_page(arguments.out)
    write_page(arguments.out)


if __name__ == "__main__":
    main()
