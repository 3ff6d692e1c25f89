"""Whether learned covariances say how large the errors are: overall, and in each third of the horizon."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.learned.lorenz_spherical import MODEL as SPHERICAL
from benchmarks.learned.results import Measured, Study
from benchmarks.learned.rotated_h import lorenz
from benchmarks.learned.running import Budget, decibels, official, shortened, train
from benchmarks.learned.table1 import MODEL
from kfjax.data import run_trajectory

THIRDS = ("first third", "second third", "last third")
COLUMNS = ("MSE, dB", "ANEES", *(f"ANEES, {name}" for name in THIRDS), "coverage")
COLUMNS = (*COLUMNS, *(f"coverage, {name}" for name in THIRDS))
SETS = {
    "lin2x2_v0_r20_T100": (MODEL, Budget(800, learning_rate=1e-3, seeds=3), 30),
    "lorenz_spherical_v0_r0_T20": (SPHERICAL, Budget(500, split=500, learning_rate=1e-3, seeds=3), 20),
    "lorenz_Hrot1_v-20_r0_T100": (lorenz(), Budget(500, learning_rate=1e-3, seeds=3), 30),
}


@functools.partial(jax.jit, static_argnums=0)
def consistency(method, params, data):
    """Return the sums of squared normalised errors and of states within 90 % intervals, by trajectory and step."""
    _, est = jax.vmap(lambda one: run_trajectory(method, params, one))(data)
    within = kf.evaluation.coverage(data.state, est.mean, est.cov, probability=0.9)
    return kf.evaluation.nees(data.state, est.mean, est.cov), kf.evaluation.Sums(*(a.sum(-1) for a in within))


def calibration(method, params, data):
    """Return ANEES and coverage, overall and by thirds."""
    values = {}
    for name, sums in zip(("ANEES", "coverage"), consistency(method, params, data), strict=True):
        total, count = (np.asarray(a, np.float64).sum(axis=0) for a in sums)
        values[name] = total.sum() / count.sum()
        for third, a, b in zip(THIRDS, np.array_split(total, 3), np.array_split(count, 3), strict=True):
            values[f"{name}, {third}"] = a.sum() / b.sum()
    return {name: round(float(value), 4) for name, value in values.items()}


def rows(quick):
    def plain(name):
        model, data = SETS[name][0], official(name).test
        return Measured({COLUMNS[0]: decibels(kf.extended(), model, data)} | calibration(kf.extended(), model, data))

    def network(name, make):
        model, budget, steps = SETS[name]
        budget, parts = budget.quick() if quick else budget, official(name)
        method = make(model)
        constants = kf.learned.measure_scales(model, parts.train.obs)
        losses = (kf.training.mse(method), kf.training.nll(method))
        fitted = train(method, model, shortened(parts, steps), budget, constants, losses=losses)
        each = [calibration(method, fitted.run(k).params, parts.test) for k in range(budget.seeds)]
        values = {column: [one[column] for one in each] for column in COLUMNS[1:]}
        values[COLUMNS[0]] = decibels(method, fitted.params, parts.test, many=True)
        return Measured(values, budget._asdict() | {"training_steps_in_time": steps})

    table = {}
    for name in SETS:
        table[f"EKF with the design model, {name}"] = functools.partial(plain, name)
        table[f"Recursive KalmanNet, {name}"] = functools.partial(network, name, recursive)
        table[f"gain that starts at the EKF, {name}"] = functools.partial(network, name, corrected)
    return table


def recursive(model):
    scale = float(jnp.sqrt(jnp.mean(jnp.diag(model.Q))))
    return kf.learned.recursive_kalman_net(kf.learned.Architecture2(model.n, model.n), scale=scale)


def corrected(model):
    return kf.learned.corrected_gain(model.n, model.n)


STUDY = Study(
    "Calibration",
    "Trained on the official training data (cut to 20 or 30 steps) by squared error, then by the likelihood of the true"
    " states; chosen by that on validation data; tested on the official test sets. Wanted: ANEES within 0.9 and 1.1,"
    " and 90 % coverage within 0.87 and 0.93, overall and in each third.",
    COLUMNS,
    rows,
)
