"""Losses: values and gradients, which do not depend on how the filter is run."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit

import kfjax as kf
from kfjax.data import Dataset, run_trajectory
from kfjax.training import (
    Rollout,
    innovation_nll,
    l2,
    nll,
    prediction_error,
    random_start,
    state_mse,
    through,
    weighted_sum,
)

KEY = jax.random.key(0)
KALMAN, OBSERVER = kf.kalman(), kf.constant_gain()  # the second compiles in a moment


@functools.partial(quick_jit, static_argnums=0)
def evaluate(loss, params, data, key=KEY):
    return loss(params, data, key)


@functools.partial(quick_jit, static_argnums=0)
def with_slope(loss, params, data):
    return jax.value_and_grad(loss)(params, data, KEY)


@pytest.fixture(scope="module")
def model():
    with jax.enable_x64(True):
        return kf.systems.constant_velocity(q_density=0.09, r_std=0.5)


@pytest.fixture(scope="module")
def params(model):
    with jax.enable_x64(True):
        return kf.ConstantGainParams(model, jnp.array([[0.4], [0.3]]))


@pytest.fixture(scope="module")
def data(model):
    """Four trajectories with gaps, lengths and unknown states."""
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(4, 13, 2)), rng.normal(size=(4, 13, 1))
    ys[0, 3:5], xs[1, 2, 0], xs[2, 4] = np.nan, np.nan, np.nan
    return Dataset(ys, xs, length=[13, 13, 9, 5], dtype=np.float64)


@pytest.fixture(scope="module")
def outputs(model, data):
    """Estimates and Info of every trajectory up to its end, without the loss."""
    with jax.enable_x64(True):
        emit = kf.estimate_and_info
        made = quick_jit(
            jax.vmap(lambda one: run_trajectory(KALMAN, model, one, emit=emit).outputs)
        )(data)
        return [
            jax.tree.map(lambda a, i=i, T=T: np.asarray(a)[i, :T], made)
            for i, T in enumerate(data.lengths)
        ]


def test_values_are_averages_over_each_trajectory_first(x64, model, data, outputs):
    std, cov = np.array([2.0, 0.5]), np.array([[2.0, 0.3], [0.3, 1.0]])
    expected = {"mse": [], "std": [], "cov": [], "nll": [], "innovation": [], "prediction": []}
    for i, (est, info) in enumerate(outputs):
        T = data.lengths[i]
        e, known = data.xs[i, :T] - est.mean, ~np.isnan(data.xs[i, :T])
        seen = np.asarray(data.observed[i, :T])
        expected["mse"].append(np.nanmean(e**2))
        expected["std"].append(np.nanmean((e / std) ** 2))
        distance, likelihood = [], []
        for t in range(T):
            k = known[t]
            d, P = np.asarray(e[t])[k], np.asarray(est.cov[t])[np.ix_(k, k)]
            distance.append(d @ np.linalg.solve(cov[np.ix_(k, k)], d))
            terms = (
                d @ np.linalg.solve(P, d) + np.linalg.slogdet(P)[1] + k.sum() * np.log(2 * np.pi)
            )
            likelihood.append(0.5 * terms if k.any() else np.nan)
        expected["cov"].append(np.sum(distance) / known.sum())
        expected["nll"].append(np.nanmean(likelihood))
        expected["innovation"].append(-np.sum(info.log_likelihood) / seen.any(-1).sum())
        expected["prediction"].append(np.sum(info.innovation**2) / seen.sum())
    losses = {
        "mse": state_mse(KALMAN),
        "std": state_mse(KALMAN, scale=std),
        "cov": state_mse(KALMAN, scale=cov),
        "nll": nll(KALMAN),
        "innovation": innovation_nll(KALMAN),
        "prediction": prediction_error(KALMAN),
    }
    values = quick_jit(
        lambda model, data: {name: loss(model, data, KEY) for name, loss in losses.items()}
    )(model, data)
    for name, value in values.items():
        np.testing.assert_allclose(value, np.mean(expected[name]), rtol=1e-10, err_msg=name)


def test_derivative_with_respect_to_the_gain_is_that_of_the_paper(x64, model):
    """Equation (10) of the KalmanNet paper: dL/dK = 2 (K dy - dx) dy' for L = |x - x_hat|^2."""
    x, y, K = np.array([0.4, -1.2]), np.array([0.9]), np.array([[0.3], [0.7]])
    data = Dataset(y[None, None], x[None, None])
    _, slope = with_slope(state_mse(OBSERVER), kf.ConstantGainParams(model, jnp.asarray(K)), data)
    predicted = np.asarray(model.f.A) @ np.asarray(model.prior.mean)
    dy, dx = y - np.asarray(model.h.A) @ predicted, x - predicted
    n = len(x)  # the loss here is the mean over components
    np.testing.assert_allclose(n * slope.gain, 2 * np.outer(K @ dy - dx, dy), rtol=1e-12)


@pytest.mark.parametrize("remat", [True, 5, 50])
def test_recomputing_changes_neither_value_nor_gradient(x64, params, data, remat):
    both = [
        with_slope(state_mse(OBSERVER, rollout=rollout), params, data)
        for rollout in (Rollout(), Rollout(remat=remat))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), *both)


def in_windows(params, data, key):
    """The mean squared error of the second trajectory, with a constant state every four steps."""
    state, errors = OBSERVER.init(params), []
    for start in range(0, 13, 4):
        ys = data.ys[1, start : start + 4]
        state, est = kf.run(OBSERVER, params, ys, state=jax.lax.stop_gradient(state))
        errors.append(data.xs[1, start : start + 4] - est.mean)
    known = ~np.isnan(data.xs[1])
    return jnp.sum(jnp.where(known, jnp.concatenate(errors), 0) ** 2) / known.sum()


def test_cut_gradients_are_those_of_windows_from_constant_states(x64, params, data):
    value, slope = with_slope(
        state_mse(OBSERVER, rollout=Rollout(detach=4, remat=3)), params, data[1]
    )
    expected, its_slope = quick_jit(jax.value_and_grad(lambda p: in_windows(p, data, KEY)))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(slope.gain, its_slope.gain, rtol=1e-9)
    full, its_slope = with_slope(state_mse(OBSERVER), params, data[1])
    np.testing.assert_allclose(value, full, rtol=1e-12)
    assert abs(slope.gain - its_slope.gain).max() > 1e-3


def test_burn_in_leaves_the_first_steps_out(x64, model, data, outputs):
    loss = state_mse(KALMAN, rollout=Rollout(burn_in=6))
    # the last trajectory has five steps and counts for nothing
    rest = np.nanmean((data.xs[0, 6:] - outputs[0][0].mean[6:]) ** 2)
    np.testing.assert_allclose(evaluate(loss, model, data[[0, 3]]), rest, rtol=1e-10)
    with pytest.raises(ValueError, match="burn_in is 13; expected 0 to 12"):
        evaluate(state_mse(KALMAN, rollout=Rollout(burn_in=13)), model, data)


@functools.partial(quick_jit, static_argnums=(0, 4))
def window_loss(loss, params, data, start, steps, states):
    return loss.continued(params, kf.data.window_at(data, start, steps), KEY, states)


def test_windows_with_carried_states_add_up(x64, params, data):
    loss, whole = prediction_error(OBSERVER), data[1]
    states, values = loss.start(params, whole, KEY), []
    for start in range(0, 12, 4):
        value, states = window_loss(loss, params, whole, start, 4, states)
        values.append(value)
    np.testing.assert_allclose(
        np.mean(values), evaluate(loss, params, kf.data.first_steps(whole, 12)), rtol=1e-12
    )


def test_differences_on_curved_spaces_are_the_models():
    model = kf.StateSpaceModel(
        f=kf.Linear(jnp.eye(1)),
        h=kf.Linear(jnp.eye(1)),
        Q=jnp.eye(1) * 0.0,
        R=jnp.eye(1),
        prior=kf.Gaussian(jnp.array([3.1]), jnp.zeros((1, 1))),
        state_space=kf.angles(0),
    )
    data = Dataset(np.zeros((1, 3, 1)), np.full((1, 3, 1), -3.1))
    np.testing.assert_allclose(
        evaluate(state_mse(kf.extended()), model, data), (2 * np.pi - 6.2) ** 2, rtol=1e-3
    )


def test_likelihood_of_states_with_singular_covariance_needs_the_floor(x64):
    model = kf.systems.constant_velocity()
    model = model.replace(Q=0 * model.Q, prior=kf.Gaussian(model.prior.mean, 0 * model.prior.cov))
    value, slope = with_slope(
        nll(KALMAN, floor=0.1), model, Dataset(np.zeros((2, 5, 1)), np.zeros((2, 5, 2)))
    )
    np.testing.assert_allclose(value, np.log(2 * np.pi) + np.log(0.1), rtol=1e-12)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


INDEFINITE = {
    "negative": -np.eye(2),
    "indefinite": np.array([[1.0, 2.0], [2.0, 1.0]]),
    "negative by little": np.diag([1.0, -1e-3]),
}


@pytest.mark.parametrize("name", INDEFINITE)
def test_a_covariance_that_is_none_has_no_likelihood(x64, name, model):
    def update(params, state, y, u=None, observed=None):
        return kf.Gaussian(state.mean, jnp.asarray(INDEFINITE[name])), kf.Info()

    loss = nll(KALMAN._replace(update=update))
    data = Dataset(np.zeros((2, 3, 1)), np.zeros((2, 3, 2)))
    assert evaluate(loss, model, data) == np.inf
    unknown = np.full((2, 3, 2), np.nan)
    unknown[:, 0, 0] = 0.0
    if name == "indefinite":  # but not of the one component that is known
        assert np.isfinite(evaluate(loss, model, Dataset(np.zeros((2, 3, 1)), unknown)))


def more_gain(params):
    return params._replace(gain=2 * params.gain)


def test_losses_made_of_losses(x64, params, data):
    a, b = state_mse(OBSERVER), prediction_error(OBSERVER)
    total = weighted_sum((0.5, a), (2.0, b), (0.1, l2()))
    squares = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(params))
    expected = 0.5 * evaluate(a, params, data) + 2 * evaluate(b, params, data) + 0.1 * squares
    np.testing.assert_allclose(evaluate(total, params, data), expected, rtol=1e-12)
    states = total.start(params, data, KEY)
    np.testing.assert_allclose(total.continued(params, data, KEY, states)[0], expected, rtol=1e-12)
    again = weighted_sum((0.5, state_mse(OBSERVER)), (2.0, prediction_error(OBSERVER)), (0.1, l2()))
    assert total == again
    assert hash(total) == hash(again)
    other = evaluate(a, more_gain(params), data)
    np.testing.assert_allclose(evaluate(through(a, more_gain), params, data), other, rtol=1e-12)


def test_random_starts(x64, params, data):
    loss = random_start(state_mse(OBSERVER), (3.0, 0.0))
    moved = loss.moved(params, jax.tree.map(lambda a: np.repeat(a, 500, 0), data), KEY).prior_mean
    errors = np.asarray(moved) - np.asarray(params.model.prior.mean)
    np.testing.assert_allclose(errors.std(0), [3.0, 0.0], rtol=0.1)
    assert abs(np.mean(errors[:, 0])) < 0.3
    first, again, other = (
        evaluate(loss, params, data, key) for key in (KEY, KEY, jax.random.key(1))
    )
    assert first == again
    assert first != other
    still = random_start(state_mse(OBSERVER), 0.0)
    np.testing.assert_allclose(
        evaluate(still, params, data), evaluate(state_mse(OBSERVER), params, data), rtol=1e-12
    )


def test_gradients_are_finite_with_missing_data(x64, model, data):
    loss = weighted_sum(
        (1.0, state_mse(KALMAN, scale=[1.0, 2.0])),
        (1.0, nll(KALMAN)),
        (1.0, innovation_nll(KALMAN)),
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(with_slope(loss, model, data)))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (
            lambda: state_mse(KALMAN, scale=np.ones((2, 3))),
            "scale has shape (2, 3); expected finite standard deviations [n]",
        ),
        (lambda: state_mse(KALMAN, scale=[1.0, 0.0]), "the scale is zero or negative somewhere"),
        (lambda: nll(KALMAN, floor=-1.0), "floor is -1.0; expected a finite number of at least 0"),
        (lambda: weighted_sum(state_mse(KALMAN)), "expected pairs (weight, loss)"),
        (
            lambda: random_start(state_mse(KALMAN), -1.0),
            "std is -1.0; expected a finite number",
        ),
        (lambda: state_mse("kalman"), "expected"),
    ],
)
def test_bad_input(build, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        build()


def test_what_a_filter_lacks_is_said(x64, params, data):
    for loss, text in (
        (nll(OBSERVER), "nll: the filter gives no covariance"),
        (innovation_nll(OBSERVER), "innovation_nll: the filter gives no log-likelihood"),
        (
            state_mse(OBSERVER, rollout=Rollout(detach=0)),
            "Rollout: detach is 0; expected a whole number of at least 1",
        ),
    ):
        with pytest.raises(ValueError, match=text):
            loss(params, data, KEY)
    with pytest.raises(ValueError, match="the data have no true states"):
        state_mse(OBSERVER)(params, Dataset(data.ys), KEY)
