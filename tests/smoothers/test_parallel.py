"""Parallel-in-time filters and smoothers give the results of the sequential ones."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import table
from support.compiling import quick_jit

import kfjax as kf

STEPS = 20  # more than one block

parallel_filter = quick_jit(
    lambda model, ys, observed: kf.parallel_filter(model, ys, observed=observed)
)
parallel_smooth = quick_jit(
    lambda model, ys, observed: kf.parallel_smooth(model, ys, observed=observed)
)


def linear_case():
    """A linear model with a known start and a noise-free state, data, and a mask with rows and
    channels missing.
    """
    model = table.linear().model
    Q = np.array(model.Q)
    Q[:, 3] = Q[3, :] = 0
    model = model.replace(Q=Q, prior=kf.Gaussian(model.prior.mean, 0 * model.prior.cov))
    ys = np.random.default_rng(0).normal(size=(STEPS, 2)).cumsum(0)
    observed = np.random.default_rng(1).random((STEPS, 2)) < 0.7
    observed[5] = False
    return model, np.where(observed, ys, np.nan), observed


def test_linear_filter_and_smoother_equal_the_sequential_ones(x64):
    model, ys, observed = linear_case()
    filtered = kf.run(kf.kalman(), model, ys, observed=observed).outputs
    chex.assert_trees_all_close(
        parallel_filter(model, ys, observed), filtered, rtol=1e-9, atol=1e-10
    )
    smoothed = kf.smooth(kf.kalman(), model, filtered)
    chex.assert_trees_all_close(
        parallel_smooth(model, ys, observed), smoothed, rtol=1e-9, atol=1e-10
    )


def test_inputs_and_time_varying_noise(x64):
    problem = table.driven()
    model = problem.model.replace(
        Q=lambda x, u: 0.1 * u[0] * jnp.eye(2), R=lambda x, u: (0.3 + u[0]) * jnp.ones((1, 1))
    )
    ys, us = problem.ys, problem.us
    parallel = kf.parallel_filter(model, ys, us=us)
    chex.assert_trees_all_close(
        parallel, kf.run(kf.kalman(), model, ys, us=us).outputs, rtol=1e-9, atol=1e-10
    )


def observed_sine(x, u):
    return jnp.sin(x[:1])


def pendulum_step(x, u):
    return jnp.stack([x[0] + 0.1 * x[1], x[1] - 0.5 * jnp.sin(x[0])])


def nonlinear_case():
    model = kf.StateSpaceModel(
        pendulum_step,
        observed_sine,
        0.01 * np.eye(2),
        [[0.05]],
        kf.Gaussian(np.array([1.0, 0.0]), 0.1 * np.eye(2)),
    )
    return model, np.asarray(kf.simulate(jax.random.key(3), model, steps=STEPS)[1])


def negative_log_posterior(model, path, ys):
    moved = path[1:] - jax.vmap(lambda x: model.f(x, None))(path[:-1])
    missed = ys - jax.vmap(lambda x: model.h(x, None))(path[1:])
    start = path[0] - model.prior.mean
    return sum(
        0.5 * jnp.sum(error * jnp.linalg.solve(cov, error.T).T)
        for error, cov in ((moved, model.Q), (missed, model.R), (start[None], model.prior.cov))
    )


def test_iterated_smoother_finds_the_most_probable_trajectory(x64):
    model, ys = nonlinear_case()
    smoothed = quick_jit(functools.partial(kf.parallel_iterated_smooth, iterations=15))(model, ys)
    path = jnp.concatenate([smoothed.initial.mean[None], smoothed.mean])
    gradient = jax.grad(negative_log_posterior, argnums=1)(model, path, ys)
    assert jnp.abs(gradient).max() < 1e-6
    assert (jnp.linalg.eigvalsh(smoothed.cov) > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (kf.parallel_filter, r"not linear; expected kf.Linear"),
        (
            lambda model, ys: kf.parallel_iterated_smooth(model, ys, iterations=0),
            r"iterations is 0; expected a whole number",
        ),
        (lambda model, ys: kf.parallel_iterated_smooth(model, ys.T), r"transposed"),
        (lambda model, ys: kf.parallel_iterated_smooth(model, ys * np.nan), r"NaN.*isnan"),
        (
            lambda model, ys: kf.parallel_iterated_smooth(
                model, ys, rule=table.divided_differences
            ),
            r"has no affine; expected a rule",
        ),
    ],
)
def test_errors(call, message):
    model, ys = nonlinear_case()
    with pytest.raises(ValueError, match=message):
        call(model, ys)
