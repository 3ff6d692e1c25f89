"""Feature maps, the scales that they use, and the covariance that a gain implies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.table import linear

import kfjax as kf
import kfjax.learned as kl

V = jnp.asarray([3.0, -4.0])
W = jnp.asarray([[2.0, 0.0], [1.0, 0.5]])


def test_what_the_maps_do():
    np.testing.assert_allclose(kl.Normalised()(V), [0.6, -0.8], rtol=1e-6)
    np.testing.assert_array_equal(kl.Raw()(V), V)
    np.testing.assert_allclose(kl.Whitened()(V, W), [6.0, 1.0])
    np.testing.assert_allclose(kl.Asinh(2.0)(V), np.arcsinh([1.5, -2.0]), rtol=1e-6)
    np.testing.assert_allclose(kl.Asinh()(V, W), np.arcsinh([6.0, 1.0]), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e-11, 1.0, 1e30])
def test_directions_do_not_depend_on_size(size):
    unit = kl.Normalised()(size * V)
    np.testing.assert_allclose(unit, [0.6, -0.8] if size > 1e-12 else size / 1e-12 * V, rtol=1e-6)
    assert np.isfinite(jax.jacobian(kl.Normalised())(size * V)).all()


def test_the_derivative_of_a_direction(x64):
    v = jnp.asarray([0.3, -0.7, 0.2])
    unit, length = v / jnp.linalg.norm(v), jnp.linalg.norm(v)
    expected = (np.eye(3) - np.outer(unit, unit)) / length
    np.testing.assert_allclose(jax.jacobian(kl.Normalised())(v), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(jax.jacobian(kl.Normalised())(0 * v), np.zeros((3, 3)))


def test_innovations_are_whitened_by_the_steady_state(x64):
    model = linear().model
    _, ys = kf.simulate(jax.random.key(0), model, steps=400)
    steady = kf.steady_state(model)
    model = model.replace(prior=kf.Gaussian(model.prior.mean, steady.cov))
    scales = kl.measure_scales(model, ys)["scales"]
    S = np.asarray(steady.predicted_cov)[:2, :2] + model.R
    np.testing.assert_allclose(scales["F2"] @ S @ scales["F2"].T, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(
        scales["F4"] @ steady.predicted_cov @ scales["F4"].T, np.eye(4), atol=1e-9
    )


def test_scales_of_a_batch_with_gaps_are_of_the_size_of_those_without():
    model = kf.systems.canonical(2, 1)
    _, ys = jax.vmap(lambda key: kf.simulate(key, model, steps=200))(
        jax.random.split(jax.random.key(0), 3)
    )
    observed = jax.random.bernoulli(jax.random.key(1), 0.8, ys.shape)
    whole = kl.measure_scales(model, ys)["scales"]
    gaps = kl.measure_scales(model, jnp.where(observed, ys, jnp.nan), observed=observed)["scales"]
    for name in ("F1", "F2"):
        np.testing.assert_allclose(gaps[name], whole[name], rtol=0.3)
    alone = [kl.measure_scales(model, y)["scales"]["F1"] for y in ys]
    squares = np.mean([1 / np.asarray(w) ** 2 for w in alone])
    np.testing.assert_allclose(1 / np.asarray(whole["F1"]) ** 2, [[squares]], rtol=1e-5)


def test_scales_that_cannot_be_are_refused():
    model = kf.systems.canonical()
    still = kf.systems.noise_free(model)
    with pytest.raises(ValueError, match="singular"):
        kl.measure_scales(still, np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"\[T, m\] or \[B, T, m\]"):
        kl.measure_scales(model, np.ones(5))
    net = kl.kalman_net(kl.Architecture2(2, 2), feature_map=kl.Whitened())
    params = kl.init_params(jax.random.key(0), net, model)
    with pytest.raises(ValueError, match="measure_scales"):
        kf.run(net, params, np.ones((5, 2)))
    for wrong in (kl.Normalised, kl.Asinh):
        with pytest.raises(ValueError, match="above 0"):
            wrong(0.0)


def test_a_gain_of_the_kalman_filter_gives_its_covariance(x64):
    rng = np.random.default_rng(2)
    H, root = rng.normal(size=(3, 2)), rng.normal(size=(3, 3))
    F = np.array([[1.0, 0.3], [-0.1, 0.9]])
    model = kf.linear_gaussian(
        F, H, 0.1 * np.eye(2), root @ root.T, kf.Gaussian(np.zeros(2), np.eye(2))
    )
    est = kf.run(kf.kalman(), model, np.zeros((5, 3))).outputs
    gains = np.asarray(est.cov) @ H.T @ np.linalg.inv(model.R)
    covs = jax.vmap(kl.covariance_from_gain, in_axes=(0, None, None))(gains, model.h.A, model.R)
    np.testing.assert_allclose(covs, est.cov, rtol=1e-10)
    predicted = np.linalg.solve(np.eye(2) - gains @ H, covs)
    np.testing.assert_allclose(predicted, kf.predicted(kf.kalman(), model, est).cov, rtol=1e-8)


def test_a_gain_says_nothing_of_what_is_not_observed():
    with pytest.raises(ValueError, match="full column rank"):
        kl.covariance_from_gain(jnp.ones((2, 1)), jnp.ones((1, 2)), jnp.eye(1))
    with pytest.raises(ValueError, match="full column rank"):
        kl.covariance_from_gain(jnp.ones((2, 2)), jnp.ones((2, 2)), jnp.eye(2))
    with pytest.raises(ValueError, match="batch goes through"):
        kl.covariance_from_gain(jnp.ones((3, 2, 2)), jnp.eye(2), jnp.eye(2))
