"""Training gives the same for headings that wrap, for unwrapped headings, and for unit vectors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit
from support.curved import ROTATIONS, attitude, circle, heading, rotation_retract

import kfjax as kf
import kfjax.learned as kl
from kfjax.data import Dataset, Standardiser
from kfjax.training import diagnose, distil, finite_memory_floor, imitation_targets, state_mse

KEY = jax.random.key(0)
TURN = 0.3


def unwrapped(q=0.01, r=0.04):
    return kf.StateSpaceModel(
        lambda x, u: x + TURN, kf.Linear(np.eye(1)), [[q]], [[r]],
        kf.Gaussian(np.array([3.0]), np.array([[0.1]])),
    )  # fmt: skip


@functools.cache
def records():
    """Observations of headings that turn about once, not wrapped."""
    keys = jax.random.split(KEY, 24)
    _, ys = quick_jit(jax.vmap(lambda key: kf.simulate(key, unwrapped(), 24)))(keys)
    return np.asarray(ys)


@functools.cache
def diagnosed(make):
    """A filter that overestimates the sensor's noise by a factor of nine imitates one that knows
    it.
    """
    ys = records() if make is unwrapped else np.asarray(kf.wrap_angle(records()))
    model = make()
    teacher, student = (kf.extended(), model), (kf.extended(), make(r=0.36))
    train, validation = Dataset(ys).split(16, 8)
    targets = [imitation_targets(teacher, part) for part in (train, validation)]
    return diagnose(teacher, student, *targets, memories=(1, 4))


@pytest.mark.parametrize("make", [heading, circle])
def test_a_diagnosis_of_headings_that_wrap_is_that_of_headings_that_do_not(make):
    right, found = diagnosed(unwrapped), diagnosed(make)
    assert right.error[0] < 2
    for name in ("scale", "error", "teacher_gradients", "student_gradients"):
        np.testing.assert_allclose(getattr(found, name), getattr(right, name), rtol=2e-3)
    np.testing.assert_allclose(found.forgetting.norms, right.forgetting.norms, rtol=1e-3)
    for memory in (1, 4):  # the last heading enters by its weight and from the centre only
        np.testing.assert_allclose(found.floors[memory], right.floors[memory], rtol=0.05)


def test_the_memory_of_headings_that_turn_fast_is_that_of_headings_that_do_not_wrap(x64):
    """Differences over the whole window would wrap; those of neighbours do not."""
    angles = np.cumsum(np.random.default_rng(0).normal(0.8, 0.1, (24, 40, 1)), axis=1)
    noisy = angles + np.random.default_rng(1).normal(0, 0.4, angles.shape)
    floors = []
    for params, wrapped in ((None, lambda a: a), (heading(), kf.wrap_angle)):
        data = Dataset(np.asarray(wrapped(noisy)), np.asarray(wrapped(angles)))
        floors.append(finite_memory_floor(*data.split(16, 8), 4, params=params))
    np.testing.assert_allclose(floors[1], floors[0], rtol=0.02)


def test_estimates_without_covariance_are_measured_by_their_spread_on_the_circle():
    """Headings on both sides of pi, which vary little."""
    angles = np.pi + np.random.default_rng(0).normal(size=(4, 30, 1), scale=0.2)
    points = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
    teacher = (kf.constant_gain(), kf.ConstantGainParams(circle(), jnp.ones((1, 1))))
    still = Dataset(np.asarray(kf.wrap_angle(angles)), points)
    targets = imitation_targets(teacher, still)
    assert targets.cov is None
    found = diagnose(teacher, teacher, targets, targets, memories=())
    np.testing.assert_allclose(found.error, 0, atol=1e-6)
    np.testing.assert_allclose(found.scale, angles.std(), rtol=1e-3)


@pytest.mark.slow
def test_a_student_learns_on_the_circle_what_it_learns_of_headings():
    ys = np.asarray(kf.wrap_angle(records()))
    train, validation = Dataset(ys).split(16, 8)
    options = {"validation": validation, "key": KEY, "updates": 6, "memories": (1,)}
    options |= {"batch_size": 8, "learn": kf.ConstantGainParams(False, True)}
    gains = []
    for make in (heading, circle):
        student = kf.ConstantGainParams(make(), jnp.zeros((1, 1)))
        teacher = (kf.extended(), make())
        found = distil(teacher, (kf.constant_gain(), student), train, **options)
        gains.append(float(found.params.gain[0, 0]))
    np.testing.assert_allclose(gains[1], gains[0], rtol=1e-3)
    assert gains[0] > 0


def test_states_that_do_not_compare_are_refused_before_training():
    train, validation = Dataset(np.asarray(kf.wrap_angle(records()))).split(16, 8)
    teacher, student = (kf.extended(), circle()), (kf.extended(), heading())
    options = {"validation": validation, "key": KEY, "updates": 1}
    with pytest.raises(ValueError, match=r"distil: the states of teacher and student"):
        distil(teacher, student, train, **options)
    labelled = Dataset(train.ys, np.tile([1.0, 0.0], (16, 24, 1)))
    loss = state_mse(kf.extended(), scale=(1.0, 1.0))
    with pytest.raises(ValueError, match="scale has 2 components; expected 1"):
        loss(circle(), labelled, KEY)


@pytest.mark.slow
def test_a_teacher_that_draws_has_a_student_and_a_diagnosis():
    train, validation = Dataset(np.asarray(kf.wrap_angle(records()[:, :8]))).split(16, 8)
    student = (kf.constant_gain(), kf.ConstantGainParams(circle(), jnp.zeros((1, 1))))
    options = {"key": KEY, "updates": 2, "memories": (1,), "progress": False}
    options |= {"batch_size": 8, "learn": kf.ConstantGainParams(False, True)}
    found = distil((kf.particle(40), circle()), student, train, validation=validation, **options)
    assert found.diagnosis.forgetting is None
    assert np.isfinite(found.diagnosis.error).all()


def near(angle, size=200, scale=0.2):
    return angle + scale * np.random.default_rng(1).normal(size=(size, 1))


@pytest.mark.parametrize("angle", [0.0, 3.1, np.pi, -3.0])
def test_scales_of_headings_do_not_depend_on_where_they_are(angle):
    raw = near(angle)
    xs = np.asarray(kf.wrap_angle(raw))
    scales = kl.series_scales(heading(), Dataset(xs[None], xs[None]))
    for name in ("x", "y"):
        centre, spread = (np.asarray(scales[name][part]) for part in ("centre", "spread"))
        np.testing.assert_allclose(kf.wrap_angle(centre - raw.mean()), 0, atol=1e-5)
        np.testing.assert_allclose(spread, raw.std(), rtol=1e-4)
    scale = Standardiser.fit(xs, kf.angles(0))
    np.testing.assert_allclose(scale(xs), (raw - raw.mean()) / raw.std(), atol=2e-5)
    np.testing.assert_allclose(kf.wrap_angle(scale.inverse(scale(xs)) - xs), 0, atol=1e-5)


def test_scales_of_attitudes():
    d = 0.3 * np.random.default_rng(2).normal(size=(400, 3)) * np.array([1.0, 0.5, 0.2])
    about = jnp.array([0.0, 0.6, 0.8, 0.0])  # upside down: half a turn from the prior
    xs = np.asarray(jax.vmap(lambda v: rotation_retract(about, v))(jnp.asarray(d)))
    scale = Standardiser.fit(xs, ROTATIONS)
    assert (scale.mean.shape, scale.std.shape, scale(xs).shape) == ((4,), (3,), (400, 3))
    np.testing.assert_allclose(ROTATIONS.difference(scale.mean, about), d.mean(0), atol=0.01)
    np.testing.assert_allclose(scale.std, d.std(0), rtol=0.05)
    np.testing.assert_allclose(np.abs(np.sum(scale.inverse(scale(xs)) * xs, axis=-1)), 1, atol=1e-5)
    places = kl.state_scales(attitude(), xs)
    np.testing.assert_allclose(places["spread"], scale.std, rtol=1e-3)


def turning(make):
    """True states and observations, exact but for a known noise."""
    rng = np.random.default_rng(3)
    angles = np.cumsum(TURN + 0.1 * rng.normal(size=(20, 30)), axis=1)[..., None]
    ys = np.asarray(kf.wrap_angle(angles + 0.2 * rng.normal(size=angles.shape)))
    xs = np.asarray(kf.wrap_angle(angles))
    if make is circle:
        xs = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
    return Dataset(ys, xs)


def test_noise_of_labelled_headings_is_that_on_the_circle():
    found = [kl.fit_labelled(make(), turning(make), learn=("Q", "R")) for make in (heading, circle)]
    for model in found:
        np.testing.assert_allclose(model.Q, 0.01, rtol=0.15)
        np.testing.assert_allclose(model.R, 0.04, rtol=0.15)
    np.testing.assert_allclose(found[0].Q, found[1].Q, rtol=1e-3)
    for part in ("f", "h"):
        with pytest.raises(ValueError, match="fit_labelled: got a model whose states lie on a"):
            kl.fit_labelled(heading(), turning(heading), learn=(part,))
    with pytest.raises(ValueError, match="states of the data have 1 components; expected 2"):
        kl.fit_labelled(circle(), turning(heading), learn=("Q",))


@pytest.mark.parametrize("make", [heading, circle])
def test_a_residual_sees_headings_near_pi_from_their_centre(make):
    """Between 2.6 and 3.7, the true f turns twice as far as that of the model."""
    start = np.random.default_rng(4).uniform(2.6, 3.7, size=(300, 1, 1))
    angles = np.concatenate([start, start + 2 * TURN], axis=1)
    xs = np.asarray(kf.wrap_angle(angles))
    if make is circle:
        xs = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
    data = Dataset(np.asarray(kf.wrap_angle(angles)), xs)
    model = kl.fit_residual(kl.residual_model(make(), "f", kl.Polynomial(1)), data)
    theta = model.f.args[0]
    np.testing.assert_allclose(theta.spread, start.std(), rtol=1e-3)
    moved = jax.vmap(lambda x: model.f(x, None))(jnp.asarray(xs[:, 0]))
    d = jax.vmap(model.state_space.difference)(moved, jnp.asarray(xs[:, 1]))
    np.testing.assert_allclose(d, 0, atol=1e-4)
