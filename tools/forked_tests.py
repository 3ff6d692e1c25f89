"""Run tests in forks of one process that has imported what they need, likely failures first."""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

LIMIT = 60.0  # processor seconds of a test; one that takes more counts as failed
HANGING = 3600.0  # seconds after which a process that uses no processor time is ended

# Imports take seconds, and forks share them; not the package itself, which changes.
PRELOADED = (
    "beartype", "chex", "flax.linen", "hypothesis", "jax.numpy", "jax.scipy.linalg", "jaxtyping",
    "optax", "scipy.stats",
)  # fmt: skip

# Plugins that would have pytest import packages anew, to rewrite their assertions.
PLUGINS = ("xdist", "cacheprovider", "hypothesispytest", "jaxtyping")
REWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"
OPTIONS = ("-q", "--no-header", "--tb=no", "-W", REWRITTEN, *(f"-pno:{name}" for name in PLUGINS))


Order: TypeAlias = Callable[[str], tuple[bool, float]]


class Measured(NamedTuple):
    """Measurements of a test that passed.

    Attributes:
        seconds: processor time.
        lines: "path:line" that it runs; tests before it in its file may have compiled others.
    """

    seconds: float
    lines: frozenset[str]


class Outcome(NamedTuple):
    """The outcome of a run of tests.

    Attributes:
        failed: the first test that failed, "" if none did.
        slow: whether the run was stopped for taking too long.
        unfinished: whether the time limit was reached before all necessary tests had run.
        measured: measurements of the tests that passed, by node id.
    """

    failed: str
    slow: bool
    unfinished: bool
    measured: dict[str, Measured]


class Plan:
    """A pytest plugin that orders tests, stops them after some time, and records what they run.

    Args:
        report: the file to write.
        order: returns the rank of a test from its node id: whether it is unnecessary, and its
            place.
        patience: processor seconds after which no further test starts.
        tree: the folder for whose modules the lines that run are recorded.
        known: tests whose lines are not recorded again, since tracing takes time.
    """

    def __init__(
        self,
        report: Path,
        order: Order,
        patience: float,
        tree: Path,
        known: Container[str],
    ) -> None:
        self.report, self.order, self.patience = report, order, patience
        self.tree, self.known = tree, known
        self.failed, self.unfinished = "", False
        self.measured: dict[str, tuple[float, list[str]]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the tests in order."""
        items.sort(key=lambda item: self.order(item.nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Any:
        """Measure a test, and limit its time."""
        begin, found = time.process_time(), set[str]()
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(begin + LIMIT), hard))
        if item.nodeid not in self.known:
            sys.settrace(lines_run(self.tree / "kfjax", found))
        try:
            return (yield)
        finally:
            sys.settrace(None)
            if item.nodeid not in self.known:
                self.measured[item.nodeid] = (time.process_time() - begin, sorted(found))
            if nextitem is not None and time.process_time() > self.patience:
                self.unfinished = not self.order(nextitem.nodeid)[0]
                item.session.shouldstop = "no more patience"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the first failure."""
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that cannot be imported."""
        if report.failed and not self.failed:
            self.failed = report.nodeid or "collection"

    def pytest_unconfigure(self) -> None:
        """Write the report."""
        found = [self.failed, self.unfinished, self.measured]
        self.report.write_text(json.dumps(found), encoding="utf-8")


def lines_run(folder: Path, found: set[str]) -> Callable[..., Any]:
    """Return a trace function that collects the lines of a folder that run: "folder/file:line"."""
    start, above = f"{folder}/", f"{folder.parent}/"

    def line(frame: Any, event: str, _: Any) -> Callable[..., Any]:
        if event == "line":
            path = frame.f_code.co_filename.removeprefix(above)
            found.add(f"{path}:{frame.f_lineno}")
        return line

    def call(frame: Any, event: str, _: Any) -> Callable[..., Any] | None:
        del event
        return line if frame.f_code.co_filename.startswith(start) else None

    return call


def preload(tree: Path, cache: Path) -> None:
    """Import the packages that all tests need, and set the environment of the forks."""
    os.environ |= {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",  # in processes that tests start
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    sys.path.insert(0, str(tree))
    for name in PRELOADED:
        importlib.import_module(name)


def run(
    tree: Path,
    tests: Iterable[str],
    *,
    order: Order = lambda _: (False, 0.0),
    patience: float = float("inf"),
    known: Container[str] = (),
    change: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run tests of a tree in a fork until one fails, after a change."""
    report = tree / "report.json"
    report.unlink(missing_ok=True)
    child = fork()
    if child == 0:
        change()
        _run_here(tree, [*OPTIONS, "-x", *tests], Plan(report, order, patience, tree, known))
    return outcome(child, report)


def outcome(child: int, report: Path) -> Outcome:
    """Wait for a process, and read its report."""
    slow = not _ended(child)
    if not report.exists():
        return Outcome("" if slow else "aborted", slow, False, {})
    failed, unfinished, measured = json.loads(report.read_text(encoding="utf-8"))
    measured.pop(failed, None)
    found = {node: Measured(s, frozenset(lines)) for node, (s, lines) in measured.items()}
    return Outcome(failed, slow, unfinished, found)


def _run_here(tree: Path, arguments: list[str], plan: Plan) -> None:
    """Run pytest in this process, and exit."""
    silence()
    os.chdir(tree)
    try:
        pytest.main(arguments, plugins=[plan])
    finally:
        os._exit(0)


def fork() -> int:
    """Return the process id of a new child, or 0 in the child."""
    # JAX warns of forks because of its threads, but here it has not started any
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return os.fork()


def silence() -> None:
    """Detach from the terminal, and discard all output."""
    os.setsid()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)


def _ended(child: int) -> bool:
    """Wait for a process, and return whether it ended before it was stopped for its time.

    Processor time is limited, since tests take longer beside other work.
    """
    end = time.monotonic() + HANGING
    while time.monotonic() < end:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGXCPU
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False
