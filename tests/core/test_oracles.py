"""Filters, smoothers, likelihoods, imputation and forecasts against independent numpy oracles."""

import jax
import numpy as np
import pytest
from support import oracles
from support.table import MODELS, STEPS, case, outputs, quick_jit

import kfjax as kf

tight = {"rtol": 1e-10, "atol": 1e-12}


def of_linear(model):
    F, H, Q, R, m, P = (
        np.asarray(a) for a in (model.f.A, model.h.A, model.Q, model.R, *model.prior)
    )
    return oracles.Model(
        lambda x, u: F @ x, lambda x, u: H @ x, lambda x, u: Q, lambda x, u: R, m, P
    )


def of_pendulum(model):
    dt, g, gain = 0.2, 3.0, 1.2
    return oracles.Model(
        lambda x, u: np.stack([x[0] + dt * x[1], x[1] - dt * g * np.sin(x[0])]),
        lambda x, u: np.stack([gain * np.sin(x[0]), x[1]]),
        lambda x, u: np.array([[0.03, 0.01], [0.01, 0.05]]),
        lambda x, u: np.array([[0.2, 0.05], [0.05, 0.3]]),
        *map(np.asarray, model.prior),
    )


def of_driven(model):
    return oracles.Model(
        lambda x, u: np.array([[1, u[0]], [0, 1 - 0.3 * u[0]]]) @ x + np.array([0.1, 0.7]) * u[1],
        lambda x, u: np.array([[1.0, 0.2]]) @ x + 0.1,
        lambda x, u: np.array([[0.1, 0.02], [0.02, 0.2]]) * (u[0] + 0.1 * x[0] ** 2),
        lambda x, u: np.array([[0.3]]) * (u[0] + 0.1 * x[0] ** 2),
        *map(np.asarray, model.prior),
    )


ORACLES = {"linear": of_linear, "pendulum": of_pendulum, "driven": of_driven}
TRANSFORMS = {
    "kalman": oracles.linearised,
    "extended": oracles.linearised,
    "unscented": oracles.unscented,
}
CASES = [
    ("kalman", "linear"),
    ("kalman", "driven"),
    ("extended", "pendulum"),
    ("extended", "driven"),
    ("unscented", "pendulum"),
]


@pytest.mark.parametrize(("name", "model"), CASES)
def test_filter_and_smoother(x64, name, model):
    c = case(name, model)
    us = STEPS * [None] if c.us is None else c.us
    expected = oracles.estimate(TRANSFORMS[name], ORACLES[model](c.params), c.ys, us, c.observed)
    est = outputs(name, model).outputs[0]
    np.testing.assert_allclose(est.mean, expected.mean, **tight)
    np.testing.assert_allclose(est.cov, expected.cov, **tight)
    np.testing.assert_allclose(est.log_likelihood, expected.log_likelihood, **tight)
    smoothed = quick_jit(lambda params, est: kf.smooth(c.filter, params, est, us=c.us))(
        c.params, est
    )
    np.testing.assert_allclose(smoothed.mean, expected.smoothed_mean[1:], **tight)
    np.testing.assert_allclose(smoothed.cov, expected.smoothed_cov[1:], **tight)
    np.testing.assert_allclose(smoothed.initial.mean, expected.smoothed_mean[0], **tight)
    np.testing.assert_allclose(smoothed.initial.cov, expected.smoothed_cov[0], **tight)


AHEAD = 2


@pytest.fixture(scope="module")
def conditioned():
    """The linear model, the joint Gaussian of its record and two steps more, and the indices and
    values seen.
    """
    with jax.enable_x64(True):
        problem = MODELS["linear"]()
    F, H, Q, R, m, P = (np.asarray(a) for a in (*_matrices(problem.model), *problem.model.prior))
    joint = oracles.joint(F, H, Q, R, m, P, STEPS + AHEAD)
    seen = [joint.y(t + 1)[problem.observed[t]] for t in range(STEPS)]
    values = [problem.ys[t][problem.observed[t]] for t in range(STEPS)]
    return joint, seen, values


def _matrices(model):
    return model.f.A, model.h.A, model.Q, model.R


def test_the_filter_conditions_the_joint_gaussian(x64, conditioned):
    joint, seen, values = conditioned
    est = outputs("kalman", "linear").outputs[0]
    for t in range(STEPS):
        at, y = np.concatenate(seen[: t + 1]), np.concatenate(values[: t + 1])
        mean, cov = joint.given(joint.x(t + 1), at, y)
        np.testing.assert_allclose(est.mean[t], mean, **tight)
        np.testing.assert_allclose(est.cov[t], cov, **tight)
        np.testing.assert_allclose(
            est.log_likelihood[: t + 1].sum(), joint.log_density(at, y), **tight
        )


def test_the_smoother_imputation_and_forecast_condition_the_joint_gaussian(x64, conditioned):
    joint, seen, values = conditioned
    at, y = np.concatenate(seen), np.concatenate(values)
    c = case("kalman", "linear")
    final, (est, _) = outputs("kalman", "linear")

    @quick_jit
    def everything(params, final, est, ys):
        smoothed = kf.smooth(c.filter, params, est)
        filled = kf.impute(c.filter, params, smoothed, ys, observed=c.observed)
        return smoothed, filled, kf.forecast(c.filter, params, final, steps=AHEAD)

    smoothed, filled, ahead = everything(c.params, final, est, np.where(c.observed, c.ys, np.nan))
    for t in range(STEPS + 1):
        mean, cov = joint.given(joint.x(t), at, y)
        belief = (
            smoothed.initial if t == 0 else kf.Gaussian(smoothed.mean[t - 1], smoothed.cov[t - 1])
        )
        np.testing.assert_allclose(belief.mean, mean, **tight)
        np.testing.assert_allclose(belief.cov, cov, **tight)
    for t in range(STEPS):
        mean, cov = np.array(c.ys[t]), np.zeros((2, 2))
        missing = ~c.observed[t]
        mean[missing], cov[np.ix_(missing, missing)] = joint.given(joint.y(t + 1)[missing], at, y)
        np.testing.assert_allclose(filled.mean[t], mean, **tight)
        np.testing.assert_allclose(filled.cov[t], cov, **tight)
    for k in range(AHEAD):
        for belief, indices in ((ahead.state, joint.x), (ahead.observation, joint.y)):
            mean, cov = joint.given(indices(STEPS + k + 1), at, y)
            np.testing.assert_allclose(belief.mean[k], mean, **tight)
            np.testing.assert_allclose(belief.cov[k], cov, **tight)


def test_beliefs_about_observations_condition_the_joint_gaussian(x64, conditioned):
    joint, seen, values = conditioned
    c = case("kalman", "linear")
    est = outputs("kalman", "linear").outputs[0]

    @quick_jit
    def before(params, est):
        ahead = kf.predicted(c.filter, params, est)
        return ahead, kf.observation_estimate(c.filter, params, ahead)

    ahead, expected = before(c.params, est)
    for t in range(STEPS):
        at, y = np.concatenate([[], *seen[:t]]).astype(int), np.concatenate([[], *values[:t]])
        for belief, indices in ((ahead, joint.x), (expected, joint.y)):
            mean, cov = joint.given(indices(t + 1), at, y)
            np.testing.assert_allclose(belief.mean[t], mean, **tight)
            np.testing.assert_allclose(belief.cov[t], cov, **tight)
