"""Curves of time against the batch, the length, the dimension and the number of particles."""

from typing import NamedTuple


class Curve(NamedTuple):
    """One workload at several sizes.

    Attributes:
        axis: label of the horizontal axis.
        workload: name of the workload.
        field: the field of `Size` that varies.
        values: its values.
        fixed: values of other fields, by name.
        only: the libraries beside kfjax.
    """

    axis: str
    workload: str
    field: str
    values: tuple[int, ...]
    fixed: dict
    only: str

    def sizes(self):
        """Return the fields that differ from the workload's size, for each value."""
        return {value: self.fixed | {self.field: value} for value in self.values}


CURVES = {
    "batch": Curve(
        axis="trajectories of 100 steps, n = 4",
        workload="W2",
        field="batch",
        values=(1, 10, 100, 1000, 10_000),
        fixed={},
        only="dynamax",
    ),
    "steps": Curve(
        axis="steps of one trajectory, n = 4",
        workload="W1",
        field="steps",
        values=(100, 1000, 10_000, 100_000),
        fixed={},
        only="dynamax",
    ),
    "dimension": Curve(
        axis="n, 100 x 100 steps",
        workload="W7",
        field="n",
        values=(2, 4, 8, 16, 32, 64),
        fixed={},
        only="dynamax",
    ),
    "particles": Curve(
        axis="particles, one trajectory of 100 steps",
        workload="W5",
        field="particles",
        values=(100, 1000, 10_000, 100_000),
        fixed={"batch": None},
        only="smcx",
    ),
}
