"""Who is measured: one file for each library, which maps a kind of workload to a call.

Every file has `PACKAGE`, the library's name in the package index, `PRECISIONS`, those that it
computes in, and `CONTENDERS`, by kind of workload a function `(problem, size) -> Contender`. Only
public functions of a library are called, as its documentation shows them.
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
    """Return the contenders by name, and why others are not there."""
    found, skipped = {}, dict(MISSING)
    for name in FILES:
        try:
            file = importlib.import_module(f"benchmarks.speed.peers.{name}_peer")
            if file.PACKAGE is not None:
                importlib.metadata.version(file.PACKAGE)
        except ImportError as error:  # PackageNotFoundError is one
            skipped[name] = f"not installed, or it cannot be imported: {error}"
            continue
        if precision not in file.PRECISIONS:
            skipped[name] = f"does not compute in {precision}"
        elif workload.kind in file.CONTENDERS:
            found[name] = file.CONTENDERS[workload.kind](problem, size)
    return found, skipped
