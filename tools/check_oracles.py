"""Check filters, smoothers, samplers, EM, forecasts and gradients on random linear records.

    python tools/check_oracles.py --cases 2000            # some minutes of compilation, then quick
    python tools/check_oracles.py --cases 200 --shapes 3 --seed 4   # another seed and other shapes
    python tools/check_oracles.py --cases 500 --kinds opaque --dtypes float32
    python tools/check_oracles.py --only 'Traits(...)'    # a line that it printed

Every record is compared with the joint Gaussian of its states and observations, in exact fractions
if a covariance is singular. Failures are printed with the traits of the record, and the exit status
is then 1.
"""

import argparse
import collections
import contextlib
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1])]

from hypothesis import HealthCheck, given, seed, settings  # noqa: E402  # after the path
from support.oracle_checks import assert_record  # noqa: E402
from support.random_models import Shape, Traits, traits  # noqa: E402

KINDS, DTYPES = ("constant", "varying", "opaque"), ("float32", "float64")
DIMENSIONS = ((1, 1), (2, 3), (5, 2), (3, 3), (2, 1), (6, 4), (4, 2))


def shapes(kinds: list[str], dtypes: list[str], count: int, seed: int) -> list[Shape]:
    """Return the shapes to compile, which run through all dimensions, kinds, precisions and starts.

    With 12 shapes, the seeds 0 to 6 cover every combination.
    """
    chosen = []
    for index in range(seed * count, (seed + 1) * count):
        n, m = DIMENSIONS[index % len(DIMENSIONS)]
        turn, kind = divmod(index, len(kinds))
        turn, dtype = divmod(turn, len(dtypes))
        first = ("predict", "update")[(turn + index) % 2]
        chosen.append(Shape(n, m, kinds[kind], first, dtypes[dtype]))
    return chosen


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shapes", type=int, default=12, help="how many programs of each function")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--only", help="the traits of one record, as printed")
    return parser.parse_args()


def main() -> int:
    """Check records and print the failures; return 1 if there are any."""
    args = arguments()
    if args.only:
        print(
            *assert_record(eval(args.only, {"Traits": Traits, "Shape": Shape}), slow=True), sep="\n"
        )
        return 0
    made: collections.Counter[str] = collections.Counter()
    failures, begin = [], time.monotonic()

    @seed(args.seed)
    @settings(
        max_examples=args.cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(traits(shapes(args.kinds, args.dtypes, args.shapes, args.seed)))
    def each(record: Traits) -> None:
        try:
            made.update(["records", *assert_record(record, slow=True)])
        except Exception as error:
            failures.append(record)
            print(f"{record}\n    {type(error).__name__}: {error}\n", flush=True)

    with contextlib.suppress(KeyboardInterrupt):  # what was checked until then is printed
        each()
    for name, count in made.items():
        print(f"{name:32s} {count:6d}")
    print(f"{len(failures)} failures, {time.monotonic() - begin:.0f} s")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
