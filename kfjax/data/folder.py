"""Data sets larger than memory: a folder with one .npy file per array, read by rows on demand.

The .npy format needs no dependency: numpy has written it unchanged since 2007, a trajectory is one
contiguous piece of a file, a random batch of K trajectories takes K reads, and the kernel caches
what fits. Zarr, HDF5 and ArrayRecord (with Grain) compress and reach into object stores, at the
price of a dependency and of decoding a chunk for every row; convert data in such a format once,
part by part, with `write_folder`. An .npz file is a zip archive, whose members cannot be read row
by row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kfjax._support.arguments import as_path
from kfjax._support.files import new_folder
from kfjax._support.naming import described
from kfjax._support.saving import write_json
from kfjax.data.dataset import Dataset
from kfjax.data.disk import DiskArray
from kfjax.data.labels import Labels, from_json, to_json
from kfjax.data.names import FILE_NAMES, INPUTS, check_name, named_inputs

__all__ = ["read_folder", "write_folder"]

FORMAT = 1
SEAL = "trajectories.json"  # written last, once the folder is complete and checked


def is_folder(path: str | Path) -> bool:
    """Return whether a folder was written by `write_folder`."""
    return (Path(path) / SEAL).is_file()


def write_folder(folder: str | Path, parts: Dataset | Iterable[Dataset]) -> None:
    """Write trajectories into a new folder, part by part.

    That way only one part has to be in memory.

    Args:
        folder: path of the new folder, which appears complete or not at all.
        parts: a `Dataset`, or any iterable of them, such as a generator that simulates or reads one
            after another; alike in all but the number of trajectories. Inputs are an array, or a
            dict of arrays. Names and units are kept, as in the labels of the first part.

    Raises:
        ValueError: if the path exists, there is no part, or a part does not match the first.

    Example:
        >>> import tempfile
        >>> parts = (kf.Dataset(np.full((100, 20, 2), i, float)) for i in range(5))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     kf.data.write_folder(f"{place}/five", parts)
        ...     kf.data.read_folder(f"{place}/five")
        Dataset(500 trajectories of 20 steps, m=2, on disk)
    """
    folder = as_path("write_folder: folder", folder)
    if folder.exists():
        raise ValueError(
            f"write_folder: {folder} exists; expected a new folder. Choose another name, or delete"
            " it."
        )
    if isinstance(parts, Dataset):
        parts = [parts]
    if not isinstance(parts, Iterable):
        raise ValueError(f"write_folder: parts is {described(parts)}; expected Datasets.")
    with new_folder(folder) as unfinished:
        about = _write_parts(unfinished, parts)
        write_json(unfinished / SEAL, {"format": FORMAT, **about})


def read_folder(folder: str | Path) -> Dataset:
    """Return the trajectories that `write_folder` wrote, without reading them.

    The arrays of the `Dataset` stay in the files. `kfjax.compare` and `kfjax.training.fit` copy a
    chunk or a batch at a time, as does `data[[3, 1, 4]]`; `data[:1000]` and `data.split(0.8, 0.2)`
    stay on disk. Functions that make new trajectories (such as `kfjax.data.pieces`) read
    everything; JAX functions take only rows in memory.

    Args:
        folder: path of a folder written by `write_folder`.

    Raises:
        ValueError: if `write_folder` did not write the folder, or a file is damaged or has changed
            since then.
    """
    folder = as_path("read_folder: folder", folder)
    if not is_folder(folder):
        raise ValueError(
            f"read_folder: {folder} has no {SEAL}; expected a folder written by"
            " kfjax.data.write_folder."
        )
    arrays: dict[str, Any] = {}
    inputs: dict[str, DiskArray] = {}
    about, labels = _about(folder / SEAL)
    for name, (shape, dtype) in about.items():
        array = _opened(folder / f"{name}.npy", shape, dtype)
        if name.startswith(f"{INPUTS}_"):
            inputs[name.removeprefix(f"{INPUTS}_")] = array
        else:
            arrays[name] = array
    if inputs:
        arrays[INPUTS] = inputs
    if "length" in arrays:
        arrays["length"] = np.asarray(arrays["length"])
    return Dataset.unchecked(*(arrays.get(name) for name in FILE_NAMES.values()), labels=labels)


def _about(path: Path) -> tuple[dict[str, tuple[list[int], str]], Labels | None]:
    """Return the shape and dtype of every array by name, and labels, as the seal records them."""
    try:
        about = json.loads(path.read_bytes())
        if about["format"] != FORMAT:
            raise ValueError(f"it is of format {about['format']}, not {FORMAT}")
        arrays = {}
        for name, (shape, dtype) in about["arrays"].items():
            arrays[name] = (list(shape), str(dtype))
        if FILE_NAMES["ys"] not in arrays:
            raise ValueError("it has no observations")
        labels = from_json(about["labels"]) if about.get("labels") else None
    except Exception as error:  # nearly any error, if the content is not as expected
        raise ValueError(
            f"read_folder: {path} cannot be read ({type(error).__name__}: {error}); expected the"
            " file that kfjax.data.write_folder wrote. Write the folder again."
        ) from error
    for name in arrays:
        check_name("read_folder", name)
    return arrays, labels


def _opened(path: Path, shape: list[int], dtype: str) -> DiskArray:
    """Return the array in a file, which must have this shape and dtype."""
    try:
        array = DiskArray.open(path)
    except Exception as error:  # for a damaged file, numpy raises nearly any error
        raise ValueError(
            f"read_folder: {path} cannot be read ({error}); expected the file that write_folder"
            " wrote. Write the folder again."
        ) from error
    if (list(array.shape), str(array.dtype)) != (shape, dtype):
        raise ValueError(
            f"read_folder: {path} is {array.dtype} {array.shape}; expected {dtype} {tuple(shape)}."
            " Write the folder again."
        )
    return array


def _write_parts(place: Path, parts: Iterable[Dataset]) -> dict[str, Any]:
    """Write all parts, and return the shape and dtype of every array by file name, and labels."""
    files: dict[str, _GrowingFile] = {}
    labels = None
    complete = True
    with contextlib.ExitStack() as stack:
        for part in parts:
            arrays = dict(_arrays(part))
            if not files:
                labels = part.labels
                for name, array in arrays.items():
                    file = stack.enter_context((place / f"{name}.npy").open("wb"))
                    files[name] = _GrowingFile(file, array)
            _append(files, arrays)
            complete &= part.observed is None and part.length is None
        for growing in files.values():
            growing.write_header()
    if not files:
        raise ValueError("write_folder: got no part; expected at least one Dataset.")
    if complete:  # most data have all steps and no gaps
        for name in ("observed", "length"):
            (place / f"{name}.npy").unlink()
            del files[name]
    written = {name: [list(file.shape), str(file.dtype)] for name, file in files.items()}
    if labels is None:
        return {"arrays": written}
    of_all = dataclasses.replace(labels, series=None)
    return {"arrays": written, "labels": to_json(of_all)}


def _append(files: dict[str, _GrowingFile], arrays: dict[str, np.ndarray]) -> None:
    """Append the arrays of a part to the files."""
    if arrays.keys() != files.keys():
        raise ValueError(
            f"write_folder: a part has {', '.join(arrays)}; expected {', '.join(files)}, as in the"
            " first part."
        )
    for name, array in arrays.items():
        files[name].append(name, array)


def _arrays(part: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of a part by file name; every part has a mask and lengths."""
    if not isinstance(part, Dataset):
        raise ValueError(f"write_folder: a part is {type(part).__name__}; expected a Dataset.")
    inputs = named_inputs("write_folder", part.us)
    everything = np.broadcast_to(True, part.ys.shape)
    yield "observed", everything if part.observed is None else part.observed
    yield "length", part.lengths.astype(np.int32)
    for field in ("ys", "xs", "prior_mean"):
        array = getattr(part, field)
        if array is not None:
            yield FILE_NAMES[field], array
    yield from inputs.items()


class _GrowingFile:
    """A .npy file that grows along its first axis; numpy leaves room for that in the header."""

    def __init__(self, file: BinaryIO, first: np.ndarray) -> None:
        self.file = file
        self.dtype = first.dtype
        self.shape = (0, *first.shape[1:])
        self.write_header()

    def write_header(self) -> None:
        """Write the present shape at the beginning of the file."""
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
            row = ", ".join(map(str, self.shape[1:]))
            raise ValueError(
                f"write_folder: {name} of a part is {rows.dtype} {rows.shape}; expected"
                f" {self.dtype} (N, {row}), as in the first part."
            )
        self.file.write(np.ascontiguousarray(rows).data)
        self.shape = (self.shape[0] + len(rows), *self.shape[1:])
