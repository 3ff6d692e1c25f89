"""The names that arrays of a `Dataset` have in files: npz keys, and files of a folder."""

from __future__ import annotations

import re

__all__: list[str] = []

FILE_NAMES = {
    "ys": "obs",
    "xs": "state",
    "us": "inputs",
    "observed": "observed",
    "length": "length",
    "prior_mean": "initial",
}  # by field of `Dataset`
FIELDS = {name: field for field, name in FILE_NAMES.items()}


def in_file_names(text: str) -> str:
    """Return an error text about the fields of a `Dataset` in the names of a file."""
    fields = "|".join(FILE_NAMES)
    return re.sub(rf"\b({fields})\b", lambda found: FILE_NAMES[found.group()], text)
