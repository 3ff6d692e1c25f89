"""Call every public function with one bad argument at a time, and print what happens.

python tools/bad_calls.py                # everything, some minutes
python tools/bad_calls.py run evaluation # rows whose names start with these
"""

import collections
import os
import sys
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1])]

from support.bad_calls import calls, outcome  # noqa: E402  # after the path
from support.good_calls import GOOD  # noqa: E402

KINDS = ("clear", "accepted", "nan", "obscure", "slow")


def chosen(prefixes: list[str]) -> list[str]:
    """Return the rows whose names start with one of the prefixes; all rows without prefixes."""
    return [name for name in GOOD if not prefixes or name.startswith(tuple(prefixes))]


def main(prefixes: list[str]) -> int:
    """Print the table and the failures; return 1 if there are any."""
    totals: collections.Counter[str] = collections.Counter()
    failures = []
    for name in chosen(prefixes):
        counts: collections.Counter[str] = collections.Counter()
        for bad, arguments in calls([name]):
            kind, text = outcome(bad, arguments)
            counts[kind] += 1
            if kind in ("nan", "obscure", "slow"):
                line = f"{kind:8s} {bad.name}: {bad.argument} = {bad.label}: {text[:150]}"
                failures.append(line)
                print(line, flush=True)
        totals += counts
        print(f"{name:34s}", *(f"{kind} {counts[kind]:4d}" for kind in KINDS), flush=True)
    print(f"{'all':34s}", *(f"{kind} {totals[kind]:4d}" for kind in KINDS))
    print(f"\n{len(failures)} failures of {sum(totals.values())} calls")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
