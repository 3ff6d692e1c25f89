"""The four reasons why a student misses its target, each alone: the diagnosis names it."""

import numpy as np
import pytest

import kfjax as kf
from kfjax.training import Forgetting, Targets, diagnose

SIZE, STEPS = 24, 60
REASONS = {"range", "gain", "forgetting", "training"}


def recorded(seed, gain, *, spread=1.0, inputs=False):
    """Return readings, inputs and estimates x_t = x_{t-1} + K (y_t - x_{t-1}), K = gain(x, u)."""
    rng = np.random.default_rng(seed)
    phase = 6 * rng.random((SIZE, 1))
    truth = 3 * spread * np.sin(0.1 * np.arange(STEPS) + phase)
    ys = truth + rng.normal(size=truth.shape)
    us = rng.choice([-1.0, 1.0], size=truth.shape)
    x = np.zeros(SIZE)
    xs = []
    for y, u in zip(ys.T, us.T, strict=True):
        x = x + gain(x, u) * (y - x)
        xs.append(x)
    xs = np.stack(xs, axis=1)
    return kf.Dataset(ys[..., None], xs[..., None], us[..., None] if inputs else None)


def reasons(found):
    """Return the four reasons among the verdicts with a remedy."""
    assert 0.01 < found.error.max() < 1
    return {v.about: v for v in found.verdicts if v.remedy is not None and v.about in REASONS}


def imitated(teacher, student, inputs=False, **options):
    """Return the reasons why a student with one gain misses a teacher with another."""
    train, test = (recorded(seed, teacher, inputs=inputs) for seed in (0, 1))
    guesses = recorded(1, student, inputs=inputs).xs
    found = diagnose(train=train, validation=test, predictions=guesses, memories=(), **options)
    return reasons(found)


def of_state(x, u):
    return 0.5 + 0.3 * np.tanh(x)


def of_input(x, u):
    return 0.5 + 0.3 * u


def constant(x, u):
    return 0.5 + 0 * x


@pytest.mark.parametrize(
    ("teacher", "inputs", "what"),
    [(of_state, False, "component 1 of the state"), (of_input, True, "component 1 of the input")],
)
def test_a_gain_that_the_student_cannot_follow_is_named(teacher, inputs, what):
    found = imitated(teacher, constant, inputs=inputs)
    assert list(found) == ["gain"]
    assert what in found["gain"].finding
    assert "prediction" in found["gain"].remedy


def test_a_wrong_constant_gain_is_not_one_that_depends_on_the_state():
    assert imitated(constant, lambda x, u: 0.4 + 0 * x) == {}
    assert imitated(of_state, lambda x, u: of_state(x, u) - 0.1) == {}


def test_a_range_beyond_that_of_the_training_is_named():
    train, test = recorded(0, constant), recorded(1, constant, spread=2.0)
    most = np.abs(train.xs).max()
    noise = 0.02 * np.random.default_rng(0).normal(size=test.xs.shape)
    bounded = np.clip(test.xs, -most, most) + noise
    found = diagnose(train=train, validation=test, predictions=bounded, memories=())
    assert list(reasons(found)) == ["range"]


def test_a_training_that_had_not_ended_is_named():
    slow = imitated(constant, lambda x, u: 0.45 + 0 * x, history=np.linspace(1, 0.5, 100))
    assert list(slow) == ["training"]


def test_a_memory_longer_than_the_records_is_named():
    """The closed loop is 0.9, so that an error of 1 % is left after 44 steps."""
    forgets = Forgetting(0.9 ** np.arange(1, 101), to_1_e=10, to_1_percent=44)
    keeps = forgets._replace(norms=0.999 ** np.arange(1, 101), to_1_e=None, to_1_percent=None)
    train, test = (recorded(seed, constant) for seed in (0, 1))
    found = diagnose(train=train, validation=test, predictions=0.9 * test.xs, memories=())
    for forgetting, window, steps, named in (
        (forgets, None, "44 steps; training records have 60", False),
        (forgets, 4, "44 steps; windows have 4", True),
        (keeps, None, "holds 90 % of an error; training records have 60", True),
    ):
        other = found._replace(forgetting=forgetting, window=window)
        verdict = {v.about: v for v in other.verdicts}["forgetting"]
        assert steps in verdict.finding
        assert (verdict.remedy is not None) == named


def test_a_recording_with_a_long_memory_is_named():
    found = imitated(lambda x, u: 0.02 + 0 * x, lambda x, u: 0.025 + 0 * x)
    assert list(found) == ["forgetting"]
    assert "training records have 60" in found["forgetting"].finding


@pytest.mark.parametrize(
    ("error", "loss", "named"), [(0.3, "0.37 dB", False), (0.5, "0.97 dB", True)]
)
def test_an_error_that_hardly_matters_is_no_reason_to_change_anything(error, loss, named):
    """The squares of independent errors add up: 10 log10(1 + 0.3^2) = 0.37."""
    train, test = (recorded(seed, of_state) for seed in (0, 1))
    covs = np.ones((SIZE, STEPS, 1, 1), np.float32)
    guesses = test.xs + error * np.where(np.arange(SIZE) % 2, 1, -1)[:, None, None]
    found = diagnose(
        train=Targets(train, covs),
        validation=Targets(test, covs),
        predictions=guesses,
        history=np.linspace(1, 0.5, 100),
        memories=(),
    )
    assert found.verdicts[0].about == "loss"
    assert loss in found.verdicts[0].finding
    assert ("training" in reasons(found)) == named


def test_states_with_angles_are_diagnosed_too():
    """The heading is near the jump at pi: no error is made of it."""
    one = np.eye(1)
    prior = kf.Gaussian(np.full(1, np.pi), one)
    model = kf.linear_gaussian(one, one, one, one, prior)
    model = model.replace(state_space=kf.angles(0), observation_space=kf.angles(0))
    walk = np.pi + 0.1 * np.random.default_rng(0).normal(size=(12, 60, 1)).cumsum(axis=1)
    teacher = (kf.constant_gain(), kf.ConstantGainParams(model, 0.5 * one))
    parts = kf.Dataset(np.asarray(kf.wrap_angle(walk))).split(6, 6)
    train, test = (kf.training.imitation_targets(teacher, part) for part in parts)
    moved = kf.wrap_angle(np.asarray(test.data.xs) + 0.02)
    found = diagnose(teacher, None, train, test, predictions=moved, memories=(1, 2))
    scale = float(found.scale[0])
    np.testing.assert_allclose(found.figures.compared["predictions"], 0.02 / scale, rtol=1e-3)
    np.testing.assert_allclose(found.error, 0.02 / scale, rtol=0.2)
    assert found.figures.increments[0] < 1
    assert {"baselines", "range", "gain", "forgetting"} <= {v.about for v in found.verdicts}
    assert "range" in str(found)
