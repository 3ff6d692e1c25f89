"""The Lorenz attractor: frozen exponentials, flows against scipy, spherical observation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from support.compiling import quick_jit
from support.flows import evolve, exact_flow, path

import kfjax as kf

X = np.array([-7.0, -3.0, 25.0])  # on the attractor, away from its symmetries
MATRICES = {
    "authors": lambda x: np.array([[-10, 10, 0], [28 - x[2], -1, 0], [x[1], 0, -8 / 3]]),
    "paper": lambda x: np.array([[-10, 10, 0], [28, -1, -x[0]], [0, x[0], -8 / 3]]),
}


def lorenz_drift(_, x):
    return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]


@pytest.mark.parametrize("factorisation", MATRICES)
def test_taylor_steps_tend_to_the_frozen_exponential(x64, factorisation):
    frozen = expm(MATRICES[factorisation](X) * 0.02) @ X
    orders = (1, 2, 3, 5, 12)
    errors = [
        np.abs(
            evolve(kf.systems.lorenz(taylor_order=J, factorisation=factorisation), X) - frozen
        ).max()
        for J in orders
    ]
    assert all(later < 0.3 * earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 1e-13


@pytest.mark.parametrize("factorisation", MATRICES)
def test_both_factorisations_tend_to_the_flow_as_steps_shrink(x64, factorisation):
    """The frozen matrix costs O(dt^2) a step: first order, whatever J."""
    exact = exact_flow(lorenz_drift, X, 0.02)
    errors = [
        np.abs(evolve(kf.systems.lorenz(substeps=k, factorisation=factorisation), X) - exact).max()
        for k in (1, 64, 128)
    ]
    assert errors[0] > 1e-3
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.03)


def test_rk4_is_of_fourth_order(x64):
    exact = exact_flow(lorenz_drift, X, 0.08)
    errors = [
        np.abs(evolve(kf.systems.lorenz(dt=0.08, integrator="rk4", substeps=k), X) - exact).max()
        for k in (4, 8, 16)
    ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.15)


def test_dense_sampling_reaches_the_flow(x64):
    dense = kf.systems.decimated_lorenz(dt=0.02, dense_dt=1e-5, prior=kf.systems.known(X))
    np.testing.assert_allclose(path(dense, 3)[-1], exact_flow(lorenz_drift, X, 0.06), atol=2e-4)


def test_half_steps_are_two_steps(x64):
    half = kf.systems.lorenz(dt=0.01, taylor_order=2)
    np.testing.assert_allclose(
        evolve(kf.systems.lorenz(dt=0.02, taylor_order=2, substeps=2), X),
        evolve(half, evolve(half, X)),
        rtol=1e-14,
    )


def test_spherical_observation(x64):
    x = np.array([-3.0, -4.0, 12.0])
    wrapped, plain = (
        kf.systems.lorenz(observation="spherical", wrap=wrap) for wrap in (True, False)
    )
    y = wrapped.h(jnp.asarray(x), None)
    np.testing.assert_allclose(
        y, [13, np.arccos(12 / 13), 2 * np.pi + np.arctan2(-4, -3)], rtol=1e-14
    )
    gap = np.array([0.0, 0.0, 2 * np.pi - 0.1])
    np.testing.assert_allclose(
        wrapped.observation_space.difference(y + gap, y), [0, 0, -0.1], atol=1e-14
    )
    np.testing.assert_allclose(plain.observation_space.difference(y + gap, y), gap, atol=1e-14)


def test_parameters_are_leaves():
    """A gradient reaches standard deviations, steps and physical constants, also through
    construction.
    """

    def loss(theta):
        model = kf.systems.lorenz(dt=theta["dt"], q_std=theta["q"], substeps=2)
        return (model.f(jnp.asarray(X), None) ** 2).sum() + model.Q.sum()

    slopes = quick_jit(jax.grad(loss))({"dt": 0.02, "q": 0.1})
    assert slopes["q"] == pytest.approx(0.6)
    assert slopes["dt"] != 0
    inner = quick_jit(jax.grad(lambda m: m.f(jnp.asarray(X), None).sum()))(
        kf.systems.lorenz()
    ).f.args[0]
    assert all(value != 0 for value in inner)
