"""Parts of the studies of the KalmanNet paper that compute something themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf
from benchmarks.kalmannet import lorenz, nclt_fusion, nclt_odometry, table3
from benchmarks.kalmannet.study import Cell
from benchmarks.learned.running import means


@pytest.fixture
def odometry(monkeypatch):
    """A session whose odometry is turned by 30 degrees, exactly."""
    rng = np.random.default_rng(0)
    velocities = rng.normal(size=(4300, 2))
    positions = 5.0 + np.cumsum(velocities, axis=0)
    states = np.stack([positions[:, 0], velocities[:, 0], positions[:, 1], velocities[:, 1]], axis=1)
    turned = np.asarray(kf.systems.rotation(30.0), np.float64)
    monkeypatch.setattr(nclt_odometry, "session", lambda name: (states, velocities @ turned))
    return states


def test_integrated_odometry_follows_the_path_once_it_is_turned_back(odometry):
    window = nclt_odometry.windows("any", [7], 50)
    assert np.isnan(window.state[..., [1, 3]]).all()
    params = nclt_odometry.integrated(nclt_odometry.velocity_map())
    np.testing.assert_allclose(
        means(kf.constant_gain(), params, window)[0][:, [0, 2]], window.state[0][:, [0, 2]], atol=1e-3
    )
    wrong = means(kf.constant_gain(), nclt_odometry.integrated(np.eye(2)), window)
    assert np.abs(np.asarray(wrong)[0, :, 0] - window.state[0, :, 0]).max() > 0.5


def test_the_searched_q_is_the_best_of_the_grid():
    model = kf.systems.constant_velocity(q_std=0.1).replace(Q=jnp.eye(2))
    truth = model.replace(Q=1e-2 * jnp.eye(2))
    xs, ys = zip(*(kf.simulate(key, truth, 60) for key in jax.random.split(jax.random.key(0), 4)), strict=True)
    found, settings = lorenz.searched(kf.kalman(), model, kf.Dataset(jnp.stack(ys), jnp.stack(xs)), (1e-6, 1e-2, 1e2))
    assert settings == {"q^2": pytest.approx(1e-2)}
    np.testing.assert_allclose(found.Q, 1e-2 * np.eye(2), rtol=1e-6)


def test_the_cramer_rao_floor_of_a_linear_model_is_its_covariance():
    model = kf.systems.constant_velocity(q_std=0.0).replace(h=kf.Linear(jnp.eye(2)), R=jnp.eye(2))
    ys = jnp.zeros((20, 2))
    expected = jnp.trace(kf.run(kf.kalman(), model, ys)[1].cov, axis1=1, axis2=2).mean() / 3  # n of the attractor
    found = table3.along_truth(model, model.prior.mean[None], ys[None])
    np.testing.assert_allclose(found, [expected], rtol=1e-4)


def test_decibels_become_root_mean_squares():
    cell = nclt_fusion.metres(Cell([20.0, 0.0], None, None, [40.0, 20.0], [1.5, 2.5]))
    assert cell == Cell([10.0, 1.0], None, None, [100.0, 10.0], [1.5, 2.5])


def test_the_error_of_the_compass_is_found(tmp_path, monkeypatch):
    heading = np.linspace(-3, 3, 500)
    wrong = np.array([0.1, 0.05, -0.02, 0.03, 0.01])
    truth = heading + nclt_fusion.harmonics(heading) @ wrong
    wheel = np.column_stack([np.ones(500), np.ones(500), heading, np.zeros(500)])
    for name in nclt_fusion.SESSIONS.values():
        np.savez(tmp_path / f"{name}.npz", wheel=wheel, theta_gt=np.append(truth[1:], 0.0)[:, None])
    monkeypatch.setattr(nclt_fusion, "FOLDER", tmp_path)
    np.testing.assert_allclose(nclt_fusion.compass.__wrapped__(), wrong, atol=1e-5)
