"""Recursive KalmanNet: the covariance recursion, and that its network moves nothing else."""

import jax
import numpy as np
import pytest
from support import gain_checks, table

import kfjax as kf
from kfjax.learned.gains.networks import Architecture2
from kfjax.learned.gains.recursive_gain import recursive_kalman_net


def small(n: int, m: int, **options):
    return recursive_kalman_net(Architecture2(n, m, in_mult=1, out_mult=1), hidden=4, **options)


@pytest.mark.parametrize("Q", [0.0, 1.0])
def test_the_covariance_goes_on_with_the_gain(x64, Q):
    problem = table.linear()
    model = problem.model.replace(Q=Q * problem.model.Q)
    recursive = small(4, 2, scale=0.1, floor=0.01)
    params = kf.learned.init_params(jax.random.key(0), recursive, model)
    network = gain_checks.drawn(recursive, model).network | {
        "noise": params.network["noise"]
    }  # L at its start
    params = params._replace(network=network)
    est, info = gain_checks.everything(recursive, params, problem.ys)
    F, H, P = model.f.A, model.h.A, model.prior.cov
    for t, K in enumerate(np.asarray(info.extra["gain"])):
        predicted = F @ P @ F.T + model.Q
        np.testing.assert_allclose(
            info.innovation_cov[t], H @ predicted @ H.T + model.R, rtol=1e-10
        )
        A = np.eye(4) - K @ H
        P = A @ predicted @ A.T + (0.1 * (np.log(2) + 0.01)) ** 2 * np.eye(4)
        np.testing.assert_allclose(est.cov[t], P, rtol=1e-10, atol=1e-13)
    assert np.abs(info.extra["gain"]).max() > 0.01


def test_the_mean_is_that_of_kalman_net(x64):
    problem = table.pendulum()
    recursive = small(2, 2)
    params = gain_checks.drawn(recursive, problem.model)
    data = problem.ys, problem.us, problem.observed
    est, _ = gain_checks.everything(recursive, params, *data)
    plain = kf.learned.kalman_net(
        Architecture2(2, 2, in_mult=1, out_mult=1), feature_map=kf.learned.Asinh()
    )
    expected, _ = gain_checks.everything(
        plain, params._replace(network=params.network["gain"]), *data
    )
    np.testing.assert_allclose(est.mean, expected.mean, rtol=1e-12)


def test_covariances_are_covariances_and_the_likelihood_is_one(x64):
    gain_checks.assert_stays_definite(small(3, 2), table.heading())
    gain_checks.assert_likelihood_integrates_to_one(small(1, 1))


@pytest.mark.slow
def test_it_learns_without_labels():
    recursive = small(1, 1)
    gain_checks.assert_learns_without_labels(
        recursive, kf.learned.init_params(jax.random.key(0), recursive, gain_checks.walk())
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="floor is 0; expected a finite number above 0"):
        recursive_kalman_net(Architecture2(2, 2), floor=0)
    with pytest.raises(ValueError, match="expected the same"):
        kf.learned.init_params(jax.random.key(0), small(2, 2), kf.systems.lorenz())
