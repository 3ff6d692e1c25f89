"""Compare the time of `import kfjax` with that of `import jax`.

    python tools/import_time.py [--rounds N] [--check]

Both are timed in new processes, in turn, by the processor time of the whole process; the figure is
the ratio of the medians. Byte code is compiled beforehand, as it is for users. `--check` exits with
1 if the ratio exceeds `LIMIT`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 1.3


def seconds(code: str, environment: dict[str, str]) -> float:
    """Return the processor time of a new Python that runs the code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int) -> tuple[float, float]:
    """Return the median seconds of `import jax` and `import kfjax`."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        seconds("import kfjax", environment)  # writes the byte code of both
        pairs = [
            (seconds("import jax", environment), seconds("import kfjax", environment))
            for _ in range(rounds)
        ]
    jax, kfjax = zip(*pairs, strict=True)
    return statistics.median(jax), statistics.median(kfjax)


def main() -> int:
    """Print the times and their ratio, and check the limit if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often (default 7)")
    parser.add_argument("--check", action="store_true", help="exit with 1 beyond the limit")
    options = parser.parse_args()
    jax, kfjax = measure(options.rounds)
    ratio = kfjax / jax
    print(f"import jax {jax:.3f} s, import kfjax {kfjax:.3f} s, ratio {ratio:.2f}")
    if options.check and ratio > LIMIT:
        print(f"expected a ratio of at most {LIMIT}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
