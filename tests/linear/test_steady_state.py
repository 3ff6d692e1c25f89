"""Steady state, constant gain, observability, and the exact error of mismatched linear filters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from support import curved, table
from support.compiling import finished, quick_jit

import kfjax as kf
from kfjax.evaluation import expected_error


def riccati(model):
    F, H, Q, R = (np.asarray(a, np.float64) for a in (model.f.A, model.h.A, model.Q, model.R))
    return scipy.linalg.solve_discrete_are(F.T, H.T, Q, R)


@pytest.mark.parametrize(
    "make", [lambda: kf.systems.canonical(2), kf.systems.constant_acceleration]
)
def test_steady_state_solves_the_riccati_equation(x64, make):
    model = make()
    limit = kf.steady_state(model)
    np.testing.assert_allclose(limit.predicted_cov, riccati(model), rtol=1e-8)
    final = kf.run(kf.kalman(), model, np.zeros((400, model.R.shape[0]))).final
    np.testing.assert_allclose(limit.cov, final.cov, rtol=1e-7)


def test_steady_state_needs_no_noise_in_modes_that_decay():
    model = kf.linear_gaussian(
        [[1.0, 0.0], [0.0, 0.5]], [[1.0, 0.0]], np.diag([1.0, 0.0]), [[1.0]], table_prior()
    )
    assert kf.steady_state(model).cov[1, 1] == 0


def invariant(F, H, Q, R, P0=None):
    n = len(F)
    P0 = np.eye(n) if P0 is None else P0
    return kf.linear_gaussian(F, H, Q, R, kf.Gaussian(np.zeros(n), P0))


HALF_TURN = np.sqrt(0.5) * np.array([[1.0, -1.0], [1.0, 1.0]])
LIMITS = {
    "unstable, without noise": (([[2.0]], [[1.0]], [[0.0]], [[1.0]]), [[3.0]]),
    "the same from near certainty": (
        ([[2.0]], [[1.0]], [[0.0]], [[1.0]], [[1e-12]]),
        [[3.0]],
    ),
    "the same from a diffuse prior": (
        ([[2.0]], [[1.0]], [[0.0]], [[1.0]], [[1e20]]),
        [[3.0]],
    ),
    "random walk from a diffuse prior": (
        ([[1.0]], [[1.0]], [[2.0]], [[1.0]], [[1e20]]),
        [[1.0 + np.sqrt(3.0)]],
    ),
    "observed constant": (([[1.0]], [[1.0]], [[0.0]], [[1.0]]), [[0.0]]),
    "constant without any noise": (([[1.0]], [[1.0]], [[0.0]], [[0.0]]), [[0.0]]),
    "unobserved constant": (
        (np.diag([1.0, 0.5]), [[0.0, 1.0]], np.diag([0.0, 1.0]), [[1.0]], 7 * np.eye(2)),
        [[7.0, 0.0], [0.0, (0.25 + np.sqrt(4.0625)) / 2]],
    ),
    "sum of two constants": (
        (np.eye(2), [[3.0, 4.0]], np.zeros((2, 2)), [[1.0]]),
        np.outer([0.8, -0.6], [0.8, -0.6]),
    ),
    "unobserved turn": (
        (HALF_TURN, [[0.0, 0.0]], np.zeros((2, 2)), [[1.0]]),
        np.eye(2),
    ),
    "noise-free position": (
        ([[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]], np.diag([0.0, 1.0]), [[0.0]]),
        [[1.0, 1.0], [1.0, 2.0]],
    ),
    "noise-free position, known at first": (
        ([[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]], np.diag([0.0, 1.0]), [[0.0]], np.zeros((2, 2))),
        [[1.0, 1.0], [1.0, 2.0]],
    ),
    "line": (
        ([[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]], np.zeros((2, 2)), [[1.0]]),
        np.zeros((2, 2)),
    ),
    "unstable beside slow": (
        (np.diag([2.0, 1.0]), np.eye(2), np.diag([0.0, 1e-6]), np.eye(2)),
        np.diag([3.0, (1e-6 + np.sqrt(1e-12 + 4e-6)) / 2]),
    ),
    "slow": (
        ([[1.0]], [[1.0]], [[1e-10]], [[1.0]]),
        [[(1e-10 + np.sqrt(1e-20 + 4e-10)) / 2]],
    ),
}
NO_LIMIT = {
    "unobserved random walk": (np.diag([1.0, 0.5]), [[0.0, 1.0]], np.eye(2)),
    "slow unobserved random walk": (np.diag([1.0, 0.5]), [[0.0, 1.0]], np.diag([1e-4, 1.0])),
    "unobserved unstable mode": (np.diag([1.1, 0.5]), [[0.0, 1.0]], np.diag([0.0, 1.0])),
    "unobserved integrator": ([[1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0]], np.diag([0.0, 1.0])),
    "unobserved turn of one direction": (HALF_TURN, [[0.0, 0.0]], np.zeros((2, 2))),
}


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", LIMITS)
def test_the_limit_is_where_the_filter_ends(name, double):
    arguments, expected = LIMITS[name]
    with jax.enable_x64(double):
        model = invariant(*arguments)
        limit = kf.steady_state(model)
        assert limit.gain.dtype == model.dtype
    np.testing.assert_allclose(
        limit.predicted_cov,
        expected,
        rtol=1e-10 if double else 1e-6,
        atol=1e-10 if double else 1e-6,
    )


def test_the_limit_inside_a_trace():
    """Values and gradients; where there is no limit, NaN."""
    steady = quick_jit(kf.steady_state)
    np.testing.assert_allclose(
        steady(invariant(*LIMITS["unstable, without noise"][0])).predicted_cov, [[3.0]], rtol=1e-5
    )
    assert np.isnan(steady(invariant([[2.0]], [[0.0]], [[1.0]], [[1.0]])).gain).all()
    model = invariant([[0.9]], [[1.0]], [[1.0]], [[1.0]])
    slope = quick_jit(jax.grad(lambda m: kf.steady_state(m).predicted_cov[0, 0]))(model)
    P = float(kf.steady_state(model).predicted_cov[0, 0])  # P^2 - 0.81 P - 1 = 0
    np.testing.assert_allclose(slope.Q, [[(P + 1) / (2 * P - 0.81)]], rtol=1e-4)


def test_no_limit_inside_a_trace_is_an_error_if_asked_for():
    steady = quick_jit(lambda model: kf.steady_state(model, checked=True).gain)
    assert steady(invariant([[0.9]], [[1.0]], [[1.0]], [[1.0]])).shape == (1, 1)
    with pytest.raises(jax.errors.JaxRuntimeError, match="does not settle; expected every mode"):
        finished(steady(invariant([[1.0]], [[0.0]], [[1.0]], [[1.0]])))


@pytest.mark.parametrize("name", NO_LIMIT)
@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
def test_what_grows_or_turns_forever_is_refused(name, double):
    F, H, Q = NO_LIMIT[name]
    P0 = np.diag([1.0, 0.0]) if "turn" in name else np.eye(2)
    with jax.enable_x64(double), pytest.raises(ValueError, match="does not settle; expected every"):
        kf.steady_state(invariant(F, H, Q, [[1.0]], P0))


def test_random_models_agree_with_scipy(x64):
    rng = np.random.default_rng(0)
    for _ in range(30):
        F, Q = 0.7 * rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
        H = rng.normal(size=(2, 3))
        model = invariant(F, H, Q @ Q.T, np.diag(rng.uniform(0.01, 10, 2)))
        limit = kf.steady_state(model)
        np.testing.assert_allclose(limit.predicted_cov, riccati(model), rtol=1e-8, atol=1e-10)


def iterated(model, steps):
    F, H, Q, R = (np.asarray(a) for a in (model.f.A, model.h.A, model.Q, model.R))
    P = np.asarray(model.prior.cov)
    for _ in range(steps):
        P = F @ P @ F.T + Q
        S = H @ P @ H.T + R
        K = P @ H.T @ np.linalg.pinv(S, rcond=1e-12) if S.max() > 1e-50 else 0 * P @ H.T
        P = (np.eye(3) - K @ H) @ P @ (np.eye(3) - K @ H).T + K @ R @ K.T
    return F @ P @ F.T + Q


def test_random_models_with_singular_noise_agree_with_the_recursion(x64):
    rng = np.random.default_rng(1)
    for _ in range(30):
        F, H = rng.normal(size=(3, 3)), rng.normal(size=(2, 3))
        Q = np.diag(rng.integers(0, 2, 3).astype(float))
        model = invariant(F, H, Q, np.diag(rng.integers(0, 2, 2).astype(float)))
        expected = iterated(model, 300)
        np.testing.assert_allclose(
            kf.steady_state(model).predicted_cov,
            expected,
            atol=1e-8 * np.abs(expected).max() + 1e-10,
        )


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_limit_does_not_depend_on_units(unit):
    x, y = np.diag([unit, 1 / unit]), np.diag([1 / unit, 1.0])
    inverse = np.linalg.inv(x)
    F, H = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    Q, R = np.array([[1 / 24, 1 / 8], [1 / 8, 1 / 2]]), np.eye(2)
    plain = kf.steady_state(invariant(F, H, Q, R))
    scaled = kf.steady_state(
        invariant(x @ F @ inverse, y @ H @ inverse, x @ Q @ x, y @ R @ y, x @ x)
    )
    np.testing.assert_allclose(inverse @ scaled.cov @ inverse, plain.cov, rtol=1e-5)
    np.testing.assert_allclose(inverse @ scaled.gain @ y, plain.gain, rtol=1e-5)


def table_prior():
    return kf.Gaussian(np.zeros(2), np.eye(2))


def test_unstable_modes_that_nobody_sees_have_no_steady_state():
    model = kf.linear_gaussian(
        [[1.1, 0.0], [0.0, 0.5]], [[0.0, 1.0]], np.eye(2), [[1.0]], table_prior()
    )
    with pytest.raises(ValueError, match=r"does not settle.*expected every mode.*kf.observability"):
        kf.steady_state(model)
    assert kf.observability(model).rank == 1
    np.testing.assert_allclose(np.abs(kf.observability(model).missing), [[1.0], [0.0]], atol=1e-12)


def test_time_varying_models_are_refused():
    with pytest.raises(ValueError, match=r"not linear and time-invariant; expected kf.Linear"):
        kf.steady_state(table.driven().model)


def test_controllability_counts_what_noise_reaches():
    model = kf.systems.constant_velocity()
    assert kf.controllability(model).rank == 2
    assert kf.controllability(model.replace(Q=jnp.zeros((2, 2)))).rank == 0


def test_constant_gain_reaches_the_kalman_filter():
    model = kf.systems.constant_velocity()
    _, ys = kf.simulate(jax.random.key(0), model, steps=200)
    params = kf.ConstantGainParams(model, kf.steady_state(model).gain)
    steady = kf.run(kf.constant_gain(), params, ys).outputs
    optimal = kf.run(kf.kalman(), model, ys).outputs
    assert steady.cov is None
    np.testing.assert_allclose(steady.mean[150:], optimal.mean[150:], rtol=1e-3, atol=1e-2)


def test_a_constant_gain_moves_a_state_on_its_space(x64):
    """A point of the unit circle moves by the angle K (y - x), with one degree of freedom."""
    prior = kf.Gaussian(np.array([1.0, 0.0]), np.eye(1))
    see = lambda x, u: x  # noqa: E731
    model = kf.StateSpaceModel(see, see, np.eye(1), np.eye(2), prior, curved.CIRCLE)
    fixed, params = kf.constant_gain(), kf.ConstantGainParams(model, np.array([[0.0, 0.5]]))
    state, info = fixed.update(params, fixed.init(params), np.array([0.3, 0.8]))
    np.testing.assert_allclose(state.mean, [np.cos(0.4), np.sin(0.4)], rtol=1e-12)
    np.testing.assert_allclose(info.innovation, [-0.7, 0.8], rtol=1e-12)


def test_expected_error_of_the_right_model_is_its_covariance(x64):
    model = kf.systems.canonical(2)
    est = kf.run(kf.kalman(), model, np.zeros((50, 2))).outputs
    np.testing.assert_allclose(expected_error(model, steps=50), est.cov, rtol=1e-9, atol=1e-12)


def test_expected_error_of_a_mismatched_model_is_what_monte_carlo_finds(x64):
    truth = kf.systems.canonical(2)
    design = truth.replace(f=kf.Linear(0.9 * truth.f.A), Q=2 * truth.Q)
    exact = expected_error(truth, design, steps=30)
    result = kf.monte_carlo(jax.random.key(1), truth, kf.kalman(), design, trials=4000, steps=30)
    _, low, high = result.mse_db()
    assert low < 10 * np.log10(np.trace(exact, axis1=1, axis2=2).mean() / 2) < high
    assert high - low < 0.5


def test_constant_gain_error_is_exact_too(x64):
    model = kf.systems.canonical(2)
    limit = kf.steady_state(model)
    last = expected_error(model, steps=300, gain=limit.gain)[-1]
    np.testing.assert_allclose(last, limit.cov, rtol=1e-7)


def test_a_prior_about_the_first_observed_state_is_updated_first(x64):
    """The variance of a constant that no observation tells of is that of the prior."""
    model = kf.linear_gaussian(
        np.diag([1.0, 0.5]),
        [[1.0, 0.0], [0.0, 1.0]],
        np.diag([0.0, 1.0]),
        np.diag([1e30, 1.0]),
        kf.Gaussian(np.zeros(2), np.diag([3.0, 2.0])),
        first="update",
    )
    final = kf.run(kf.kalman(), model, np.zeros((60, 2))).final
    np.testing.assert_allclose(kf.steady_state(model).cov, final.cov, rtol=1e-10)
