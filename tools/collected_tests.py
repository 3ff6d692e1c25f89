"""Tests that are collected once, and run in forks between which only bodies of functions change."""

import functools
import os
import sys
from collections.abc import Callable, Collection, Container, Iterable
from pathlib import Path
from typing import Any

import forked_tests
import jax
import pytest
from _pytest import main


class Collected:
    """Tests that were collected once, and run in forks.

    Args:
        tree: the folder of the package and its tests.
        session: that of pytest, after collection.
        apart: files that start JAX, and its threads, when they are imported; they are imported in
            every fork.
    """

    def __init__(self, tree: Path, session: pytest.Session, apart: set[str]) -> None:
        self.tree, self.session, self.apart = tree, session, apart
        self.items = list({item.nodeid: item for item in session.items}.values())

    def run(
        self, tests: Collection[str], change: Callable[[], None], **options: Any
    ) -> forked_tests.Outcome:
        """Run some of the tests until one fails, after a change; `options` are those of `run`.

        Tests of files that are imported in every fork run apart from the others, before them if the
        first of all tests is one of them.
        """
        alone = [test for test in tests if test.partition("::")[0] in self.apart]
        together = [test for test in tests if test not in alone]
        runs = [(together, self._run), (alone, functools.partial(forked_tests.run, self.tree))]
        if next(iter(tests)) in alone:
            runs.reverse()
        outcome = forked_tests.Outcome("", slow=False, unfinished=False, measured={})
        for some, run in runs:
            if some and not (outcome.failed or outcome.slow or outcome.unfinished):
                later = run(some, change=change, **options)
                outcome = later._replace(measured=outcome.measured | later.measured)
        return outcome

    def _run(
        self,
        tests: Collection[str],
        *,
        change: Callable[[], None],
        order: forked_tests.Order = lambda _: (False, 0.0),
        patience: float = float("inf"),
        known: Container[str] = (),
    ) -> forked_tests.Outcome:
        """Run collected tests in a fork."""
        report = self.tree / "report.json"
        report.unlink(missing_ok=True)
        child = forked_tests.fork()
        if child == 0:
            forked_tests.silence()
            plan = forked_tests.Plan(report, order, patience, self.tree, known)
            try:
                change()
                self._run_here(tuple(tests), plan)
            finally:
                os._exit(0)
        return forked_tests.outcome(child, report)

    def _run_here(self, tests: tuple[str, ...], plan: forked_tests.Plan) -> None:
        """Run tests in this process."""
        starts = tuple(f"{test}{sign}" for test in tests for sign in ("::", "["))
        chosen = [i for i in self.items if i.nodeid in tests or i.nodeid.startswith(starts)]
        plan.pytest_collection_modifyitems(chosen)
        self.session.items = chosen
        self.session.testsfailed = 0  # collection errors count, too
        self.session.config.option.maxfail = 1
        self.session.config.pluginmanager.register(plan)
        try:
            main.pytest_runtestloop(self.session)
        finally:
            plan.pytest_unconfigure()


class _Hold:
    """A pytest plugin that hands the collected tests to a function instead of running them."""

    def __init__(self, tree: Path, work: Callable[[Collected], None]) -> None:
        self.tree, self.work = tree, work
        self.apart: set[str] = set()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that cannot be imported now."""
        if report.failed:
            self.apart.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Call the function instead of running the tests."""
        jax.config.update("jax_platforms", None)
        self.work(Collected(self.tree, session, self.apart))
        return True


def collect(tree: Path, tests: Iterable[str], work: Callable[[Collected], None]) -> None:
    """Collect tests in a fork, and do some work there with what was collected."""
    child = forked_tests.fork()
    if child == 0:
        os.chdir(tree)
        jax.config.update("jax_platforms", "none")  # an import that starts JAX fails
        options = [*forked_tests.OPTIONS, "-s", "--continue-on-collection-errors"]
        try:
            pytest.main([*options, *tests], plugins=[_Hold(tree, work)])
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(child, 0)
