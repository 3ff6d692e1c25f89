"""The gain that starts at that of the model: its start, covariances, units and training."""

import chex
import jax
import numpy as np
import pytest
from support import gain_checks, table

import kfjax as kf
from kfjax.learned.gains.corrections import corrected_gain, state_scales

pytestmark = pytest.mark.slow

SIZES = {"driven": (2, 1), "heading": (3, 2)}


@pytest.mark.parametrize("name", SIZES)
def test_the_untrained_filter_is_the_extended_kalman_filter(x64, name):
    problem = table.MODELS[name]()
    corrected = corrected_gain(*SIZES[name], hidden=4, context=True)
    params = kf.learned.init_params(jax.random.key(0), corrected, problem.model)
    data = problem.ys, problem.us, problem.observed
    est, info = gain_checks.everything(corrected, params, *data)
    expected, expected_info = gain_checks.everything(kf.extended(), problem.model, *data)
    chex.assert_trees_all_close(est, expected, rtol=1e-10, atol=1e-13)
    chex.assert_trees_all_close(info._replace(extra=None), expected_info, rtol=1e-10, atol=1e-13)
    assert np.any(info.extra["gain"] != 0)


def test_covariances_are_covariances_whatever_the_network_says(x64):
    gain_checks.assert_stays_definite(corrected_gain(3, 2, hidden=4), table.heading())


def test_the_likelihood_is_one(x64):
    gain_checks.assert_likelihood_integrates_to_one(corrected_gain(1, 1, hidden=4))


def test_it_does_not_know_units(x64):
    problem = table.linear()
    model, corrected = problem.model, corrected_gain(4, 2, hidden=4)
    x, y = np.array([10.0, 0.1, 3.0, 0.5]), np.array([100.0, 0.01])
    D, E = np.diag(x), np.diag(y)
    scaled = kf.linear_gaussian(
        D @ model.f.A @ np.diag(1 / x),
        E @ model.h.A @ np.diag(1 / x),
        D @ model.Q @ D,
        E @ model.R @ E,
        kf.Gaussian(x * model.prior.mean, D @ model.prior.cov @ D),
    )
    params = gain_checks.drawn(corrected, model)
    est, info = gain_checks.everything(corrected, params, problem.ys, None, problem.observed)
    other, other_info = gain_checks.everything(
        corrected, params._replace(model=scaled), problem.ys * y[None, :], None, problem.observed
    )
    np.testing.assert_allclose(other.mean / x[None, :], est.mean, rtol=1e-9)
    np.testing.assert_allclose(other.cov, est.cov * np.outer(x, x)[None], rtol=1e-8)
    np.testing.assert_allclose(other_info.nis, info.nis, rtol=1e-9)


def test_context_sees_where_the_state_is_and_nothing_else_does(x64):
    """A linear model moved elsewhere, with its data, gives the moved estimates, unless the network
    sees places.
    """
    problem, shift = table.linear(), np.array([[5.0, 0, 0, 0]])
    moved = problem.model.replace(
        prior=kf.Gaussian(problem.model.prior.mean + shift[0], problem.model.prior.cov)
    )
    for context in (False, True):
        corrected = corrected_gain(4, 2, hidden=4, context=context)
        params = gain_checks.drawn(corrected, problem.model)
        est, _ = gain_checks.everything(corrected, params, problem.ys, None, problem.observed)
        other, _ = gain_checks.everything(
            corrected,
            params._replace(model=moved),
            problem.ys + shift[:, :2],
            None,
            problem.observed,
        )
        assert (np.abs(other.mean - est.mean - shift).max() < 1e-9) == (not context)


def test_it_learns_without_labels():
    corrected = corrected_gain(1, 1, hidden=4)
    gain_checks.assert_learns_without_labels(
        corrected, kf.learned.init_params(jax.random.key(0), corrected, gain_checks.walk())
    )


def test_scales_of_states():
    model = kf.systems.lorenz()
    states = np.random.default_rng(0).normal(size=(7, 5, 3)) * np.array([1.0, 2.0, 3.0]) + 4.0
    expected = states.reshape(-1, 3)
    states[0, 0, 1] = np.nan
    expected[0, 1] = np.nan
    scales = state_scales(model, states)
    np.testing.assert_allclose(scales["centre"], np.nanmean(expected, 0), rtol=1e-5)
    np.testing.assert_allclose(scales["spread"], np.nanstd(expected, 0), rtol=1e-5)
    corrected = corrected_gain(3, 3, hidden=4, context=True)
    kept = kf.learned.init_params(jax.random.key(0), corrected, model, scales).constants
    chex.assert_trees_all_close(kept, scales)


def test_what_does_not_fit_is_refused():
    model = kf.systems.lorenz()
    with pytest.raises(ValueError, match="expected every component to vary"):
        state_scales(model, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"expected \[..., 3\]"):
        state_scales(model, np.ones((4, 2)))
    with pytest.raises(ValueError, match="hidden is 0; expected a whole number of at least 1"):
        corrected_gain(3, 3, hidden=0)
    with pytest.raises(ValueError, match="expected the same"):
        kf.learned.init_params(jax.random.key(0), corrected_gain(2, 3), model)
    learned = kf.learned.init_params(
        jax.random.key(0), corrected_gain(3, 3, context=True), model, {"centre": np.zeros(2)}
    )
    with pytest.raises(ValueError, match=r"Make them with kf\.learned\.state_scales"):
        kf.run(corrected_gain(3, 3, context=True), learned, np.zeros((4, 3)))
