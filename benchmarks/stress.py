"""Write the tables of docs/methods/float32-stress.md: hard problems in float32.

    python benchmarks/stress.py

Errors are relative to extended precision. The tables are printed, and put between the marks of the
page. Cases and methods are those of tests/stress. It takes some minutes, mostly to compile the
parallel form of the larger cases.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.stress_cases import CASES, log_likelihood, parabola, reference  # noqa: E402
from support.stress_methods import METHODS, put  # noqa: E402

PAGE = ROOT / "docs" / "methods" / "float32-stress.md"
SEEDS = range(8)
OF_PARABOLAS = (
    "kalman",
    "extended",
    "unscented",
    "parallel",
    "extended, f = F @ x",
    "unscented, f = F @ x",
)


def entry(method, case, expected):
    """Return the relative error of the log-likelihood, marked if a covariance is indefinite."""
    result = put(method, case)
    error = abs(result.log_likelihood - expected) / abs(expected)
    definite = result.lowest > 0 and (result.pivot is None or result.pivot > 0)
    return f"{error:.0e}" if definite else f"{error:.0e} (indefinite)"


def rows():
    """Yield the lines of the first table."""
    yield f"| case | log-likelihood | {' | '.join(f'`{name}`' for name in METHODS)} |"
    yield "|---|---|" + "---|" * len(METHODS)
    for name, build in CASES.items():
        expected = reference(name)
        entries = " | ".join(entry(method, build(), expected) for method in METHODS)
        yield f"| {name} | {expected:.2f} | {entries} |"


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
