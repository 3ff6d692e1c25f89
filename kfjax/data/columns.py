"""Columns of a data frame as arrays: found by name, with errors that say which row is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kfjax._support.naming import suggest
from kfjax.data.labels import without_unit
from kfjax.data.local_frame import LocalFrame

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

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
        if len(frame) == 0:
            raise self.error("the frame has no rows; expected at least one.")
        self.columns: dict[str, str] = {}
        self.units: dict[str, str] = {}
        for column in frame:
            name, unit = without_unit(str(column))
            if unit is not None and name not in {*frame, *self.columns}:
                self.columns[name] = column
                self.units[name] = unit

    def column(self, name: str) -> pd.Series:
        """Return the column of this name; raise if the table has no such column."""
        name = self.columns.get(name, name)
        if list(self.frame.columns).count(name) > 1:
            raise self.error(f"several columns are called {name!r}; expected one. Rename them.")
        if name in self.frame:
            return self.frame[name]
        known = [*self.columns, *map(str, self.frame)]
        raise self.error(f"there is no column {name!r}; {suggest(name, known)}")

    def error(self, text: str) -> ValueError:
        """Return the error of this text."""
        return ValueError(f"{self.who}: {text}")

    def bare(self, names: Iterable[str]) -> list[str]:
        """Return names of columns without units."""
        bare = {column: name for name, column in self.columns.items()}
        return [str(bare.get(name, name)) for name in names]

    def numbers(self, names: Sequence[str | None]) -> np.ndarray:
        """Return columns as floats [rows, columns], NaN where missing and for a column None."""
        numbers = np.full((len(self.frame), len(names)), np.nan)
        for index, name in enumerate(names):
            if name is not None:
                numbers[:, index] = self.floats(name)
        return numbers

    def floats(self, name: str) -> np.ndarray:
        """Return a column as floats, NaN where missing."""
        column = self.column(name)
        kind = column.dtype.kind
        if kind in "fiub":
            return column.to_numpy(np.float64, na_value=np.nan)
        wrong = column.notna().to_numpy()
        numbers = np.full(len(column), np.nan)
        if kind not in "mMc":  # pandas would take dates for integers, and drop imaginary parts
            numbers = _as_far_as_numbers(column)
            wrong = wrong & np.isnan(numbers)
        if not wrong.any():
            return numbers
        row = int(wrong.argmax())
        raise self.error(
            f"column {name!r} holds {column.iloc[row]!r} in row {row}, which is not a number;"
            " expected numbers, NaN (or nothing) where missing. Convert them with"
            " pandas.to_numeric."
        )

    def inputs(self, name: str) -> np.ndarray:
        """Return a column of inputs, of which none is missing; integers stay integers."""
        numbers = self.floats(name)
        missing = np.isnan(numbers)
        if missing.any():
            raise self.error(
                f"column {name!r} of us is missing in row {missing.argmax()}; expected an input in"
                " every row. Fill the gaps, as frame.ffill() does for inputs that are held."
            )
        column = self.column(name)
        if column.dtype.kind in "iu":
            return column.to_numpy(np.int64)
        return numbers

    def rows_of_trajectories(self, by: str | None) -> tuple[list[np.ndarray], list[Any] | None]:
        """Return the numbers of the rows of every trajectory, and the trajectories' names."""
        import pandas as pd

        if by is None:
            return [np.arange(len(self.frame))], None
        codes, names = pd.factorize(self.column(by))
        missing = codes < 0
        if missing.any():
            raise self.error(
                f"column {by!r} is missing in row {missing.argmax()}; expected the trajectory of"
                " every row."
            )
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes))
        return np.split(order, ends[:-1]), pd.Index(names).tolist()

    def add_local(self, gps: Sequence[str]) -> LocalFrame:
        """Add columns east, north and up in metres, and return where they start."""
        if len(gps) not in (2, 3):
            raise self.error(
                f"gps is {list(gps)}; expected the columns of latitude and longitude, and if there"
                " is one of the height."
            )
        names = {*self.frame, *self.columns}
        taken = [name for name in GPS if name in names]
        if taken:
            raise self.error(
                f"there are columns {taken}, which gps would make; expected none of"
                f" {', '.join(GPS)}. Rename them, or leave gps out."
            )
        places = self.numbers(gps)
        known = np.isfinite(places).all(1)
        if not known.any():
            raise self.error(f"columns {list(gps)} have no position; expected at least one.")
        local = LocalFrame(*places[known.argmax()])
        metres = local.to_local(*places.T)
        self.frame = self.frame.assign(**metres._asdict())
        self.units |= dict.fromkeys(GPS, "m")
        return local


def _as_far_as_numbers(column: pd.Series) -> np.ndarray:
    """Return text as floats, NaN where it is not a number."""
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
