"""The callback of a training: what it is told, when, and that it changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import forget_programs

import kfjax as kf
from kfjax.training import Checkpoints, Report, clipped_adam, fit, fit_noise, fit_stages, stepping

KEY = jax.random.key(0)
OPTIMIZER = clipped_adam(0.1)


def misfit(params, batch, key):
    """The squared distance of a number from the batch; infinite if one of the batch is above 9."""
    del key
    distance = jnp.mean((params["w"] - batch) ** 2)
    return jnp.where(batch.max() > 9, jnp.inf, distance)


def train(callback=None, *, w=5.0, rows=4, **options):
    shared = {"key": KEY, "updates": 10, "batch_size": 2, "reports": 5, "optimizer": OPTIMIZER}
    data = jnp.arange(rows, dtype=jnp.float32)
    return fit(misfit, {"w": jnp.asarray(w)}, data, callback=callback, **shared | options)


def rows_of(reports):
    """The reports as arrays [reports] (or [reports, S]) by name, without the params."""
    return {
        name: np.array([getattr(report, name) for report in reports])
        for name in Report._fields
        if name != "params"
    }


def test_the_reports_are_the_history_row_by_row():
    reports = []
    fitted = train(reports.append, validation=jnp.ones(2))
    assert [report.update for report in reports] == [0, 2, 4, 6, 8, 10]
    assert type(reports[1].loss) is float
    assert type(reports[1].refused) is int
    for name, values in rows_of(reports).items():
        np.testing.assert_array_equal(values, getattr(fitted.history, name))
    assert float(reports[0].params["w"]) == 5
    best = min(reports, key=lambda report: report.validation)
    assert best.params["w"] == fitted.params["w"]


def test_with_a_moving_average_the_params_are_averages():
    reports = []
    fitted = train(reports.append, ema=0.9)
    assert reports[-1].params["w"] == fitted.params["w"]
    plain = []
    train(plain.append)
    assert reports[-1].params["w"] > plain[-1].params["w"]  # the average is behind


def test_several_runs_report_together():
    reports = []
    keys = jax.random.split(KEY, 3)
    fitted = train(reports.append, w=[5.0, 6.0, 7.0], key=keys)
    for name, values in rows_of(reports).items():
        np.testing.assert_array_equal(values.T, getattr(fitted.history, name))
    np.testing.assert_array_equal(reports[-1].params["w"], fitted.params["w"])


def test_a_callback_neither_compiles_nor_changes_anything():
    forget_programs(stepping.advance)
    plain = train()
    compiled = stepping.advance._jitted._cache_size()
    for callback in ([].append, lambda report: "ignored", print):
        fitted = train(callback)
        jax.tree.map(np.testing.assert_array_equal, fitted, plain)
    assert stepping.advance._jitted._cache_size() == compiled


class Enough(Exception):
    """What a callback raises to end a training."""


def test_an_exception_ends_the_training_and_the_next_run_continues(tmp_path):
    checkpoints = Checkpoints(tmp_path)

    def stop(report):
        if report.update == 4:
            raise Enough

    with pytest.raises(Enough):
        train(stop, checkpoints=checkpoints)
    reports = []
    fitted = train(reports.append, checkpoints=checkpoints)
    assert [report.update for report in reports] == [6, 8, 10]
    jax.tree.map(np.testing.assert_array_equal, fitted, train())
    for name, values in rows_of(reports).items():
        np.testing.assert_array_equal(values, getattr(fitted.history, name)[3:])


def test_the_counts_of_stages_go_on():
    reports = []
    data = jnp.array([1.0, 2.0])
    bad = jnp.array([1.0, 10.0])
    stages = [
        {"data": jnp.concatenate([data, bad]), "batch_size": 1},
        {"data": data, "batch_size": 2},
    ]
    fitted = fit_stages(
        misfit,
        {"w": jnp.asarray(5.0)},
        stages,
        key=KEY,
        updates=4,
        reports=2,
        optimizer=OPTIMIZER,
        callback=reports.append,
    )
    assert fitted.history.refused[-1] == 1
    for name, values in rows_of(reports).items():
        np.testing.assert_array_equal(values, getattr(fitted.history, name))


def test_fitted_noise_is_reported_as_covariances():
    model = kf.systems.constant_velocity()
    reports = []
    _, ys = kf.simulate(KEY, model, 20)
    fitted = fit_noise(
        kf.kalman(),
        model.replace(R=9 * model.R),
        kf.Dataset(ys[None]),
        key=KEY,
        updates=2,
        reports=1,
        callback=reports.append,
    )
    first, last = (report.params for report in reports)
    np.testing.assert_allclose(first.R, 9 * model.R, rtol=1e-5)
    np.testing.assert_array_equal(last.R, fitted.params.R)


def test_what_is_no_function_is_refused():
    with pytest.raises(ValueError, match="callback is 3; expected a function of a Report"):
        train(3)
