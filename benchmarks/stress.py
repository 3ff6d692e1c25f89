"""Write the tables of docs/methods/float32-stress.md: hard problems in float32.

    python benchmarks/stress.py

Errors are relative to extended precision; an entry is the largest of ten records of its case, which
differ by the noise. The tables are printed, and put between the marks of the page. Cases and
methods are those of tests/stress. It takes some minutes, mostly to compile the parallel form of the
larger cases.
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.stress_cases import CASES, log_likelihood, log_likelihoods, parabola  # noqa: E402
from support.stress_methods import METHODS, put  # noqa: E402

PAGE = ROOT / "docs" / "methods" / "float32-stress.md"
RECORDS = range(10)
SEEDS = range(8)
OF_PARABOLAS = (
    "kalman",
    "extended",
    "unscented",
    "parallel",
    "extended, f = F @ x",
    "unscented, f = F @ x",
)


def entry(method, cases, expected):
    """Return the largest relative error, marked if any record has an indefinite covariance."""
    results = [put(method, case) for case in cases]
    found = np.array([result.log_likelihood for result in results])
    error = np.max(np.abs(found - expected) / np.abs(expected))  # NaN if one is
    definite = all(is_definite(result) for result in results)
    return f"{error:.0e}" if definite else f"{error:.0e} (indefinite)"


def is_definite(result):
    """Return whether every covariance and every factor of a run is positive definite."""
    return result.lowest > 0 and (result.pivot is None or result.pivot > 0)


def rows():
    """Yield the lines of the first table."""
    yield f"| case | log-likelihood | {' | '.join(f'`{name}`' for name in METHODS)} |"
    yield "|---|---|" + "---|" * len(METHODS)
    for name, build in CASES.items():
        cases = [build(seed) for seed in RECORDS]
        expected = log_likelihoods(cases)
        entries = " | ".join(entry(method, cases, expected) for method in METHODS)
        yield f"| {name} | {spread(expected)} | {entries} |"


def spread(values):
    """Return the smallest and the largest value."""
    low, high = (f"{value:.0f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def relative_error(method, case):
    """Return the signed relative error of the log-likelihood."""
    expected = log_likelihood(case)
    return (put(method, case).log_likelihood - expected) / abs(expected)


def parabolas():
    """Yield the lines of the second table: other records of the parabola."""
    yield f"| method | {' | '.join(f'record {seed}' for seed in SEEDS)} |"
    yield "|---|" + "---|" * len(SEEDS)
    for method in OF_PARABOLAS:
        errors = (relative_error(method, parabola(seed)) for seed in SEEDS)
        yield f"| `{method}` | {' | '.join(f'{error:+.0e}' for error in errors)} |"


def replace(name, lines):
    """Print a table and put it between its marks in the page."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    text = "".join(f"{line}\n" for line in lines)
    print(text, flush=True)
    before, rest = PAGE.read_text().split(begin)
    PAGE.write_text(before + begin + text + end + rest.split(end)[1])


def main():
    """Write both tables."""
    replace("table", rows())
    replace("parabolas", parabolas())


if __name__ == "__main__":
    main()
