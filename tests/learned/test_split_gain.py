"""Split-KalmanNet: K = P H' S^-1, at the start and after training."""

import chex
import jax
import numpy as np
import pytest
from support import gain_checks, table

import kfjax as kf
from kfjax.learned.gains.split_gain import split_kalman_net


def test_in_nominal_units_the_untrained_filter_is_the_extended_kalman_filter(x64):
    problem = table.pendulum()
    split = split_kalman_net(2, 2, hidden=4)
    params = kf.learned.init_params(jax.random.key(0), split, problem.model)
    data = problem.ys, problem.us, problem.observed
    est, info = gain_checks.everything(split, params, *data)
    expected, expected_info = gain_checks.everything(kf.extended(), problem.model, *data)
    chex.assert_trees_all_close(est, expected, rtol=1e-9, atol=1e-12)
    chex.assert_trees_all_close(info._replace(extra=None), expected_info, rtol=1e-9, atol=1e-12)


def test_in_units_of_the_data_the_untrained_gain_is_the_jacobian_transposed(x64):
    problem = table.linear()
    split = split_kalman_net(4, 2, hidden=4, nominal=False)
    params = kf.learned.init_params(jax.random.key(0), split, problem.model)
    _, info = gain_checks.everything(split, params, problem.ys)
    H = np.asarray(problem.model.h.A)
    np.testing.assert_allclose(
        info.extra["gain"], np.broadcast_to(H.T, (table.STEPS, 4, 2)), rtol=1e-12
    )
    np.testing.assert_allclose(
        info.innovation_cov, (H @ H.T + problem.model.R)[None].repeat(table.STEPS, 0)
    )


@pytest.mark.parametrize("nominal", [True, False])
def test_covariances_are_covariances_and_the_likelihood_is_one(x64, nominal):
    # with larger weights the covariance grows to 1e32 in a few steps, and its rounding is chaotic
    split = split_kalman_net(3, 2, hidden=4, nominal=nominal)
    gain_checks.assert_stays_definite(split, table.heading(), spread=1.0)
    gain_checks.assert_likelihood_integrates_to_one(
        split_kalman_net(1, 1, hidden=4, nominal=nominal)
    )


@pytest.mark.slow
def test_it_learns_without_labels():
    split = split_kalman_net(1, 1, hidden=4)
    gain_checks.assert_learns_without_labels(
        split, kf.learned.init_params(jax.random.key(0), split, gain_checks.walk())
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="m is 0; expected a whole number of at least 1"):
        split_kalman_net(2, 0)
    with pytest.raises(ValueError, match="expected the same"):
        kf.learned.init_params(jax.random.key(0), split_kalman_net(2, 3), kf.systems.lorenz())
