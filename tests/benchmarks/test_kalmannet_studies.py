"""Computations in the studies of the KalmanNet paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf
from benchmarks.estimates import means
from benchmarks.kalmannet import (
    estimate,
    fig12,
    fusion,
    fusion_search,
    lorenz,
    nclt_fusion,
    odometry,
    table1,
    table3,
)
from benchmarks.kalmannet.judging import tune
from benchmarks.kalmannet.study import SIZES, Cell
from benchmarks.kalmannet.unfinished import unfinished


@pytest.fixture
def turned(monkeypatch):
    """A session whose odometry is turned by 30 degrees, exactly."""
    rng = np.random.default_rng(0)
    velocities = rng.normal(size=(4300, 2))
    positions = 5.0 + np.cumsum(velocities, axis=0)
    states = np.stack(
        [positions[:, 0], velocities[:, 0], positions[:, 1], velocities[:, 1]], axis=1
    )
    frame = np.asarray(kf.systems.rotation(30.0), np.float64)
    monkeypatch.setattr(odometry, "session", lambda name: (states, velocities @ frame))
    return states


def test_integrated_odometry_follows_the_path_once_it_is_turned_back(turned):
    window = odometry.windows("any", [7], 50)
    assert np.isnan(window.xs[..., [1, 3]]).all()
    params = odometry.integrated(odometry.velocity_map())
    np.testing.assert_allclose(
        means(kf.constant_gain(), params, window)[0][:, [0, 2]],
        window.xs[0][:, [0, 2]],
        atol=1e-3,
    )
    wrong = means(kf.constant_gain(), odometry.integrated(np.eye(2)), window)
    assert np.abs(np.asarray(wrong)[0, :, 0] - window.xs[0, :, 0]).max() > 0.5


def test_the_searched_q_is_the_best_of_the_grid():
    model = kf.systems.constant_velocity(q_density=0.01).replace(Q=jnp.eye(2))
    truth = model.replace(Q=1e-2 * jnp.eye(2))
    xs, ys = zip(
        *(kf.simulate(key, truth, 60) for key in jax.random.split(jax.random.key(0), 4)),
        strict=True,
    )
    found, settings = lorenz.searched(
        kf.kalman(), model, kf.Dataset(jnp.stack(ys), jnp.stack(xs)), (1e-6, 1e-2, 1e2)
    )
    assert settings == {"q^2": pytest.approx(1e-2)}
    np.testing.assert_allclose(found.Q, 1e-2 * np.eye(2), rtol=1e-6)


def test_tuned_models_have_an_axis_over_seeds_each_with_its_own_key(monkeypatch):
    model = kf.systems.constant_velocity()

    def tuned(filter, params, data, *, key, **options):
        factor = 1.0 + jax.random.uniform(key)
        assert options == {"structure": "diagonal", "objective": "mse", "validation": 2}
        scales = kf.training.Scales(Q=np.asarray(factor), R=np.ones(1))
        return kf.training.Tuned(params.replace(Q=factor * params.Q), scales, (), (), 7, 0)

    monkeypatch.setattr(kf.training, "tune", tuned)
    models, settings = tune(kf.kalman(), model, kf.data.Parts(1, 2, 3), seeds=2)
    assert models.R.shape == (2, 1, 1)
    for Q, factor in zip(models.Q, settings["factors"]["Q"], strict=True):
        np.testing.assert_allclose(Q, factor * model.Q, rtol=1e-4)
    assert settings["factors"]["Q"][0] != settings["factors"]["Q"][1]
    assert unfinished({"settings": settings | {"updates": 7}}, "any")


def test_the_work_of_a_study_is_counted_without_doing_it():
    found = estimate.work(table1, SIZES["quick"])
    tests = 2 * (50 * 20 + 20 * 200)  # steps, with either H
    updates, batch, steps, seeds = 20, 32, 20, 2
    training = 2 * estimate.GRADIENT * updates * batch * steps * seeds
    assert found[table1.KF] == (tests, 4)
    assert found[table1.KALMAN_NET] == (training + seeds * tests, 4)
    assert table1.trained.__globals__["train"].__module__ == "benchmarks.training"


def test_the_cramer_rao_floor_of_a_linear_model_is_its_covariance():
    model = kf.systems.constant_velocity(q_density=0.0).replace(
        h=kf.Linear(jnp.eye(2)), R=jnp.eye(2)
    )
    ys = jnp.zeros((20, 2))
    expected = (
        jnp.trace(kf.run(kf.kalman(), model, ys).outputs.cov, axis1=1, axis2=2).mean() / 3
    )  # n of the attractor
    found = table3.along_truth(model, model.prior.mean[None], ys[None])
    np.testing.assert_allclose(found, [expected], rtol=1e-4)


def test_decibels_become_root_mean_squares():
    cell = nclt_fusion.metres(Cell([20.0, 0.0], None, None, [40.0, 20.0], [1.5, 2.5]))
    assert cell == Cell([10.0, 1.0], None, None, [100.0, 10.0], [1.5, 2.5])


def test_the_error_of_the_compass_is_found(tmp_path, monkeypatch):
    heading = np.linspace(-3, 3, 500)
    wrong = np.array([0.1, 0.05, -0.02, 0.03, 0.01])
    truth = heading + fusion.harmonics(heading) @ wrong
    wheel = np.column_stack([np.ones(500), np.ones(500), heading, np.zeros(500)])
    for name in fusion.SESSIONS.values():
        np.savez(tmp_path / f"{name}.npz", wheel=wheel, theta_gt=np.append(truth[1:], 0.0)[:, None])
    monkeypatch.setattr(fusion, "FOLDER", tmp_path)
    np.testing.assert_allclose(fusion.compass.__wrapped__(), wrong, atol=1e-5)


def test_missing_fixes_are_remembered_for_a_while(monkeypatch):
    monkeypatch.setattr(fusion, "MEMORY", 4.0)  # each step counts a quarter, the earlier ones three
    lost = np.array([True, True, False, True])
    np.testing.assert_allclose(fusion.recently(lost), [1 / 4, 7 / 16, 21 / 64, 127 / 256])


def test_a_session_is_held_out_of_all_that_is_fitted(monkeypatch):
    small, large = (fusion.SMALL,), (fusion.LARGE,)
    anees = {
        (small, large, small): 7.0,
        (large, small, large): 1.0,
    }  # by those searched on, judged on, compass fitted
    monkeypatch.setattr(fusion_search, "search", lambda name, size, tuned: (tuned, 0.0))
    monkeypatch.setattr(fusion_search, "CLASSICAL", {"any": (None, lambda theta, states: theta, 6)})
    monkeypatch.setattr(fusion_search, "sessions", lambda *names, states, tuned: (names, tuned))
    monkeypatch.setattr(
        fusion_search, "judged", lambda method, params, on: Cell([0.0], anees=[anees[params, *on]])
    )
    assert fusion_search.held_out("any", None) == {fusion.SMALL: 1.0, fusion.LARGE: 7.0}


def test_numbers_that_both_sessions_taught_are_not_where_a_search_on_one_begins():
    taught, _ = fusion_search.begin(8, fusion.BOTH)
    guess, spread = fusion_search.begin(8, (fusion.SMALL,))
    assert guess["time"] == pytest.approx(np.log(1000.0))
    assert guess["wheel_scale"] == 1.0
    assert abs(taught["time"] - guess["time"]) > 3 * spread["time"]  # a small spread would stay


def test_a_larger_covariance_makes_the_normalised_error_smaller_and_leaves_the_others():
    cell = nclt_fusion.enlarged(Cell([10.0], None, None, [9.0], [6.0]), 4.0)
    assert cell == Cell([10.0], None, None, [9.0], [1.5])


@pytest.fixture(scope="module")
def labelled():
    """The model of Fig. 12 and trajectories of it, with their noise [N * T, 3]."""
    model = fig12.model(0)
    process, sensor = 0.3 * np.random.default_rng(0).normal(size=(2, 3, 5, 3)).astype(np.float32)
    f, h = (jax.vmap(lambda x, of=of: of(x, None)) for of in (model.f, model.h))
    states = [np.ones((3, 3), np.float32)]
    for step in range(5):
        states.append(np.asarray(f(states[-1])) + process[:, step])
    states = np.stack(states[1:], axis=1)
    obs = np.asarray(h(states.reshape(-1, 3))).reshape(3, 5, 3) + sensor
    return model, kf.Dataset(obs, states), process.reshape(-1, 3), sensor.reshape(-1, 3)


def test_the_noise_is_what_labels_leave_of_f_and_h(labelled):
    model, data, process, sensor = labelled
    found = fig12.noise(model, data)
    np.testing.assert_allclose(found[0], process, atol=1e-4)
    np.testing.assert_allclose(found[1], sensor, atol=1e-4)


def test_trajectories_drawn_anew_obey_f_and_h_with_noise_of_the_labels(labelled):
    model, data, *noises = labelled
    drawn = fig12.drawn_anew(model, data, 20)
    picks = []
    for found, noise in zip(fig12.noise(model, drawn), noises, strict=True):
        distances = np.abs(np.asarray(found)[:, None] - noise).max(axis=-1)
        np.testing.assert_allclose(distances.min(axis=1), 0.0, atol=1e-3)
        picks.append(distances.argmin(axis=1))
    assert all(
        len(set(picked.tolist())) == len(noise) for picked, noise in zip(picks, noises, strict=True)
    )
    assert (picks[0] != picks[1]).any()  # each by itself
