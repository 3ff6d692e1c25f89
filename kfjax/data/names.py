"""Names of the arrays of a `Dataset` in files: npz keys, and files of a folder."""

from __future__ import annotations

import re

__all__: list[str] = []

# by field of `Dataset`; files keep the names in the published data sets of KalmanNet
FILE_NAMES = {
    "ys": "obs",
    "xs": "state",
    "us": "inputs",
    "observed": "observed",
    "length": "length",
    "prior_mean": "initial",
}
FIELDS = {name: field for field, name in FILE_NAMES.items()}


def in_file_names(text: str) -> str:
    """Return an error text with the fields of a `Dataset` replaced by their names in files."""
    fields = "|".join(FILE_NAMES)
    return re.sub(rf"\b({fields})\b", lambda found: FILE_NAMES[found.group()], text)
