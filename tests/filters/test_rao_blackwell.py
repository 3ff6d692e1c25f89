"""The Rao-Blackwellised particle filter against the Kalman filter and the plain particle filter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit
from support.sampling import (
    KEY,
    assert_angles,
    assert_convergence,
    likelihood_ratios,
    log_likelihoods,
    standard_errors,
)
from support.table import Problem, linear

import kfjax as kf

pytestmark = pytest.mark.slow

POSITIONS, VELOCITIES = (0, 1), (2, 3)


def scaled_by_first(x, u):
    """A first component that moves on its own; two others, linear given the first."""
    c = x[0]
    return jnp.stack([1.5 * c, c * x[1] + x[2], 0.9 * x[2] - 0.3 * c])


def seen_through_first(x, u):
    return jnp.stack([x[1] + x[0] ** 2, jnp.sin(x[0]) * x[2]])


def conditional(ys):
    """The Kalman filter's estimates of the others, in numpy, where the first component is known to
    be 0.2 * 1.5^t.
    """
    m, P, Q = np.array([1.0, -0.5]), np.diag([1.0, 0.5]), np.array([[0.2, 0.05], [0.05, 0.1]])
    c, rows = 0.2, []
    for y in ys:
        A, c = np.array([[c, 1.0], [0.0, 0.9]]), 1.5 * c
        m, P = A @ m - np.array([0.0, 0.3 * c / 1.5]), A @ P @ A.T + Q
        C = np.diag([1.0, np.sin(c)])
        S = C @ P @ C.T + np.diag([0.3, 0.2])
        d, K = y - C @ m - np.array([c**2, 0.0]), P @ C.T @ np.linalg.inv(S)
        m, P = m + K @ d, P - K @ S @ K.T
        rows.append(
            (m, P, -0.5 * (d @ np.linalg.solve(S, d) + np.linalg.slogdet(2 * np.pi * S)[1]))
        )
    return map(np.stack, zip(*rows, strict=True))


@pytest.mark.parametrize("rule", [kf.moments.Taylor(), kf.moments.Cubature()], ids=str)
def test_it_is_the_kalman_filter_of_the_linear_part_where_the_rest_is_known(x64, rule):
    Q, prior_cov = np.zeros((3, 3)), np.diag([0.0, 1.0, 0.5])
    Q[1:, 1:] = [[0.2, 0.05], [0.05, 0.1]]
    prior = kf.Gaussian(np.array([0.2, 1.0, -0.5]), prior_cov)
    model = kf.StateSpaceModel(scaled_by_first, seen_through_first, Q, np.diag([0.3, 0.2]), prior)
    ys = np.random.default_rng(0).normal(size=(5, 2))
    est = kf.run(kf.rao_blackwellised((1, 2), 3, rule=rule), model, ys, key=KEY).outputs
    mean, cov, log_likelihood = conditional(ys)
    np.testing.assert_allclose(est.mean[:, 0], 0.2 * 1.5 ** np.arange(1, 6), rtol=1e-12)
    np.testing.assert_allclose(est.mean[:, 1:], mean, rtol=1e-9)
    np.testing.assert_allclose(est.cov[:, 1:, 1:], cov, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(est.log_likelihood, log_likelihood, rtol=1e-9)


@pytest.mark.parametrize("components", [POSITIONS, VELOCITIES], ids=["positions", "velocities"])
def test_the_likelihood_is_unbiased_and_less_noisy_than_with_particles_for_everything(components):
    """Correlated noise, and the sampled components depend on the linear ones, or the other way
    round.
    """
    problem = linear()
    ratios = likelihood_ratios(kf.rao_blackwellised(components, 30), problem)
    assert standard_errors(ratios, 1.0) < 3
    plain = log_likelihoods(kf.particle(30), problem, 2000)
    assert np.log(ratios).var() < 0.95 * plain.var()


def test_mean_and_covariance_converge_to_those_of_the_kalman_filter():
    few, lots = (kf.rao_blackwellised(VELOCITIES, N) for N in (100, 1600))
    assert_convergence(few, lots, linear(), 4)


def moved(x, u):
    n, l = x  # noqa: E741
    return jnp.stack([0.8 * n + 0.6 * jnp.cos(n) * l, 0.9 * l + 0.2 * n**2])


def product(x, u):
    n, l = x  # noqa: E741
    return jnp.stack([n + 0.5 * n * l])


def test_matrices_that_depend_on_the_particle():
    Q, prior = (
        np.array([[0.3, 0.1], [0.1, 0.2]]),
        kf.Gaussian(np.array([0.5, 0.2]), np.eye(2) + 0.2),
    )
    model = kf.StateSpaceModel(moved, product, Q, [[0.3]], prior)
    problem = Problem(model, np.array([[0.8], [1.5], [-0.4], [2.0]]), None, None)
    plain = np.exp(log_likelihoods(kf.particle(200), problem, 2000))
    marginal = np.exp(log_likelihoods(kf.rao_blackwellised((1,), 60), problem, 2000))
    error = np.sqrt((plain.var() + marginal.var()) / 2000)
    assert abs(plain.mean() - marginal.mean()) < 3 * error < 0.1 * plain.mean()


def test_angles_are_averaged_across_the_cut():
    assert_angles(kf.rao_blackwellised((1,), 10_000), 0.1)


def test_sensors_without_noise_see_the_linear_part_only(x64):
    problem = linear()
    exact = problem.model.replace(R=np.zeros((2, 2)))
    run = quick_jit(
        lambda method, model: kf.run(method, model, problem.ys, key=KEY), static_argnums=0
    )
    state, est = run(kf.rao_blackwellised(POSITIONS, 50), exact)
    assert np.isfinite(est.log_likelihood).all()
    np.testing.assert_allclose(state.particles[:, :2], np.tile(problem.ys[-1], (50, 1)), atol=1e-9)
    state, est = run(kf.rao_blackwellised(VELOCITIES, 50), exact)
    assert (est.log_likelihood == -np.inf).all()
    assert np.isfinite(est.mean).all()


def test_recentred_particles_have_the_moments_asked_for(x64):
    problem, method = linear(), kf.rao_blackwellised(VELOCITIES, 20)
    state = method.init(problem.model, KEY)
    belief = kf.Gaussian(jnp.arange(4.0), jnp.eye(4) + 0.3)
    moved = quick_jit(method.recentre)(problem.model, state, belief)
    np.testing.assert_allclose(moved.mean, belief.mean, atol=1e-12)
    np.testing.assert_allclose(moved.cov, belief.cov, atol=1e-12)


def test_bad_arguments_are_explained():
    problem = linear()
    for indices in ((), (1, 1)):
        with pytest.raises(ValueError, match="expected a tuple of at least one index"):
            kf.rao_blackwellised(indices)
    for indices in ((0, 1, 2, 3), (4,), (-1,)):
        with pytest.raises(ValueError, match="expected indices of some of the 4 components"):
            kf.rao_blackwellised(indices).init(problem.model, KEY)
    with pytest.raises(ValueError, match="has no deviations"):
        kf.rao_blackwellised((1,), rule=print)
    other = problem.model.replace(observation_log_density=lambda x, y, u, observed: 0.0)
    with pytest.raises(ValueError, match="the model has an observation_log_density"):
        kf.rao_blackwellised((1,)).init(other, KEY)
    with pytest.raises(ValueError, match="got no key"):
        kf.rao_blackwellised((1,)).init(problem.model)
    assert jax.eval_shape(kf.rao_blackwellised((1,), 5).init, problem.model, KEY).covs.shape == (
        5,
        4,
        4,
    )
