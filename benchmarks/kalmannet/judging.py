"""Filters on test data: the rows of a study."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.kalmannet.study import Cell, Row
from benchmarks.training import train

CHUNK = 500  # trajectories at a time


def judged(filter, params, data, *, seeds=None, chunk=CHUNK):
    """Return the `Cell` of a filter on data.

    Args:
        filter: the filter; one that draws has its own random key for each seed.
        params: its parameters; with a leading axis over `seeds`, if these are given.
        data: trajectories with the truth, NaN where it is not known.
        seeds: number of seeds, or None.
        chunk: number of trajectories at a time.
    """
    each = [params]
    if seeds is not None:
        each = [jax.tree.map(lambda a, seed=seed: a[seed], params) for seed in range(seeds)]
    chunk = min(chunk, data.size)
    found = [_figures(*_sums(filter, one, data, chunk, seed)) for seed, one in enumerate(each)]
    columns = {name: [figures[name] for figures in found] for name in Cell._fields}
    columns = {name: None if values[0] is None else values for name, values in columns.items()}
    return Cell(**columns)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _sums(filter, params, data, chunk, seed):
    """Return the sums of every trajectory over its steps.

    They are squared errors, normalised errors with the number of steps that have one (None
    without a covariance), and whether the filter failed.
    """

    def one(at):
        trajectory, key = at
        estimate = kf.data.run_trajectory(filter, params, trajectory, key=key).outputs
        truth = trajectory.xs
        steps = {"length": trajectory.length}
        error = kf.evaluation.squared_error(truth, estimate.mean, **steps).over_time()
        failed = _failed(estimate, trajectory.length)
        if estimate.cov is None:
            return error, None, None, failed
        normalised = kf.evaluation.nees(truth, estimate.mean, estimate.cov, **steps)
        counted = jnp.sum(normalised.count > 0)
        return error, normalised.over_time(), counted, failed

    keys = jax.random.split(jax.random.key(seed), data.ys.shape[0])
    return jax.lax.map(one, (jax.tree.map(jnp.asarray, data), keys), batch_size=chunk)


def _failed(estimate, length):
    """Return whether an estimate within the length is not finite, or a variance is negative."""
    steps = estimate.mean.shape[0]
    sound = [jnp.isfinite(leaf).reshape(steps, -1).all(-1) for leaf in jax.tree.leaves(estimate)]
    if estimate.cov is not None:
        variances = jnp.diagonal(estimate.cov, axis1=-2, axis2=-1)
        sound.append((variances >= 0).all(-1))
    broken = ~jnp.stack(sound).all(0)
    if length is not None:
        broken &= jnp.arange(steps) < length
    return jnp.any(broken)


def _figures(error, nees, nees_steps, failed):
    """Return the figures of one seed, in decibels, by the names of `Cell`."""
    error, nees, failed = jax.tree.map(lambda a: np.asarray(a, np.float64), (error, nees, failed))
    mses = np.where(failed > 0, np.inf, error.total / error.count)
    ratio = None
    if nees is not None and nees.count.all():
        totals = np.where(failed > 0, np.nan, nees.total)
        steps = np.asarray(nees_steps, np.float64)
        ratio = float(kf.evaluation.anees(totals, nees.count, steps).value)
    return _in_decibels(mses, ratio)._asdict()


def _in_decibels(mses, ratio=None):
    """Return a `Cell` of plain numbers from the MSE of every trajectory."""
    value, low, high = (float(x) for x in kf.evaluation.mse_db(mses))
    return Cell(value, low, high, kf.evaluation.median_db(mses), ratio)


def errors(means, data):
    """Return the `Cell` of estimates [N, T, n] that do not come from a filter."""
    error = np.asarray(means, np.float64) - np.asarray(data.xs, np.float64)
    found = _in_decibels(np.mean(error**2, axis=(1, 2)))
    return Cell([found.value], [found.low], [found.high], [found.median])


def fixed(filter, tests, settings=None):
    """Return the row of a filter that is not trained; tests are `{condition: (params, data)}`."""
    cells = {name: judged(filter, params, data) for name, (params, data) in tests.items()}
    return Row(cells, settings)


def trained(filter, model, parts, tests, budget, constants=None):
    """Train a learned filter from all seeds and return its row, with the learning curves.

    Args:
        filter: the learned filter.
        model: its design model.
        parts: training and validation data.
        tests: `{condition: (model, data)}`; the model of a condition replaces the design model.
        budget: the `Budget` of the training.
        constants: constants of the network, see `kfjax.learned.init_params`.
    """
    fitted = train(filter, model, parts, budget, constants)
    cells = {}
    for name, (other, data) in tests.items():
        several = jax.tree.map(lambda a: jnp.stack([jnp.asarray(a)] * budget.seeds), other)
        params = fitted.params._replace(model=several)
        cells[name] = judged(filter, params, data, seeds=budget.seeds)
    steps = np.atleast_2d(np.asarray(fitted.history.update))[0]
    losses = np.asarray(fitted.history.validation)
    settings = budget._asdict() | {"best_steps": fitted.update, "refused_steps": fitted.refused}
    return Row(cells, settings, {"validation": {"x": steps, "y": losses}})


def tune(filter, model, parts, *, seeds, **options):
    """Return models with tuned noise, and the settings to report.

    By default all diagonal entries of Q and R are tuned by squared error: the optimised Kalman
    filter (OKF). The leaves of the models have a leading axis over the seeds, which draw the
    batches.
    """
    options = {"structure": "diagonal", "objective": "mse"} | options
    found = [
        kf.training.tune(
            filter,
            model,
            parts.train,
            validation=parts.validation,
            key=jax.random.key(seed),
            **options,
        )
        for seed in range(seeds)
    ]
    factors = {
        name: [np.round(getattr(one.scales, name), 6).tolist() for one in found]
        for name in ("Q", "R")
    }
    chosen = {"factors": factors, "chosen_step": [int(one.update) for one in found]}
    models = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one.params for one in found))
    return models, options | chosen


def figure(value):
    """Return the cell of a single number without seeds or trajectories, such as a time."""
    return Cell([float(value)])


def shifted(cell, decibels):
    """Return a cell whose errors are higher by so many decibels: other units, same problem."""

    def moved(values):
        return values and [value + decibels for value in values]

    names = ("value", "low", "high", "median")
    return cell._replace(**{name: moved(getattr(cell, name)) for name in names})


def particle_floor(model, data, *, particles=1000, most=64_000, tolerance=0.05, chunk=20):
    """Return the `Cell` of a particle filter with enough particles, and their number.

    The particles are doubled until the error changes by less than `tolerance` dB, or until there
    are `most` of them.
    """
    before = judged(kf.particle(particles), model, data, chunk=chunk)
    while particles < most:
        particles *= 2
        cell = judged(kf.particle(particles), model, data, chunk=chunk)
        if abs(cell.value[0] - before.value[0]) < tolerance:
            break
        before = cell
    return cell, particles
