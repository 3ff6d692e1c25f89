"""Settings with published figures, run as published: our errors beside theirs.

All are of J. Hartikainen, A. Solin, S. Sarkka, Optimal filtering with Kalman filters and smoothers,
manual of the EKF/UKF toolbox 1.3 (2011), sections 3.8 to 3.10.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.choosing import models
from benchmarks.choosing.candidates import Candidate
from benchmarks.choosing.problems import Problem, records
from benchmarks.choosing.running import errors

ONE = ((1.0, 1.0),)


class Setting(NamedTuple):
    """A published setting.

    Attributes:
        name: the problem.
        measure: "MSE" or "RMSE", averaged over the records.
        problem: the `Problem` of the filters.
        data: the records.
        figures: the published figure by filter.
    """

    name: str
    measure: str
    problem: Any
    data: Any
    figures: dict[str, float]


def _growth(count, steps):
    problem = Problem(
        "nonlinear growth",
        "",
        "",
        models.growth(q_var=1.0, prior_mean=0.1, prior_var=1.0),
        (0,),
        ("1", 1.0),
        steps or 500,
        models.growth_inputs(steps or 500),
    )
    start = kf.systems.known([0.1])
    truth = problem._replace(model=problem.model.replace(prior=start))
    figures = {
        "extended": 125.9,
        "unscented, as there": 87.9,
        "cubature": 72.3,
        "Gauss-Hermite 10": 40.9,
        "particle 1000": 10.2,
    }
    data = records(truth, jax.random.key(11), count)
    return Setting("nonlinear growth", "MSE", problem, data, figures)


def _turning_body(rng, steps, dt=0.01):
    """Return states [T, 4] of a body that turns by 90 degrees three times, as in the toolbox."""
    rates = np.zeros(500)
    for first in (49, 199, 349):
        rates[first : first + 51] = np.pi / 2 / 51 / dt + 0.01 * rng.normal(size=51)
    p, angle = np.zeros(2), 0.0
    xs = []
    for rate in rates[:steps]:
        turn = rate * dt
        # the chord of the arc: sin(turn / 2) / (turn / 2), at half the turn
        chord = dt * np.sinc(turn / 2 / np.pi)
        p = p + chord * np.array([np.cos(angle + turn / 2), np.sin(angle + turn / 2)])
        angle += turn
        xs.append([p[0], np.cos(angle), p[1], np.sin(angle)])
    return np.array(xs)


def _bearings(count, steps):
    model = kf.systems.bearings_only(
        dt=0.01,
        sensors=((-1.0, -2.0), (1.0, 1.0)),
        q_density=0.1,
        r_std=0.05,
        prior=kf.Gaussian(jnp.zeros(4), jnp.diag(jnp.array([0.1, 10.0, 0.1, 10.0]))),
    )
    problem = Problem("bearings-only", "", "", model, (0, 2), ("1", 1.0), steps or 500)
    rng = np.random.default_rng(12)
    xs = np.array([_turning_body(rng, problem.steps) for _ in range(count)])
    ys = jax.vmap(jax.vmap(lambda x: model.h(x, None)))(jnp.asarray(xs))
    ys = np.asarray(ys) + 0.05 * rng.normal(size=ys.shape)
    figures = {
        "extended": 0.114,
        "unscented, as there": 0.113,
        "cubature": 0.108,
        "Gauss-Hermite 3": 0.107,
    }
    return Setting("bearings-only", "RMSE", problem, kf.Dataset(ys, xs), figures)


def _reentry(count, steps):
    model = models.reentry(0.1, euler=True, q_drag=1e-6)
    truth = models.reentry(0.1, euler=True, q_drag=0.0, drag_mean=0.6932, drag_var=0.0)
    problem = Problem("reentry", "", "", model, (0, 1), ("km", 1.0), steps or 2000)
    data = records(problem._replace(model=truth), jax.random.key(13), count)
    names = ("extended", "unscented, as there", "cubature", "Gauss-Hermite 3")
    figures = dict.fromkeys(names, 0.0084)
    return Setting("reentry", "RMSE", problem, data, figures)


def filters(n):
    """Return the filters of the tables; the unscented one has the toolbox's weights."""
    return {
        "extended": kf.extended(),
        "unscented, as there": kf.unscented(0.5, 2.0, 3.0 - n),
        "cubature": kf.cubature(),
        "Gauss-Hermite 3": kf.gauss_hermite(order=3),
        "Gauss-Hermite 10": kf.gauss_hermite(order=10),
        "particle 1000": kf.particle(1000, ess=1.0),
    }


def rows(count=100, steps=None):
    """Yield a row for every published figure: our error and its interval."""
    for make in (_growth, _bearings, _reentry):
        setting = make(count, steps)
        for name, figure in setting.figures.items():
            candidate = Candidate("Gaussian", filters(setting.problem.model.n)[name], ONE)
            each = errors(setting.problem, candidate, ONE[0], setting.data, count).squared
            each = np.sqrt(each) if setting.measure == "RMSE" else each
            value = kf.evaluation.mean_interval(each)
            yield {
                "problem": setting.name,
                "filter": name,
                "measure": setting.measure,
                "ours": [float(f"{number:.4g}") for number in value],
                "published": figure,
            }
