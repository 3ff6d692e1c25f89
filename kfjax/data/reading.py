"""Reading any known kind of data: the path decides which reader is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from kfjax._support.arguments import as_path
from kfjax.data.dataset import Dataset
from kfjax.data.folder import is_folder, read_folder
from kfjax.data.indoor_uwb import is_indoor_uwb, read_indoor_uwb
from kfjax.data.nclt import is_nclt, read_nclt
from kfjax.data.npz import SPLITS, npz_splits, read_npz
from kfjax.data.splitting import Parts, split_parts
from kfjax.data.table_files import columns_of, is_table, read_table
from kfjax.data.tables import TableColumns

__all__ = ["read_data", "read_parts"]


class Columns(TableColumns, total=False):
    """Meaning of the columns of a table; see `read_table`."""

    ys: Sequence[str]


def read_data(path: str | Path, split: str | None = None, **columns: Unpack[Columns]) -> Dataset:
    """Read trajectories from a file or a folder of any known kind.

    A folder is read by `read_folder`, `read_indoor_uwb` or `read_nclt`, a table (csv, parquet) by
    `read_table`, and any other file by `read_npz`.

    Args:
        path: path of the file or folder.
        split: "train", "validation" or "test", for an npz file that holds parts; None is "test"
            there.
        **columns: `ys`, and whatever else `read_table` takes, for a table.

    Raises:
        ValueError: if no reader knows the file or folder, and as in the readers.
    """
    path = as_path("read_data: path", path)
    if not path.exists():
        raise ValueError(
            f"there is no file or folder {path}; expected a csv, parquet or npz file, or the folder"
            " of a known data set."
        )
    if path.is_file() and is_table(path):
        return _table(path, split, columns)
    if columns:
        raise ValueError(
            f"{path} has no columns; got {', '.join(columns)}, expected them for a csv or parquet"
            " file only. Leave them out."
        )
    if not path.is_dir():
        return read_npz(path, split)
    readers = {read_folder: is_folder, read_indoor_uwb: is_indoor_uwb, read_nclt: is_nclt}
    for reader, knows in readers.items():
        if knows(path):
            if split is not None:
                raise ValueError(
                    f"{path} has no parts; got split {split!r}, expected none. Leave it out."
                )
            return reader(path)
    raise ValueError(
        f"the folder {path} holds no data set that a reader knows; expected one written by"
        " kfjax.data.write_folder, or one with Indoor_UWB_Input.txt, or with odometry_mu.csv and"
        " groundtruth.csv. Give the path of a file to read an npz file."
    )


def _table(path: Path, split: str | None, columns: Columns) -> Dataset:
    """Read a table, which has no parts and whose columns need a meaning."""
    if split is not None:
        raise ValueError(
            f"{path} has no parts; got split {split!r}, expected none. Leave it out, or name the"
            " file of one part."
        )
    if not columns.get("ys"):
        names = ", ".join(map(str, columns_of(path)))
        raise ValueError(
            f"{path} is a table; got no ys, expected the columns that are observations, some of"
            f" {names}."
        )
    return read_table(path, **columns)


def read_parts(path: str | Path, **columns: Unpack[Columns]) -> Parts:
    """Read training, validation and test parts of a file or a folder.

    They are those of an npz file that holds parts; other data are split by `split_parts`.

    Args:
        path: path of the file or folder.
        **columns: as in `read_data`.

    Raises:
        ValueError: as in `read_data` and `split_parts`, or if a file holds only some of the parts.
    """
    path = as_path("read_parts: path", path)
    splits = parts_in(path)
    if not splits:
        return split_parts(read_data(path, **columns))
    missing = [split for split in SPLITS if split not in splits]
    if missing:
        raise ValueError(
            f"{path} holds {' and '.join(splits)} parts but no {' and no '.join(missing)} part;"
            " expected all three."
        )
    train, validation, test = (read_npz(path, split) for split in SPLITS)
    return Parts(train, validation, test)


def parts_in(path: Path) -> list[str]:
    """Return which of "train", "validation" and "test" a file holds; none for other data."""
    return npz_splits(path) if path.is_file() and not is_table(path) else []
