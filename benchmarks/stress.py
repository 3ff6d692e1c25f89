"""Write the table of docs/methods/float32-stress.md: hard problems in float32, against extended precision.

    python benchmarks/stress.py

It prints the tables and puts each between the marks of the page. The cases and methods are those of
tests/stress. It takes some minutes, most of them to compile the parallel form of the larger cases.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.stress_cases import CASES, log_likelihood, parabola, reference  # noqa: E402
from support.stress_methods import METHODS, put  # noqa: E402

PAGE = ROOT / "docs" / "methods" / "float32-stress.md"
SEEDS = range(8)


def entry(method, case, expected):
    """The relative error of the log-likelihood, marked where a covariance is not definite."""
    result = put(method, case)
    definite = result.lowest > 0 and (result.pivot is None or result.pivot > 0)
    return f"{abs(result.log_likelihood - expected) / abs(expected):.0e}" + (
        "" if definite else " (indefinite)"
    )


def rows():
    """The lines of the table."""
    yield f"| case | log-likelihood | {' | '.join(f'`{name}`' for name in METHODS)} |"
    yield "|---|---|" + "---|" * len(METHODS)
    for name, build in CASES.items():
        expected = reference(name)
        entries = " | ".join(entry(method, build(), expected) for method in METHODS)
        yield f"| {name} | {expected:.2f} | {entries} |"


def relative_error(method, case):
    """The signed relative error of the log-likelihood."""
    expected = log_likelihood(case)
    return (put(method, case).log_likelihood - expected) / abs(expected)


def parabolas():
    """The lines of the second table: other records of the parabola."""
    yield f"| method | {' | '.join(f'record {seed}' for seed in SEEDS)} |"
    yield "|---|" + "---|" * len(SEEDS)
    for method in (
        "kalman",
        "extended",
        "unscented",
        "parallel",
        "extended, f = F @ x",
        "unscented, f = F @ x",
    ):
        errors = (relative_error(method, parabola(seed)) for seed in SEEDS)
        yield f"| `{method}` | {' | '.join(f'{error:+.0e}' for error in errors)} |"


def replace(name, lines):
    """Print a table, and put it between its marks in the page."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    text = "".join(f"{line}\n" for line in lines)
    print(text, flush=True)
    before, rest = PAGE.read_text().split(begin)
    PAGE.write_text(before + begin + text + end + rest.split(end)[1])


def main():
    replace("table", rows())
    replace("parabolas", parabolas())


if __name__ == "__main__":
    main()
