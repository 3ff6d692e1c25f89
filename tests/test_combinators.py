"""Filters made of filters: limiting cases, numpy oracles, outliers, compositions. The laws are in the law table."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats
from table import MODELS, Case, outputs, predict, quick_jit, run, traces, update

import kfjax as kf
from kfjax import filters
from kfjax.filters import adaptive, box, constrained, fading, fallback, gated, huber, schmidt, sequential, student_t
from kfjax.filters.square_roots import square_root

tight = {"rtol": 1e-9, "atol": 1e-11}
SQUARE_ROOT = square_root(kf.moments.Taylor())


def case(method, model="linear", params=lambda model: model):
    problem = MODELS[model]()
    return Case(method, params(problem.model), problem.ys, problem.us, problem.observed)


def changed(array, at, value):
    """A copy with other entries."""
    array = np.array(array)
    array[at] = value
    return array


def plain(info):
    """An Info without what combinators report."""
    return info._replace(extra=None)


def far_walls(model):
    return filters.Constrained(model, box([-1e3] * model.n, [1e3] * model.n))


LIMITS = {
    "gated": gated(kf.extended(), 1.0),
    "fading": fading(kf.extended(), 1.0),
    "fallback": fallback(kf.extended(), probability=1.0),
    "huber": huber(kf.extended(), 1e9),
    "adaptive": adaptive(kf.extended(), forgetting_R=1.0),
    "schmidt": schmidt(kf.extended(), ()),
    "constrained": constrained(kf.extended()),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_combinator_at_its_limit_is_the_filter(x64, name):
    params = far_walls if name == "constrained" else lambda model: model
    est, info = run(case(LIMITS[name], "pendulum", params))[1]
    chex.assert_trees_all_close((est, plain(info)), outputs("extended", "pendulum")[1], **tight)


def test_student_t_tends_to_the_filter_as_its_degrees_of_freedom_grow(x64):
    est, info = run(case(student_t(kf.extended(), 1e7), "pendulum"))[1]
    chex.assert_trees_all_close((est, plain(info)), outputs("extended", "pendulum")[1], atol=1e-6)


def single(**changes):
    """One linear observation: a belief, F, H, Q, R and a y that is an outlier, in numpy."""
    values = {
        "m": np.array([0.3, -0.2]),
        "P": np.array([[0.5, 0.2], [0.2, 0.4]]),
        "F": np.array([[1.0, 0.4], [0.0, 0.9]]),
        "H": np.array([[1.0, 0.3], [0.2, 1.0]]),
        "Q": np.array([[0.2, 0.05], [0.05, 0.1]]),
        "R": np.array([[0.3, 0.1], [0.1, 0.2]]),
        "y": np.array([4.0, -0.5]),
    }
    return tuple((values | changes)[name] for name in ("m", "P", "F", "H", "Q", "R", "y"))


def model_of(m, P, F, H, Q, R):
    return kf.linear_gaussian(F, H, Q, R, kf.Gaussian(m, P))


def conditioned(m, P, H, R, y):
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
    return m + K @ (y - H @ m), P - K @ H @ P


# gates


def test_a_gated_outlier_is_a_missing_row_in_values_and_gradients(x64):
    c = case(gated(kf.extended()))
    ys = changed(c.ys, 2, [30.0, -40.0])
    without = c.observed & (np.arange(len(ys)) != 2)[:, None]

    @functools.partial(quick_jit, static_argnums=0)
    def value_gradient_and_rest(method, observed):
        def score(model):
            est, info = kf.run(method, model, ys, observed=observed, emit=kf.estimate_and_info)[1]
            return jnp.sum(jnp.cos(est.mean)) + est.log_likelihood.sum(), (est, info)

        return jax.value_and_grad(score, has_aux=True)(c.params)

    (value, (est, info)), gradient = value_gradient_and_rest(c.filter, c.observed | (np.arange(len(ys)) == 2)[:, None])
    (expected, (kept, _)), slope = value_gradient_and_rest(kf.extended(), without)
    chex.assert_trees_all_close((value, est, gradient), (expected, kept, slope), **tight)
    np.testing.assert_array_equal(info.extra["accepted"], without.any(axis=1))
    assert info.extra["nis"][2] > 100
    assert info.dof[2] == 0


@pytest.mark.parametrize("observed", [(True, True), (True, False)])
def test_the_gate_is_the_quantile_of_the_observed_channels(x64, observed):
    m, P, F, H, Q, R, y = single()
    model, seen = model_of(m, P, F, H, Q, R), np.flatnonzero(observed)
    S = (H @ P @ H.T + R)[np.ix_(seen, seen)]
    bound = scipy.stats.chi2.ppf(0.95, len(seen))
    direction = np.zeros(2)
    direction[seen] = np.linalg.cholesky(S)[:, 0]  # of NIS one
    for factor, expected in ((0.999, 1), (1.001, 0)):
        y = H @ m + factor * np.sqrt(bound) * direction
        _, info = update(gated(kf.extended(), 0.95), model, model.prior, y, None, np.array(observed))
        assert info.extra["accepted"] == expected
        np.testing.assert_allclose(info.extra["nis"], factor**2 * bound, rtol=1e-12)


def test_a_gate_rejects_nan_and_infinity():
    c = case(gated(kf.kalman(), 1.0))
    state = c.filter.init(c.params)
    for bad in (np.nan, np.inf):
        new, info = update(c.filter, c.params, state, np.array([bad, 0.0]), None, None)
        chex.assert_trees_all_equal(new, state)
        assert info.log_likelihood == 0
        assert info.extra["accepted"] == 0


# robust updates


def test_student_t_against_its_equations(x64):
    m, P, F, H, Q, R, y = single()
    dof, w = 3.0, 1.0
    for _ in range(4):
        mean, cov = conditioned(m, P, H, R / w, y)
        square = np.trace(np.linalg.solve(R, np.outer(y - H @ mean, y - H @ mean) + H @ cov @ H.T))
        w = (dof + 2) / (dof + square)
    mean, cov = conditioned(m, P, H, R / w, y)
    model = model_of(m, P, F, H, Q, R)
    state, info = update(student_t(kf.extended(), dof, iterations=4), model, model.prior, y, None, None)
    chex.assert_trees_all_close(tuple(state), (mean, cov), **tight)
    np.testing.assert_allclose(info.extra["weights"], [w, w], rtol=1e-12)
    assert w < 0.3


def test_huber_finds_the_minimum_of_its_cost(x64):
    m, P, F, H, Q, R, y = single()
    k, L = 0.8, np.linalg.cholesky(R)

    def cost(x):
        e = np.abs(np.linalg.solve(L, y - H @ x))
        rho = np.where(e < k, 0.5 * e**2, k * e - 0.5 * k**2)
        return 0.5 * (x - m) @ np.linalg.solve(P, x - m) + rho.sum()

    best = scipy.optimize.minimize(cost, m, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}).x
    model = model_of(m, P, F, H, Q, R)
    state, info = update(huber(kf.extended(), k, iterations=60), model, model.prior, y, None, None)
    np.testing.assert_allclose(state.mean, best, atol=1e-7)
    assert info.extra["weights"].min() < 0.5


DENSITIES = {
    "student_t": (student_t(kf.kalman(), 3.0), lambda e: (1 + e**2 / 3) ** -2),
    "huber": (huber(kf.kalman(), 0.8), lambda e: np.exp(-np.where(e < 0.8, 0.5 * e**2, 0.8 * e - 0.32))),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_the_likelihood_of_a_robust_update_is_a_lower_bound(x64, name):
    method, density = DENSITIES[name]
    total = 2 * scipy.integrate.quad(density, 0, np.inf)[0]
    model = kf.linear_gaussian([[1.0]], [[1.0]], [[0.1]], [[0.25]], kf.Gaussian(np.zeros(1), np.array([[0.04]])))
    for y in (0.0, 0.7, 3.0):
        joint = lambda x, y=y: density(abs(y - x) / 0.5) / (0.5 * total) * scipy.stats.norm.pdf(x, 0, 0.2)  # noqa: E731
        exact = np.log(scipy.integrate.quad(joint, -2, 4, limit=200, points=[0.3, y - 0.4])[0])
        bound = update(method, model, model.prior, np.array([y]), None, None)[1].log_likelihood
        assert exact - 0.12 < bound < exact


@pytest.mark.parametrize("name", DENSITIES)
def test_robust_updates_take_absurd_numbers_in_float32(name):
    model = model_of(*single()[:-1])

    def moved(model):
        state, info = DENSITIES[name][0].update(model, model.prior, jnp.array([1e20, 0.0]))
        return state.mean.sum(), (state, info)

    (_, (state, info)), gradient = quick_jit(jax.value_and_grad(moved, has_aux=True))(model)
    chex.assert_tree_all_finite((state, info, gradient))
    assert np.abs(state.mean).max() < 10


ROBUST = {"student_t": student_t(kf.extended()), "huber": huber(kf.extended()), "adaptive": adaptive(kf.extended())}


@pytest.mark.parametrize("name", ROBUST)
def test_an_unobserved_channel_is_a_channel_that_is_not_there(x64, name):
    m, P, F, H, Q, R, _ = single()
    whole, part = model_of(m, P, F, H, Q, R), model_of(m, P, F, H[:1], Q, R[:1, :1])
    method = ROBUST[name]
    state, info = update(method, whole, method.init(whole), np.array([4.0, np.nan]), None, np.array([True, False]))
    expected, reference = update(method, part, method.init(part), np.array([4.0]), None, None)
    chex.assert_trees_all_close((state.mean, state.cov), (expected.mean, expected.cov), **tight)
    np.testing.assert_allclose(info.log_likelihood, reference.log_likelihood, rtol=1e-12)


def test_robust_filters_beat_the_plain_one_on_outliers():
    model = kf.systems.constant_velocity(q_std=0.1, r_std=1.0)
    keys = jax.random.split(jax.random.key(0), 20)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, model, steps=50))(keys)
    outliers = jax.random.bernoulli(jax.random.key(1), 0.1, ys.shape)
    ys = ys + 30 * outliers * jax.random.normal(jax.random.key(2), ys.shape)

    @functools.partial(quick_jit, static_argnums=0)
    def error(method):
        means = jax.vmap(lambda y: kf.run(method, model, y)[1].mean)(ys)
        return jnp.sqrt(jnp.mean((means - xs)[..., 0] ** 2))

    naive = error(kf.kalman())
    for method, share in ((gated(kf.kalman()), 0.6), (student_t(kf.kalman(), 3.0), 0.2), (huber(kf.kalman()), 0.2)):
        assert error(method) < share * naive


# adaptive noise


def test_adaptive_against_its_equations(x64):
    m, P, F, H, Q, R, y = single(y=np.array([1.5, -0.5]))
    model, method = model_of(m, P, F, H, Q, R), adaptive(kf.extended(), forgetting_R=0.9, forgetting_Q=0.8)
    before = F @ m, F @ P @ F.T + Q
    for seen in ([0, 1], [0]):
        state = predict(method, model, method.init(model), None)
        state, _ = update(method, model, state, y, None, np.isin([0, 1], seen))
        # (x_t, v) given the seen entries of y = H x + v
        A = np.hstack([H, np.eye(2)])[seen]
        nothing = np.zeros((len(seen), len(seen)))
        joint = scipy.linalg.block_diag(before[1], R)
        z, Z = conditioned(np.r_[before[0], 0, 0], joint, A, nothing, y[seen])
        L = np.linalg.cholesky(R)
        expected = 0.9 * R + 0.1 * (Z[2:, 2:] + np.outer(z[2:], z[2:]))
        np.testing.assert_allclose(L @ state.R_scale @ L.T, expected, rtol=1e-10)
        L, whiten = np.linalg.cholesky(Q), np.linalg.inv(np.linalg.cholesky(before[1]))
        d, D = z[:2] - before[0], before[1] - Z[:2, :2]
        expected = L @ (np.eye(2) + 0.2 * whiten @ (np.outer(d, d) - D) @ whiten.T) @ L.T
        np.testing.assert_allclose(L @ state.Q_scale @ L.T, expected, rtol=1e-10)


def test_adaptive_finds_the_noise_of_the_data():
    truth = kf.systems.constant_velocity(q_std=0.5, r_std=2.0)
    ys = kf.simulate(jax.random.key(0), truth, steps=3000)[1]
    for change, options in (({"R": truth.R / 9}, {"forgetting_R": 0.995}),
                            ({"Q": truth.Q / 9}, {"forgetting_R": 1.0, "forgetting_Q": 0.995})):  # fmt: skip
        final, est = kf.run(adaptive(kf.kalman(), **options), truth.replace(**change), ys)
        scale = final.Q_scale if final.R_scale is None else final.R_scale
        assert 6 < scale[0, 0] < 13
        wrong = kf.run(kf.kalman(), truth.replace(**change), ys)[1]
        assert est.log_likelihood.sum() > wrong.log_likelihood.sum() + 300


def test_adaptive_noise_stays_a_covariance_in_float32():
    model = kf.systems.constant_velocity(q_std=0.1, r_std=0.01)
    ys = jnp.where(jnp.arange(4000)[:, None] < 2000, 0.0, 50 * jax.random.normal(jax.random.key(0), (4000, 1)))
    final, est = kf.run(adaptive(kf.kalman(), forgetting_R=0.9, forgetting_Q=0.9), model, ys)
    chex.assert_tree_all_finite((final, est))
    assert np.linalg.eigvalsh(final.R_scale).min() > 0
    assert np.linalg.eigvalsh(final.Q_scale).min() > -1e-6 * np.abs(final.Q_scale).max()


def test_smoothing_is_forwarded_where_only_data_were_reweighted():
    for method in (gated(kf.kalman()), huber(kf.kalman()), adaptive(kf.kalman()), sequential(kf.kalman())):
        assert method.rule is kf.kalman().rule
    for method in (fading(kf.kalman(), 1.1), schmidt(kf.kalman(), (0,)), adaptive(kf.kalman(), forgetting_Q=0.9)):
        assert method.rule is None


# fading memory and consider states


def test_fading_against_numpy(x64):
    c = case(fading(kf.kalman(), 1.2))
    F, H, Q, R, m, P = (np.asarray(a) for a in (c.params.f.A, c.params.h.A, c.params.Q, c.params.R, *c.params.prior))
    est = run(c, observed=np.ones_like(c.observed))[1][0]
    for y, mean, cov in zip(np.asarray(c.ys), est.mean, est.cov, strict=True):
        m, P = conditioned(F @ m, 1.2 * F @ P @ F.T + Q, H, R, y)
        chex.assert_trees_all_close((mean, cov), (m, P), **tight)


@pytest.mark.parametrize("inner", [kf.kalman(), SQUARE_ROOT], ids=["P", "L"])
def test_schmidt_against_numpy(x64, inner):
    c = case(schmidt(inner, (1, 2)))
    F, H, Q, R, m, P = (np.asarray(a) for a in (c.params.f.A, c.params.h.A, c.params.Q, c.params.R, *c.params.prior))
    est = run(c, observed=np.ones_like(c.observed))[1][0]
    for y, mean, cov in zip(np.asarray(c.ys), est.mean, est.cov, strict=True):
        m, P = F @ m, F @ P @ F.T + Q
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        K[[1, 2]] = 0
        m, P = m + K @ (y - H @ m), (np.eye(4) - K @ H) @ P @ (np.eye(4) - K @ H).T + K @ R @ K.T
        chex.assert_trees_all_close((mean, cov), (m, P), **tight)


# constraints


def random_problem(seed):
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(4, 4))
    belief = kf.Gaussian(rng.normal(size=4), B @ B.T + 0.1 * np.eye(4))
    return belief, filters.Inequalities(rng.normal(size=(5, 4)), rng.normal(size=5))


def test_nearest_is_the_solution_of_the_quadratic_programme(x64):
    project = quick_jit(filters.nearest)
    active = 0
    for seed in range(8):
        belief, (A, b) = (problem := random_problem(seed))[0], jax.tree.leaves(problem[1])
        W = np.linalg.inv(belief.cov)
        best = scipy.optimize.minimize(
            lambda x, m=belief.mean, W=W: 0.5 * (x - m) @ W @ (x - m),
            np.linalg.lstsq(A, b - 1, rcond=None)[0],
            jac=lambda x, m=belief.mean, W=W: W @ (x - m),
            constraints={"type": "ineq", "fun": lambda x, A=A, b=b: b - A @ x, "jac": lambda x, A=A: -A},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        found = project(*problem)
        assert (A @ found.mean - b).max() < 1e-10
        np.testing.assert_allclose(found.mean, best.x, atol=2e-5)
        active += (np.abs(A @ found.mean - b) < 1e-9).sum()
    assert active > 8
    inside = kf.Gaussian(np.zeros(4), np.eye(4))
    chex.assert_trees_all_equal(project(inside, box([-1.0] * 4, [1.0] * 4)), inside)


@pytest.mark.parametrize("bound", [-0.5, 1.0, -2.4, -9.0])
def test_truncated_has_the_moments_of_the_truncated_density(x64, bound):
    belief = kf.Gaussian(np.array([0.3, -0.2]), np.array([[0.5, 0.2], [0.2, 0.4]]))
    a = np.array([1.0, -0.5])
    s, mu = np.sqrt(a @ belief.cov @ a), a @ belief.mean
    exact = scipy.stats.truncnorm(-np.inf, (bound - mu) / s, loc=mu, scale=s)
    g = belief.cov @ a / s**2  # x = m + g (a'x - a'm) + an independent rest
    found = quick_jit(filters.truncated)(belief, filters.Inequalities(a[None], [bound]))
    np.testing.assert_allclose(found.mean, belief.mean + g * (exact.mean() - mu), rtol=1e-6)
    np.testing.assert_allclose(found.cov, belief.cov - np.outer(g, g) * (s**2 - exact.var()), rtol=1e-6)


def truncation(belief, walls):
    new = filters.truncated(belief, walls)
    return new.mean.sum() + new.cov.sum(), new


def test_truncation_is_sound_far_away_in_float32():
    belief = kf.Gaussian(jnp.array([1e4, 0.0]), jnp.array([[1.0, 0.5], [0.5, 1.0]]))
    walls = box([-jnp.inf, -3.0], [0.0, 3.0])
    gradient, found = quick_jit(jax.grad(truncation, has_aux=True))(belief, walls)
    chex.assert_tree_all_finite((gradient, found))
    assert found.mean[0] < 2e-3
    assert np.linalg.eigvalsh(found.cov).min() > -1e-6


def test_constrained_estimates_obey(x64):
    params = filters.Constrained(MODELS["linear"]().model, box([0.0] * 4, [0.5, np.inf, 0.5, 0.5]))
    c = case(constrained(kf.kalman()), "linear", lambda model: params)
    mean = run(c, observed=np.ones_like(c.observed))[1][0].mean
    assert mean.min() > -1e-10
    assert mean[:, [0, 2, 3]].max() < 0.5 + 1e-10


# resets


def test_fallback_starts_anew_from_what_is_stated(x64):
    c = case(fallback(kf.kalman()))
    ys = changed(c.ys, (2, 0), np.inf)
    final, (est, info) = run(c, ys=ys, observed=np.ones_like(c.observed))
    np.testing.assert_array_equal(info.extra["reset"], np.arange(len(ys)) == 2)
    chex.assert_trees_all_close((est.mean[2], est.cov[2]), tuple(c.params.prior), **tight)
    again = run(case(kf.kalman()), ys=ys[3:], observed=np.ones_like(c.observed[3:]))[0]
    chex.assert_trees_all_close(final.inner, again, **tight)
    assert final.resets == 1


def test_fallback_has_finite_gradients_through_a_reset(x64):
    c = case(fallback(kf.kalman()))
    blown = kf.Gaussian(jnp.full(4, jnp.nan), jnp.full((4, 4), jnp.inf))
    ys = [changed(c.ys, (2, 0), bad) for bad in (np.inf, np.nan)]

    @quick_jit
    def gradient(model, ys, initial):
        def score(model):
            est = kf.run(c.filter, model, ys, initial=initial)[1]
            return jnp.sum(jnp.cos(est.mean)) + est.log_likelihood.sum()

        return jax.value_and_grad(score)(model)

    for y in ys:
        chex.assert_tree_all_finite(gradient(c.params, y, c.filter.init(c.params)))
    started = c.filter.init(c.params)._replace(inner=blown)
    chex.assert_tree_all_finite(gradient(c.params, c.ys, started))


@pytest.mark.parametrize("inner", [kf.kalman(), gated(kf.kalman())], ids=["plain", "gated"])
def test_fallback_resets_a_lost_filter_after_some_patience(inner):
    model = kf.systems.constant_velocity(q_std=1e-3, r_std=0.1)
    method = fallback(inner, surroundings, patience=3)
    ys = jnp.where(jnp.arange(12) < 4, 0.0, 500.0)[:, None]
    final, (est, info) = run(Case(method, model, ys, None, None))
    np.testing.assert_array_equal(info.extra["reset"], np.arange(12) == 6)
    assert abs(est.mean[-1, 0] - 500) < 1
    assert final.alarms == 0


def surroundings(params):
    """A belief wide enough for anything."""
    return kf.Gaussian(jnp.zeros(2), 1e6 * jnp.eye(2))


# several sensors


def two_sensors(structure):
    """The linear problem as one sensor per channel, and as a joint model with the block-diagonal R."""
    problem = MODELS["linear"]()
    H, R = problem.model.h.A, np.diag([0.5, 0.4])
    channel = {"a": slice(0, 1), "b": slice(1, 2)}
    split = {name: (kf.Linear(H[s]), R[s, s], problem.ys[:, s], problem.observed[:, s]) for name, s in channel.items()}
    h, Rs, ys, observed = ({k: v[i] for k, v in split.items()} for i in range(4))
    if structure == "tuple":
        h, Rs, ys, observed = (tuple(tree.values()) for tree in (h, Rs, ys, observed))
    sensors = filters.Sensors(problem.model, h, Rs)
    return sensors, ys, observed, problem.model.replace(R=R), problem


smooth = quick_jit(kf.smooth, static_argnums=0)


@pytest.mark.parametrize("structure", ["dict", "tuple"])
def test_sequential_equals_the_joint_update(x64, structure):
    sensors, ys, observed, joint, problem = two_sensors(structure)
    method = sequential(kf.kalman())
    final, (est, info) = run(Case(method, sensors, ys, None, observed))
    expected_final, (expected, reference) = run(Case(kf.kalman(), joint, problem.ys, None, problem.observed))
    chex.assert_trees_all_close((final, est), (expected_final, expected), **tight)
    for field in ("log_likelihood", "nis", "dof"):
        np.testing.assert_allclose(getattr(info, field), getattr(reference, field), **tight)
    smoothed = smooth(method, sensors, est)
    chex.assert_trees_all_close(smoothed, smooth(kf.kalman(), joint, expected), **tight)
    parts = [info.extra["sensors"][k] for k in (("a", "b") if structure == "dict" else (0, 1))]
    np.testing.assert_array_equal(np.stack([part.dof for part in parts], axis=1), problem.observed)


def test_sequential_of_gated_rejects_one_sensor_and_keeps_the_other(x64):
    sensors, ys, observed, joint, problem = two_sensors("dict")
    ys["b"] = changed(ys["b"], 1, 1e3)
    for inner in (gated(kf.kalman()), (kf.kalman(), gated(kf.kalman()))):
        est, info = run(Case(sequential(inner), sensors, ys, None, observed))[1]
        mask = np.array(problem.observed)
        mask[1, 1] = False
        expected = run(Case(kf.kalman(), joint, problem.ys, None, mask))[1][0]
        chex.assert_trees_all_close(est, expected, **tight)
        assert info.extra["sensors"]["b"].extra["nis"][1] > 1e3


def test_sequential_obeys_the_laws(x64):
    sensors, ys, observed, _, _ = two_sensors("dict")
    method = sequential(kf.extended())
    state = predict(method, sensors, method.init(sensors), None)
    missing = {"a": jnp.full(1, jnp.nan), "b": jnp.full(1, jnp.nan)}
    new, info = update(method, sensors, state, missing, None, np.False_)
    chex.assert_trees_all_equal(new, state)
    chex.assert_trees_all_equal(info, jax.tree.map(np.zeros_like, info))
    c = Case(method, sensors, ys, None, observed)
    outputs = run(c)
    before = traces[0]
    batch = jax.tree.map(lambda a: jnp.stack([a, a + 1.0]), ys)
    masks = jax.tree.map(lambda a: np.stack([a, ~a]), observed)
    both = jax.vmap(lambda y, o: run(c, ys=y, observed=o))(batch, masks)
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[0], both), outputs, **tight)
    chex.assert_trees_all_close(run(c), outputs, **tight)
    assert traces[0] == before
    shorter = quick_jit(lambda ys: kf.run(method, sensors, ys, observed=observed, length=3)[0])(ys)
    chex.assert_trees_all_close(shorter.mean, outputs[1][0].mean[2], **tight)


def test_sequential_sensors_have_angles_and_inputs_of_their_own(x64):
    problem = MODELS["heading"]()
    landmark = problem.model.h
    sensors = filters.Sensors(
        problem.model,
        {"bearing": pick(landmark, 1), "range": pick(landmark, 0)},
        {"bearing": [[0.02]], "range": [[0.05]]},
        {"bearing": kf.angle_difference(0), "range": None},
    )
    ys = {"bearing": problem.ys[:, 1:] + 2 * np.pi, "range": problem.ys[:, :1]}
    est = run(Case(sequential(kf.extended()), sensors, ys, problem.us, None))[1][0]
    joint = run(Case(kf.extended(), problem.model, problem.ys, problem.us, None))[1][0]
    np.testing.assert_allclose(est.mean, joint.mean, atol=0.02)


def pick(h, i):
    return jax.tree_util.Partial(picked, float(i), h)


def picked(i, h, x, u):
    return jnp.where(i > 0, h(x, u)[1:], h(x, u)[:1])


# compositions


COMPOSED = {
    "fading adaptive student_t": fading(adaptive(student_t(kf.extended()), forgetting_Q=0.9), 1.05),
    "huber of gated": huber(gated(kf.extended(), 0.5)),
    "schmidt of gated square roots": schmidt(gated(SQUARE_ROOT), (1,)),
    "constrained fallback of gated huber": constrained(fallback(gated(huber(kf.extended())))),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_compositions_run_and_keep_the_law(name):
    method = COMPOSED[name]
    c = case(method, "pendulum", far_walls if "constrained" in name else lambda model: model)
    final, (est, info) = run(c)
    chex.assert_tree_all_finite((final, est, info))
    state = method.init(c.params)
    new, silent = update(method, c.params, state, np.full(2, np.nan), None, np.zeros(2, bool))
    chex.assert_trees_all_equal(new, state)
    chex.assert_trees_all_equal(silent, jax.tree.map(np.zeros_like, silent))
    chex.assert_trees_all_equal_shapes_and_dtypes(final, state)


# bad input

MODEL = kf.systems.constant_velocity()
PAIR = filters.IMM((MODEL, MODEL), [[0.5, 0.5], [0.5, 0.5]], [0.5, 0.5])
SENSORS = filters.Sensors(MODEL, {"a": MODEL.h}, {"a": MODEL.R})
BOTH = filters.Sensors(MODEL, (MODEL.h, MODEL.h), (MODEL.R, MODEL.R))
STATELESS = kf.kalman()._replace(recentre=None)


def runs_into_nothing(x, y, u, observed):
    return 0.0


BAD = {
    "gated: probability is 0": lambda: gated(kf.kalman(), 0.0),
    "gated: got a function; expected a Filter": lambda: gated(kf.kalman),
    "fading: factor is -1": lambda: fading(kf.kalman(), -1.0),
    "fading: the filter has no recentre": lambda: fading(STATELESS, 1.1),
    "fallback: got probability=2": lambda: fallback(kf.kalman(), probability=2.0),
    "fallback: params \\(dict\\) hold no one model": lambda: filters.combinators.to_prior({}),
    "student_t: dof is 0": lambda: student_t(kf.kalman(), 0.0),
    "student_t: iterations is 0": lambda: student_t(kf.kalman(), iterations=0),
    "huber: threshold is -1": lambda: huber(kf.kalman(), -1.0),
    "student_t: params \\(IMM\\) hold 2": lambda: student_t(kf.kalman()).update(PAIR, MODEL.prior, jnp.zeros(1)),
    "put student_t inside": lambda: student_t(sequential(kf.kalman())).update(SENSORS, MODEL.prior, {"a": np.zeros(1)}),
    "adaptive: got factors 0": lambda: adaptive(kf.kalman(), forgetting_R=0.0),
    "adaptive: R is a function": lambda: adaptive(kf.extended()).init(MODELS["driven"]().model),
    "schmidt: considered is \\(2,\\)": lambda: schmidt(kf.kalman(), (2,)).update(MODEL, MODEL.prior, jnp.zeros(1)),
    "constrained: params is StateSpaceModel": lambda: constrained(kf.kalman()).init(MODEL),
    "box: got lower": lambda: box([1.0], [0.0]),
    "Inequalities: A has shape": lambda: filters.Inequalities([1.0], [1.0]),
    "sequential: params is StateSpaceModel": lambda: sequential(kf.kalman()).init(MODEL),
    "sequential: got 2 filters": lambda: sequential((kf.kalman(), kf.kalman())).init(SENSORS),
    "sequential: the filters have different states": lambda: sequential((kf.kalman(), SQUARE_ROOT)).init(BOTH),
    "Sensors: the model has a log_likelihood": lambda: filters.Sensors(
        MODEL.replace(log_likelihood=runs_into_nothing), SENSORS.h, SENSORS.R
    ),
    "sequential: y has sensors in no dict": lambda: kf.run(sequential(kf.kalman()), SENSORS, jnp.zeros((3, 1))),
    "y of 'a' has shape \\(2,\\)": lambda: kf.run(sequential(kf.kalman()), SENSORS, {"a": jnp.zeros((3, 2))}),
    "Sensors: R has sensors \\['b'\\]": lambda: filters.Sensors(MODEL, {"a": MODEL.h}, {"b": MODEL.R}),
    "Sensors: h is not a dict or tuple": lambda: filters.Sensors(MODEL, MODEL.h, MODEL.R),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_input_is_a_readable_error(text):
    with pytest.raises(ValueError, match=text):
        BAD[text]()
