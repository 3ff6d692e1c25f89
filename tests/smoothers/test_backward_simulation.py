"""Backward simulation against the Rauch-Tung-Striebel smoother, which is exact on linear models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.table import driven, heading, linear

import kfjax as kf
from kfjax.base import whole_state
from kfjax.filters.particles.bootstrap import particle
from kfjax.smoothers.backward_simulation import simulate_smoothed

FILTER = particle(400)
RUNS, DRAWN = 100, 50


def smoothed_by_drawing(problem, length=None):
    """Average over independent runs: means [R, T + 1, n] of each, x_0 first, and the covariances of
    all.
    """

    @jax.vmap
    def draw(key):
        run, back = jax.random.split(key)
        first = FILTER.init(problem.model, run)
        states = kf.run(
            FILTER,
            problem.model,
            problem.ys,
            us=problem.us,
            observed=problem.observed,
            state=first,
            emit=whole_state,
            length=length,
        ).outputs
        drawn = simulate_smoothed(
            back,
            problem.model,
            states,
            us=problem.us,
            trajectories=DRAWN,
            state=first,
            length=length,
        )
        return jnp.concatenate([drawn.initial[:, None], drawn.states], axis=1)

    xs = jax.jit(draw)(jax.random.split(jax.random.key(7), RUNS))
    assert xs.shape == (RUNS, DRAWN, problem.ys.shape[0] + 1, problem.model.n)
    return np.asarray(xs)


def exactly_smoothed(problem, length=None):
    """Means [T + 1, n] and covariances, x_0 first."""
    options = {"us": problem.us, "observed": problem.observed, "length": length}
    est = kf.run(kf.kalman(), problem.model, problem.ys, **options).outputs
    smoothed = kf.smooth(kf.kalman(), problem.model, est, us=problem.us, length=length)
    return tuple(
        np.concatenate([first[None], rest])
        for first, rest in zip(smoothed.initial, (smoothed.mean, smoothed.cov), strict=True)
    )


def z_scores(samples, expected):
    """The error of the mean of independent samples [R, ...] in standard errors."""
    return np.abs(samples.mean(0) - expected) / (samples.std(0, ddof=1) / np.sqrt(len(samples)))


def test_moments_are_those_of_the_exact_smoother(x64):
    problem = linear()
    xs = smoothed_by_drawing(problem)
    mean, cov = exactly_smoothed(problem)
    assert z_scores(xs.mean(1), mean).max() < 4
    d = xs - mean
    assert z_scores(np.einsum("rmti,rmtj->rtij", d, d) / DRAWN, cov).max() < 4
    # consecutive states belong together: independent draws would have no lag-one covariance
    between = np.einsum("rmti,rmti->t", d[:, :, 1:], d[:, :, :-1]) / (RUNS * DRAWN)
    assert (between > 0.5 * np.trace(cov, axis1=1, axis2=2)[1:]).all()


def test_a_length_is_smoothed_as_the_truncated_record(x64):
    problem, length = linear(), 4
    xs = smoothed_by_drawing(problem, length)
    mean, _ = exactly_smoothed(
        problem._replace(ys=problem.ys[:length], observed=problem.observed[:length])
    )
    assert z_scores(xs[:, :, : length + 1].mean(1), mean).max() < 4
    np.testing.assert_array_equal(xs[:, :, length + 1 :], np.repeat(xs[:, :, [length]], 2, axis=2))


def stored(problem, count=300):
    return kf.run(
        particle(count),
        problem.model,
        problem.ys,
        us=problem.us,
        observed=problem.observed,
        key=jax.random.key(1),
        emit=whole_state,
    ).outputs


def test_inputs_and_angles():
    problem = heading()
    states = stored(problem)
    drawn = simulate_smoothed(
        jax.random.key(2), problem.model, states, us=problem.us, trajectories=200
    )
    assert drawn.initial is None
    assert drawn.states.dtype == jnp.float32
    est = kf.run(
        kf.unscented(), problem.model, problem.ys, us=problem.us, observed=problem.observed
    ).outputs
    exact = kf.smooth(kf.unscented(), problem.model, est, us=problem.us)
    offset = problem.model.state_space.difference(drawn.states, exact.mean[None])
    std = np.sqrt(np.diagonal(exact.cov, axis1=1, axis2=2))
    assert (abs(offset.mean(0)) < 0.5 * std).all()
    np.testing.assert_allclose(offset.std(0), std, rtol=0.5)
    assert (abs(drawn.states[..., 2]) <= np.float32(np.pi)).all()
    assert (
        drawn.states[..., 2].max(0) - drawn.states[..., 2].min(0) > 6
    ).any()  # on both sides of the cut


def test_a_singular_noise_has_no_transition_density():
    problem = linear()
    states = stored(problem, 20)
    singular = problem.model.replace(Q=np.diag([0.1, 0.1, 0.1, 0.0]))
    with pytest.raises(ValueError, match="Q is singular; expected an invertible one"):
        simulate_smoothed(jax.random.key(0), singular, states)
    draw = jax.jit(lambda model: simulate_smoothed(jax.random.key(0), model, states))
    assert np.isnan(draw(singular).states[:, :-1]).all()  # it cannot be seen inside a trace
    assert np.isfinite(draw(problem.model).states).all()


def test_bad_arguments_are_explained():
    problem = driven()
    states = stored(problem, 20)
    with pytest.raises(
        ValueError, match=r"got states Estimate; expected the stacked states of kf\.particle"
    ):
        simulate_smoothed(jax.random.key(0), problem.model, kf.Estimate(problem.ys, None, None))
    with pytest.raises(ValueError, match="trajectories is 0; expected a whole number"):
        simulate_smoothed(jax.random.key(0), problem.model, states, us=problem.us, trajectories=0)
