"""Adaptation while the filter runs."""

import functools

import chex
import jax
import numpy as np
import pytest
from support import gain_checks

import kfjax as kf
from kfjax.learned.adapting import adapt, start_adapting
from kfjax.learned.gains.corrections import corrected_gain

FILTER = corrected_gain(2, 1, hidden=4)


@functools.cache
def changing_stream():
    """A design model, and a stream of which F and R change after 100 of 500 rows."""
    prior = kf.Gaussian(np.zeros(2), np.eye(2))
    noise = {"H": [[1.0, 0.0]], "Q": 0.01 * np.eye(2), "prior": prior}
    before = kf.linear_gaussian(F=[[0.9, 0.3], [-0.3, 0.9]], R=[[0.05]], **noise)
    after = kf.linear_gaussian(F=[[0.95, 0.1], [-0.1, 0.95]], R=[[5.0]], **noise)
    xs, ys = kf.simulate(jax.random.key(0), before, steps=100)
    after_change = after.replace(prior=kf.Gaussian(xs[-1], np.zeros((2, 2), np.float32)))
    later_xs, later_ys = kf.simulate(jax.random.key(1), after_change, steps=400)
    return before, np.concatenate([xs, later_xs]), np.concatenate([ys, later_ys])


@pytest.mark.slow
def test_it_follows_a_system_whose_dynamics_and_noise_change():
    model, xs, ys = changing_stream()
    params = kf.learned.init_params(jax.random.key(2), FILTER, model)
    adaptation, means = start_adapting(FILTER, params), []
    for begin in range(0, 481, 10):
        adaptation, est = adapt(FILTER, adaptation, ys[begin : begin + 20], stride=10, updates=5)
        means.append(est.mean if begin == 0 else est.mean[10:])
    frozen = gain_checks.everything(FILTER, params, ys)[0].mean
    error, without = (
        np.mean((np.asarray(m) - xs)[300:] ** 2) for m in (np.concatenate(means), frozen)
    )
    assert error < 0.5 * without


def test_estimates_are_those_from_before_and_the_state_is_carried():
    model, _, ys = changing_stream()
    start = start_adapting(FILTER, gain_checks.drawn(FILTER, model))
    after, est = adapt(FILTER, start, ys[:20], stride=10)
    expected = gain_checks.everything(FILTER, start.params, ys[:20])[0]
    chex.assert_trees_all_close(est, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.state.mean, expected.mean[9], rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal(after.params.model, start.params.model)
    assert any(
        np.any(a != b)
        for a, b in zip(*map(jax.tree.leaves, (after.params, start.params)), strict=True)
    )


def test_an_update_that_is_not_finite_is_not_made():
    model, _, ys = changing_stream()
    start = start_adapting(FILTER, kf.learned.init_params(jax.random.key(2), FILTER, model))
    after, _ = adapt(FILTER, start, np.where(np.arange(20)[:, None] == 4, 1e30, ys[:20]), stride=10)
    chex.assert_trees_all_equal((after.params, after.optimizer), (start.params, start.optimizer))
    assert after.refused == 1


@pytest.mark.slow
def test_without_a_likelihood_the_innovations_become_smaller():
    model, _, ys = changing_stream()
    network = kf.learned.Architecture2(2, 1, in_mult=1, out_mult=1)
    net = kf.learned.kalman_net(network, feature_map=kf.learned.Asinh())
    start = adaptation = start_adapting(net, kf.learned.init_params(jax.random.key(2), net, model))
    for _ in range(8):
        adaptation, _ = adapt(
            net, adaptation._replace(state=start.state), ys[:20], stride=10, updates=5
        )
    before, after = (
        gain_checks.everything(net, a.params, ys[:20])[1].innovation for a in (start, adaptation)
    )
    assert np.mean(after**2) < 0.9 * np.mean(before**2)


def test_what_does_not_fit_is_refused():
    model, _, ys = changing_stream()
    with pytest.raises(ValueError, match=r"expected kf\.learned\.Learned"):
        start_adapting(kf.extended(), model)
    start = start_adapting(FILTER, kf.learned.init_params(jax.random.key(2), FILTER, model))
    with pytest.raises(ValueError, match="stride is 21; expected a whole number from 1 to 20"):
        adapt(FILTER, start, ys[:20], stride=21)
    with pytest.raises(ValueError, match="updates is 0"):
        adapt(FILTER, start, ys[:20], updates=0)
