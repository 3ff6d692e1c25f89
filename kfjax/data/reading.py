"""Reading any known kind of data: the path decides which reader is used."""

from __future__ import annotations

from pathlib import Path

from kfjax._support.arguments import as_path
from kfjax.data.dataset import Dataset
from kfjax.data.folder import is_folder, read_folder
from kfjax.data.indoor_uwb import is_indoor_uwb, read_indoor_uwb
from kfjax.data.nclt import is_nclt, read_nclt
from kfjax.data.npz import SPLITS, npz_splits, read_npz
from kfjax.data.splitting import Parts, split_parts

__all__ = ["read_data", "read_parts"]


def read_data(path: str | Path, split: str | None = None) -> Dataset:
    """Read trajectories from a file or a folder of any known kind.

    A folder is read by `read_folder`, `read_indoor_uwb` or `read_nclt`, a file by `read_npz`.

    Args:
        path: path of the file or folder.
        split: "train", "validation" or "test", for an npz file that holds parts; None is "test"
            there.

    Raises:
        ValueError: if no reader knows the file or folder, and as in the readers.
    """
    path = as_path("read_data: path", path)
    if not path.exists():
        raise ValueError(
            f"there is no file or folder {path}; expected an npz file, or the folder of a known"
            " data set."
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


def read_parts(path: str | Path) -> Parts:
    """Read training, validation and test parts of a file or a folder.

    They are those of an npz file that holds parts; other data are split by `split_parts`.

    Raises:
        ValueError: as in `read_data` and `split_parts`, or if a file holds only some of the parts.
    """
    path = as_path("read_parts: path", path)
    splits = npz_splits(path) if path.is_file() else []
    if not splits:
        return split_parts(read_data(path))
    missing = [split for split in SPLITS if split not in splits]
    if missing:
        raise ValueError(
            f"{path} holds {' and '.join(splits)} parts but no {' and no '.join(missing)} part;"
            " expected all three."
        )
    train, validation, test = (read_npz(path, split) for split in SPLITS)
    return Parts(train, validation, test)
