"""Steady state, constant gain, observability, and the exact error of mismatched linear filters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from support import table

import kfjax as kf
from kfjax.evaluation import expected_error


def riccati(model):
    F, H, Q, R = (np.asarray(a, np.float64) for a in (model.f.A, model.h.A, model.Q, model.R))
    return scipy.linalg.solve_discrete_are(F.T, H.T, Q, R)


@pytest.mark.parametrize(
    "make", [lambda: kf.systems.canonical(2), kf.systems.constant_acceleration]
)
def test_steady_state_solves_the_riccati_equation(x64, make):
    model = make()
    limit = kf.steady_state(model)
    np.testing.assert_allclose(limit.predicted_cov, riccati(model), rtol=1e-8)
    final = kf.run(kf.kalman(), model, np.zeros((400, model.R.shape[0]))).final
    np.testing.assert_allclose(limit.cov, final.cov, rtol=1e-7)


def test_steady_state_needs_no_noise_in_modes_that_decay():
    model = kf.linear_gaussian(
        [[1.0, 0.0], [0.0, 0.5]], [[1.0, 0.0]], np.diag([1.0, 0.0]), [[1.0]], table_prior()
    )
    assert kf.steady_state(model).cov[1, 1] == 0


def table_prior():
    return kf.Gaussian(np.zeros(2), np.eye(2))


def test_unstable_modes_that_nobody_sees_have_no_steady_state():
    model = kf.linear_gaussian(
        [[1.1, 0.0], [0.0, 0.5]], [[0.0, 1.0]], np.eye(2), [[1.0]], table_prior()
    )
    with pytest.raises(ValueError, match=r"does not settle.*expected every mode.*kf.observability"):
        kf.steady_state(model)
    assert kf.observability(model).rank == 1
    np.testing.assert_allclose(np.abs(kf.observability(model).missing), [[1.0], [0.0]], atol=1e-12)


def test_time_varying_models_are_refused():
    with pytest.raises(ValueError, match=r"not linear and time-invariant; expected kf.Linear"):
        kf.steady_state(table.driven().model)


def test_controllability_counts_what_noise_reaches():
    model = kf.systems.constant_velocity()
    assert kf.controllability(model).rank == 2
    assert kf.controllability(model.replace(Q=jnp.zeros((2, 2)))).rank == 0


def test_constant_gain_reaches_the_kalman_filter():
    model = kf.systems.constant_velocity()
    _, ys = kf.simulate(jax.random.key(0), model, steps=200)
    params = kf.ConstantGainParams(model, kf.steady_state(model).gain)
    steady = kf.run(kf.constant_gain(), params, ys).outputs
    optimal = kf.run(kf.kalman(), model, ys).outputs
    assert steady.cov is None
    np.testing.assert_allclose(steady.mean[150:], optimal.mean[150:], rtol=1e-3, atol=1e-2)


def test_expected_error_of_the_right_model_is_its_covariance(x64):
    model = kf.systems.canonical(2)
    est = kf.run(kf.kalman(), model, np.zeros((50, 2))).outputs
    np.testing.assert_allclose(expected_error(model, steps=50), est.cov, rtol=1e-9, atol=1e-12)


def test_expected_error_of_a_mismatched_model_is_what_monte_carlo_finds(x64):
    truth = kf.systems.canonical(2)
    design = truth.replace(f=kf.Linear(0.9 * truth.f.A), Q=2 * truth.Q)
    exact = expected_error(truth, design, steps=30)
    result = kf.monte_carlo(jax.random.key(1), truth, kf.kalman(), design, trials=4000, steps=30)
    _, low, high = result.mse_db()
    assert low < 10 * np.log10(np.trace(exact, axis1=1, axis2=2).mean() / 2) < high
    assert high - low < 0.5


def test_constant_gain_error_is_exact_too(x64):
    model = kf.systems.canonical(2)
    limit = kf.steady_state(model)
    last = expected_error(model, steps=300, gain=limit.gain)[-1]
    np.testing.assert_allclose(last, limit.cov, rtol=1e-7)
