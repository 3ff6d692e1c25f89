"""The curves: time against the batch, the length, the dimension and the number of particles."""

from typing import NamedTuple


class Curve(NamedTuple):
    """One workload at several sizes.

    Attributes:
        axis: what is on the horizontal axis.
        workload: its name.
        field: the field of `Size` that changes.
        values: its values.
        fixed: other fields, by name.
        only: the libraries beside.
    """

    axis: str
    workload: str
    field: str
    values: tuple[int, ...]
    fixed: dict
    only: str

    def sizes(self):
        """Return what changes in the size, for each value."""
        return {value: self.fixed | {self.field: value} for value in self.values}


CURVES = {
    "batch": Curve(
        "trajectories of 100 steps, n = 4", "W2", "batch", (1, 10, 100, 1000, 10_000), {}, "dynamax"
    ),
    "steps": Curve(
        "steps of one trajectory, n = 4", "W1", "steps", (100, 1000, 10_000, 100_000), {}, "dynamax"
    ),
    "dimension": Curve("n, 100 x 100 steps", "W7", "n", (2, 4, 8, 16, 32, 64), {}, "dynamax"),
    "particles": Curve(
        "particles, one trajectory of 100 steps",
        "W5",
        "particles",
        (100, 1000, 10_000, 100_000),
        {"batch": None},
        "smcx",
    ),
}
