"""Columns of a data frame as arrays: found by name, with errors that say which row is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kfjax._support.naming import suggest
from kfjax.data.local_frame import LocalFrame

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

# "east [m]", "east (m)" and "east(m)", but not "acc[0]"
UNIT = re.compile(r"(?P<name>.*\S)\s*[\[(](?P<unit>[^\])]*[^\])\d][^\])]*)[\])]")
GPS = ("east", "north", "up")


class Table:
    """A data frame whose columns are found with and without the unit in their names.

    Attributes:
        who: the function, for error texts.
        frame: the data frame.
        columns: the columns by their names without units, as far as these are unique.
        units: units by these names.
    """

    def __init__(self, who: str, frame: pd.DataFrame) -> None:
        self.who = who
        self.frame = frame
        self.columns: dict[str, str] = {}
        self.units: dict[str, str] = {}
        for column in frame.columns:
            found = UNIT.fullmatch(column.strip()) if isinstance(column, str) else None
            if found and found["name"] not in {*frame.columns, *self.columns}:
                self.columns[found["name"]] = column
                self.units[found["name"]] = found["unit"].strip()

    def column(self, name: str) -> pd.Series:
        """Return a column; raise if there is none of this name."""
        name = self.columns.get(name, name)
        if name not in self.frame.columns:
            known = [*self.columns, *(map(str, self.frame.columns))]
            raise ValueError(f"{self.who}: there is no column {name!r}; {suggest(name, known)}")
        return self.frame[name]

    def bare(self, names: Iterable[str]) -> list[str]:
        """Return names of columns without units."""
        bare = {column: name for name, column in self.columns.items()}
        return [str(bare.get(name, name)) for name in names]

    def numbers(self, names: Sequence[str | None]) -> np.ndarray:
        """Return columns as floats [rows, columns], NaN where missing and for a column None."""
        unknown = np.full(len(self.frame), np.nan)
        columns = [unknown if name is None else self.floats(name) for name in names]
        return np.stack(columns, axis=1) if columns else np.empty((len(self.frame), 0))

    def floats(self, name: str) -> np.ndarray:
        """Return a column as floats, NaN where missing."""
        import pandas as pd

        column = self.column(name)
        numbers = column
        if column.dtype.kind not in "fiubmM":
            numbers = pd.to_numeric(column, errors="coerce")
        wrong = (numbers.isna() & ~column.isna()).to_numpy()
        if column.dtype.kind in "mM" or wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{self.who}: column {name!r} holds {column.iloc[row]!r} in row {row}, which is not"
                " a number; expected numbers, NaN (or nothing) where missing. Convert them with"
                " pandas.to_numeric."
            )
        return numbers.to_numpy(np.float64, na_value=np.nan)

    def inputs(self, name: str) -> np.ndarray:
        """Return a column of inputs, of which none is missing; integers stay integers."""
        numbers = self.floats(name)
        missing = np.isnan(numbers)
        if missing.any():
            raise ValueError(
                f"{self.who}: column {name!r} of us is missing in row {int(missing.argmax())};"
                " expected an input in every row. Fill the gaps, as frame.ffill() does for inputs"
                " that are held."
            )
        column = self.column(name)
        return column.to_numpy(np.int64) if column.dtype.kind in "iu" else numbers

    def rows_of_trajectories(self, by: str | None) -> tuple[list[np.ndarray], list[Any] | None]:
        """Return the numbers of the rows of every trajectory, and the trajectories' names."""
        import pandas as pd

        if by is None:
            return [np.arange(len(self.frame))], None
        codes, names = pd.factorize(self.column(by))
        if (codes < 0).any():
            raise ValueError(
                f"{self.who}: column {by!r} is missing in row {int((codes < 0).argmax())}; expected"
                " the trajectory of every row."
            )
        ends = np.cumsum(np.bincount(codes))[:-1]
        rows = np.split(np.argsort(codes, kind="stable"), ends)
        return rows, [name.item() if hasattr(name, "item") else name for name in names]

    def add_local(self, gps: Sequence[str]) -> LocalFrame:
        """Add columns east, north and up in metres, and return where they start."""
        if len(gps) not in (2, 3):
            raise ValueError(
                f"{self.who}: gps is {list(gps)}; expected the columns of latitude and longitude,"
                " and if there is one of the height."
            )
        taken = [name for name in GPS if name in {*self.frame.columns, *self.columns}]
        if taken:
            raise ValueError(
                f"{self.who}: there are columns {taken}, which gps would make; expected none of"
                f" {', '.join(GPS)}. Rename them, or leave gps out."
            )
        places = self.numbers(gps)
        known = np.isfinite(places).all(1)
        if not known.any():
            raise ValueError(
                f"{self.who}: columns {list(gps)} have no position; expected at least one."
            )
        local = LocalFrame(*places[known.argmax()])
        self.frame = self.frame.assign(**local.to_local(*places.T)._asdict())
        self.units |= dict.fromkeys(GPS, "m")
        return local
