"""The question that a table of filters answers, and the answer, computed from its rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kfjax.evaluation.intervals import Interval
from kfjax.evaluation.rows import Row

__all__: list[str] = []

# what a value below its acceptance interval means, and one above it
MEANINGS = {
    "anees": ("errors smaller than its covariance says", "errors larger than its covariance says"),
    "anis": ("innovations smaller than it predicts", "innovations larger than it predicts"),
    "autocorrelation": ("innovations that alternate", "innovations that persist"),
}


def question_of(rows: Sequence[Row]) -> str:
    """Return the question that a table answers."""
    if rows[0].mse_db is not None:
        return "Which filter has the least error, and is it consistent?"
    return "Which filter predicts y best, and is it consistent?"


def answer_of(rows: Sequence[Row], best: str | None) -> str:
    """Return the answer in a line; there is no verdict where intervals overlap."""
    leading = [row for row in rows if row.name == best]
    if not leading:
        return _without_best(rows)
    others = [row for row in rows if row.name != best]
    tied = [row for row in others if _is_tied(row)]
    ranked = _ranked(leading[0], tied, others)
    consistency = _of_several(leading + tied) if tied else _consistency(leading[0])
    return f"{ranked}; {consistency}."


def _without_best(rows: Sequence[Row]) -> str:
    """Return the answer where no filter is best."""
    if all(row.failed for row in rows):
        return "None: every filter failed."
    return "No verdict: the errors are measured in different ways."


def _least(row: Row) -> float | None:
    """Return a lower bound on how many dB worse than the best a filter is; None if unknown."""
    if row.failed or row.difference_db is None:
        return None
    return float(row.difference_db.low)


def _is_tied(row: Row) -> bool:
    """Return whether the interval of a difference to the best filter does not exclude 0."""
    least = _least(row)
    return least is not None and not least > 0  # also where there is no interval


def _ranked(best: Row, tied: Sequence[Row], others: Sequence[Row]) -> str:
    """Return which filter is best, and what is known about the others."""
    if not others:
        return f"Only {best.name} was run"
    clauses = [best.name]
    if tied:
        names = [best.name, *(row.name for row in tied)]
        clauses = [f"No verdict between {listed(names)} ({_why(tied)})"]
    worse = [least for least in map(_least, others) if least is not None and least > 0]
    if worse:
        who = "the others are" if len(worse) == len(others) else f"{len(worse)} others are"
        if len(worse) == 1:
            who = "the other is" if len(others) == 1 else "one other is"
        clauses.append(f"{who} worse by at least {min(worse):.2g} dB")
    failed = [row.name for row in others if row.failed]
    if failed:
        clauses.append(f"{listed(failed)} failed")
    unknown = [row.name for row in others if not row.failed and _least(row) is None]
    if unknown:
        clauses.append(f"{listed(unknown)} cannot be compared")
    return "; ".join(clauses)


def _why(tied: Sequence[Row]) -> str:
    """Return why there is no verdict."""
    if all(np.isfinite(_least(row) or 0.0) for row in tied):
        return "intervals of their differences contain 0"
    return "one trajectory gives no intervals"


def _of_several(rows: Sequence[Row]) -> str:
    """Return which filters fail the tests of consistency."""
    checked = [row for row in rows if _tests(row)]
    if not checked:
        return "they have no covariances to check"
    wrong = [row.name for row in checked if row.outside]
    if not wrong:
        whose = "their consistency"
        if len(checked) < len(rows):
            whose = f"the consistency of {listed([row.name for row in checked])}"
        return f"nothing speaks against {whose}"
    if len(wrong) == len(rows):
        return "none of them is consistent (see !)"
    verb = "is" if len(wrong) == 1 else "are"
    return f"{listed(wrong)} {verb} not consistent (see !)"


def _consistency(row: Row) -> str:
    """Return what the tests of consistency say about a filter."""
    tests = _tests(row)
    if not tests:
        return "it has no covariance to check"
    outside = [_meaning(name, test) for name, test in tests.items() if test.is_outside]
    if not outside:
        return "nothing speaks against its consistency"
    return f"it is not consistent: {listed(outside)}"


def _tests(row: Row) -> dict[str, Interval]:
    """Return the tests of consistency that a filter has."""
    tests = {name: getattr(row, name) for name in MEANINGS}
    return {name: t for name, t in tests.items() if t is not None and not np.isnan(t.value)}


def listed(names: Sequence[str]) -> str:
    """Return names with commas and an "and" between."""
    *first, last = [f'"{name}"' if "," in name else name for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _meaning(name: str, test: Interval) -> str:
    """Return what a value outside its interval means."""
    below, above = MEANINGS[name]
    return below if test.value < test.low else above
