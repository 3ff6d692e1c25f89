"""Particle filters against the Kalman filter, and against sums over a grid where observations are
not Gaussian.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.compiling import quick_jit
from support.sampling import (
    KEY,
    assert_angles,
    assert_convergence,
    likelihood_ratios,
    log_likelihoods,
    many,
    standard_errors,
)
from support.table import Problem, linear, pendulum, predict, update

import kfjax as kf

TAYLOR, UNSCENTED = kf.moments.Taylor(), kf.moments.Unscented()
KINDS = {
    "bootstrap": kf.particle(30),
    "guided": kf.particle(20, proposal=TAYLOR),
    "guided_unscented": kf.particle(20, proposal=UNSCENTED, ess=0.9),
    "auxiliary": kf.auxiliary_particle(30),
    "auxiliary_guided": kf.auxiliary_particle(20, proposal=TAYLOR, ess=0.7),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_the_likelihood_is_unbiased(kind):
    ratios = likelihood_ratios(KINDS[kind], linear())
    assert ratios.std() > 1e-3
    assert standard_errors(ratios, 1.0) < 3


def test_mean_and_covariance_converge_to_those_of_the_kalman_filter():
    assert_convergence(kf.particle(100), kf.particle(1600), linear(), 4)


@pytest.mark.slow
def test_a_proposal_that_knows_y_pays_with_precise_sensors():
    problem = linear()
    precise = problem._replace(model=problem.model.replace(R=1e-3 * np.eye(2)))
    bootstrap = log_likelihoods(kf.particle(100), precise, 200)
    guided = log_likelihoods(kf.particle(100, proposal=TAYLOR), precise, 200)
    assert guided.var() < 0.05 * bootstrap.var()


def test_angles_are_averaged_across_the_cut():
    assert_angles(kf.particle(20_000), 0.1)


# heavy tails, in one dimension, where a grid gives the answer


def student(dof, x, y, u, observed):
    """Independent Student t noise about (x, x / 2), up to a constant."""
    scaled = (y - jnp.stack([x[0], 0.5 * x[0]])) / 0.4
    log_density = -0.5 * (dof + 1) * jnp.log1p(scaled**2 / dof)
    return jnp.sum(log_density if observed is None else jnp.where(observed, log_density, 0))


def sine(x, u):
    return x + jnp.sin(x)


def both(x, u):
    return jnp.stack([x[0], 0.5 * x[0]])


def heavy():
    """A nonlinear state, an outlier in each channel, and rows and channels that are missing (NaN).

    R only shapes proposals, which have to reach as far as outliers do.
    """
    prior = kf.Gaussian(np.array([0.5]), np.array([[0.8]]))
    tails = Partial(student, jnp.asarray(3.0))
    model = kf.StateSpaceModel(
        sine, both, [[0.3]], 4.0 * np.eye(2), prior, observation_log_density=tails
    )
    ys = np.array([[1.0, 0.4], [1.5, 5.0], [np.nan, np.nan], [-3.0, np.nan], [2.7, 1.2]])
    return Problem(model, ys, None, ~np.isnan(ys))


def on_a_grid(ys, dof=3.0):
    """Means, variances and log-likelihoods by sums over a grid, independent of kfjax."""
    x = np.linspace(-12, 15, 2001)
    normal = lambda d, var: np.exp(-0.5 * d**2 / var) / np.sqrt(2 * np.pi * var)  # noqa: E731
    p = normal(x - 0.5, 0.8) * (x[1] - x[0])
    kernel = normal(x[:, None] - (x + np.sin(x))[None, :], 0.3) * (x[1] - x[0])
    rows = []
    for y in ys:
        p = kernel @ p
        scaled = (y[None, :] - np.stack([x, 0.5 * x], axis=1)) / 0.4
        weight = np.exp(-0.5 * (dof + 1) * np.nansum(np.log1p(scaled**2 / dof), axis=1))
        total = np.sum(p * weight)
        p = p * weight / total
        mean = np.sum(p * x)
        rows.append((mean, np.sum(p * (x - mean) ** 2), np.log(total)))
    return np.array(rows).T


@pytest.mark.parametrize("kind", ["bootstrap", "guided", "auxiliary"])
def test_any_observation_density_agrees_with_sums_over_a_grid(kind):
    """Moments times the likelihood are unbiased, at every step."""
    problem = heavy()
    mean, var, log_likelihood = on_a_grid(problem.ys)
    est = many(KINDS[kind], problem, 2000)
    ratios = np.exp(np.cumsum(est.log_likelihood - log_likelihood, axis=1))
    second = est.cov[:, :, 0, 0] + (est.mean[:, :, 0] - mean) ** 2
    assert ratios.std(0).max() < 2  # so that the rest says something
    for samples in (ratios - 1, ratios * (est.mean[:, :, 0] - mean), ratios * (second - var)):
        assert standard_errors(samples, 0.0).max() < 3.5
    assert not est.log_likelihood[:, 2].any()


@functools.partial(quick_jit, static_argnums=0)
def run(method, model, ys, observed=None, key=KEY):
    return kf.run(method, model, ys, observed=observed, key=key)


@pytest.mark.parametrize("kind", ["bootstrap", "auxiliary_guided"])
def test_a_channel_that_is_never_observed_might_as_well_not_exist(x64, kind):
    problem = linear()
    ys, model = problem.ys.copy(), problem.model
    ys[:, 1] = np.nan
    masked = run(KINDS[kind], model, ys, np.array([[True, False]] * len(ys))).outputs
    deleted = run(
        KINDS[kind], model.replace(h=kf.Linear(np.eye(1, 4)), R=model.R[:1, :1]), ys[:, :1]
    )[1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), masked, deleted
    )


def test_the_key_decides_and_nothing_else():
    problem = pendulum()
    same, again, other = (
        run(KINDS["bootstrap"], problem.model, problem.ys, problem.observed, key).outputs.mean
        for key in (KEY, jax.random.key(20), jax.random.key(21))
    )
    np.testing.assert_array_equal(same, again)
    assert np.abs(same - other).max() > 1e-3


def between(x, y, u, observed):
    """Uniform noise within one of the first component."""
    return jnp.where(jnp.abs(y - x[0]).max() < 1, -jnp.log(2.0), -jnp.inf)


@pytest.mark.parametrize(
    "method", [kf.particle(50), kf.auxiliary_particle(50)], ids=["bootstrap", "auxiliary"]
)
def test_an_impossible_observation_has_no_likelihood_and_leaves_the_prediction(method):
    prior = kf.Gaussian(np.zeros(1), np.eye(1))
    model = kf.StateSpaceModel(
        sine, lambda x, u: x, np.eye(1), np.eye(1), prior, observation_log_density=between
    )
    predicted = predict(method, model, method.init(model, KEY), None)
    state, info = update(method, model, predicted, jnp.array([1e3]), None, None)
    assert info.log_likelihood == -np.inf
    jax.tree.map(np.testing.assert_array_equal, state, predicted)
    state, info = update(method, model, predicted, jnp.array([0.5]), None, None)
    assert np.isfinite(info.log_likelihood)
    assert np.abs(state.particles[state.weights > 0] - 0.5).max() < 1


def test_an_observation_without_noise_has_no_density():
    problem = linear()
    est = run(kf.particle(50), problem.model.replace(R=np.diag([0.1, 0.0])), problem.ys).outputs
    assert (est.log_likelihood == -np.inf).all()
    assert np.isfinite(est.mean).all()


def test_recentred_particles_have_the_moments_asked_for_whatever_they_were(x64):
    problem, method = linear(), kf.particle(50)
    state = run(method, problem.model, problem.ys).final
    belief = kf.Gaussian(jnp.arange(4.0), jnp.diag(jnp.array([1.0, 2.0, 0.5, 0.0])) + 0.1)
    recentre = quick_jit(method.recentre)
    moved = recentre(problem.model, state, belief)
    np.testing.assert_array_equal(
        np.argsort(moved.particles[:, 0]), np.argsort(state.particles[:, 0])
    )
    np.testing.assert_allclose(moved.mean, belief.mean, atol=1e-12)
    np.testing.assert_allclose(moved.cov, belief.cov, atol=1e-12)
    lost = state._replace(
        particles=state.particles * np.nan, log_weights=state.log_weights * np.nan
    )
    collapsed = state._replace(particles=jnp.ones_like(state.particles))
    for degenerate in (lost, collapsed):
        drawn = recentre(problem.model, degenerate, belief)
        assert np.isfinite(drawn.particles).all()
        np.testing.assert_allclose(drawn.mean, belief.mean, atol=1.5)
        assert (np.diag(drawn.cov) > 0.2 * np.diag(belief.cov)).all()


def test_bad_arguments_are_explained():
    for constructor in (kf.particle, kf.auxiliary_particle):
        with pytest.raises(ValueError, match="particles is 0; expected a whole number"):
            constructor(0)
        with pytest.raises(ValueError, match=r"ess .* is 1\.5; expected a finite number"):
            constructor(10, ess=1.5)
        with pytest.raises(
            ValueError, match=r"got no key; expected a random key.*Pass key=jax\.random\.key"
        ):
            kf.run(constructor(10), linear().model, linear().ys)
