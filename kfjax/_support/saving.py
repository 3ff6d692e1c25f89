"""Results as JSON and npz files."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from kfjax._support.files import write_file
from kfjax._support.types import PyTree

__all__: list[str] = []

SIGNS = {"±": "+-", "µ": "u", "…": "..."}  # what ASCII has for them


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


def json_text(value: PyTree) -> str:
    """Return a value as JSON."""
    return json.dumps(plain(value), allow_nan=False, indent=1)


def write_json(path: str | os.PathLike[str], value: PyTree) -> None:
    """Write a value as a JSON file, as a whole or not at all."""
    write_file(path, json_text(value).encode())


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of an npz file."""
    content = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(content, **named)
    return content.getvalue()


def in_ascii(text: str) -> str:
    """Return a text with the signs that tables use replaced by ASCII."""
    for sign, plain_sign in SIGNS.items():
        text = text.replace(sign, plain_sign)
    return text
