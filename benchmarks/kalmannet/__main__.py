"""Reproduce the experiments of the KalmanNet paper, and write the page of all results.

    python -m benchmarks.kalmannet all --out DIR      every study at its reduced size
    python -m benchmarks.kalmannet table1 --full      one study with five seeds and every point
    python -m benchmarks.kalmannet                    the page and the figures alone

Results are saved row by row: a run that was stopped goes on, and a study is measured again only if
its module or the size changed, unless --again says so. The authors' data sets are read from the
folder in KFJAX_DATA, by default ../shared/data; rows that need them are left out where they are
not. JAX picks the device: a GPU where there is one.
"""

import argparse
import time
from pathlib import Path

from benchmarks.kalmannet import page, store
from benchmarks.kalmannet.study import SIZES

HERE = Path(__file__).parent
STUDIES = (
    *("table1", "fig7a", "fig7b", "fig8", "fig9", "fig10", "fig11", "fig12", "table3", "table4"),
    *("nclt_odometry", "nclt_fusion", "cost"),
)
FULL = "about 18 hours of one core, estimated from the reduced sizes; it was never run whole"


def parsed(words=None):
    """Return the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = [*STUDIES, "all"]
    parser.add_argument(
        "study", nargs="*", choices=[*choices, []], metavar="STUDY", help=", ".join(choices)
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick",
        dest="size",
        action="store_const",
        const="quick",
        help="does it run at all: a minute or two each",
    )
    size.add_argument(
        "--full",
        dest="size",
        action="store_const",
        const="full",
        help=f"five seeds, every point: {FULL}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the results (default here; other sizes results/kalmannet)",
    )
    parser.add_argument("--again", action="store_true", help="measure rows that are there, too")
    parser.add_argument("--row", default="", help="only rows whose name contains this text")
    parser.add_argument(
        "--accept",
        action="store_true",
        help="measure nothing; mark stored rows as up to date after a change that keeps numbers",
    )
    arguments = parser.parse_args(words)
    arguments.size = arguments.size or "reduced"
    arguments.out = arguments.out or (
        HERE if arguments.size == "reduced" else Path("results/kalmannet") / arguments.size
    )
    return arguments


def main(words=None):
    arguments = parsed(words)
    names = STUDIES if "all" in arguments.study else tuple(arguments.study)
    size = SIZES[arguments.size]
    begin = time.perf_counter()
    if arguments.size == "full":
        print(f"all studies at full size take {FULL}", flush=True)
    for number, name in enumerate(names):
        minutes = (time.perf_counter() - begin) / 60
        print(
            f"{name}: study {number + 1} of {len(names)}, {size.name}, after {minutes:.1f} minutes",
            flush=True,
        )
        if arguments.accept:
            store.accept(name, arguments.out)
            continue
        store.measure(name, arguments.out, size, again=arguments.again, only=arguments.row)
        page.write(arguments.out, STUDIES)
    arguments.out.mkdir(parents=True, exist_ok=True)
    page.write(arguments.out, STUDIES)


if __name__ == "__main__":
    main()
