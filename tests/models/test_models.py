"""Models as pytrees, linear functions of inputs, simulation, discretisation, and the small helpers
around them.
"""

import copy
import functools
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.tree_util import Partial
from support.table import MODELS, quick_jit

import kfjax as kf


def cubed(theta, x, u):
    return theta * x**3


def first(x, u):
    return x[:1]


def cubic(theta=0.5):
    return kf.StateSpaceModel(
        Partial(cubed, theta), first, 0.1 * np.eye(2), [[0.5]], (np.zeros(2), np.eye(2))
    )


# pytrees


def test_unflattening_bypasses_the_checks():
    model = cubic()
    leaves, structure = jax.tree.flatten(model)
    assert jax.tree.unflatten(structure, [-leaf for leaf in leaves]).R == -0.5
    assert jax.tree.unflatten(structure, [object()] * len(leaves)).Q is not model.Q
    assert jax.tree.map(jnp.shape, model).prior.cov == (2, 2)
    assert jax.tree.structure(cubic(0.7)) == structure


def test_leaves_have_names():
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(cubic())]
    assert [name for name in names if not name.startswith(".f")] == [
        ".Q",
        ".R",
        ".prior.mean",
        ".prior.cov",
    ]


def test_everything_is_promoted_to_one_float_dtype():
    model = kf.linear_gaussian(
        [[1, 1], [0, 1]], [[1, 0]], np.eye(2, dtype=int), [[1]], ([0, 0], np.eye(2))
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {np.dtype("float32")}
    with jax.enable_x64(True):
        narrow = cubic().replace(f=Partial(cubed, np.float32(2.0)))
        assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {np.dtype("float64")}
        small = jax.tree.map(lambda a: a.astype(np.float32), cubic())
        assert small.replace(Q=small.Q * 2).dtype == np.float32
        assert (
            small.replace(f=Partial(cubed, 2.0)).f.args[0].dtype == np.float32
        )  # a plain number widens nothing
        assert small.replace(Q=np.eye(2)).dtype == np.float64


def test_covariances_of_whole_numbers_are_as_singular_as_they_are():
    for R, singular in (
        ([[1, 1], [1, 1]], True),
        ([[2, 1], [1, 1]], False),
        ([[1, 0], [0, 0]], True),
    ):
        model = kf.linear_gaussian(np.eye(2), np.eye(2), np.eye(2), R, (np.zeros(2), np.eye(2)))
        assert model.noise_free == singular


def test_gradients_by_a_model_are_a_model():
    gradient = jax.grad(lambda model: jnp.sum(model.f(jnp.ones(2), None)) * model.R[0, 0])(cubic())
    assert isinstance(gradient, kf.StateSpaceModel)
    np.testing.assert_allclose([gradient.f.args[0], gradient.R[0, 0]], [1.0, 1.0])
    assert not gradient.Q.any()


def test_replace_copies_and_checks():
    model = cubic()
    changed = model.replace(R=[[2.0]])
    assert changed.R == 2.0
    assert model.R == 0.5
    assert changed.Q is model.Q
    with pytest.raises(ValueError, match="R is indefinite"):
        model.replace(R=[[-2.0]])
    with pytest.raises(AttributeError):
        model.R = jnp.ones((1, 1))


def test_asymmetry_is_measured_by_the_variances_it_stands_between():
    """The rounding of a large variance in R may exceed a small variance."""
    noise = np.diag([1e6, 1e-6, 1e-6]).astype(np.float32)
    noise[0, 1] = 1e-6  # rounding: a thousandth of the precision of sqrt(1e6 1e-6)
    model = cubic().replace(Q=1e-6 * np.eye(2, dtype=np.float32))
    kf.StateSpaceModel(model.f, lambda x, u: x[:1] * jnp.ones(3), model.Q, noise, model.prior)
    noise[1, 2] = 5e-7
    with pytest.raises(ValueError, match="R is not symmetric"):
        kf.StateSpaceModel(model.f, lambda x, u: x[:1] * jnp.ones(3), model.Q, noise, model.prior)


def test_a_component_without_variance_may_have_covariances_that_are_rounding():
    def build(covariance):
        Q = np.array([[1.0, covariance], [0.0, 0.0]], np.float32)
        return cubic().replace(Q=Q)

    assert build(1e-13).Q[0, 1] > 0
    with pytest.raises(ValueError, match="Q is not symmetric"):
        build(1e-10)


def test_models_survive_copies_and_pickles():
    model = cubic()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        chex.assert_trees_all_equal(other, model)


def test_axes_say_what_a_batch_of_models_shares():
    model, axes = cubic(), kf.StateSpaceModel.axes(Q=0)
    batch = jax.vmap(lambda q: model.replace(Q=q * jnp.eye(2)), out_axes=axes)(jnp.arange(1.0, 4.0))
    assert (batch.Q.shape, batch.R.shape) == ((3, 2, 2), (1, 1))
    traces = jax.vmap(lambda m: jnp.trace(m.Q) + m.R[0, 0], in_axes=(axes,))(batch)
    np.testing.assert_allclose(traces, [2.5, 4.5, 6.5])


def test_with_model_reaches_into_anything():
    params = {"bank": [cubic(), cubic(0.7)], "weights": np.ones(2)}
    changed = kf.with_model(params, R=[[3.0]])
    assert [float(model.R[0, 0]) for model in changed["bank"]] == [3.0, 3.0]
    assert changed["weights"] is params["weights"]
    assert kf.with_model(cubic(), R=[[3.0]]).R == 3.0


def test_a_changed_model_shares_the_compilation():
    count = []
    evaluate = jax.jit(lambda model: count.append(1) or model.f(model.prior.mean, None))
    for theta in (0.5, 0.6):
        evaluate(cubic(theta).replace(R=[[theta]]))
    assert len(count) == 1


# linear functions


def test_linear_functions_of_inputs():
    A, B, b, x, u = (
        np.eye(2) * 2,
        np.array([[1.0], [3.0]]),
        np.array([0.5, 0.0]),
        np.array([1.0, -1.0]),
        np.array([2.0]),
    )
    np.testing.assert_allclose(kf.Linear(A)(x), [2, -2])
    np.testing.assert_allclose(kf.Linear(A, B)(x, u), [4, 4])
    np.testing.assert_allclose(kf.Linear(A, None, b)(x, u), [2.5, -2])
    np.testing.assert_allclose(kf.Linear(A, B, b)(x, u), [4.5, 4])
    by_time = kf.Linear(
        lambda u: jnp.array([[1.0, u], [0.0, 1.0]]), b=lambda u: jnp.array([0.0, u])
    )
    np.testing.assert_allclose(by_time(x, 0.5), [0.5, -0.5])
    fixed = by_time.at(0.5)
    assert isinstance(fixed, kf.Linear)
    np.testing.assert_allclose(fixed(x), [0.5, -0.5])


def test_constructors_give_the_same_filter_again():
    assert kf.unscented() == kf.unscented(1.0, beta=2.0)
    assert kf.unscented(0.5) != kf.unscented()
    assert kf.kalman() is kf.kalman()
    assert kf.gaussian_filter(kf.moments.Cubature()) == kf.cubature()
    assert hash(kf.moments.Unscented()) == hash(kf.moments.Unscented(1.0))


# simulation


def test_simulated_trajectories_have_the_moments_of_the_model(x64):
    model = MODELS["linear"]().model
    F, H, Q, R, m, P = (
        np.asarray(a) for a in (model.f.A, model.h.A, model.Q, model.R, *model.prior)
    )
    keys = jax.random.split(jax.random.key(0), 20_000)
    xs, ys = map(np.asarray, quick_jit(jax.vmap(lambda key: kf.simulate(key, model, 2)))(keys))
    mean_1, P_1 = F @ m, F @ P @ F.T + Q
    mean_2, P_2 = F @ mean_1, F @ P_1 @ F.T + Q
    for sample, mean, cov in (
        (xs[:, 0], mean_1, P_1),
        (xs[:, 1], mean_2, P_2),
        (ys[:, 1], H @ mean_2, H @ P_2 @ H.T + R),
        (xs[:, 1] - xs[:, 0] @ F.T, np.zeros(4), Q),
        (ys[:, 0] - xs[:, 0] @ H.T, np.zeros(2), R),
    ):
        scale = np.sqrt(np.diag(cov))
        np.testing.assert_allclose(
            (sample.mean(axis=0) - mean) / scale, 0, atol=5 / np.sqrt(len(sample))
        )
        correlation = (np.cov(sample.T) - cov) / np.outer(scale, scale)
        np.testing.assert_allclose(correlation, 0, atol=8 / np.sqrt(len(sample)))


def test_simulation_follows_inputs_starts_and_keys(x64):
    model = kf.linear_gaussian(np.eye(1), np.eye(1), [[0.0]], [[0.0]], ([5.0], [[0.0]]), B=[[1.0]])
    us, simulate = (
        np.array([[1.0], [2.0], [3.0]]),
        functools.partial(kf.simulate, jax.random.key(1), model),
    )
    for start, (xs, ys) in ((5.0, simulate(us=us)), (1.0, simulate(us=us, x0=[1.0]))):
        np.testing.assert_array_equal(xs[:, 0], start + np.array([1.0, 3.0, 6.0]))
        np.testing.assert_array_equal(ys, xs)
    noisy = MODELS["linear"]().model
    one, same, other = (kf.simulate(jax.random.key(k), noisy, 3)[1] for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_simulated_noise_is_taken_where_the_filters_take_it(x64):
    """Q at x_{t-1}, R at x_t: with noise that is a multiple of the state, nothing
    moves from zero."""
    model = kf.StateSpaceModel(
        lambda x, u: x + u,
        first,
        lambda x, u: x[0] ** 2 * jnp.eye(1),
        lambda x, u: x[0] ** 2 * jnp.eye(1),
        ([0.0], [[0.0]]),
    )
    xs, ys = kf.simulate(jax.random.key(0), model, us=np.array([[0.0], [1.0], [0.0]]))
    np.testing.assert_array_equal(xs[:2, 0], [0.0, 1.0])  # the step to 1 starts at 0, without noise
    assert ys[0] == 0
    assert ys[1] != 1
    assert xs[2] != 1


def test_simulated_angles_stay_on_the_circle():
    problem = MODELS["heading"]()
    xs, _ = kf.simulate(jax.random.key(0), problem.model, us=np.tile([0.1, 3.0], (50, 1)))
    assert np.abs(xs[:, 2]).max() <= np.float32(np.pi)
    assert np.ptp(xs[:, 2]) > 3


# discretisation

van_loan = quick_jit(kf.van_loan)


def quadrature(end):
    """Points and weights of Gauss-Legendre from 0 on, on pieces that a fast decay needs."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    edges = end * np.array([0, 1e-3, 1e-2, 1e-1, 1])
    halves, middles = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middles[:, None] + np.outer(halves, nodes)).ravel(), np.outer(halves, weights).ravel()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["nilpotent", "oscillating", "fast and slow", "very fast"])
def test_van_loan_is_the_integral(x64, case, dtype):
    A, diffusion, dt = {
        "nilpotent": (np.eye(2, k=1), np.diag([0.0, 1.0]), 0.7),
        "oscillating": (
            np.array([[0.0, 1.0], [-4.0, -0.1]]),
            np.array([[0.1, 0.05], [0.05, 1.0]]),
            5.0,
        ),
        "fast and slow": (np.array([[-30.0, 1.0], [0.0, 0.0]]), np.eye(2), 1.0),
        "very fast": (np.diag([-1000.0, -1.0]), np.eye(2), 1.0),
    }[case]
    B, (points, weights) = np.ones((2, 1)), quadrature(dt)
    flow = scipy.linalg.expm(A * points[:, None, None])
    Q = np.einsum("k,kij,jl,kml->im", weights, flow, diffusion, flow)
    held = np.einsum("k,kij->ij", weights, flow) @ B
    step = van_loan(A.astype(dtype), diffusion.astype(dtype), dtype(dt), B.astype(dtype))
    assert step.Q.dtype == dtype
    for got, expected in zip(step, (scipy.linalg.expm(A * dt), Q, held), strict=True):
        condition = 200 + np.linalg.norm(
            A * dt, np.inf
        )  # of an exponential, by its scaling and squaring
        np.testing.assert_allclose(
            got, expected, rtol=0, atol=condition * np.finfo(dtype).eps * np.abs(expected).max()
        )


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("rate", [1.0, 1e3, 1e7, 1e12])
def test_van_loan_keeps_slow_modes_beside_fast_ones(x64, rate, dtype, tolerance):
    """Entry by entry, against exp(A dt) and the Lyapunov equation of a triangular A."""
    A, B = np.array([[-rate, 1.0], [0.0, -0.5]]), np.array([[0.0], [1.0]])
    step = van_loan(A.astype(dtype), np.eye(2, dtype=dtype), dtype(1.0), B.astype(dtype))
    fast, slow = np.exp(-rate), np.exp(-0.5)
    F = np.array([[fast, (slow - fast) / (rate - 0.5)], [0.0, slow]])
    last = 1.0
    mixed = last / (rate + 0.5)
    first = (1 + 2 * mixed) / (2 * rate)
    stationary = np.array([[first, mixed], [mixed, last]])
    np.testing.assert_allclose(step.F, F, rtol=tolerance, atol=tolerance * 1e-3 / rate)
    np.testing.assert_allclose(step.Q, stationary - F @ stationary @ F.T, rtol=tolerance)
    np.testing.assert_allclose(step.B, np.linalg.solve(A, (F - np.eye(2)) @ B), rtol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_noise_of_a_very_fast_mode_is_its_stationary_variance(x64, dtype):
    step = van_loan(np.array([[-1e7]], dtype), np.ones((1, 1), dtype), dtype(1.0))
    np.testing.assert_allclose(step.Q, [[5e-8]], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(step.F, [[0.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [1e17, 1e20, 1e30])
def test_modes_faster_than_any_clock(x64, rate, dtype):
    one = np.ones((1, 1), dtype)
    step = kf.van_loan(-dtype(rate) * one, one, dtype(1.0), one)
    np.testing.assert_allclose(2 * rate * np.asarray(step.Q, float), [[1.0]], rtol=1e-5)
    np.testing.assert_allclose(rate * np.asarray(step.B, float), [[1.0]], rtol=1e-5)
    np.testing.assert_array_equal(step.F, [[0.0]])


def test_a_traced_mode_that_is_too_fast_gives_no_number():
    Q = quick_jit(lambda rate: kf.van_loan([[-rate]], [[1.0]], 1.0).Q)
    assert np.isnan(Q(1e20)).all()
    np.testing.assert_allclose(Q(1e18), [[5e-19]], rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_van_loan_does_not_depend_on_units(x64, unit):
    """Lengths in another unit, and times too."""
    A, diffusion = np.array([[0.0, 1.0], [-4.0, -0.1]]), np.array([[0.1, 0.05], [0.05, 1.0]])
    plain = van_loan(A, diffusion, 5.0)
    lengths = np.diag([unit, unit**2])  # the second per unit of time, in the other unit
    scaled = van_loan(
        lengths @ A @ np.linalg.inv(lengths) / unit,
        lengths @ diffusion @ lengths / unit,
        5.0 * unit,
    )
    np.testing.assert_allclose(np.linalg.solve(lengths, scaled.F @ lengths), plain.F, rtol=1e-12)
    back = np.linalg.inv(lengths)
    np.testing.assert_allclose(back @ scaled.Q @ back, plain.Q, rtol=1e-12)


def test_a_step_in_which_a_mode_overflows_is_refused():
    with pytest.raises(ValueError, match=r"overflows for dt = 1.0; expected a step"):
        kf.van_loan([[1e3]], [[1.0]], 1.0)


def test_van_loan_takes_a_traced_step_and_differentiates():
    A, diffusion = [[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]
    slope = quick_jit(jax.jacfwd(lambda dt: kf.van_loan(A, diffusion, dt).Q))(2.0)
    np.testing.assert_allclose(slope, [[4.0, 2.0], [2.0, 1.0]], rtol=1e-5)
    fast = quick_jit(jax.grad(lambda rate: kf.van_loan([[-rate]], [[1.0]], 1.0).Q[0, 0]))(50.0)
    np.testing.assert_allclose(fast, -0.5 / 50**2, rtol=1e-4)


def test_time_steps_subtract_before_they_round():
    clock = 1.7e9 + np.array([0.25, 0.5, 2.5])
    for times, start in ((clock, 1.7e9), (clock.tolist(), 1.7e9)):
        steps = kf.time_steps(times, start)
        np.testing.assert_array_equal(steps, [0.25, 0.25, 2.0])
        assert steps.dtype == np.float32
    nanoseconds = 1_700_000_000_000_000_000 + np.array([0, 10**10, 2 * 10**10])
    for times in (nanoseconds, nanoseconds.astype(np.uint64)):
        np.testing.assert_array_equal(kf.time_steps(times, times[0]), np.float32([0, 1e10, 1e10]))
    traced = jax.jit(lambda times: kf.time_steps(times, 0.0))(jnp.array([0.5, 1.5]))
    np.testing.assert_array_equal(traced, [0.5, 1.0])


# angles


def test_angles_wrap_with_derivative_one_and_leave_small_ones_alone():
    angles = np.float32([0.0, 3.0, -3.1, np.pi, -np.pi])
    np.testing.assert_array_equal(kf.wrap_angle(angles), angles)
    np.testing.assert_allclose(kf.wrap_angle(angles + 4 * np.float32(np.pi)), angles, atol=2e-6)
    np.testing.assert_array_equal(jax.vmap(jax.grad(kf.wrap_angle))(5 * angles), np.ones(5))


def test_differences_and_moves_of_angles_undo_each_other():
    difference, retract = kf.angles(0, -1)
    a, b = np.float32([3.0, 9.0, -3.0]), np.float32([-3.0, 1.0, 3.0])
    np.testing.assert_allclose(difference(a, b), [6 - 2 * np.pi, 8.0, 2 * np.pi - 6], rtol=1e-5)
    np.testing.assert_allclose(retract(b, difference(a, b)), a, rtol=1e-6)
    assert kf.angles(0, -1) == kf.angles(0, -1)


def test_split_missing():
    filled, observed = kf.split_missing([[1.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(filled, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(observed, [[True, False], [False, False]])
