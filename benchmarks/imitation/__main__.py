"""Train the networks of notebook 05, and store their curves.

    python -m benchmarks.imitation [--updates 5000 10000 20000] [--group NAME ...] [--longer]

A run continues where the last one stopped; with more updates it trains further.
"""

import argparse
from pathlib import Path

from benchmarks.imitation import longer
from benchmarks.imitation.experiments import STEPS, groups
from benchmarks.imitation.study import data_of, extend

HERE = Path(__file__).parent


def main():
    """Train all groups up to a number of updates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reach = "numbers of updates that all groups reach one after the other"
    parser.add_argument(
        "--updates", type=int, nargs="+", default=[5_000, 10_000, 20_000], help=reach
    )
    parser.add_argument("--group", nargs="*", default=[], help="only these groups")
    parser.add_argument("--states", type=Path, default=Path("runs/imitation"), help="unfinished")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    parser.add_argument("--longer", action="store_true", help="only the study of longer runs")
    arguments = parser.parse_args()
    if arguments.longer or not arguments.group:
        longer.measure(arguments.out / "longer.json")
    if arguments.longer:
        return
    data = data_of(STEPS)
    chosen = {
        name: group
        for name, group in groups().items()
        if not arguments.group or name in arguments.group
    }
    for updates in arguments.updates:
        for name, group in chosen.items():
            path = arguments.out / "imitation.json"
            extend(path, arguments.states, name, group, data, updates)
            print(f"{name}: {updates} updates", flush=True)


if __name__ == "__main__":
    main()
