"""What pages of results share: cells of tables, and what made the numbers."""

import importlib.metadata
import os
import platform

import jax
import numpy as np

PACKAGES = ("jax", "flax", "optax", "numpy")


def cell(value, digits):
    """Return a number, or the median and the range of several; counts have no digits after the point."""
    if value is None or isinstance(value, str):
        return value or ""
    several = np.ravel(value)
    digits = 0 if several.dtype.kind == "i" else digits
    low, middle, high = (f"{f(several):.{digits}f}" for f in (np.min, np.median, np.max))
    return middle if several.size == 1 else f"{middle} ({low} .. {high})"


def table(head, lines):
    """Return the lines of a table in markdown, whose first column names the rows."""
    first = f"| {' | '.join(head)} |".replace("|  |", "| |")
    return [first, "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)]


def versions():
    """Return the versions of what made the numbers."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def machine():
    """Return what the numbers were made on, in words."""
    device = jax.devices()[0]
    kind = platform.machine() if device.platform == "cpu" else device.device_kind
    return f"{os.cpu_count()} shared {kind} cores" if device.platform == "cpu" else f"one {kind}"
