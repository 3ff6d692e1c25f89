"""Data sets larger than memory.

A folder with one .npy file per array, of which rows are read when they are needed.

Of the formats for this, .npy is the one that needs nothing: numpy has written it unchanged since
2007, a trajectory is one contiguous piece of a file, a random batch is as many reads, and the
kernel caches what fits. Zarr, HDF5 and ArrayRecord (with Grain) compress and reach into object
stores, at the price of a dependency and of decoding a chunk for every row; whoever has data there
converts once, part by part, with `write_folder`. An .npz file is a zip archive, whose members have
no rows that could be read alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np

from kfjax.data.dataset import Dataset
from kfjax.data.disk import DiskArray
from kfjax.data.names import FILE_NAMES

__all__ = ["read_folder", "write_folder"]

SEAL = "trajectories.json"  # written last: what is in the folder was checked, and is whole
INPUTS = FILE_NAMES["us"]


def is_folder(path: str | Path) -> bool:
    """Tell whether `write_folder` wrote a folder."""
    return (Path(path) / SEAL).is_file()


def write_folder(folder: str | Path, parts: Dataset | Iterable[Dataset]) -> None:
    """Write trajectories into a new folder, part by part.

    That way only one part has to be in memory.

    Args:
        folder: where; it appears whole or not at all.
        parts: a `Dataset`, or any iterable of them, such as a generator that simulates or reads one
            after the other; alike in all but the number of trajectories. Inputs are an array, or a
            dict of arrays.

    Raises:
        ValueError: if there is something at that place, there is no part, or a part is unlike the
            first.

    Example:
        >>> import tempfile
        >>> parts = (kf.Dataset(np.full((100, 20, 2), i, float)) for i in range(5))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     kf.data.write_folder(f"{place}/five", parts)
        ...     kf.data.read_folder(f"{place}/five")
        Dataset(500 trajectories of 20 steps, m=2, on disk)
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(
            f"write_folder: {folder} exists; expected a new folder. Choose another name, or delete"
            " it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder.with_name(f".{folder.name}.{os.getpid()}")
    place.mkdir()
    try:
        about = _write_parts(place, [parts] if isinstance(parts, Dataset) else parts)
        (place / SEAL).write_text(json.dumps(about, indent=1) + "\n")
        place.rename(folder)
    except BaseException:
        shutil.rmtree(place)
        raise


def read_folder(folder: str | Path) -> Dataset:
    """Return the trajectories that `write_folder` wrote, without reading them.

    The arrays of the `Dataset` stay in the files. `kfjax.compare` and `kfjax.training.fit` copy a
    chunk or a batch at a time, as does `data[[3, 1, 4]]`; `data[:1000]` and `data.split(0.8, 0.2)`
    stay on disk. What makes new trajectories of them (`kfjax.data.pieces` and its like) reads
    everything; functions of jax take rows in memory only.

    Args:
        folder: of `write_folder`.

    Raises:
        ValueError: if that is no such folder, or a file is not what was written.
    """
    folder = Path(folder)
    if not is_folder(folder):
        raise ValueError(
            f"read_folder: {folder} has no {SEAL}; expected a folder of kfjax.data.write_folder."
        )
    about = json.loads((folder / SEAL).read_text())
    arrays: dict[str, Any] = {
        name: _opened(folder / f"{name}.npy", *known) for name, known in about["arrays"].items()
    }
    named = {
        name.removeprefix(f"{INPUTS}_"): a
        for name, a in arrays.items()
        if name.startswith(f"{INPUTS}_")
    }
    if "length" in arrays:
        arrays["length"] = np.asarray(arrays["length"])
    arrays = {INPUTS: named or None} | arrays
    names = [FILE_NAMES[field.name] for field in dataclasses.fields(Dataset)]
    return Dataset.unchecked(*(arrays.get(name) for name in names))


def _opened(path: Path, shape: list[int], dtype: str) -> DiskArray:
    try:
        array = DiskArray.open(path)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"read_folder: {path} cannot be read ({error}); write the folder again."
        ) from error
    if (list(array.shape), str(array.dtype)) != (shape, dtype):
        raise ValueError(
            f"read_folder: {path} is {array.dtype} {array.shape}; expected {dtype} {tuple(shape)}."
        )
    return array


def _write_parts(place: Path, parts: Iterable[Dataset]) -> dict[str, Any]:
    """Write all parts, and return what the arrays are."""
    files: dict[str, _Growing] = {}
    full = True
    with contextlib.ExitStack() as stack:
        for part in parts:
            arrays = dict(_arrays(part))
            files = files or {
                name: _Growing(stack.enter_context((place / f"{name}.npy").open("wb")), array)
                for name, array in arrays.items()
            }
            if arrays.keys() != files.keys():
                raise ValueError(
                    f"write_folder: a part has {', '.join(arrays)}; expected {', '.join(files)}, as"
                    " the first part."
                )
            for name, array in arrays.items():
                files[name].append(name, array)
            full &= part.observed is None and part.length is None
        for file in files.values():
            file.header()
    if not files:
        raise ValueError("write_folder: got no part; expected at least one Dataset.")
    for name in (
        ("observed", "length") if full else ()
    ):  # most data have all steps, and miss nothing
        (place / f"{name}.npy").unlink()
        del files[name]
    return {
        "format": 1,
        "arrays": {name: [list(file.shape), str(file.dtype)] for name, file in files.items()},
    }


def _arrays(part: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a part by name of file; every part has a mask and lengths."""
    if not isinstance(part, Dataset):
        raise ValueError(f"write_folder: a part is {type(part).__name__}; expected a Dataset.")
    us, shape = part.us, part.ys.shape
    if us is not None and not jax.tree_util.all_leaves(
        us.values() if isinstance(us, dict) else [us]
    ):
        raise ValueError("write_folder: us is nested; expected an array, or a dict of arrays.")
    yield "observed", np.broadcast_to(True, shape) if part.observed is None else part.observed
    yield "length", part.lengths.astype(np.int32)
    for field in ("ys", "xs", "prior_mean"):
        array = getattr(part, field)
        if array is not None:
            yield FILE_NAMES[field], array
    if isinstance(us, dict):
        yield from ((f"{INPUTS}_{name}", array) for name, array in us.items())
    elif us is not None:
        yield INPUTS, us


class _Growing:
    """A .npy file that grows along its first axis; numpy leaves room for that in the header."""

    def __init__(self, file: BinaryIO, first: np.ndarray) -> None:
        self.file, self.dtype, self.shape = file, first.dtype, (0, *first.shape[1:])
        self.header()

    def header(self) -> None:
        """Write the shape as it is now."""
        self.file.seek(0)
        about = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": self.shape,
        }
        np.lib.format.write_array_header_1_0(self.file, about)

    def append(self, name: str, rows: np.ndarray) -> None:
        """Write more rows."""
        if (rows.dtype, rows.shape[1:]) != (self.dtype, self.shape[1:]):
            raise ValueError(
                f"write_folder: {name} of a part is {rows.dtype} {rows.shape}; expected"
                f" {self.dtype} (N, "
                f"{', '.join(map(str, self.shape[1:]))}), as in the first part."
            )
        self.file.write(np.ascontiguousarray(rows).data)
        self.shape = (self.shape[0] + len(rows), *self.shape[1:])
