"""Names of the arrays of a `Dataset` in files: npz keys, and files of a folder."""

from __future__ import annotations

import re

import jax
import numpy as np

from kfjax._support.types import PyTree

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
INPUTS = FILE_NAMES["us"]
LABELS = "labels"  # of `Labels`, as JSON
TIMES = "times"  # of `Labels`


def named_inputs(who: str, us: PyTree) -> dict[str, np.ndarray]:
    """Return inputs by the names that their arrays have in files."""
    if us is None:
        return {}
    named = {INPUTS: us}
    if isinstance(us, dict):
        named = {f"{INPUTS}_{name}": array for name, array in us.items()}
    for name in named:
        check_name(who, name)
    if not jax.tree_util.all_leaves(named.values()):
        raise ValueError(f"{who}: us is nested; expected an array, or a dict of arrays.")
    return named


def check_name(who: str, name: str) -> None:
    """Raise unless a name is that of an array of a `Dataset`, which a file can have."""
    part = name.removeprefix(f"{INPUTS}_")
    is_input = name != part and re.fullmatch(r"[^/\\:\0]+", part)
    if name not in FILE_NAMES.values() and not is_input:
        raise ValueError(
            f"{who}: got an array named {name!r}; expected {', '.join(FILE_NAMES.values())}, or"
            f" {INPUTS}_NAME with a name that a file can have, without slashes and colons."
        )


def in_file_names(text: str) -> str:
    """Return an error text with the fields of a `Dataset` replaced by their names in files."""
    fields = "|".join(FILE_NAMES)
    return re.sub(rf"\b({fields})\b", lambda found: FILE_NAMES[found.group()], text)
