"""Parallel-in-time filters and smoothers give the results of the sequential ones."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import table
from support.compiling import quick_jit
from support.dense import constant, posterior
from support.random_models import STEPS as RECORD
from support.random_models import Shape, Traits, make

import kfjax as kf

pytestmark = pytest.mark.xdist_group("parallel in time")  # which share compiled functions
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


def test_gradients_equal_the_sequential_ones(x64):
    """Over three blocks, so that their beginnings are joined in two rounds."""
    model = noise_free("position").replace(R=[[0.5]], Q=[[0.2, 0.05], [0.05, 0.1]])
    ys = np.random.default_rng(2).normal(size=(2 * STEPS, 1)).cumsum(0)

    def score(estimate):
        return sum(jnp.sum(jnp.cos(leaf)) for leaf in estimate)

    sequential = jax.grad(lambda model: score(kf.run(kf.kalman(), model, ys).outputs))
    parallel = jax.grad(lambda model: score(kf.parallel_filter(model, ys)))
    chex.assert_trees_all_close(
        symmetrised(quick_jit(parallel)(model)),
        symmetrised(quick_jit(sequential)(model)),
        rtol=1e-7,
    )


def symmetrised(gradient):
    """The gradient with respect to covariances as symmetric matrices."""
    covs = (gradient.Q, gradient.R, gradient.prior.cov)
    return gradient.f.A, gradient.h.A, gradient.prior.mean, *(C + C.T for C in covs)


def test_the_program_has_each_operation_once():
    """At any length of the record, so that compiling takes no longer."""
    model = table.linear().model

    def lines(steps):
        lowered = jax.jit(kf.parallel_filter).lower(model, np.zeros((steps, 2), np.float32))
        return lowered.as_text().count("\n")

    short = lines(100)
    assert short < 4000  # a regular R needs no way for noise-free channels
    assert abs(lines(70_004) - short) < 10


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


# noise-free channels of components without noise in the step: infinite information

TURN = (
    np.array([[0.8, -0.6], [0.6, 0.8]]) @ np.diag([1.0, 1.7]) @ np.array([[0.9, 0.4], [-0.4, 0.9]])
)
DRIFT = np.array([[1.0, 1.0], [0.0, 1.0]])
NOISE_FREE = {
    "position": (DRIFT, np.eye(2)[:1], np.diag([0.0, 1.0]), np.zeros((1, 1))),
    "position, in other coordinates": (
        TURN @ DRIFT @ np.linalg.inv(TURN),
        np.linalg.inv(TURN)[:1],
        TURN @ np.diag([0.0, 1.0]) @ TURN.T,
        np.zeros((1, 1)),
    ),
    "beside a noisy channel": (DRIFT, np.eye(2), np.diag([0.0, 1.0]), np.diag([0.0, 0.5])),
}


def noise_free(case):
    F, H, Q, R = NOISE_FREE[case]
    return kf.linear_gaussian(F, H, 0.5 * (Q + Q.T), R, kf.Gaussian(np.zeros(2), np.eye(2)))


@pytest.mark.parametrize("case", NOISE_FREE)
@pytest.mark.parametrize("seen", ["everything", "the first not", "the last only"])
def test_noise_free_channels_are_conditioned_on(x64, case, seen):
    model = noise_free(case)
    ys = np.array([0.5, 1.7, 2.1, 4.0, 3.0])[:, None] + np.arange(model.R.shape[0])
    observed = np.ones(ys.shape, bool)
    observed[: {"everything": 0, "the first not": 1, "the last only": 4}[seen], 0] = False
    steps, prior = constant(model, 5), tuple(map(np.asarray, model.prior))
    filtered = parallel_filter(model, ys, observed)
    for t in range(1, 6):
        expected = posterior(steps[:t], *prior, ys[:t], observed[:t])
        np.testing.assert_allclose(filtered.mean[t - 1], expected.mean[t], atol=1e-10)
        np.testing.assert_allclose(filtered.cov[t - 1], expected.marginal[t], atol=1e-10)
        total = filtered.log_likelihood[:t].sum()
        np.testing.assert_allclose(total, expected.log_likelihood, atol=1e-9)
    smoothed = parallel_smooth(model, ys, observed)
    np.testing.assert_allclose(smoothed.mean, expected.mean[1:], atol=1e-10)
    np.testing.assert_allclose(smoothed.cov, expected.marginal[1:], atol=1e-10)
    iterated = kf.parallel_iterated_smooth(model, ys, observed=observed, iterations=1)
    np.testing.assert_allclose(iterated.mean, expected.mean[1:], atol=1e-10)


def test_noise_free_positions_in_float32():
    ys = np.array([0.5, 1.7, 2.1, 4.0, 3.0], np.float32)[:, None]
    final = kf.parallel_filter(noise_free("position"), ys).mean[-1]
    np.testing.assert_allclose(final, [3.0, -1.0], rtol=1e-6)


def test_one_record_with_a_noise_free_channel_leaves_the_batch_alone(x64):
    ys = np.array([0.5, 1.7, 2.1, 4.0, 3.0])[:, None]
    rs = np.array([0.0, 0.3])[:, None, None]
    models = jax.vmap(lambda R: noise_free("position").replace(R=R))(rs)
    batch = jax.vmap(kf.parallel_filter, in_axes=(0, None))(models, ys)
    for i, R in enumerate(rs):
        alone = kf.run(kf.kalman(), noise_free("position").replace(R=R), ys).outputs
        chex.assert_trees_all_close(jax.tree.map(lambda a, i=i: a[i], batch), alone, atol=1e-12)


def test_a_channel_that_says_nothing_of_the_state_before_does_not_end_the_scan(x64):
    """A dead channel, and one that is twice another, without noise."""
    model = kf.linear_gaussian(
        0.9 * np.eye(2),
        [[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]],
        np.eye(2),
        np.zeros((3, 3)),
        kf.Gaussian(np.zeros(2), np.eye(2)),
    )
    ys = np.outer([1.0, 0.5, -0.3, 0.2], [1.0, 2.0, 0.0])
    filtered = kf.parallel_filter(model, ys)
    np.testing.assert_allclose(filtered.mean[:, 0], ys[:, 0], rtol=1e-12)
    np.testing.assert_allclose(filtered.cov[:, 0], 0, atol=1e-12)


@pytest.mark.parametrize("Q", [np.diag([0.0, 1.0]), np.zeros((2, 2))], ids=["velocity", "nothing"])
def test_iterated_smoother_keeps_to_dynamics_without_noise(x64, Q):
    """Its cost without the noise-free directions was least on paths that break the dynamics."""
    model = kf.linear_gaussian(
        DRIFT, [[1.0, 0.0]], Q, [[0.01]], kf.Gaussian(np.zeros(2), np.eye(2))
    )
    ys = np.array([0.5, 1.7, 2.1, 4.0, 3.0])[:, None]
    expected = posterior(
        constant(model, 5), *map(np.asarray, model.prior), ys, np.ones((5, 1), bool)
    )
    smoothed = kf.parallel_iterated_smooth(model, ys, iterations=2)
    np.testing.assert_allclose(smoothed.mean, expected.mean[1:], atol=1e-9)
    np.testing.assert_allclose(smoothed.initial.mean, expected.mean[0], atol=1e-9)


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


def test_iterated_smoother_with_a_noise_free_angle(x64):
    """The limit of a little noise."""
    model, ys = nonlinear_case()
    iterate = quick_jit(functools.partial(kf.parallel_iterated_smooth, iterations=15))
    exact = iterate(model.replace(Q=np.diag([0.0, 0.01])), ys)
    nearly = iterate(model.replace(Q=np.diag([1e-12, 0.01])), ys)
    np.testing.assert_allclose(exact.mean, nearly.mean, atol=1e-6)
    path = jnp.concatenate([exact.initial.mean[None], exact.mean])
    moved = jax.vmap(lambda x: model.f(x, None))(path[:-1])
    np.testing.assert_allclose(path[1:, 0], moved[:, 0], atol=1e-9)


def test_iterated_smoother_keeps_to_observations_without_noise(x64):
    model, _ = nonlinear_case()
    xs, _ = kf.simulate(jax.random.key(3), model, steps=STEPS)
    ys = jax.vmap(lambda x: model.h(x, None))(xs)
    smoothed = kf.parallel_iterated_smooth(model.replace(R=[[0.0]]), ys, iterations=15)
    seen = jax.vmap(lambda x: model.h(x, None))(smoothed.mean)
    np.testing.assert_allclose(seen, ys, atol=1e-9)


def test_one_iteration_is_the_extended_smoother_where_h_is_linear(x64):
    """Both linearise f along the filtered path, the first step at the prior."""
    model, ys = nonlinear_case()
    model = model.replace(h=kf.Linear([[1.0, 0.0]]))
    filtered = kf.run(kf.extended(), model, ys).outputs
    expected = kf.smooth(kf.extended(), model, filtered)
    smoothed = kf.parallel_iterated_smooth(model, ys, iterations=1)
    np.testing.assert_allclose(smoothed.mean, expected.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(smoothed.cov, expected.cov, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(smoothed.initial.mean, expected.initial.mean, rtol=1e-9)


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


def test_channels_that_earlier_ones_determine_add_nothing_to_the_likelihood(x64):
    """Their variance is rounding alone, also in factors of the given covariances."""
    shape = Shape(3, 3, "varying", "update", "float64")
    case = make(Traits(shape, (True, True, True), "rows", 5, 5))
    arguments = {"us": case.us[:RECORD], "observed": case.seen}
    filtered = quick_jit(kf.parallel_filter)(case.model, case.ys, **arguments)
    np.testing.assert_allclose(filtered.log_likelihood, case.truth.terms, atol=1e-9)
