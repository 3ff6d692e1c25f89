"""Trajectories from files of tables: csv and the like, and parquet, read by pandas."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from kfjax._support.arguments import as_path
from kfjax._support.naming import not_installed
from kfjax.data.dataset import Dataset
from kfjax.data.tables import TableColumns, from_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_table"]

TEXT = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
SEPARATORS = ",;\t|"


def is_table(path: Path) -> bool:
    """Return whether a file is a table, from the end of its name."""
    return _kind(path) in (*TEXT, *PARQUET)


def read_table(path: str | Path, ys: Sequence[str], **columns: Unpack[TableColumns]) -> Dataset:
    """Read trajectories from a csv or parquet file, one row per step.

    Files end in .csv, .tsv or .txt, also compressed (.csv.gz), or in .parquet. The first line of
    text names the columns; commas, semicolons, tabs or bars separate them, and with semicolons
    numbers may have a decimal comma. A first column without a name, as pandas writes the index of a
    data frame, is called "index".

    Args:
        path: path of the file.
        ys: columns of the observations; an empty cell is a missing value.
        **columns: `xs`, `us`, `time`, `by`, `start`, `time_format`, `gps` and `missing`,
            as in `kfjax.from_pandas`.

    Returns:
        The `Dataset`, with names, units and times in its `labels`.

    Raises:
        ValueError: if the file cannot be read, and as `kfjax.from_pandas`.
        ImportError: if pandas, or for parquet pyarrow, is not installed.

    Example:
        >>> import tempfile, pandas as pd
        >>> times = ["2024-05-01T12:00:00Z", "2024-05-01T12:00:02Z"]
        >>> frame = pd.DataFrame({"when": times, "east [m]": [0.1, np.nan]})
        >>> place = tempfile.mkdtemp()
        >>> frame.to_csv(f"{place}/track.csv", index=False)
        >>> data = kf.read_table(f"{place}/track.csv", ["east"], time="when")
        >>> data, data.us["dt"].tolist()
        (Dataset(1 trajectories of 2 steps, m=1 (east), 50.0 % missing), [[0.0, 2.0]])
    """
    path = as_path("read_table: path", path)
    if not is_table(path):
        raise ValueError(
            f"read_table: {path} is not of a known kind; expected a name that ends in"
            f" {', '.join((*TEXT, *PARQUET))}. Read it with pandas, and pass the data frame to"
            " kf.from_pandas."
        )
    if not path.is_file():
        raise ValueError(f"read_table: there is no file {path}; expected a csv or parquet file.")
    return from_frame(str(path), _read(path), ys, **columns)


def columns_of(path: Path) -> list[str]:
    """Return the names of the columns of a file."""
    return list(_read(path).columns)


def _kind(path: Path) -> str:
    """Return the end of a name that tells the kind of a file, without that of compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _read(path: Path) -> pd.DataFrame:
    """Return the rows of a file."""
    try:
        import pandas as pd
    except ImportError as error:
        raise not_installed("pandas", error) from error
    parquet = _kind(path) in PARQUET
    try:
        frame = pd.read_parquet(path) if parquet else _read_text(path)
    except ImportError as error:
        raise not_installed("pyarrow", error) from error
    except Exception as error:  # a damaged file lets the readers raise nearly anything
        expected = "a parquet file" if parquet else "UTF-8 text whose first line names the columns"
        raise ValueError(
            f"{path} cannot be read ({' '.join(str(error).split())}); expected {expected}."
        ) from error
    if frame.empty:
        raise ValueError(f"{path} has no rows; expected at least one.")
    return frame


def _read_text(path: Path) -> pd.DataFrame:
    """Return the rows of a text file, whatever separates its columns."""
    import pandas as pd

    options: dict[str, Any] = {"skipinitialspace": True, "encoding": "utf-8-sig"}
    (names,) = pd.read_csv(path, sep="\0", nrows=0, **options).columns  # the whole line as one
    options["sep"] = max(SEPARATORS, key=names.count)
    if options["sep"] not in names:
        options["sep"] = r"\s+"
    frame = pd.read_csv(path, **options)
    if options["sep"] == ";" and any(_has_decimal_commas(frame[name]) for name in frame):
        frame = pd.read_csv(path, decimal=",", **options)
    if _are_data(list(frame.columns)):
        raise ValueError(f"the first line is {names!r}")
    frame.columns = [name.strip("# ") for name in frame.columns]
    if frame.columns[0] == "Unnamed: 0" and "index" not in frame:
        frame.columns = ["index", *frame.columns[1:]]
    return frame


def _are_data(names: Sequence[str]) -> bool:
    """Return whether names of columns are a row of data, which has numbers with a fraction."""
    numbers = []
    for name in names:
        with contextlib.suppress(ValueError):
            numbers.append(float(name))
    return any(number % 1 for number in numbers) and 2 * len(numbers) >= len(names)


def _has_decimal_commas(column: pd.Series) -> bool:
    """Return whether a column of text holds numbers such as 1,5."""
    if column.dtype.kind in "fiubmMc":
        return False
    known = column.dropna().astype(str)
    return len(known) > 0 and bool(known.str.fullmatch(r"[-+]?\d*,\d+").any())
