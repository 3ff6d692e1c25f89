"""Write the table of docs/stress.md: hard problems in float32, against extended precision.

    python benchmarks/stress.py

It prints the table and puts it between the marks of the page. The cases and methods are those of tests/stress. It
takes some minutes, most of them to compile the parallel form of the larger cases.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "stress"))

from stress_cases import CASES, reference  # noqa: E402
from stress_methods import METHODS, put  # noqa: E402

PAGE = ROOT / "docs" / "stress.md"
MARKS = "<!-- table -->\n", "<!-- end of table -->\n"


def entry(method, case, expected):
    """The relative error of the log-likelihood, marked where a covariance is not definite."""
    result = put(method, case)
    definite = result.lowest > 0 and (result.pivot is None or result.pivot > 0)
    return f"{abs(result.log_likelihood - expected) / abs(expected):.0e}" + ("" if definite else " (indefinite)")


def rows():
    """The lines of the table."""
    yield f"| case | log-likelihood | {' | '.join(f'`{name}`' for name in METHODS)} |"
    yield "|---|---|" + "---|" * len(METHODS)
    for name, build in CASES.items():
        expected = reference(name)
        entries = " | ".join(entry(method, build(), expected) for method in METHODS)
        yield f"| {name} | {expected:.2f} | {entries} |"


def main():
    lines = []
    for line in rows():
        print(line, flush=True)
        lines.append(line + "\n")
    before, rest = PAGE.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    PAGE.write_text(before + MARKS[0] + "".join(lines) + MARKS[1] + after)


if __name__ == "__main__":
    main()
