"""Resampling schemes: their averages, their variance, and their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit
from support.sampling import KEY, likelihood_ratios, standard_errors
from support.table import Problem, linear

import kfjax as kf
from kfjax.filters import Multinomial, Residual, Soft, StopGradient, Stratified, Systematic
from kfjax.filters.particles.resampling import effective_sample_size, inverse_cdf, resample

WEIGHTS = np.array([0.05, 0.3, 0.0, 0.17, 0.125, 0.24, 0.115, 0.0])
N = len(WEIGHTS)
LOG_WEIGHTS = jnp.log(jnp.asarray(WEIGHTS))
SCHEMES = [
    Systematic(),
    Stratified(),
    Multinomial(),
    Residual(),
    Soft(),
    Soft(0.9, Residual()),
    StopGradient(),
]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=str)


@functools.partial(quick_jit, static_argnums=(0, 1))
def draws(scheme, log_weights_scale, keys):
    return jax.vmap(lambda key: scheme(key, LOG_WEIGHTS + log_weights_scale))(keys)


def counts(scheme, log_weights_scale=0.0, repeats=4000):
    """How often each particle is drawn, [R, N]."""
    indices = np.asarray(draws(scheme, log_weights_scale, jax.random.split(KEY, repeats)))
    return (indices[:, :, None] == np.arange(N)).sum(1)


@every_scheme
def test_particles_go_on_as_often_as_the_scheme_says(scheme):
    c, q = counts(scheme), np.exp(scheme.log_probabilities(LOG_WEIGHTS))
    np.testing.assert_array_equal(c.sum(1), N)
    np.testing.assert_array_equal(c[:, q == 0], 0)
    constant = (c == c[0]).all(0)
    np.testing.assert_allclose(c[0, constant], N * q[constant], atol=1e-6)
    assert standard_errors(c[:, ~constant], N * q[~constant]).max() < 4


def test_a_number_that_rounds_to_one_draws_the_last_particle_with_a_weight():
    """(N - 1 + u) / N is 1 in float32 if u is close to 1."""
    drawn = inverse_cdf(LOG_WEIGHTS, jnp.array([0.0, 0.999, 1.0]))
    assert drawn.tolist() == [0, 6, 6]


def test_weights_that_are_all_zero_count_as_equal():
    nothing = jnp.full(4, -jnp.inf)
    assert Systematic()(KEY, nothing).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(effective_sample_size(nothing), 4.0, rtol=1e-6)


def test_probabilities_are_the_weights_or_a_mixture_of_them():
    for scheme in SCHEMES:
        alpha = getattr(scheme, "alpha", 1.0)
        q = np.exp(scheme.log_probabilities(LOG_WEIGHTS + 3.0))
        np.testing.assert_allclose(q, alpha * WEIGHTS + (1 - alpha) / N, rtol=1e-5, atol=1e-7)


def test_how_evenly_schemes_draw():
    expected, low = N * WEIGHTS, np.floor(N * WEIGHTS + 1e-6)
    systematic, stratified, residual = (
        counts(Systematic()),
        counts(Stratified()),
        counts(Residual()),
    )
    assert (np.abs(systematic - expected) < 1 + 1e-6).all()
    assert (np.abs(stratified - expected) < 2 + 1e-6).all()
    assert (residual >= low).all()
    assert (np.abs(stratified - expected) > 1).any()
    independent = counts(Multinomial()).var(0)
    np.testing.assert_allclose(independent, expected * (1 - WEIGHTS), rtol=0.1)
    for better in (systematic, stratified, residual):
        assert better.var(0).sum() < 0.75 * independent.sum()


@pytest.mark.parametrize("scheme", [Systematic(), Stratified(), Residual()], ids=str)
def test_equal_weights_let_every_particle_go_on_once(scheme):
    for size in (3, 7, 1000):
        indices = scheme(KEY, jnp.full(size, -jnp.log(size)))
        np.testing.assert_array_equal(np.sort(indices), np.arange(size))


@every_scheme
def test_the_scale_of_the_weights_does_not_matter(scheme):
    np.testing.assert_array_equal(counts(scheme, 0.0, 50), counts(scheme, -300.0, 50))


@pytest.mark.parametrize("scheme", [Systematic(), Soft(0.3), Soft(0.7, Multinomial())], ids=str)
def test_weighted_sums_are_kept_on_average_whatever_is_drawn_by(scheme):
    total, values, priorities = 0.6, jnp.arange(N) ** 2.0, jnp.log(jnp.linspace(0.2, 0.05, N))

    @jax.vmap
    def sums(key):
        after = [
            resample(scheme, 1.0, key, LOG_WEIGHTS + jnp.log(total), p) for p in (None, priorities)
        ]
        return jnp.stack([jnp.sum(jnp.exp(w) * values[i]) for i, w in after])

    samples = np.asarray(quick_jit(sums)(jax.random.split(KEY, 4000)))
    assert standard_errors(samples, total * np.sum(WEIGHTS * values)).max() < 4


def test_effective_sample_size_and_when_to_resample():
    equal, single = jnp.zeros(N) - 5.0, jnp.full(N, -jnp.inf).at[3].set(-2.0)
    np.testing.assert_allclose(effective_sample_size(equal), N, rtol=1e-6)
    np.testing.assert_allclose(effective_sample_size(single), 1.0, rtol=1e-6)
    size = effective_sample_size(LOG_WEIGHTS)
    np.testing.assert_allclose(size, 1 / np.sum(WEIGHTS**2), rtol=1e-6)
    for ess, resampled in ((size / N - 1e-3, False), (size / N + 1e-3, True), (0.0, False)):
        indices, after = resample(Systematic(), ess, KEY, LOG_WEIGHTS)
        np.testing.assert_array_equal(
            indices, Systematic()(KEY, LOG_WEIGHTS) if resampled else np.arange(N)
        )
        np.testing.assert_allclose(
            after, np.full(N, -np.log(N)) if resampled else LOG_WEIGHTS, rtol=1e-6
        )


@pytest.mark.parametrize("scheme", [Stratified(), Multinomial(), Residual(), Soft()], ids=str)
def test_the_likelihood_is_unbiased(scheme):
    ratios = likelihood_ratios(kf.particle(30, resampling=scheme, ess=0.9), linear())
    assert standard_errors(ratios, 1.0) < 3


def scalar(theta):
    """A random walk with a learnable step and noise."""
    coefficient, log_noise = theta
    prior = kf.Gaussian(jnp.array([0.5]), jnp.array([[1.0]]))
    R = jnp.exp(log_noise)[None, None]
    return kf.linear_gaussian(coefficient[None, None], [[1.0]], [[0.5]], R, prior)


THETA = (0.8, -0.7)
SCALAR = Problem(None, np.array([[1.0], [-0.5], [0.7], [1.8]]), None, None)


@functools.partial(quick_jit, static_argnums=(0, 1))
def scores(filter, count, theta):
    """Gradients of the log-likelihood by theta, and the log-likelihoods, of independent runs."""

    def log_likelihood(theta, key):
        return kf.log_likelihood(filter, scalar(theta), SCALAR.ys, key=key)

    theta = tuple(map(jnp.asarray, theta))
    return jax.vmap(jax.value_and_grad(log_likelihood), in_axes=(None, 0))(
        theta, jax.random.split(KEY, count)
    )


def errors_of_the_score(scheme, repeats=4000):
    """Standard errors by which the mean of the gradient of Zhat / Z is off the Kalman filter's
    score, [2].
    """
    values, gradients = scores(kf.particle(20, resampling=scheme, ess=1.0), repeats, THETA)
    expected, score = scores(kf.kalman(), 1, THETA)
    ratios = np.exp(np.asarray(values) - expected)
    return [
        standard_errors(ratios * np.asarray(g), float(s[0]))
        for g, s in zip(gradients, score, strict=True)
    ]


def test_stop_gradient_gives_an_unbiased_score():
    assert max(errors_of_the_score(StopGradient())) < 3


def test_without_it_the_score_is_biased():
    assert max(errors_of_the_score(Systematic())) > 10


def test_soft_resampling_passes_gradients_of_the_weights():
    def gradients(scheme):
        values, gradients = scores(kf.particle(20, resampling=scheme, ess=1.0), 4000, THETA)
        assert np.isfinite(values).all()
        assert np.isfinite(gradients).all()
        return np.mean(gradients, axis=1)

    score = np.array(scores(kf.kalman(), 1, THETA)[1])[:, 0]
    plain, soft = gradients(Systematic()), gradients(Soft())
    assert np.linalg.norm(soft - score) < 0.7 * np.linalg.norm(plain - score)


def test_bad_arguments_are_explained():
    for alpha in (0.0, 1.0, -0.5):
        with pytest.raises(
            ValueError, match=f"Soft: alpha .* is {alpha}; expected a finite number"
        ):
            Soft(alpha)
