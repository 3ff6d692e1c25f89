"""Filters on test data: what a row of a study is made of. Training, tuning and data are those of benchmarks.learned."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.kalmannet.study import Cell, Row
from benchmarks.training import train

CHUNK = 500  # trajectories at a time


def judged(filter, params, data, *, seeds=None, chunk=CHUNK):
    """Return the `Cell` of a filter on data (NaN in the truth is unknown); params of seeds have a leading axis."""
    each = (
        [params]
        if seeds is None
        else [jax.tree.map(lambda a, k=k: a[k], params) for k in range(seeds)]
    )
    found = [_figures(*_sums(filter, one, data, min(chunk, data.size))) for one in each]
    columns = {name: [figures[name] for figures in found] for name in Cell._fields}
    return Cell(**{name: None if values[0] is None else values for name, values in columns.items()})


@functools.partial(jax.jit, static_argnums=(0, 3))
def _sums(filter, params, data, chunk):
    """Return the sums of every trajectory over its steps.

    They are squared errors, normalised errors with the number of steps that have one (None
    without a covariance), and whether the filter failed.
    """

    def one(at):
        trajectory, key = at
        estimate = kf.data.run_trajectory(filter, params, trajectory, key=key).outputs
        truth, steps = trajectory.xs, {"length": trajectory.length}
        error = kf.evaluation.squared_error(truth, estimate.mean, **steps).over_time()
        if estimate.cov is None:
            return error, None, None, _failed(estimate, trajectory.length)
        normalised = kf.evaluation.nees(truth, estimate.mean, estimate.cov, **steps)
        with_any = jnp.sum(normalised.count > 0)
        failed = _failed(estimate, trajectory.length)
        return error, normalised.over_time(), with_any, failed

    keys = jax.random.split(jax.random.key(0), data.ys.shape[0])
    return jax.lax.map(one, (jax.tree.map(jnp.asarray, data), keys), batch_size=chunk)


def _failed(estimate, length):
    """Tell whether an estimate within the length is not finite, or a variance negative."""
    steps = estimate.mean.shape[0]
    sound = [jnp.isfinite(leaf).reshape(steps, -1).all(-1) for leaf in jax.tree.leaves(estimate)]
    if estimate.cov is not None:
        variances = jnp.diagonal(estimate.cov, axis1=-2, axis2=-1)
        sound.append((variances >= 0).all(-1))
    counted = True if length is None else jnp.arange(steps) < length
    return jnp.any(~jnp.stack(sound).all(0) & counted)


def _figures(error, nees, nees_steps, failed):
    """Return the figures of one seed, in decibels."""
    error, nees, failed = jax.tree.map(lambda a: np.asarray(a, np.float64), (error, nees, failed))
    mses = np.where(failed > 0, np.inf, error.total / error.count)
    ratio = None
    if nees is not None and nees.count.all():
        totals = np.where(failed > 0, np.nan, nees.total)
        ratio = float(
            kf.evaluation.anees(totals, nees.count, np.asarray(nees_steps, np.float64)).value
        )
    return _in_decibels(mses, ratio)._asdict()


def _in_decibels(mses, ratio=None):
    """Return a `Cell` of plain numbers from the MSE of every trajectory."""
    value, low, high = (float(x) for x in kf.evaluation.mse_db(mses))
    return Cell(value, low, high, kf.evaluation.median_db(mses), ratio)


def errors(means, data):
    """Return the `Cell` of estimates [N, T, n] that no filter made."""
    mses = np.mean(
        (np.asarray(means, np.float64) - np.asarray(data.xs, np.float64)) ** 2, axis=(1, 2)
    )
    return Cell(*([figure] for figure in _in_decibels(mses)[:-1]))


def fixed(filter, tests, settings=None):
    """Return the row of a filter that is not trained; tests are `{condition: (params, data)}`."""
    return Row(
        {name: judged(filter, params, data) for name, (params, data) in tests.items()}, settings
    )


def trained(filter, model, parts, tests, budget, constants=None):
    """Train all seeds of a learned filter and return its row, with the learning curves.

    Args:
        filter: the learned filter.
        model: its design model.
        parts: what it is trained and chosen on.
        tests: `{condition: (model, data)}`; the model of a condition takes the place of the design
            model.
        budget: of the training.
        constants: of the network, see `kfjax.learned.init`.
    """
    fitted = train(filter, model, parts, budget, constants)
    cells = {}
    for name, (other, data) in tests.items():
        several = jax.tree.map(lambda a: jnp.stack([jnp.asarray(a)] * budget.seeds), other)
        cells[name] = judged(
            filter, fitted.params._replace(model=several), data, seeds=budget.seeds
        )
    steps, losses = (np.asarray(a) for a in (fitted.history.step, fitted.history.validation))
    settings = budget._asdict() | {"best_steps": fitted.step, "refused_steps": fitted.refused}
    return Row(cells, settings, {"validation": {"x": np.atleast_2d(steps)[0], "y": losses}})


def tune(filter, model, parts, **options):
    """Return the tuned model, and the settings to report; by default all of Q and R by squared error, the OKF."""
    options = {"structure": "diagonal", "objective": "mse"} | options
    found = kf.training.tune(filter, model, parts.train, parts.validation, **options)
    factors = {name: np.round(getattr(found.scales, name), 6).tolist() for name in ("Q", "R")}
    return found.params, options | {"factors": factors, "chosen_step": int(found.step)}


def figure(value):
    """Return the cell of a figure that has neither seeds nor trajectories: a theoretical one, a time, a count."""
    return Cell([float(value)])


def shifted(cell, decibels):
    """Return a cell whose errors are higher by so many decibels: the same problem in other units."""
    moved = {name: getattr(cell, name) for name in ("value", "low", "high", "median")}
    return cell._replace(
        **{name: values and [x + decibels for x in values] for name, values in moved.items()}
    )


def particle_floor(model, data, *, particles=1000, most=64_000, tolerance=0.05, chunk=20):
    """Return the `Cell` of a particle filter with so many particles that doubling them moves it less, and the number.

    With `most` particles it is taken as it is.
    """
    before = judged(kf.particle(particles), model, data, chunk=chunk)
    while particles < most:
        particles *= 2
        cell = judged(kf.particle(particles), model, data, chunk=chunk)
        if abs(cell.value[0] - before.value[0]) < tolerance:
            break
        before = cell
    return cell, particles
