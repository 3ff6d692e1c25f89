"""Measure learned filters against tuned classical ones, and write the page of all results.

    python -m benchmarks.learned table1 [--quick] [--again] [--row TEXT] [--out DIR]
    python -m benchmarks.learned                      only the page

Results are saved after every row, so that an interrupted run can continue. The official data sets
are read from the folder in KFJAX_DATA, by default ../shared/data.
"""

import argparse
from pathlib import Path

from benchmarks.learned.results import measure, study_of, write_page

HERE = Path(__file__).parent
STUDIES = (
    "table1",
    "lorenz_spherical",
    "decimated",
    "rotated_h",
    "smoothing",
    "calibration",
    "recipe",
    "uncertainty",
    "speed",
    "ablation",
    "seeds",
)


def main():
    """Measure the studies that are named, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = "studies to measure; none writes only the page"
    parser.add_argument("study", nargs="*", choices=[*STUDIES, []], help=which)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    quick = "two seeds and few updates: only show that everything runs"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--again", action="store_true", help="also measure rows that are stored")
    parser.add_argument("--row", default="", help="only rows whose name contains this text")
    arguments = parser.parse_args()
    options = {"quick": arguments.quick, "again": arguments.again, "only": arguments.row}
    for name in arguments.study:
        measure(name, study_of(name), arguments.out, **options)
    write_page(arguments.out)


if __name__ == "__main__":
    main()
