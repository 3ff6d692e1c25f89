"""Measure what learned filters reach, and write the table of all results.

python -m benchmarks.learned table1 [--quick] [--again] [--row TEXT] [--out DIR]

The results of a study are saved after every row, and rows that are there are kept: a run that was
stopped goes on. The official data sets are read from the folder in KFJAX_DATA, by default
../shared/data.
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
    "calibration",
    "speed",
    "ablation",
    "seeds",
)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "study",
        nargs="*",
        choices=[*STUDIES, []],
        help="which studies; none writes the table alone",
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    parser.add_argument(
        "--quick", action="store_true", help="two seeds and few steps: does it run at all"
    )
    parser.add_argument("--again", action="store_true", help="measure rows that are there, too")
    parser.add_argument("--row", default="", help="only rows whose name contains this text")
    arguments = parser.parse_args()
    for name in arguments.study:
        measure(
            name,
            study_of(name),
            arguments.out,
            quick=arguments.quick,
            again=arguments.again,
            only=arguments.row,
        )
    write_page(arguments.out)


if __name__ == "__main__":
    main()
