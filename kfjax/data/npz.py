"""Trajectories from npz files, plain or with train, validation and test parts."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kfjax._support.arguments import as_path
from kfjax._support.naming import suggest
from kfjax._support.persistence import read_arrays
from kfjax.data.dataset import Dataset
from kfjax.data.labels import from_json
from kfjax.data.names import FIELDS, LABELS, TIMES, in_file_names

__all__ = ["npz_splits", "read_npz"]

TABLES = {".csv", ".tsv", ".txt", ".xlsx", ".json", ".parquet", ".feather"}  # not npz, but data

# prefixes of the keys of each part
SPLITS = {
    "train": ("train_",),
    "validation": ("validation_", "val_"),
    "test": ("test_",),
}
ALIASES = {"init": "initial"}  # other names of keys


def read_npz(path: str | Path, split: str | None = None) -> Dataset:
    """Read trajectories from an npz file.

    The keys are `obs` [N, T, m] (NaN where missing) and, optionally, `state` [N, T, n], `inputs`
    [N, T, ...] or several `inputs_NAME` (read as a dict by NAME), `length` [N], `observed` [N, T]
    or [N, T, m], `initial` [N, n]; see `kfjax.Dataset`. One trajectory may omit the leading axis
    everywhere. A file may hold parts instead: the same keys with `train_`, `val_` (or
    `validation_`) and `test_` in front; `*_init` is read as `initial`. `Dataset.save` writes such a
    file.

    Args:
        path: path of the file.
        split: "train", "validation" or "test", for a file of parts; None is "test" there.

    Returns:
        The `Dataset`. Unknown keys are left out, with a warning that names them.

    Raises:
        ValueError: if the file is missing or not an npz file, has no obs or lacks the split, or if
            its arrays do not fit together.
    """
    if split is not None and (not isinstance(split, str) or split not in SPLITS):
        raise ValueError(f"read_npz: got split {split!r}; {suggest(split, SPLITS)}")
    arrays = _load(as_path("read_npz: path", path))
    parts = _splits(arrays)
    if parts:
        arrays = _part(arrays, split or "test", parts, path)
    elif split is not None:
        raise ValueError(
            f"read_npz: {path} has no parts; got split {split!r}, expected None. Leave the split"
            " out."
        )
    try:
        return _dataset(arrays, path)
    except ValueError as error:
        raise ValueError(f"{path}: {in_file_names(str(error))}") from error


def npz_splits(path: str | Path) -> list[str]:
    """Return which of "train", "validation" and "test" an npz file holds; none for a plain file."""
    return _splits(_load(as_path("npz_splits: path", path)))


def _splits(keys: Iterable[str]) -> list[str]:
    """Return the parts of a file with these keys; a file with a plain `obs` has none."""
    keys = set(keys)
    if "obs" in keys:
        return []
    found = []
    for split, prefixes in SPLITS.items():
        if any(f"{prefix}obs" in keys for prefix in prefixes):
            found.append(split)
    return found


def _part(
    arrays: Mapping[str, np.ndarray], split: str, parts: list[str], path: str | Path
) -> dict[str, np.ndarray]:
    """Return the arrays of one part, without the prefix of their keys."""
    if split not in parts:
        raise ValueError(
            f"read_npz: {path} has no {split} part; expected one of {', '.join(parts)}."
        )
    chosen = {}
    for name, array in arrays.items():
        for prefix in SPLITS[split]:
            if name.startswith(prefix) and name != prefix:
                chosen[name.removeprefix(prefix)] = array
    return chosen


def _load(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file; raise a ValueError whatever is wrong."""
    if not path.is_file():
        raise ValueError(
            f"read_npz: there is no file {path}; expected an npz file with obs [N, T, m]."
        )
    if not zipfile.is_zipfile(path) and path.suffix in TABLES:
        raise ValueError(
            f"read_npz: {path} is not an npz file; expected one as written by np.savez."
            " Tables are read by kf.read_table and kf.from_pandas."
        )
    try:
        with path.open("rb") as file:  # numpy leaves a file that it cannot read open
            return read_arrays(file)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"read_npz: {path} cannot be read ({error}); expected an npz file of numbers, as"
            " written by np.savez."
        ) from error


def _dataset(arrays: Mapping[str, np.ndarray], path: str | Path) -> Dataset:
    """Build the Dataset from arrays by name."""
    keys = {ALIASES.get(name, name): array for name, array in arrays.items()}
    if "obs" not in keys:
        found = f"got the keys {', '.join(keys)}" if keys else "the file is empty"
        raise ValueError(
            f"no observations: {found}; expected obs [N, T, m], or train_obs, val_obs, test_obs."
        )
    named = {name: keys.pop(name) for name in list(keys) if name.startswith("inputs_")}
    if named and "inputs" in keys:
        raise ValueError(f"got both inputs and {', '.join(named)}; expected one or the other.")
    labels = None
    if LABELS in keys:
        labels = from_json(str(keys.pop(LABELS)), keys.pop(TIMES, None))
    unknown = [name for name in keys if name not in FIELDS]
    if unknown:
        warnings.warn(
            f"{path}: not used: {', '.join(unknown)}; the known keys are {', '.join(FIELDS)} and"
            " inputs_NAME.",
            stacklevel=4,
        )
    fields: dict[str, Any] = {FIELDS[name]: keys[name] for name in FIELDS if name in keys}
    if named:
        fields["us"] = {name.removeprefix("inputs_"): array for name, array in named.items()}
    if fields["ys"].ndim == 2:
        fields = _with_leading_axis(fields)
    return Dataset(**fields, labels=labels)


def _with_leading_axis(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of a single trajectory with a leading axis of 1."""
    one = jax.tree.map(lambda a: np.asarray(a)[None], fields)
    if "length" in fields:
        one["length"] = fields["length"].reshape(-1)
    return one
