"""Robust updates and adaptive noise: their equations, their limits, and their benefit."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.optimize
import scipy.stats
from support.combining import conditioned, model_of, single, tight
from support.table import predict, quick_jit, update

import kfjax as kf
from kfjax.filters import (
    adaptive,
    fading,
    fallback,
    gated,
    huber,
    schmidt,
    sequential,
    student_t,
)

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
    state, info = update(
        student_t(kf.extended(), dof, iterations=4), model, model.prior, y, None, None
    )
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

    best = scipy.optimize.minimize(
        cost, m, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}
    ).x
    model = model_of(m, P, F, H, Q, R)
    state, info = update(huber(kf.extended(), k, iterations=60), model, model.prior, y, None, None)
    np.testing.assert_allclose(state.mean, best, atol=1e-7)
    assert info.extra["weights"].min() < 0.5


DENSITIES = {
    "student_t": (student_t(kf.kalman(), 3.0), lambda e: (1 + e**2 / 3) ** -2),
    "huber": (
        huber(kf.kalman(), 0.8),
        lambda e: np.exp(-np.where(e < 0.8, 0.5 * e**2, 0.8 * e - 0.32)),
    ),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_the_likelihood_of_a_robust_update_is_a_lower_bound(x64, name):
    method, density = DENSITIES[name]
    total = 2 * scipy.integrate.quad(density, 0, np.inf)[0]
    model = kf.linear_gaussian(
        [[1.0]], [[1.0]], [[0.1]], [[0.25]], kf.Gaussian(np.zeros(1), np.array([[0.04]]))
    )
    for y in (0.0, 0.7, 3.0):

        def joint(x, y=y):
            return density(abs(y - x) / 0.5) / (0.5 * total) * scipy.stats.norm.pdf(x, 0, 0.2)

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
    assert info.nis == np.inf  # the square of what it is
    chex.assert_tree_all_finite((state, info._replace(nis=None), gradient))
    assert np.abs(state.mean).max() < 10


ROBUST = {
    "student_t": student_t(kf.extended()),
    "huber": huber(kf.extended()),
    "adaptive": adaptive(kf.extended()),
}


@pytest.mark.parametrize("name", ROBUST)
def test_an_unobserved_channel_is_a_channel_that_is_not_there(x64, name):
    m, P, F, H, Q, R, _ = single()
    whole, part = model_of(m, P, F, H, Q, R), model_of(m, P, F, H[:1], Q, R[:1, :1])
    method = ROBUST[name]
    state, info = update(
        method, whole, method.init(whole), np.array([4.0, np.nan]), None, np.array([True, False])
    )
    expected, reference = update(method, part, method.init(part), np.array([4.0]), None, None)
    chex.assert_trees_all_close((state.mean, state.cov), (expected.mean, expected.cov), **tight)
    np.testing.assert_allclose(info.log_likelihood, reference.log_likelihood, rtol=1e-12)


@pytest.mark.slow
def test_robust_filters_beat_the_plain_one_on_outliers():
    model = kf.systems.constant_velocity(q_density=0.01, r_std=1.0)
    keys = jax.random.split(jax.random.key(0), 20)
    xs, ys = jax.vmap(lambda key: kf.simulate(key, model, steps=50))(keys)
    outliers = jax.random.bernoulli(jax.random.key(1), 0.1, ys.shape)
    ys = ys + 30 * outliers * jax.random.normal(jax.random.key(2), ys.shape)

    @functools.partial(quick_jit, static_argnums=0)
    def error(method):
        means = jax.vmap(lambda y: kf.run(method, model, y).outputs.mean)(ys)
        return jnp.sqrt(jnp.mean((means - xs)[..., 0] ** 2))

    naive = error(kf.kalman())
    for method, share in (
        (gated(kf.kalman()), 0.6),
        (student_t(kf.kalman(), 3.0), 0.2),
        (huber(kf.kalman()), 0.2),
    ):
        assert error(method) < share * naive


# adaptive noise


def test_adaptive_against_its_equations(x64):
    m, P, F, H, Q, R, y = single(y=np.array([1.5, -0.5]))
    model, method = (
        model_of(m, P, F, H, Q, R),
        adaptive(kf.extended(), forgetting_R=0.9, forgetting_Q=0.8),
    )
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


REJECTING = {
    "gated": (gated(kf.extended()), [40.0, -50.0], 0),
    "gated, infinite": (gated(kf.extended()), [np.inf, 0.0], 0),
    "fallback": (fallback(kf.extended(), patience=1), [40.0, -50.0], 0),
    "huber of gated": (huber(gated(kf.extended(), 0.01)), [40.0, -50.0], 0),
    "student_t": (student_t(kf.extended()), [4e4, -5e4], 1e-6),
}


@pytest.mark.parametrize("name", REJECTING)
def test_adaptive_learns_nothing_from_what_was_not_used(x64, name):
    inner, y, atol = REJECTING[name]
    method = adaptive(inner, forgetting_R=0.9, forgetting_Q=0.8)
    model = model_of(*single()[:-1])
    state = predict(method, model, method.init(model), None)
    new, info = update(method, model, state, np.array(y), None, None)
    assert info.nis > 100
    np.testing.assert_allclose(new.R_scale, np.eye(2), rtol=0, atol=atol)
    np.testing.assert_allclose(new.Q_scale, np.eye(2), rtol=0, atol=atol)


def test_adaptive_finds_the_noise_of_the_data():
    truth = kf.systems.constant_velocity(q_density=0.25, r_std=2.0)
    ys = kf.simulate(jax.random.key(0), truth, steps=3000)[1]
    for change, options in (
        ({"R": truth.R / 9}, {"forgetting_R": 0.995}),
        ({"Q": truth.Q / 9}, {"forgetting_R": 1.0, "forgetting_Q": 0.995}),
    ):
        final, est = kf.run(adaptive(kf.kalman(), **options), truth.replace(**change), ys)
        scale = final.Q_scale if final.R_scale is None else final.R_scale
        assert 6 < scale[0, 0] < 13
        wrong = kf.run(kf.kalman(), truth.replace(**change), ys).outputs
        assert est.log_likelihood.sum() > wrong.log_likelihood.sum() + 300


def test_adaptive_noise_stays_a_covariance_in_float32():
    model = kf.systems.constant_velocity(q_density=0.01, r_std=0.01)
    ys = jnp.where(
        jnp.arange(4000)[:, None] < 2000, 0.0, 50 * jax.random.normal(jax.random.key(0), (4000, 1))
    )
    final, est = kf.run(adaptive(kf.kalman(), forgetting_R=0.9, forgetting_Q=0.9), model, ys)
    chex.assert_tree_all_finite((final, est))
    assert np.linalg.eigvalsh(final.R_scale).min() > 0
    assert np.linalg.eigvalsh(final.Q_scale).min() > -1e-6 * np.abs(final.Q_scale).max()


def test_smoothing_is_forwarded_where_only_data_were_reweighted():
    for method in (
        gated(kf.kalman()),
        huber(kf.kalman()),
        adaptive(kf.kalman()),
        sequential(kf.kalman()),
    ):
        assert method.rule is kf.kalman().rule
    for method in (
        fading(kf.kalman(), 1.1),
        schmidt(kf.kalman(), (0,)),
        adaptive(kf.kalman(), forgetting_Q=0.9),
    ):
        assert method.rule is None


ABSURD = {
    "adaptive R": adaptive(kf.kalman(), forgetting_R=0.9),
    "adaptive Q": adaptive(kf.extended(), forgetting_R=1.0, forgetting_Q=0.9),
    "fading": fading(kf.kalman(), 1.05),
    "huber": huber(kf.kalman(), 1e-6),
    "student_t": student_t(kf.kalman(), 1e-3),
}


@pytest.mark.parametrize("name", ABSURD)
def test_a_reading_whose_square_overflows_spoils_nothing_for_ever(name):
    model = kf.systems.constant_velocity()
    _, ys = kf.simulate(jax.random.key(0), model, steps=30)
    ys = ys.at[9].set(2e19)
    final, est = kf.run(ABSURD[name], model, ys)
    assert est.log_likelihood.dtype == jnp.float32
    chex.assert_tree_all_finite((final, est.mean, est.cov))
    if name.startswith("adaptive"):  # the estimate has not used the reading
        spared = kf.run(ABSURD[name], model, ys, observed=np.arange(30) != 9).final
        scale = "R_scale" if name.endswith("R") else "Q_scale"
        first = kf.run(ABSURD[name], model, ys[:10]).final
        before = kf.run(ABSURD[name], model, ys[:9]).final
        np.testing.assert_array_equal(getattr(first, scale), getattr(before, scale))
        assert getattr(spared, scale).shape == getattr(final, scale).shape


@pytest.mark.parametrize("forgetting", [{"forgetting_R": 0.9}, {"forgetting_Q": 0.9}])
def test_nor_does_it_spoil_a_gradient(forgetting):
    model = kf.systems.constant_velocity()
    _, ys = kf.simulate(jax.random.key(0), model, steps=5)

    def last(model):
        final = kf.run(adaptive(kf.kalman(), **forgetting), model, ys.at[3].set(2e19)).final
        return final.R_scale.sum()

    chex.assert_tree_all_finite(jax.grad(last)(model))


IMPOSSIBLE = {
    "huber: threshold is 1e-320": lambda: huber(kf.kalman(), 1e-320),
    "huber: threshold is True": lambda: huber(kf.kalman(), True),
    "student_t: dof is inf": lambda: student_t(kf.kalman(), np.inf),
    "student_t: dof is 1e-320": lambda: student_t(kf.kalman(), 1e-320),
    "student_t: iterations is 1000000000000": lambda: student_t(kf.kalman(), iterations=10**12),
    "fading: factor is nan": lambda: fading(kf.kalman(), np.nan),
    "ensemble: inflation is inf": lambda: kf.ensemble(8, inflation=np.inf),
    "ensemble: members is True": lambda: kf.ensemble(True),
    "particle: particles is True": lambda: kf.particle(True),
    "particle: particles is 1000000000000": lambda: kf.particle(10**12),
    "extended: iterations is True": lambda: kf.extended(True),
    "extended: iterations is 1000000000000": lambda: kf.extended(10**12),
    "fixed_lag: lag is 1000000000000": lambda: kf.fixed_lag(kf.kalman(), 10**12),
    "GaussHermite: order is True": lambda: kf.gauss_hermite(True),
    "fallback: patience is True": lambda: kf.fallback(kf.kalman(), patience=True),
    "simulate: steps is True": lambda: kf.simulate(jax.random.key(0), MODEL(), True),
    "simulate: steps is 1000000000000": lambda: kf.simulate(jax.random.key(0), MODEL(), 10**12),
    "forecast: steps is True": lambda: kf.forecast(kf.kalman(), MODEL(), MODEL().prior, steps=True),
}
MODEL = kf.systems.constant_velocity


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_numbers_that_cannot_be_meant_are_refused(text):
    with pytest.raises(ValueError, match=f"{text}; expected a .* number"):
        IMPOSSIBLE[text]()
