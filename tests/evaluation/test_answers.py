"""The line under a table says what its rows say, and nothing where intervals overlap."""

import io

import numpy as np
import pytest
from rich.console import Console

from kfjax.evaluation import Comparison, Interval, Row
from kfjax.evaluation.answers import answer_of, question_of
from kfjax.evaluation.tables import comparison_table

SETTINGS = {"level": 0.95, "trajectories": 9, "steps": 5, "dtype": "float32", "device": "cpu"}
RIGHT = Interval(1.0, 0.9, 1.1)


def row(name, difference=(0.0, 0.0, 0.0), *, failed=0, anees=RIGHT, anis=RIGHT, truth=True):
    """Return a row; `difference` is by how many dB it is worse than the best."""
    error = Interval(-3.0, -3.5, -2.5)
    return Row(
        name=name,
        trajectories=9,
        failed=failed,
        rejected=None,
        mse_db=error if truth else None,
        median_db=-3.0,
        difference_db=None if difference is None else Interval(*difference),
        anees=anees if truth else None,
        coverage=None,
        anis=anis,
        log_likelihood=error,
        prediction_db=error,
        autocorrelation=None,
        whiteness=None,
        microseconds=1.0,
        compile_seconds=1.0,
    )


LARGE = Interval(1.5, 0.9, 1.1)
SMALL = Interval(0.5, 0.9, 1.1)
NONE = None
CASES = {
    "a; the others are worse by at least 0.5 dB; nothing speaks against its consistency.": [
        row("a"),
        row("b", (1.0, 0.5, 1.5)),
        row("c", (9.0, 8.0, 10.0)),
    ],
    "a; the other is worse by at least 0.5 dB; it is not consistent: errors larger than its"
    " covariance says and innovations smaller than it predicts.": [
        row("a", anees=LARGE, anis=SMALL),
        row("b", (1.0, 0.5, 1.5)),
    ],
    "No verdict between a and b (intervals of their differences contain 0); one other is worse"
    " by at least 8 dB; b is not consistent (see !).": [
        row("a"),
        row("b", (1.0, -0.5, 2.5), anis=LARGE),
        row("c", (9.0, 8.0, 10.0), anis=LARGE),
    ],
    'No verdict between a and "b, tuned" (one trajectory gives no intervals); they have no'
    " covariances to check.": [
        row("a", anees=NONE, anis=NONE),
        row("b, tuned", (1.0, -np.inf, np.inf), anees=NONE, anis=NONE),
    ],
    "a; b and c failed; d cannot be compared; nothing speaks against its consistency.": [
        row("a"),
        row("b", (np.nan, np.nan, np.nan), failed=1),
        row("c", None, failed=9),
        row("d", None),
    ],
    "No verdict between a and b (intervals of their differences contain 0); nothing speaks"
    " against the consistency of a.": [row("a"), row("b", (1.0, -0.5, 2.5), anees=NONE, anis=NONE)],
    "No verdict between a and b (intervals of their differences contain 0); a is not consistent"
    " (see !).": [row("a", anis=LARGE), row("b", (1.0, -0.5, 2.5), anees=NONE, anis=NONE)],
    "Only a was run; it has no covariance to check.": [row("a", anees=NONE, anis=NONE)],
}


@pytest.mark.parametrize("answer", CASES)
def test_answers(answer):
    assert answer_of(CASES[answer], "a") == answer


def test_without_a_best_filter():
    assert answer_of([row("a", None, failed=9)], None) == "None: every filter failed."
    assert "measured in different ways" in answer_of([row("a", None), row("b", None)], None)


def test_the_question_is_that_of_the_errors():
    assert question_of([row("a")]).startswith("Which filter has the least error")
    assert question_of([row("a", truth=False)]).startswith("Which filter predicts y best")


def test_an_answer_never_contradicts_its_rows():
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows = [row("best", anees=Interval(*rng.normal(1, 0.2, 3)))]
        for name in "bcd"[: rng.integers(4)]:
            half = rng.exponential()
            middle = rng.exponential()
            difference = (middle, middle - half, middle + half)
            rows.append(row(name, difference, failed=int(rng.random() < 0.2)))
        text = answer_of(rows, "best")
        rivals = [one for one in rows[1:] if not one.failed]
        tied = [one.name for one in rivals if one.difference_db.low <= 0]
        assert text.startswith("No verdict between best, " if len(tied) > 1 else "") or tied
        assert text.startswith("No verdict") == bool(tied)
        assert ("nothing speaks against" in text) == (not rows[0].outside)
        for one in rows:
            assert (f"{one.name} failed" in text or f" {one.name} and " in text) or not one.failed


@pytest.mark.parametrize("width", [80, 140])
def test_an_ascii_terminal_shows_a_table_whose_lines_meet(width):
    file = io.TextIOWrapper(io.BytesIO(), "ascii")
    rows = [row("a"), row("b", (1.0, -0.5, 2.5), anis=LARGE)]
    how = {"narrow": width < 120, "ascii_only": True}
    console = Console(file=file, width=width)
    console.print(comparison_table(rows, "a", SETTINGS, **how))
    file.seek(0)
    text = file.read()
    assert "+-0.50" in text
    assert "us/step" in text
    rows_of_text = [line for line in text.splitlines() if line.startswith("|")]
    rule = rows_of_text.pop(1)
    bars = {tuple(np.flatnonzero(np.array(list(line)) == "|")) for line in rows_of_text}
    assert bars == {(0, *np.flatnonzero(np.array(list(rule)) == "+"), len(rule) - 1)}


def test_a_comparison_prints_in_the_signs_that_stdout_has(monkeypatch):
    comparison = Comparison((row("a"),), "a", {}, None, {}, {}, SETTINGS)
    assert "±" in str(comparison)
    assert comparison.answer in str(comparison)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    print(comparison)  # no UnicodeEncodeError
    assert "±" not in str(comparison)
