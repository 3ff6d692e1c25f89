"""Beliefs within inequalities: quadratic programmes and truncated densities."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from support.combining import case
from support.table import MODELS, quick_jit, run

import kfjax as kf
from kfjax import filters
from kfjax.filters import box, constrained

# constraints


def random_problem(seed):
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(4, 4))
    belief = kf.Gaussian(rng.normal(size=4), B @ B.T + 0.1 * np.eye(4))
    return belief, filters.Inequalities(rng.normal(size=(5, 4)), rng.normal(size=5))


def test_nearest_is_the_solution_of_the_quadratic_programme(x64):
    project = quick_jit(filters.nearest)
    active = 0
    for seed in range(8):
        belief, (A, b) = (problem := random_problem(seed))[0], jax.tree.leaves(problem[1])
        W = np.linalg.inv(belief.cov)
        best = scipy.optimize.minimize(
            lambda x, m=belief.mean, W=W: 0.5 * (x - m) @ W @ (x - m),
            np.linalg.lstsq(A, b - 1, rcond=None)[0],
            jac=lambda x, m=belief.mean, W=W: W @ (x - m),
            constraints={
                "type": "ineq",
                "fun": lambda x, A=A, b=b: b - A @ x,
                "jac": lambda x, A=A: -A,
            },
            options={"ftol": 1e-14, "maxiter": 500},
        )
        found = project(*problem)
        assert (A @ found.mean - b).max() < 1e-10
        np.testing.assert_allclose(found.mean, best.x, atol=2e-5)
        active += (np.abs(A @ found.mean - b) < 1e-9).sum()
    assert active > 8
    inside = kf.Gaussian(np.zeros(4), np.eye(4))
    chex.assert_trees_all_equal(project(inside, box([-1.0] * 4, [1.0] * 4)), inside)
    # a component that is known cannot move, and does not keep others from moving
    known = kf.Gaussian(np.array([2.0, 3.0, 0.0, 0.0]), np.diag([0.0, 1.0, 1.0, 1.0]))
    found = project(known, box([-1.0] * 4, [1.0] * 4)).mean
    np.testing.assert_allclose(found, [2.0, 1.0, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("seed", [71, 163])
def test_constraints_may_have_different_units(seed):
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(4, 4))
    P, m = B @ B.T + 0.1 * np.eye(4), rng.normal(size=4)
    A, b = rng.normal(size=(5, 4)), rng.normal(size=5)
    units = 10.0 ** rng.integers(-6, 7, 5)
    belief, project = kf.Gaussian(m, P), jax.jit(filters.nearest)
    plain, ours = (
        project(belief, filters.Inequalities(u[:, None] * A, u * b)).mean
        for u in (np.ones(5), units)
    )
    np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bound", [-0.5, 1.0, -2.4, -9.0])
def test_truncated_has_the_moments_of_the_truncated_density(x64, bound):
    belief = kf.Gaussian(np.array([0.3, -0.2]), np.array([[0.5, 0.2], [0.2, 0.4]]))
    a = np.array([1.0, -0.5])
    s, mu = np.sqrt(a @ belief.cov @ a), a @ belief.mean
    exact = scipy.stats.truncnorm(-np.inf, (bound - mu) / s, loc=mu, scale=s)
    g = belief.cov @ a / s**2  # x = m + g (a'x - a'm) + an independent rest
    found = quick_jit(filters.truncated)(belief, filters.Inequalities(a[None], [bound]))
    np.testing.assert_allclose(found.mean, belief.mean + g * (exact.mean() - mu), rtol=1e-6)
    np.testing.assert_allclose(
        found.cov, belief.cov - np.outer(g, g) * (s**2 - exact.var()), rtol=1e-6
    )


def truncation(belief, walls):
    new = filters.truncated(belief, walls)
    return new.mean.sum() + new.cov.sum(), new


def test_truncation_is_sound_far_away_in_float32():
    belief = kf.Gaussian(jnp.array([1e4, 0.0]), jnp.array([[1.0, 0.5], [0.5, 1.0]]))
    walls = box([-jnp.inf, -3.0], [0.0, 3.0])
    gradient, found = quick_jit(jax.grad(truncation, has_aux=True))(belief, walls)
    chex.assert_tree_all_finite((gradient, found))
    assert found.mean[0] < 2e-3
    assert np.linalg.eigvalsh(found.cov).min() > -1e-6


def test_constrained_estimates_obey(x64):
    params = filters.ConstrainedParams(
        MODELS["linear"]().model, box([0.0] * 4, [0.5, np.inf, 0.5, 0.5])
    )
    c = case(constrained(kf.kalman()), "linear", lambda model: params)
    mean = run(c, observed=np.ones_like(c.observed)).outputs[0].mean
    assert mean.min() > -1e-10
    assert mean[:, [0, 2, 3]].max() < 0.5 + 1e-10
