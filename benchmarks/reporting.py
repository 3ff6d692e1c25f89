"""Parts that several pages of results share: table cells, tables, versions and the machine."""

import importlib.metadata
import os
import platform

import jax
import numpy as np

PACKAGES = ("jax", "flax", "optax", "numpy")


def cell(value, digits):
    """Return a number as text, or several as median and range; integers have no decimals."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    several = np.ravel(value)
    if several.dtype.kind == "i":
        digits = 0
    middle = f"{np.median(several):.{digits}f}"
    if several.size == 1:
        return middle
    return f"{middle} ({several.min():.{digits}f} .. {several.max():.{digits}f})"


def table(head, lines):
    """Return the lines of a markdown table whose first column names the rows."""
    first = f"| {' | '.join(head)} |".replace("|  |", "| |")
    return [first, "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)]


def versions():
    """Return the versions of Python and of the packages that numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | found


def machine():
    """Describe the machine in words."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"{os.cpu_count()} shared {platform.machine()} cores"
    return f"one {device.device_kind}"
