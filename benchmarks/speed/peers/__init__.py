"""The libraries that are measured: one file each, which maps kinds of workloads to calls.

Every file has `PACKAGE`, the library's name in the package index, `PRECISIONS`, the precisions that
it supports, and `CONTENDERS`, a function `(problem, size) -> Contender` for each kind of workload.
Only public functions of a library are called, as in its documentation.
"""

import importlib
import importlib.metadata

FILES = (
    "dynamax",
    "cuthbert",
    "smcx",
    "kalmax",
    "kalman_py",
    "simdkalman",
    "filterpy",
    "pykalman",
    "plain",
)
LIBRARIES = (
    "dynamax",
    "cuthbert",
    "smcx",
    "kalmax",
    "kalman-py",
    "simdkalman",
    "filterpy",
    "pykalman",
)
MISSING = {"smcjax": "every release of it needs jax below 0.7"}


def contenders(workload, problem, size, precision):
    """Return the contenders by name, and the reasons why others are missing."""
    found = {}
    skipped = dict(MISSING)
    for name in FILES:
        try:
            file = importlib.import_module(f"benchmarks.speed.peers.{name}_peer")
            if file.PACKAGE is not None:
                importlib.metadata.version(file.PACKAGE)
        except ImportError as error:  # PackageNotFoundError is one
            skipped[name] = f"not installed, or not importable: {error}"
            continue
        if precision not in file.PRECISIONS:
            skipped[name] = f"does not compute in {precision}"
        elif workload.kind in file.CONTENDERS:
            found[name] = file.CONTENDERS[workload.kind](problem, size)
    return found, skipped
