"""Smoothers against the posterior of the whole trajectory, from one dense joint Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import finished, quick_jit
from support.dense import Step, constant, posterior
from support.table import MODELS, STEPS, driven, linear

import kfjax as kf
from kfjax.smoothers.two_filter import two_filter_smooth

tight = {"rtol": 1e-9, "atol": 1e-10}
RULES = {
    "taylor": kf.moments.Taylor(),
    "unscented": kf.moments.Unscented(),
    "cubature": kf.moments.Cubature(),
    "gauss_hermite": kf.moments.GaussHermite(3),
}


def steady_driven():
    """Irregular time, inputs and noise that depends on them, but not on the state."""
    problem = driven()
    model = problem.model.replace(
        Q=lambda x, u: u[0] * jnp.array([[0.1, 0.02], [0.02, 0.2]]),
        R=lambda x, u: (0.3 + u[0]) * jnp.ones((1, 1)),
    )
    steps = [
        Step(
            np.array([[1, dt], [0, 1 - 0.3 * dt]]),
            np.array([0.1, 0.7]) * force,
            dt * np.array([[0.1, 0.02], [0.02, 0.2]]),
            np.array([[1.0, 0.2]]),
            np.array([0.1]),
            np.array([[0.3 + dt]]),
        )
        for dt, force in problem.us
    ]
    return problem._replace(model=model), steps


def singular():
    """A state without noise, one that is known at first, and a row of noise of rank one."""
    problem = linear()
    Q = np.zeros((4, 4))
    Q[:2, :2] = np.outer([1.0, 2.0], [1.0, 2.0]) / 10
    prior = kf.Gaussian(problem.model.prior.mean, np.diag([1.0, 0.5, 0.3, 0.0]))
    model = problem.model.replace(Q=Q, prior=prior)
    return problem._replace(model=model), constant(model, STEPS)


def plain():
    problem = linear()
    return problem, constant(problem.model, STEPS)


CASES = {"plain": plain, "driven": steady_driven, "singular": singular}
every_case = pytest.mark.parametrize("case", CASES)


def exact(problem, steps):
    """The posterior by the oracle."""
    return posterior(steps, *map(np.asarray, problem.model.prior), problem.ys, problem.observed)


@quick_jit
def smoothed_kalman(model, ys, us, observed):
    est = kf.run(kf.kalman(), model, ys, us=us, observed=observed).outputs
    return kf.smooth(kf.kalman(), model, est, us=us)


def assert_is_posterior(smoothed, expected):
    """All that a smoother returns."""
    np.testing.assert_allclose(smoothed.mean, expected.mean[1:], **tight)
    np.testing.assert_allclose(smoothed.initial.mean, expected.mean[0], **tight)
    np.testing.assert_allclose(smoothed.cov, expected.marginal[1:], **tight)
    np.testing.assert_allclose(smoothed.initial.cov, expected.marginal[0], **tight)
    np.testing.assert_allclose(smoothed.cross, expected.cross, **tight)


@every_case
def test_rts_with_lag_one_covariances(x64, case):
    problem, steps = CASES[case]()
    smoothed = smoothed_kalman(problem.model, problem.ys, problem.us, problem.observed)
    assert_is_posterior(smoothed, exact(problem, steps))
    assert smoothed.cholesky is None


@every_case
def test_parallel_smoother_has_lag_one_covariances(x64, case):
    problem, steps = CASES[case]()
    smoother = quick_jit(
        lambda model, ys, us, seen: kf.parallel_smooth(model, ys, us=us, observed=seen)
    )
    assert_is_posterior(
        smoother(problem.model, problem.ys, problem.us, problem.observed), exact(problem, steps)
    )


def test_lag_one_covariances_of_a_length(x64):
    problem, _ = plain()
    cut = smoothed_kalman(problem.model, problem.ys[:4], None, problem.observed[:4])
    est = kf.run(
        kf.kalman(), problem.model, problem.ys, observed=problem.observed, length=4
    ).outputs
    smoothed = kf.smooth(kf.kalman(), problem.model, est, length=4)
    np.testing.assert_allclose(smoothed.cross[:4], cut.cross, **tight)
    np.testing.assert_allclose(
        smoothed.cross[4:], smoothed.cov[4:], **tight
    )  # the state stands still


# the square-root form


def both_forms(rule, problem):
    """Smoothed by the covariance and by the square-root form, the latter from covariances and from
    factors.
    """
    covs, factors = kf.gaussian_filter(rule), kf.square_root(rule)

    @quick_jit
    def smooth(model, ys, us, observed):
        est = kf.run(covs, model, ys, us=us, observed=observed).outputs
        states = kf.run(factors, model, ys, us=us, observed=observed, emit=kf.whole_state).outputs
        return (
            kf.smooth(covs, model, est, us=us),
            kf.smooth(factors, model, est, us=us),
            kf.smooth(factors, model, states, us=us),
        )

    return smooth(problem.model, problem.ys, problem.us, problem.observed)


@pytest.mark.parametrize(
    ("rule", "model"),
    [
        ("taylor", "heading"),
        ("unscented", "pendulum"),
        ("cubature", "driven"),
        ("gauss_hermite", "pendulum"),
    ],
)
def test_square_root_form_gives_the_results_of_the_covariance_form(x64, rule, model):
    plain, *roots = both_forms(RULES[rule], MODELS[model]())
    for root in roots:
        for name in ("mean", "cov", "cross"):
            np.testing.assert_allclose(
                getattr(root, name), getattr(plain, name), rtol=1e-9, atol=1e-9, err_msg=name
            )
        np.testing.assert_allclose(root.initial.cov, plain.initial.cov, rtol=1e-9, atol=1e-9)
        L = np.asarray(root.cholesky)
        assert (np.triu(L, 1) == 0).all()
        np.testing.assert_allclose(L @ L.swapaxes(1, 2), root.cov, rtol=1e-12, atol=1e-14)


def test_square_root_form_with_singular_noise(x64):
    problem, steps = singular()
    plain, _, root = both_forms(kf.moments.Taylor(), problem)
    assert_is_posterior(root, exact(problem, steps))
    assert_is_posterior(plain, exact(problem, steps))


def stiff(steps=100):
    """Constant acceleration seen by a nearly perfect sensor, from a broad prior."""
    dt, q = 0.01, 1e-4
    F = np.array([[1, dt, dt**2 / 2], [0, 1, dt], [0, 0, 1]])
    Q = q * np.array(
        [
            [dt**5 / 20, dt**4 / 8, dt**3 / 6],
            [dt**4 / 8, dt**3 / 3, dt**2 / 2],
            [dt**3 / 6, dt**2 / 2, dt],
        ]
    )
    model = kf.linear_gaussian(
        F, np.eye(1, 3), Q, [[1e-8]], kf.Gaussian(np.zeros(3), 1e4 * np.eye(3))
    )
    return model, np.random.default_rng(0).normal(size=(steps, 1)).cumsum(0) * 1e-3


def test_square_root_form_keeps_float32_where_the_covariance_form_loses_it():
    def smoothed():
        model, ys = stiff()
        states = kf.run(kf.square_root(RULES["taylor"]), model, ys, emit=kf.whole_state).outputs
        est = kf.run(kf.kalman(), model, ys).outputs
        return kf.smooth(kf.square_root(RULES["taylor"]), model, states), kf.smooth(
            kf.kalman(), model, est
        )

    with jax.enable_x64(True):
        wide = jax.tree.map(np.asarray, smoothed()[0])
    root, plain = jax.tree.map(np.asarray, smoothed())
    assert root.cov.dtype == np.float32
    std = np.sqrt(np.diagonal(wide.cov, axis1=1, axis2=2))
    scale = std[:, :, None] * std[:, None, :]
    np.testing.assert_array_less(np.abs(root.cov - wide.cov), 2e-3 * scale)
    np.testing.assert_array_less(np.abs(root.mean - wide.mean), 1e-2 * std)
    assert np.linalg.eigvalsh(root.cov / scale).min() > 0.01
    assert (np.abs(plain.mean - wide.mean) > std).any()
    assert (np.abs(plain.cov - wide.cov) > scale).any()


# two filters


@every_case
def test_two_filters(x64, case):
    problem, steps = CASES[case]()
    smoother = quick_jit(
        lambda model, ys, us, seen: two_filter_smooth(model, ys, us=us, observed=seen)
    )
    assert_is_posterior(
        smoother(problem.model, problem.ys, problem.us, problem.observed), exact(problem, steps)
    )


def test_two_filters_where_nothing_is_known_at_the_end_or_anywhere(x64):
    problem, steps = singular()
    observed = np.array(problem.observed)
    observed[3:] = False
    smoother = quick_jit(lambda model, seen: two_filter_smooth(model, problem.ys, observed=seen))
    for seen in (observed, observed & False):
        expected = exact(problem._replace(observed=seen), steps)
        assert_is_posterior(smoother(problem.model, seen), expected)


def test_two_filters_explain_what_they_cannot_do():
    problem, _ = plain()
    exact_sensor = problem.model.replace(R=[[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(
        ValueError, match=r"R is singular; expected an invertible one.*Use kf\.smooth"
    ):
        two_filter_smooth(exact_sensor, problem.ys)
    assert np.isnan(
        jax.jit(two_filter_smooth)(exact_sensor, problem.ys).mean
    ).any()  # not to be seen in a trace
    depends = problem.model.replace(R=lambda x, u: jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"R is singular; expected an invertible one"):
        two_filter_smooth(depends, problem.ys)
    with pytest.raises(ValueError, match=r"not linear; expected kf\.Linear"):
        two_filter_smooth(MODELS["pendulum"]().model, problem.ys)
    with pytest.raises(ValueError, match=r"NaN.*isnan"):
        two_filter_smooth(problem.model, problem.ys * np.nan)


def test_two_filters_notice_one_noise_free_step_of_a_single_channel():
    problem, _ = plain()
    ys = problem.ys[:3, :1]
    one = problem.model.replace(h=kf.Linear(problem.model.h.A[:1]), R=[[1.0]])
    sometimes = one.replace(R=lambda x, u: u[None, None])
    for at in range(3):
        with pytest.raises(ValueError, match=r"R is singular; expected an invertible one"):
            two_filter_smooth(sometimes, ys, us=jnp.ones(3).at[at].set(0.0))
    exact_sensor = one.replace(R=[[0.0]])
    assert np.isnan(jax.jit(two_filter_smooth)(exact_sensor, ys).mean).any()
    checked = jax.jit(lambda model: two_filter_smooth(model, ys, checked=True).mean)
    assert np.isfinite(checked(exact_sensor.replace(R=[[1.0]]))).all()
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"R is singular; expected an invertible"):
        finished(checked(exact_sensor))


def test_two_filters_take_sensors_whose_units_differ_by_many_orders_of_magnitude(x64):
    problem, _ = plain()
    units = np.diag([1e-9, 1e9])
    model = problem.model.replace(
        h=kf.Linear(units @ problem.model.h.A), R=units @ problem.model.R @ units
    )
    plainly = two_filter_smooth(problem.model, problem.ys, observed=problem.observed)
    ys = problem.ys @ units
    scaled = two_filter_smooth(model, ys, observed=problem.observed)
    np.testing.assert_allclose(scaled.mean, plainly.mean, **tight)
