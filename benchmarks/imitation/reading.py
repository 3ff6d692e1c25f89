"""Read stored curves, and claim no more than they support.

A curve is judged by the improvement over the last tenth of its training. Two variants differ
if their seeds do not overlap and the worse one has stopped falling.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import files

HERE = Path(__file__).parent
STILL = 0.01  # a curve that gains less than this in the last tenth of its training has stopped
FAR = 100  # times the updates: more than anyone runs


class Curve(NamedTuple):
    """The error of a variant along its training.

    Attributes:
        name: of the variant.
        updates: number of updates at every point [K].
        error: imitation error [seeds, K]; NaN where a training broke down.
    """

    name: str
    updates: np.ndarray
    error: np.ndarray

    @property
    def median(self):
        """The median over seeds [K]."""
        return np.median(self.error, axis=0)

    @property
    def ends(self):
        """The mean over the last tenth of the training, of every seed."""
        return self.error[:, -self._tenth :].mean(axis=1)

    @property
    def end(self):
        """The median of the ends."""
        return float(np.median(self.ends))

    @property
    def slope(self):
        """The slope of log error over log updates in the second half, the median over seeds.

        A line through half of the curve is used because single tests scatter.
        """
        later = slice(len(self.updates) // 2, None)
        rows = np.log(self.error[:, later])
        return float(
            np.median([np.polyfit(np.log(self.updates[later]), row, 1)[0] for row in rows])
        )

    @property
    def gain(self):
        """The improvement in the last tenth of training, as a fraction of the error before it."""
        return 1 - (1 / 0.9) ** self.slope

    @property
    def stopped(self):
        """Whether the last tenth of the training gained almost nothing."""
        return self.gain < STILL

    @property
    def told(self):
        """The end in words, and whether the curve has stopped there."""
        return f"{self.end:.2f}" + ("" if self.stopped else " and falling")

    @property
    def _tenth(self):
        return max(1, self.error.shape[1] // 10)

    def __str__(self):
        state = "stopped" if self.stopped else "still falls"
        ends = f"{self.end:6.2f} ({self.ends.min():.2f} .. {self.ends.max():.2f})"
        return f"{self.name:28} {ends:24} {100 * self.gain:5.1f} %  {state}"


class Far(NamedTuple):
    """What a student of a free clock does on ten times the horizon.

    Attributes:
        inside: median imitation error within the horizon.
        outside: median imitation error in the last steps, one horizon long.
        to_truth: median errors to the truth, in the same unit, within the horizon and at the end.
        over_time: median imitation error over the steps.
        curve: its `Curve`, or None for what was not trained.
    """

    inside: float
    outside: float
    to_truth: tuple[float, float]
    over_time: Any
    curve: Any


class Results:
    """The kept results of all variants.

    Attributes:
        rows: what is kept about every variant, by name.
        far: what is kept about the students of a free clock, by name.
        spacing: updates between two points of a curve.
    """

    def __init__(self, folder=HERE):
        kept = files.read(folder / "imitation.json")
        self.rows = kept["rows"]
        self.spacing = kept["point"]
        self.far = files.read(folder / "longer.json")["rows"]

    def curve(self, name):
        """Return the `Curve` of a variant."""
        error = np.array(self.rows[name]["error"], float)
        return Curve(name, self.spacing * np.arange(1, error.shape[1] + 1), error)

    def curves(self, *names):
        """Return the curves of several variants, and print how each of them ends."""
        found = [self.curve(name) for name in names]
        print(f"{'imitation error at the end':28} {'median (seeds)':24} last tenth gained")
        for curve in found:
            print(curve)
        return found

    def longer(self, name):
        """Return what a student of a free clock does (`Far`)."""
        row = self.far[name]
        curve = None
        if "error" in row:
            error = np.array(row["error"], float)[:, 1:]  # the first is before the training
            updates = np.linspace(0, row["updates"], error.shape[1] + 1)[1:]
            curve = Curve(name, updates, error)
        errors = {key: float(np.median(row[key])) for key in row if key.startswith("to_")}
        to_truth = (errors["to_truth_inside"], errors["to_truth_outside"])
        inside, outside = errors["to_teacher_inside"], errors["to_teacher_outside"]
        return Far(inside, outside, to_truth, np.array(row["over_time"], float), curve)


def compare(first, second):
    """Return "worse", "better" or "not told apart" for the first of two curves.

    The one that is worse must have stopped falling; where it has not, the answer is "not decided".
    """
    if first.ends.min() > second.ends.max():
        return "worse" if first.stopped else "not decided"
    if first.ends.max() < second.ends.min():
        return "better" if second.stopped else "not decided"
    return "not told apart"


def beside(first, second):
    """Return in words how the first of two curves compares with the second, with both ends."""
    found = compare(first, second)
    if found == "not told apart":
        found = "no different within the seeds"
    if found == "not decided":
        found = _catching_up(first, second)
    return f"{found} ({first.end:.2f} beside {second.end:.2f})"


def _catching_up(first, second):
    """Say what the curve that is behind would need to catch up."""
    behind, ahead = (first, second) if first.end > second.end else (second, first)
    times = (behind.end / ahead.end) ** (-1 / behind.slope)
    number = f"more than {FAR}" if times > FAR else f"{times:.2g}"
    place = "behind, and" if behind is first else "ahead, and the other"
    return f"{place} would need {number} times the updates at the present pace"
