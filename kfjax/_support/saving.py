"""Results as files: values that JSON can hold, and writing a file as a whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import numpy as np

from kfjax._support.types import PyTree

__all__: list[str] = []


def plain(value: PyTree) -> PyTree:
    """Return a value that JSON can hold.

    Named tuples and dataclasses become dicts, arrays become lists, and numbers that are not finite
    become None.
    """
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file as a whole or not at all: an earlier one stays until the new one is complete."""
    path = Path(path)
    # beside the target, since a rename is atomic only within a file system
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # a temporary file is readable by its owner alone: give it the usual rights of a new file
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
