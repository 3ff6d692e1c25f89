"""Shared set-up: both precisions, type checks, and the location of the data sets."""

import gc
import itertools
import os
import sys
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest
import support.compiling  # sets the flags with which JAX starts
import support.typechecking  # noqa: F401  # found by name by the hook below

# the annotations of everything that the laws run can be checked at every call, shapes included;
# the hook must be installed before kfjax is imported
CHECKED = ("base", "filters", "linalg", "models", "moments", "runner", "smoothers", "streaming")
jaxtyping.install_import_hook([f"kfjax.{name}" for name in CHECKED], "support.typechecking.check")

import kfjax as kf  # noqa: E402  # after the hook
from kfjax._support import progress  # noqa: E402

# on a slow machine, lines of progress must not come between the texts that tests compare
progress.PAUSE = float("inf")
jaxtyping.config.update("jaxtyping_disable", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


# Tracing makes millions of objects, most of them for good. Python looks through all of them for
# cycles to free, by default so often that it takes a fifth of the time of the tests.
gc.set_threshold(50_000, 10, 10)

MAPS = 40_000
GIGABYTES = 6.0  # of a process, since programs were last dropped
_dropped_at = [0.0]
_tests = itertools.count(1)


@pytest.fixture
def x64():
    """Run a test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def _checked_annotations(request):
    """Check annotations in the laws; other tests pass wrong types on purpose."""
    laws = request.module.__name__ == "test_laws"
    jaxtyping.config.update("jaxtyping_disable", not laws)
    yield
    jaxtyping.config.update("jaxtyping_disable", True)


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(kf=kf, jax=jax, jnp=jax.numpy, np=np)


def pytest_collection_modifyitems(items):
    """Run the tests of one filter in one process, so that they share its compilations (`pytest -n 2
    --dist loadgroup`).
    """
    for item in items:
        name = item.callspec.params.get("name") if hasattr(item, "callspec") else None
        if isinstance(name, str):
            item.add_marker(pytest.mark.xdist_group(name))


def pytest_runtest_teardown():
    """Drop compiled code before Linux aborts the process for more than 65,530 memory maps, or the
    memory of a small machine is full.
    """
    if next(_tests) % 20 or not Path("/proc/self/maps").exists():
        return
    too_many = Path("/proc/self/maps").read_text().count("\n") > MAPS
    if too_many or _gigabytes() > _dropped_at[0] + GIGABYTES:
        jax.clear_caches()
        if table := sys.modules.get("support.table"):
            table.outputs_of.cache_clear()  # what stands there counts as compiled
        gc.collect()  # programs in cycles
        _dropped_at[0] = _gigabytes()  # the allocator keeps some


def _gigabytes() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def data_dir() -> Path | None:
    """The folder of measured data: KFJAX_DATA, then ../shared/data beside the checkout."""
    places = [os.environ.get("KFJAX_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    return next((Path(place) for place in places if place and Path(place).is_dir()), None)


@pytest.fixture
def shared_data() -> Path:
    """The folder of measured data, or skip."""
    if (found := data_dir()) is None:
        pytest.skip(
            "no measured data: set KFJAX_DATA to a folder with kalmannet/, nclt/, indoor_uwb/"
        )
    return found
