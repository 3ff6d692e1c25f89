"""Results as JSON files: one row per line, written whole or not at all."""

import dataclasses
import json
import os
from pathlib import Path

import jax
import numpy as np

ARRAYS = (np.ndarray, np.generic, jax.Array)


def read(path):
    """Return the document stored in a file, or None if the file does not exist."""
    path = Path(path)
    return json.loads(path.read_text()) if path.exists() else None


def write(path, document, *, rows=None):
    """Write a document (a dictionary) as JSON; an interrupted write leaves the old file untouched.

    Args:
        path: the file; its folder is created.
        document: a dictionary of values that `plain` understands.
        rows: the key of a dictionary or list whose entries get a line each.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text_of(plain(document), rows) + "\n")
    os.replace(unfinished, path)


def text_of(document, rows=None):
    """Return a dictionary as JSON with one entry per line, and one line per row of `rows`."""
    texts = {key: json.dumps(value, allow_nan=False) for key, value in document.items()}
    if rows is not None:
        texts[rows] = _rows(document[rows])
    return _block("{}", _entries(texts))


def _rows(found):
    """Return the text of a dictionary or list of rows, one per line."""
    if isinstance(found, dict):
        texts = {key: json.dumps(row, allow_nan=False) for key, row in found.items()}
        return _block("{}", _entries(texts))
    return _block("[]", [json.dumps(row, allow_nan=False) for row in found])


def _entries(texts):
    return [f"{json.dumps(str(key))}: {text}" for key, text in texts.items()]


def _block(brackets, lines):
    """Return lines between brackets, separated by commas."""
    opening, closing = brackets
    return "\n".join([opening, ",\n".join(lines), closing])


def plain(value):
    """Return a value as JSON types.

    Arrays become lists, named tuples and dataclasses dictionaries, and numbers that are not finite
    None.
    """
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, ARRAYS):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
