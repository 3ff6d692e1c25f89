"""The parts of a study: rows to measure, the paper's numbers, targets, a verdict and a figure."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Size(NamedTuple):
    """The size of all studies.

    Attributes:
        name: "quick" shows that everything runs, "reduced" is the default of the page, "full" is
            everything.
        seeds: number of trainings of every network, from different random keys.
        levels: values of 1 / r^2 in dB, for studies that vary the noise.
    """

    name: str
    seeds: int
    levels: tuple[int, ...]

    def choose(self, quick, reduced, full):
        """Return the argument that belongs to this size."""
        return {"quick": quick, "reduced": reduced, "full": full}[self.name]

    def budget(self, budget):
        """Return a `Budget` with the seeds of this size; the quick size hardly trains."""
        if self.name == "quick":
            budget = budget.quick()
        return budget._replace(seeds=self.seeds)


SIZES = {
    "quick": Size("quick", 2, (10,)),
    "reduced": Size("reduced", 2, (-10, 10, 30)),
    "full": Size("full", 5, (-10, 0, 10, 20, 30)),
}


class Cell(NamedTuple):
    """The result of one estimator under one condition; every list has one entry per seed.

    Attributes:
        value: the figure in the unit of the study, mostly MSE in dB; NaN or infinite where a filter
            diverged.
        low: lower end of its 95 % confidence interval over trajectories, or None.
        high: upper end of that interval, or None.
        median: the median over trajectories, or None.
        anees: average normalised estimation error squared per dimension, or None without a
            covariance.
    """

    value: list[float]
    low: list[float] | None = None
    high: list[float] | None = None
    median: list[float] | None = None
    anees: list[float] | None = None


class Row(NamedTuple):
    """The results of one estimator.

    Attributes:
        cells: a `Cell` for every condition.
        settings: settings that were chosen to get these results.
        curves: curves for figures, `{name: {"x": [...], "y": [...]}}`; y may have a row per seed.
    """

    cells: dict[str, Cell]
    settings: dict[str, Any] | None = None
    curves: dict[str, Any] | None = None


class Results:
    """The stored rows of a study.

    `results(row, condition)` is the median over seeds. A row or condition that is not stored is a
    KeyError.
    """

    def __init__(self, stored: dict[str, Any]):
        self.stored = stored
        self.rows = stored["rows"]
        names = (name for row in self.rows.values() for name in row["cells"])
        self.conditions = list(dict.fromkeys(names))

    def has(self, row, condition):
        """Tell whether a stored row has a condition."""
        return condition in self.rows[row]["cells"]

    def cell(self, row, condition):
        """Return the `Cell` of a row under a condition."""
        return Cell(**self.rows[row]["cells"][condition])

    def seeds(self, row, condition):
        """Return the figures of all seeds; NaN where a filter diverged."""
        return np.array(self.cell(row, condition).value, float)

    def __call__(self, row, condition):
        """Return the median over seeds."""
        return float(np.median(self.seeds(row, condition)))

    def gaps(self, row, other):
        """Return how far a row is above another, for every condition that both have."""
        common = [n for n in self.conditions if self.has(row, n) and self.has(other, n)]
        return {name: self(row, name) - self(other, name) for name in common}

    def gap(self, row, other):
        """Return the largest of the gaps; infinite where a filter diverged."""
        gaps = self.gaps(row, other)
        if not gaps:
            raise KeyError(row)
        return _largest(list(gaps.values()))

    def off(self, row, numbers):
        """Return the largest distance of a row from other numbers, over the conditions it has."""
        known = [name for name in numbers[row] if self.has(row, name)]
        if not known:
            raise KeyError(row)
        return _largest([abs(self(row, name) - numbers[row][name]) for name in known])

    def above(self, row, numbers):
        """Return how far a row is above other numbers at most; negative if below all of them."""
        return max(self(row, name) - value for name, value in numbers[row].items())

    def off_any(self, numbers):
        """Return the largest distance of any row from other numbers."""
        return max(self.off(row, numbers) for row in numbers)

    def best(self, condition, among):
        """Return the name of the best row."""
        return min(among, key=lambda row: np.nan_to_num(self(row, condition), nan=np.inf))


def _largest(values):
    """Return the largest value; NaN counts as infinite."""
    return float(np.nan_to_num(values, nan=np.inf).max())


class Target(NamedTuple):
    """A goal that was set before: a figure that should not exceed a limit.

    Attributes:
        text: the goal in words.
        value: `(results) -> float`; it may raise a KeyError if the size lacks the figure.
        limit: largest value that reaches the goal.
    """

    text: str
    value: Callable[[Results], float]
    limit: float


class Verdict(NamedTuple):
    """What a study says of a claim, and why.

    Attributes:
        claim: one sentence of at most 20 words, without the full stop.
        holds: whether the results support the claim.
        details: sentences with the figures behind it.
    """

    claim: str
    holds: bool
    details: tuple[str, ...] = ()

    @property
    def word(self):
        """The verdict in words."""
        return "holds" if self.holds else "does not hold"


Numbers = dict[str, dict[str, float]]  # by row and condition
NOTHING = MappingProxyType({})


class Study(NamedTuple):
    """One experiment: a module of the package with a constant `STUDY`.

    Attributes:
        title: heading, with the paper's table or figure.
        text: the setting; choices that the paper leaves open are said to be ours.
        rows: `(size) -> {row: () -> Row}`, in the order of the table. Nothing is computed before a
            row is called.
        verdict: `(results) -> Verdict`.
        paper: numbers that the paper prints.
        reference: numbers of others on the same data: of reference filters, or of the authors'
            retrained code.
        floor: the row that no estimator can beat, or None.
        why: explanations of differences of more than 0.3 dB from the paper, by row.
        targets: goals that were set before.
        notes: what was tried without success, or is missing.
        draw: `(results) -> matplotlib Figure`, or None.
        unit: unit of the figures.
        digits: number of decimals.
    """

    title: str
    text: str
    rows: Callable[[Size], dict[str, Callable[[], Row]]]
    verdict: Callable[[Results], Verdict]
    paper: Numbers = NOTHING
    reference: Numbers = NOTHING
    floor: str | None = None
    why: dict[str, str] = NOTHING
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    draw: Callable[[Results], Any] | None = None
    unit: str = "MSE in dB"
    digits: int = 2
