"""Measure one problem: the rows of its filters, its floor, and how curved it is."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.choosing import floors, intervals, running
from benchmarks.choosing.bends import bends
from benchmarks.choosing.candidates import candidates
from benchmarks.choosing.problems import records

WORKERS = 3
LOST = 5  # a record with this many times the median error of the best filter is lost


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        tests: number of test records.
        validation: number of validation records.
        steps: number of steps, or None for that of the problem.
        particles: number of particles.
        batch: number of records at a time.
    """

    tests: int
    validation: int
    steps: int | None
    particles: int
    batch: int


FULL = Size(100, 50, None, 500, 50)
QUICK = Size(4, 4, 8, 10, 4)


def measured(problem, size, say=print):
    """Return the result for a problem: a description, and a row for every filter."""
    keys = jax.random.split(jax.random.key(2), 3)
    tests = records(problem, keys[0], size.tests, size.steps)
    validation = records(problem, keys[1], size.validation, size.steps)
    chosen = candidates(problem, size.particles)

    def both(name):
        candidate = chosen[name]
        factors = running.chosen(problem, candidate, validation)
        tuned = running.errors(problem, candidate, factors, tests, size.batch)
        given = tuned
        if factors != (1.0, 1.0):
            given = running.errors(problem, candidate, (1.0, 1.0), tests, size.batch)
        say(f"{problem.name}: {name}")
        return factors, tuned, given

    # most of the time is compilation, which several threads share
    with ThreadPoolExecutor(WORKERS) as pool:
        done = dict(zip(chosen, pool.map(both, chosen), strict=True))
    found = {}
    rows = {}
    for name, (factors, tuned, given) in done.items():
        candidate = chosen[name]
        found[name] = tuned
        seconds = running.seconds_per_step(problem, candidate, validation)
        rows[name] = {
            "problem": problem.name,
            "filter": name,
            "kind": candidate.kind,
            "factors": factors,
            "given": intervals.of(intervals.rmse, given.squared),
            "rmse": intervals.of(intervals.rmse, found[name].squared),
            "covered": round(float(found[name].covered.mean()), 3),
            "microseconds": float(f"{1e6 * seconds:.3g}"),
        }
    squared = {name: one.squared for name, one in found.items()}
    _compare(rows, squared)
    description = {
        "problem": problem.name,
        "floor": _floor(problem, tests, keys[2]),
        "exact": problem.grid is not None,
        "bends": bends(problem, validation),
    }
    return description, [_in_unit(row, problem.unit[1]) for row in rows.values()]


def _compare(rows, squared):
    """Add how far each filter is behind the best, overall and of its kind, and how often lost."""
    means = {name: errors.mean() for name, errors in squared.items()}
    best = min(means, key=means.get)
    most = LOST**2 * np.median(squared[best])
    for name, row in rows.items():
        row["lost"] = float((squared[name] > most).mean())
        row["behind"] = intervals.of(intervals.decibels, squared[name], squared[best])
        if row["kind"] == "Gaussian":
            gaussian = {other: means[other] for other in rows if rows[other]["kind"] == "Gaussian"}
            first = min(gaussian, key=gaussian.get)
            row["behind_kind"] = intervals.of(intervals.decibels, squared[name], squared[first])


def _floor(problem, tests, key):
    """Return the root of the lowest possible squared error, in the unit of the problem."""
    if problem.grid is None:
        squared = floors.bound(problem, tests.steps, key)
    else:
        means = floors.exact_means(problem, tests)
        squared = ((means - tests.xs)[..., problem.scored] ** 2).sum(-1).mean()
    return float(f"{np.sqrt(squared) * problem.unit[1]:.4g}")


def _in_unit(row, factor):
    """Return a row with its errors in the unit of the problem."""
    errors = {key: [float(f"{factor * e:.4g}") for e in row[key]] for key in ("given", "rmse")}
    return row | errors
