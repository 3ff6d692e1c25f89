"""Imitating a filter: the error of the student, and the diagnostics of student and teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf
import kfjax.learned as kl
from kfjax.data import Dataset, Standardiser, as_streams, check_streams, parallel_streams
from kfjax.training import (
    Rollout,
    clipped_adam,
    diagnose,
    distil,
    finite_memory_floor,
    forgetting,
    gate_saturation,
    gradient_per_lag,
    imitation_targets,
    relative_error,
)

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
F, H, Q, R = (
    np.array([[0.9, 0.2], [0.0, 0.8]]),
    np.array([[1.0, 0.0]]),
    np.diag([0.05, 0.1]),
    np.array([[0.5]]),
)
SHORT_OF_MEMORY = (1, 2, 4, 8)


def linear():
    return kf.linear_gaussian(F, H, Q, R, kf.Gaussian(jnp.zeros(2), jnp.eye(2)))


@pytest.fixture(scope="module")
def parts():
    keys = jax.random.split(KEY, 96)
    _, ys = jax.vmap(lambda key: kf.simulate(key, linear(), 30))(keys)
    return Dataset(ys).split(64, 32)


@pytest.fixture(scope="module")
def imitated(parts):
    """A GRU that has learned to imitate the Kalman filter, from observations alone."""
    train, validation = parts
    model = linear()
    student = kl.sequence_regressor(2, 1, (16,), cell="gru", feedback=False, output="level")
    targets = imitation_targets((kf.kalman(), model), train)
    params = kl.init_params(
        jax.random.key(1), student, model, kl.series_scales(model, targets.data)
    )
    options = {"updates": 500, "batch_size": 32, "optimizer": clipped_adam(0.01), "reports": 5}
    return student, distil(
        (kf.kalman(), model),
        (student, params),
        train,
        validation=validation,
        key=KEY,
        memories=SHORT_OF_MEMORY,
        **options,
    )


def closed_loop():
    """(I - K H) F of the steady Kalman filter, without kfjax."""
    P = np.eye(2)
    for _ in range(500):
        P = F @ P @ F.T + Q
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        P = (np.eye(2) - K @ H) @ P
    return (np.eye(2) - K @ H) @ F, P


def test_a_network_imitates_a_filter_from_observations_alone(imitated):
    _, found = imitated
    assert (found.diagnosis.error < 0.15).all()
    np.testing.assert_allclose(found.diagnosis.scale, np.sqrt(np.diag(closed_loop()[1])), rtol=0.2)
    assert found.fitted.history.loss[1] > 5 * found.fitted.validation


def test_the_student_beats_every_memory_shorter_than_the_teachers_and_says_why(imitated):
    _, found = imitated
    floors = [found.diagnosis.floors[N].max() for N in SHORT_OF_MEMORY]
    assert floors == sorted(floors, reverse=True)
    assert found.diagnosis.error.max() < floors[1]
    teacher, student = found.diagnosis.teacher_gradients, found.diagnosis.student_gradients
    np.testing.assert_allclose(student[:4], teacher[:4], rtol=0.35)
    norms = found.diagnosis.forgetting.norms
    assert norms[found.diagnosis.forgetting.to_1_e - 1] < 1 / np.e < norms[0]
    closed, opened = found.diagnosis.saturation
    assert 0 <= closed + opened < 0.5


def test_forgetting_is_that_of_the_closed_loop(x64, parts):
    J, P = closed_loop()
    units = np.sqrt(np.diag(P))
    scaled = J * units / units[:, None]
    found = forgetting(kf.kalman(), linear(), Dataset(np.zeros((2, 120, 1))), lags=20, scale=units)
    norms = [np.linalg.norm(np.linalg.matrix_power(scaled, k + 1), ord=2) for k in range(20)]
    np.testing.assert_allclose(found.norms, norms, rtol=1e-6)
    assert found.to_1_e == 1 + np.argmax(np.array(norms) < 1 / np.e)
    assert found.to_1_percent == 1 + np.argmax(np.array(norms) < 0.01)


def test_gradients_per_lag_are_those_of_the_gain(x64):
    """d mean_T / d y_{T-k} = ((I - K H) F)^k K."""
    J, P = closed_loop()
    K = P @ H.T @ np.linalg.inv(R)
    norms = gradient_per_lag(kf.kalman(), linear(), Dataset(np.zeros((1, 150, 1))))
    expected = [np.linalg.norm(np.linalg.matrix_power(J, k) @ K) for k in range(10)]
    np.testing.assert_allclose(norms[:10], expected, rtol=1e-6)


def test_the_floor_falls_with_the_memory_as_the_filter_forgets(x64):
    """After N observations, ((I - K H) F)^N times an estimate remains, about which the window says
    little.
    """
    keys = jax.random.split(KEY, 40)
    model = linear()
    _, ys = jax.vmap(lambda key: kf.simulate(key, model, 120))(keys)
    targets = imitation_targets((kf.kalman(), model), Dataset(ys))
    train, validation = targets.data.split(20, 20)
    windows = (1, 2, 4, 8, 16)
    floors = np.array([finite_memory_floor(train, validation, N, start=60).max() for N in windows])
    norms = forgetting(kf.kalman(), model, validation, lags=16).norms
    left = norms[np.array(windows) - 1]
    falls, forgotten = floors[1:] / floors[:-1], left[1:] / left[:-1]
    assert (falls < 1).all()
    assert (0.4 * forgotten < falls).all()
    assert (falls < 2.5 * forgotten).all()
    assert floors[-1] < 0.02 * floors[0]


def test_a_student_with_covariances_gets_those_of_the_teacher(parts):
    """A Kalman filter that imitates another finds its noise."""
    train, validation = parts
    wrong = linear().replace(R=4 * linear().R)
    student = kf.extended()
    before = kf.training.Divergence(student)(
        wrong, imitation_targets((kf.kalman(), linear()), validation), KEY
    )
    found = distil(
        (kf.kalman(), linear()),
        (student, wrong),
        train,
        validation=validation,
        key=KEY,
        updates=160,
        learn=kf.StateSpaceModel.axes(R=True),
        optimizer=clipped_adam(0.03),
        reports=4,
        memories=(2,),
    )
    assert -1e-5 <= found.fitted.validation < 0.01 * before
    np.testing.assert_allclose(found.params.R, R, rtol=0.1)


def test_smoothers_are_imitated_too_and_burn_in_does_not_count(parts):
    train, _ = parts
    model = linear()
    smoothed = imitation_targets((kf.kalman(), model), train, smoothing=True)
    est = kf.run(kf.kalman(), model, train.ys[5]).outputs
    expected = kf.smooth(kf.kalman(), model, est)
    np.testing.assert_allclose(smoothed.data.xs[5], expected.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(smoothed.cov[5], expected.cov, rtol=1e-4, atol=1e-5)
    loss, batch = (
        kf.training.Divergence(kf.kalman(), Rollout(burn_in=29)),
        imitation_targets((kf.kalman(), model), train),
    )
    np.testing.assert_allclose(loss(model, batch, KEY), 0, atol=1e-5)


def test_a_teacher_that_diverges_is_refused():
    huge = kf.Dataset(np.full((1, 3, 1), 1e38))
    model = linear()
    explosive = model.replace(f=kf.Linear(1e30 * np.eye(2)))
    with pytest.raises(ValueError, match="not finite; expected a teacher that does not diverge"):
        imitation_targets((kf.kalman(), explosive), huge)


def test_filters_without_gates_have_no_saturation_and_an_lstm_has_its_own():
    data, model = Dataset(np.zeros((1, 5, 1))), linear()
    assert gate_saturation(kf.kalman(), model, data) is None
    lstm = kl.sequence_regressor(2, 1, (3,), cell="lstm", feedback=False)
    params = kl.init_params(KEY, lstm, model)
    bias = jax.tree_util.tree_map_with_path(
        lambda path, a: a + 50 * ("bias" in str(path)), params.network
    )
    assert gate_saturation(lstm, params, data) == (0.0, 0.0)
    assert gate_saturation(lstm, params._replace(network=bias), data) == (0.0, 1.0)


def test_errors_are_relative_to_the_posterior():
    cov = np.stack([np.diag([4.0, 0.0]), np.diag([16.0, 1.0])])
    broken = relative_error(np.ones((2, 1)), np.array([[[1.0]], [[-1.0]]]))
    assert broken.tolist() == relative_error(np.ones((1, 1)), [[[np.nan]]]).tolist() == [np.inf]
    found = relative_error(np.array([[1.0, 5.0], [2.0, 0.5]]), cov)
    np.testing.assert_allclose(found, [0.5, 0.5])


def test_streams_are_contiguous_and_checked():
    times = np.arange(103)
    batches = as_streams({"a": times, "b": np.tile(times[:, None], 2)}, 4, 5)
    assert batches["b"].shape == (5, 4, 5, 2)
    assert check_streams(batches["a"]) == (True, 1.0, 1.0)
    np.testing.assert_array_equal(batches["a"].swapaxes(0, 1).ravel(), times[:100])
    shuffled = (
        np.random.default_rng(0)
        .permutation(batches["a"].swapaxes(0, 1).reshape(20, 5))
        .reshape(5, 4, 5)
    )
    assert check_streams(shuffled).within == 1
    assert not check_streams(shuffled).contiguous
    with pytest.raises(ValueError, match="at least streams x steps"):
        as_streams(times, 50, 5)
    with pytest.raises(ValueError, match="expected integers"):
        check_streams(times)


def test_long_records_become_parallel_streams():
    obs = np.arange(46.0).reshape(2, 23, 1)
    obs[1, 4] = np.nan
    data = Dataset(obs, 2 * np.nan_to_num(obs), length=[23, 13])
    cut = parallel_streams(data, 4)
    assert cut.lengths.tolist() == [6, 6, 6, 5, 6, 6, 1]
    np.testing.assert_array_equal(cut.ys[1, :, 0], np.arange(6, 12))
    assert not cut.observed[4, 4, 0]
    np.testing.assert_array_equal(cut.xs[2], 2 * cut.ys[2])
    with pytest.raises(ValueError, match="expected 1 to 23"):
        parallel_streams(data, 24)


def test_scaling_is_fitted_where_it_is_told_to_and_undone():
    values = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, 2.0]])
    scale = Standardiser.fit(values)
    np.testing.assert_allclose(scale.mean, [2, 5, 2])
    np.testing.assert_allclose(scale.std, [1, 1, 1])
    new = np.full((2, 4, 3), 7.0)
    np.testing.assert_allclose(scale.inverse(scale(new)), new)
    with pytest.raises(ValueError, match="expected"):
        Standardiser.fit(np.full((2, 1), np.nan))
    with pytest.raises(ValueError, match=r"expected \[..., 3\]"):
        scale(np.zeros(2))


def test_a_diagnosis_of_the_teacher_itself_is_perfect(parts):
    model = linear()
    train, validation = (imitation_targets((kf.kalman(), model), part[:8]) for part in parts)
    found = diagnose((kf.kalman(), model), (kf.kalman(), model), train, validation, memories=(1,))
    np.testing.assert_allclose(found.error, 0, atol=1e-5)
    np.testing.assert_allclose(found.student_gradients, found.teacher_gradients)
    assert found.saturation is None
