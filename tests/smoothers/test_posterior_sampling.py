"""Trajectories drawn backwards have the moments of the whole posterior, lag-one covariances
included.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import random_models
from support.compiling import quick_jit
from support.dense import constant, posterior
from support.oracle_checks import assert_draws
from support.random_models import Shape, Traits
from support.table import STEPS, case, linear

import kfjax as kf
from kfjax.smoothers.posterior_draws import sample_posterior

DRAWN = 20_000


@functools.partial(quick_jit, static_argnums=0)
def draw(filter, model, ys, us, observed, length=None):
    """Trajectories [DRAWN, T + 1, n], x_0 first."""
    est = kf.run(filter, model, ys, us=us, observed=observed, length=length).outputs
    drawn = sample_posterior(
        jax.random.key(3), filter, model, est, us=us, trajectories=DRAWN, length=length
    )
    return jnp.concatenate([drawn.initial[:, None], drawn.states], axis=1)


def assert_has_moments(xs, mean, cov):
    """Mean [k] and covariance [k, k] of samples [M, k], each within 4.5 of its standard errors."""
    variance = np.diag(cov)
    assert (
        np.abs(xs.mean(0) - mean) <= 4.5 * np.sqrt(np.maximum(variance, 0) / DRAWN) + 1e-12
    ).all()
    error = np.abs((xs - mean).T @ (xs - mean) / DRAWN - cov)
    assert (error <= 4.5 * np.sqrt((np.outer(variance, variance) + cov**2) / DRAWN) + 1e-12).all()


def known_and_noise_free():
    """Position and velocity without noise from a velocity known in part: of rank two in all, off
    the axes.
    """
    problem = linear()
    v = np.array([[1.0, 0.5, -0.3, 0.2], [0.0, 1.0, 0.4, 0.1]])
    prior = kf.Gaussian(problem.model.prior.mean, v.T @ v)
    return problem._replace(model=problem.model.replace(Q=np.zeros((4, 4)), prior=prior))


@pytest.mark.parametrize(
    "form", [kf.kalman(), kf.square_root(kf.moments.Taylor())], ids=["covariance", "root"]
)
@pytest.mark.parametrize("problem", [linear, known_and_noise_free])
def test_moments_of_whole_trajectories(x64, problem, form):
    problem = problem()
    expected = posterior(
        constant(problem.model, STEPS),
        *map(np.asarray, problem.model.prior),
        problem.ys,
        problem.observed,
    )
    xs = np.asarray(draw(form, problem.model, problem.ys, None, problem.observed)).reshape(
        DRAWN, -1
    )
    size = xs.shape[1]
    assert_has_moments(xs, expected.mean.reshape(size), expected.cov.reshape(size, size))


def test_without_noise_trajectories_follow_the_model(x64):
    problem = known_and_noise_free()
    xs = np.asarray(draw(kf.kalman(), problem.model, problem.ys, None, problem.observed))
    np.testing.assert_allclose(xs[:, 1:], xs[:, :-1] @ np.asarray(problem.model.f.A).T, atol=1e-6)


def test_inputs_and_angles_have_the_moments_of_the_smoother(x64):
    c = case("unscented", "heading")
    xs = np.asarray(draw(c.filter, c.params, c.ys, c.us, c.observed))
    est = kf.run(c.filter, c.params, c.ys, us=c.us, observed=c.observed).outputs
    s = kf.smooth(c.filter, c.params, est, us=c.us)
    d = np.asarray(c.params.state_space.difference(xs[:, 1:], np.asarray(s.mean)[None]))
    for t in range(1, STEPS):
        pair = np.concatenate([d[:, t], d[:, t - 1]], axis=1)
        cov = np.block([[s.cov[t], s.cross[t]], [s.cross[t].T, s.cov[t - 1]]])
        assert_has_moments(pair, np.zeros(6), cov)
    assert (np.abs(xs[..., 2]) <= np.pi).all()


def test_a_length_is_sampled_as_the_truncated_record(x64):
    problem = linear()
    expected = posterior(
        constant(problem.model, 4),
        *map(np.asarray, problem.model.prior),
        problem.ys[:4],
        problem.observed[:4],
    )
    xs = np.asarray(draw(kf.kalman(), problem.model, problem.ys, None, problem.observed, 4))
    assert_has_moments(
        xs[:, :5].reshape(DRAWN, 20), expected.mean.reshape(20), expected.cov.reshape(20, 20)
    )
    np.testing.assert_array_equal(xs[:, 5:], np.repeat(xs[:, [4]], 2, axis=1))


def test_particles_go_through_backward_simulation():
    problem = linear()
    bootstrap = kf.particle(50)
    states = kf.run(
        bootstrap, problem.model, problem.ys, key=jax.random.key(0), emit=kf.whole_state
    ).outputs
    drawn = sample_posterior(jax.random.key(1), bootstrap, problem.model, states, trajectories=7)
    direct = kf.simulate_smoothed(jax.random.key(1), problem.model, states, trajectories=7)
    np.testing.assert_array_equal(drawn.states, direct.states)
    assert drawn.states.dtype == jnp.float32
    usual = jax.eval_shape(
        lambda key: sample_posterior(key, bootstrap, problem.model, states), jax.random.key(1)
    )
    assert usual.states.shape == (100, *drawn.states.shape[1:])


def test_bad_arguments_are_explained():
    problem = linear()
    est = kf.run(kf.kalman(), problem.model, problem.ys).outputs
    with pytest.raises(ValueError, match="trajectories is 0; expected a whole number"):
        sample_posterior(jax.random.key(0), kf.kalman(), problem.model, est, trajectories=0)
    with pytest.raises(ValueError, match="no moment rule"):
        sample_posterior(jax.random.key(0), kf.fading(kf.kalman(), 1.1), problem.model, est)


KNOWN_TO_ROUNDING = [
    Traits(Shape(3, 3, "varying", "update", "float64"), (True, True, True), "rows", 1, 291),
    pytest.param(
        Traits(
            Shape(5, 2, "opaque", "predict", "float64"),
            (True, False, True),
            "everything",
            4,
            151586518,
        ),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("record", KNOWN_TO_ROUNDING, ids=lambda record: f"n={record.shape.n}")
def test_what_later_states_determine_is_drawn_as_it_is(record, x64):
    """The covariance given x_t+1 is all rounding, of which a compiled loop makes two versions.

    Its factor was NaN, or 1, where one was above the bound on rounding and the other below.
    """
    case = random_models.make(record)
    assert_draws(case._replace(condition=case.truth.backward_condition))
