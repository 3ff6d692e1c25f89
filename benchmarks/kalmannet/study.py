"""The parts of a study: rows to measure, the paper's numbers, targets, verdicts and a figure."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.kalmannet.results import Cell, Measure, Results, Row, worst

__all__ = [
    "SIZES",
    "Cell",
    "Measure",
    "Results",
    "Row",
    "Size",
    "Study",
    "Target",
    "Verdict",
    "worst",
]


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


class Target(NamedTuple):
    """A goal set in advance, from the training data or from published figures.

    Attributes:
        text: the goal in words.
        value: `(results) -> Measure`, or a float if the figure has no interval: on the same data
            as the figure it is compared with. It may raise a KeyError if the size lacks the figure.
        at_most: largest value that reaches the goal, or None.
        at_least: smallest value that reaches the goal, or None.
    """

    text: str
    value: Callable[[Results], Any]
    at_most: float | None = None
    at_least: float | None = None

    def judge(self, figure):
        """Return whether a figure reaches the goal; None if its interval crosses a limit."""
        value, low, high = figure
        if not self._within(value, value):
            return False
        return True if self._within(low, high) else None

    def _within(self, low, high):
        """Return whether an interval is within the limits."""
        below = self.at_most is None or high <= self.at_most
        return below and (self.at_least is None or low >= self.at_least)


class Verdict(NamedTuple):
    """What the results say about one claim.

    Attributes:
        claim: one sentence of at most 20 words, without the full stop.
        figure: the figure that decides, as text computed from the results.
        holds: whether the results support the claim.
    """

    claim: str
    figure: str
    holds: bool

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
        verdicts: `(results) -> tuple of Verdict`, one for each claim.
        details: `(results) -> tuple of sentences` with the figures behind the verdicts.
        paper: numbers that the paper prints.
        reference: numbers of others on the same data: of reference filters, or of the authors'
            retrained code.
        floor: the row that no estimator can beat, or None.
        why: explanations of differences of more than 0.3 dB from the paper, by row.
        targets: goals set in advance.
        notes: what was tried without success, or is missing; a sentence with figures is a function
            of the results.
        draw: `(results) -> matplotlib Figure`, or None.
        form: the form of the paper's picture, which ours shares.
        unit: unit of the figures.
        digits: number of decimals.
    """

    title: str
    text: str
    rows: Callable[[Size], dict[str, Callable[[], Row]]]
    verdicts: Callable[[Results], tuple[Verdict, ...]]
    details: Callable[[Results], tuple[str, ...]] = lambda _: ()
    paper: Numbers = NOTHING
    reference: Numbers = NOTHING
    floor: str | None = None
    why: dict[str, str] = NOTHING
    targets: tuple[Target, ...] = ()
    notes: tuple[str | Callable[[Results], str], ...] = ()
    draw: Callable[[Results], Any] | None = None
    form: str = ""
    unit: str = "MSE in dB"
    digits: int = 2
