"""Reproduce the experiments of the KalmanNet paper, and write the pages of results.

    python -m benchmarks.kalmannet all --out DIR      every study at its reduced size
    python -m benchmarks.kalmannet table1 --full      one study with five seeds and every point
    python -m benchmarks.kalmannet fig9 --row OEKF --out DIR      some rows, elsewhere
    python -m benchmarks.kalmannet                    only the pages and the figures
    python -m benchmarks.kalmannet --estimate         how long the rest takes at full size

Results are saved row by row, so that an interrupted run can continue. A study is measured again if
the code of its module or the size changed, or with --again. The authors' data sets are read from
the folder in KFJAX_DATA, by default ../shared/data; rows that need missing sets are left out. JAX
chooses the device: a GPU if there is one.
"""

import argparse
import time
from pathlib import Path

from benchmarks.kalmannet import estimate, page, store
from benchmarks.kalmannet.study import SIZES

HERE = Path(__file__).parent
ELSEWHERE = Path("results/kalmannet")
STUDIES = (
    "table1",
    "fig7a",
    "fig7b",
    "fig8",
    "fig9",
    "fig10",
    "fig11",
    "fig12",
    "table3",
    "table4",
    "nclt_odometry",
    "nclt_fusion",
    "cost",
)


def parsed(words=None):
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = [*STUDIES, "all"]
    options = {"choices": [*choices, []], "metavar": "STUDY", "help": ", ".join(choices)}
    parser.add_argument("study", nargs="*", **options)
    _add_sizes(parser)
    out = "folder of the results (default here; other sizes results/kalmannet)"
    parser.add_argument("--out", type=Path, help=out)
    parser.add_argument("--again", action="store_true", help="also measure rows that are stored")
    parser.add_argument("--row", default="", help="only rows whose name contains this text")
    accept = "measure nothing; mark stored rows as up to date after a change that keeps numbers"
    parser.add_argument("--accept", action="store_true", help=accept)
    whole = "measure nothing; estimate from stored rows how long the others take at full size"
    parser.add_argument("--estimate", action="store_true", help=whole)
    arguments = parser.parse_args(words)
    arguments.size = arguments.size or "reduced"
    if arguments.out is None:
        arguments.out = HERE if arguments.size == "reduced" else ELSEWHERE / arguments.size
    return arguments


def _add_sizes(parser):
    """Add the options that choose a size."""
    size = parser.add_mutually_exclusive_group()
    helps = {
        "quick": "only show that everything runs: a minute or two each",
        "full": "five seeds, every point: --estimate tells how long that takes",
    }
    for name, text in helps.items():
        size.add_argument(f"--{name}", dest="size", action="store_const", const=name, help=text)


def main(words=None):
    """Measure or accept the studies that are named, and write the pages."""
    arguments = parsed(words)
    names = STUDIES if "all" in arguments.study else tuple(arguments.study)
    size = SIZES[arguments.size]
    if arguments.estimate:
        estimate.write(HERE, ELSEWHERE / "full", names or STUDIES)
        names = ()
    begin = time.perf_counter()
    asked = 0
    for number, name in enumerate(names):
        if arguments.accept:
            store.accept(name, arguments.out)
            continue
        minutes = (time.perf_counter() - begin) / 60
        progress = f"study {number + 1} of {len(names)}, {size.name}, after {minutes:.1f} minutes"
        print(f"{name}: {progress}", flush=True)
        options = {"again": arguments.again, "only": arguments.row}
        asked += store.measure(name, arguments.out, size, **options)
        page.write(arguments.out, STUDIES)
    if arguments.row and names and not asked:
        raise SystemExit(f"nothing measured: no row contains {arguments.row!r}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    page.write(arguments.out, STUDIES)


if __name__ == "__main__":
    main()
