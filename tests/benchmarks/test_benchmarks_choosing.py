"""The study of ten problems: its page, its rule, and the floors that filters are compared with."""

import copy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf
from benchmarks.choosing import floors, study
from benchmarks.choosing.__main__ import HERE, NAME, read
from benchmarks.choosing.page import page
from benchmarks.choosing.problems import Problem, problems, records
from benchmarks.choosing.rule import (
    CURVED,
    RULE,
    TOLERANCE,
    choices,
    contradictions,
    lines,
    number,
)

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "choose-a-filter.md"


@pytest.fixture(scope="module")
def results():
    return read(HERE / NAME)


def test_the_committed_page_is_that_of_the_committed_results(results):
    assert (HERE / "RESULTS.md").read_text() == page(results)
    assert results["size"] == list(study.FULL)
    assert {row["problem"] for row in results["problems"]} == set(problems())
    assert len(problems()) == 10


def test_the_tables_agree_with_the_rule(results):
    assert contradictions(results) == []
    assert {choice.problem for choice in choices(results)} == set(problems())


def test_the_guide_prints_the_rule(results):
    assert "\n".join(lines(results)) in GUIDE.read_text()


def test_a_table_against_the_rule_is_noticed(results):
    for choice in choices(results):
        changed = copy.deepcopy(results)
        for row in changed["rows"]:
            if (row["problem"], row["filter"]) == (choice.problem, choice.filter):
                row["behind"] = [3.0, 2.0, 4.0]
        (found,) = contradictions(changed)
        assert found.startswith(choice.problem)
        assert "**contradict** the rule" in page(changed)
        assert lines(changed) != lines(results)


def behind(results, problem, filter):
    """How far a filter is behind the best: the value and the lower end, inf where it failed."""
    (row,) = [r for r in results["rows"] if (r["problem"], r["filter"]) == (problem, filter)]
    return [number(value) for value in row["behind"][:2]]


def test_what_else_the_guide_says_is_in_the_tables(results):
    bends = {row["problem"]: row["bends"] for row in results["problems"]}
    assert max(bends["coordinated turn"]) < CURVED
    assert behind(results, "coordinated turn", "extended")[1] > TOLERANCE
    assert behind(results, "coordinated turn", "unscented")[0] < TOLERANCE
    for problem in ("robot", "reentry"):
        for name in ("particle 500", "auxiliary particle 500"):
            assert behind(results, problem, name)[1] > TOLERANCE
    for problem in ("battery", "population"):
        gaussian = {
            row["filter"]: behind(results, problem, row["filter"])[0]
            for row in results["rows"]
            if (row["problem"], row["kind"]) == (problem, "Gaussian")
        }
        assert gaussian.pop("iterated extended") < 2
        assert min(gaussian.values()) > 5


def test_every_line_of_the_rule_is_of_use(results):
    assert {choice.line for choice in choices(results)} == {line.number for line in RULE}


def test_published_figures_are_reproduced(results):
    for row in results["published"]:
        value, low, high = row["ours"]
        assert low - 0.1 * value < row["published"] < high + 0.1 * value, row


def linear(**changes):
    """A problem whose best filter is known: a random walk that is measured."""
    model = kf.linear_gaussian(
        F=[[0.9]], H=[[1.0]], Q=[[0.5]], R=[[0.3]], prior=kf.Gaussian(jnp.ones(1), jnp.eye(1))
    )
    about = {"grid": (-8.0, 8.0), "steps": 12} | changes
    return Problem("walk", "", "", model, (0,), ("1", 1.0), **about)


def test_floors_of_a_linear_problem_are_those_of_the_kalman_filter(x64):
    problem = linear()
    data = records(problem, jax.random.key(0), 3)
    means = floors.exact_means(problem, data)
    est = jax.vmap(lambda ys: kf.run(kf.kalman(), problem.model, ys).outputs)(jnp.asarray(data.ys))
    np.testing.assert_allclose(means, est.mean, atol=1e-6)
    bound = floors.bound(problem, problem.steps, jax.random.key(1))
    assert bound == pytest.approx(float(est.cov[0].mean()), rel=1e-9)
