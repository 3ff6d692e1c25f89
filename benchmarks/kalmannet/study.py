"""What a study is: rows to measure, and how they are read: the paper's numbers, targets, a verdict, a figure."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Size(NamedTuple):
    """How much of every study is done.

    Attributes:
        name: "quick" shows that everything runs, "reduced" is what the page has by default, "full"
            is everything.
        seeds: trainings of every network, from random keys of their own.
        levels: 1 / r^2 in dB, of studies that go over the noise.
    """

    name: str
    seeds: int
    levels: tuple[int, ...]

    def choose(self, quick, reduced, full):
        """Return what belongs to this size."""
        return {"quick": quick, "reduced": reduced, "full": full}[self.name]

    def budget(self, budget):
        """Return a training's `Budget` with the seeds of this size; in the quick one it hardly trains."""
        return (budget.quick() if self.name == "quick" else budget)._replace(seeds=self.seeds)


SIZES = {
    "quick": Size("quick", 2, (10,)),
    "reduced": Size("reduced", 2, (-10, 10, 30)),
    "full": Size("full", 5, (-10, 0, 10, 20, 30)),
}


class Cell(NamedTuple):
    """One figure, of one estimator under one condition; every list has one entry per seed.

    Attributes:
        value: in the study's unit, mostly MSE in dB; NaN or infinite where a filter diverged.
        low: lower end of its 95 % confidence interval over trajectories, or None.
        high: upper end.
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
    """What one estimator did.

    Attributes:
        cells: by condition.
        settings: what was chosen to get them.
        curves: for figures, `{name: {"x": [...], "y": [...]}}`; y may have a row per seed.
    """

    cells: dict[str, Cell]
    settings: dict[str, Any] | None = None
    curves: dict[str, Any] | None = None


class Results:
    """The stored rows of a study. `results(row, condition)` is the median over the seeds; a KeyError says it lacks."""

    def __init__(self, stored: dict[str, Any]):
        self.stored = stored
        self.rows = stored["rows"]
        self.conditions = list(
            dict.fromkeys(name for row in self.rows.values() for name in row["cells"])
        )

    def cell(self, row, condition):
        """Return the `Cell` of a row under a condition."""
        return Cell(**self.rows[row]["cells"][condition])

    def seeds(self, row, condition):
        """Return the figures of all seeds; NaN where a filter diverged."""
        return np.array(self.cell(row, condition).value, float)

    def __call__(self, row, condition):
        """Return the median over the seeds."""
        return float(np.median(self.seeds(row, condition)))

    def gaps(self, row, other):
        """Return by how much a row is above another, by condition that both have."""
        common = [
            name
            for name in self.conditions
            if all(name in self.rows[key]["cells"] for key in (row, other))
        ]
        return {name: self(row, name) - self(other, name) for name in common}

    def gap(self, row, other):
        """Return the largest of the gaps, infinite where a filter diverged."""
        if not (gaps := self.gaps(row, other)):
            raise KeyError(row)
        return max(np.nan_to_num(list(gaps.values()), nan=np.inf).tolist())

    def off(self, row, numbers):
        """Return how far a row is at most from numbers of others, of those conditions that it has."""
        known = [name for name in numbers[row] if name in self.rows[row]["cells"]]
        distances = [abs(self(row, name) - numbers[row][name]) for name in known]
        if not distances:
            raise KeyError(row)
        return max(np.nan_to_num(distances, nan=np.inf).tolist())

    def above(self, row, numbers):
        """Return how far a row is at most above numbers of others, negative where it is below all of them."""
        return max(self(row, name) - value for name, value in numbers[row].items())

    def off_any(self, numbers):
        """Return how far any row is at most from numbers of others."""
        return max(self.off(row, numbers) for row in numbers)

    def best(self, condition, among):
        """Return the name of the best row."""
        return min(among, key=lambda row: np.nan_to_num(self(row, condition), nan=np.inf))


class Target(NamedTuple):
    """What was set out to be reached: a figure that should not exceed a limit.

    Attributes:
        text: what is wanted.
        value: `(results) -> float`; a KeyError says that the size does not have it.
        limit: the figure is to be at most so much.
    """

    text: str
    value: Callable[[Results], float]
    limit: float


Numbers = dict[str, dict[str, float]]  # by row and condition
NOTHING = MappingProxyType({})


class Study(NamedTuple):
    """One experiment: a module of the package has one, as `STUDY`.

    Attributes:
        title: its heading, with the paper's table or figure.
        text: the setting; what the paper does not state is said to be our choice.
        rows: `(size) -> {row: () -> Row}`, in the order of the table; nothing is computed before a
            row is called.
        verdict: `(results) -> str`, one sentence: which estimator is best, by how much, and whether
            the claim stands.
        paper: the numbers that the paper prints.
        reference: numbers of others for the same data: of reference filters, or of the authors'
            retrained code.
        floor: the row that nothing can beat, if there is one.
        why: by row, what explains a difference of more than 0.3 dB from the paper.
        targets: what was set out to be reached.
        notes: what was tried and did not help, or is still missing.
        draw: `(results) -> matplotlib Figure`, or None.
        unit: of the values.
        digits: after the point.
    """

    title: str
    text: str
    rows: Callable[[Size], dict[str, Callable[[], Row]]]
    verdict: Callable[[Results], str]
    paper: Numbers = NOTHING
    reference: Numbers = NOTHING
    floor: str | None = None
    why: dict[str, str] = NOTHING
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    draw: Callable[[Results], Any] | None = None
    unit: str = "MSE in dB"
    digits: int = 2
