"""The results of a study: rows and cells, their figures with intervals, and comparisons of rows."""

from typing import Any, NamedTuple

import numpy as np


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


class Measure(NamedTuple):
    """A figure with its interval.

    Attributes:
        value: the figure.
        low: lower end of its interval, over trajectories or over seeds.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float


def worst(values):
    """Return the largest value; NaN counts as infinite, and no values are a KeyError."""
    values = list(values)
    if not values:
        raise KeyError("no figure of this kind is stored")
    return float(np.nan_to_num(values, nan=np.inf).max())


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
        """Return whether a stored row has a condition."""
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

    def gaps(self, row, other, start=""):
        """Return how far a row is above another, for every condition that both have.

        `start` leaves out conditions whose names start differently.
        """
        names = [name for name in self.conditions if name.startswith(start)]
        common = [name for name in names if self.has(row, name) and self.has(other, name)]
        return {name: self(row, name) - self(other, name) for name in common}

    def gap(self, row, other):
        """Return the largest of the gaps; infinite where a filter diverged."""
        return worst(self.gaps(row, other).values())

    def widest_gap(self, row, other, start=""):
        """Return the largest of the gaps as a `Measure` over seeds.

        Both rows have the same trajectories, so that the gap varies less than either error.
        """
        gaps = self.gaps(row, other, start)
        value = worst(gaps.values())
        at = max(gaps, key=gaps.get)
        low = self.seeds(row, at).min() - self(other, at)
        high = worst(self.seeds(row, name).max() - self(other, name) for name in gaps)
        return Measure(value, float(low), high)

    def off(self, row, numbers):
        """Return the largest distance of a row from other numbers, over the conditions it has."""
        known = self._known(row, numbers)
        return worst(abs(self(row, name) - numbers[row][name]) for name in known)

    def off_every_seed(self, row, numbers):
        """Return the largest distance of any seed from other numbers."""
        known = self._known(row, numbers)
        return worst(
            abs(seed - numbers[row][name]) for name in known for seed in self.seeds(row, name)
        )

    def interval(self, row, condition):
        """Return a figure as a `Measure`, with the widest 95 % interval of its seeds."""
        cell = self.cell(row, condition)
        return Measure(self(row, condition), min(cell.low), max(cell.high))

    def apart(self, row, other, condition):
        """Return how far a row is above another as a `Measure`, by both 95 % intervals."""
        ours, theirs = self.interval(row, condition), self.interval(other, condition)
        low, high = ours.low - theirs.high, ours.high - theirs.low
        return Measure(ours.value - theirs.value, low, high)

    def away(self, row, numbers):
        """Return the largest distance from numbers on other data, as a `Measure`.

        The largest distance within the 95 % intervals over trajectories is its upper end.
        """
        known = self._known(row, numbers)
        ends = [
            abs(end - numbers[row][name])
            for name in known
            for end in (*self.cell(row, name).low, *self.cell(row, name).high)
        ]
        return Measure(self.off(row, numbers), 0.0, worst(ends))

    def above(self, row, numbers):
        """Return the largest distance of a row above numbers on other data, as a `Measure`."""
        known = self._known(row, numbers)
        value = worst(self(row, name) - numbers[row][name] for name in known)
        low = worst(min(self.cell(row, name).low) - numbers[row][name] for name in known)
        high = worst(max(self.cell(row, name).high) - numbers[row][name] for name in known)
        return Measure(value, low, high)

    def outside(self, row, other):
        """Return the largest distance of another row outside the 95 % intervals of a row."""
        names = self.gaps(row, other)
        distances = []
        for name in names:
            cell, value = self.cell(row, name), self(other, name)
            distances.append(max(0.0, min(cell.low) - value, value - max(cell.high)))
        return worst(distances)

    def off_any(self, numbers):
        """Return the largest distance of any row from other numbers."""
        return max(self.off(row, numbers) for row in numbers)

    def best(self, condition, among):
        """Return the name of the best row."""
        there = [row for row in among if row in self.rows and self.has(row, condition)]
        if not there:
            raise KeyError(condition)
        return min(there, key=lambda row: np.nan_to_num(self(row, condition), nan=np.inf))

    def _known(self, row, numbers):
        """Return the conditions of a row for which there are other numbers."""
        return [name for name in numbers[row] if self.has(row, name)]
