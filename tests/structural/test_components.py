"""Components have the covariances of their definitions, and add."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg as dense

import kfjax as kf
from kfjax import structural as st

TIMES = np.cumsum([0.0, 0.3, 1.1, 0.02, 4.0, 0.7])
DT = np.diff(TIMES, prepend=TIMES[0])


def covariance(model, steps, us=None):
    """Cov[y] of the first observations, without the noise of a diffuse start."""
    model = model.with_start(diffuse_variance=1e-300)
    u = (lambda t: None) if us is None else lambda t: jnp.asarray(us[t])
    moves = [np.eye(model.n)]
    covs = [np.asarray(model.prior.cov)]
    for t in range(1, steps):
        moves.append(np.asarray(model.f.at(u(t)).A))
        covs.append(moves[t] @ covs[-1] @ moves[t].T + np.asarray(model.process_noise(None, u(t))))
    H = [np.asarray(model.h.at(u(t)).A) for t in range(steps)]
    total = np.zeros((steps, steps))
    for t in range(steps):
        cov = covs[t]
        for s in range(t, steps):
            cov = moves[s] @ cov if s > t else cov
            total[s, t] = total[t, s] = (H[s] @ cov @ H[t].T)[0, 0]
    return total


def matern(r, smoothness):
    z = np.sqrt(2 * smoothness) * r
    return {0.5: 1.0, 1.5: 1 + z, 2.5: 1 + z + z**2 / 3}[smoothness] * np.exp(-z)


def wave(r, period, scale):
    return np.exp(-2 * np.sin(np.pi * r / period) ** 2 / scale**2)


GAPS = np.abs(TIMES[:, None] - TIMES[None, :])
KERNELS = {
    **{
        f"matern {s}": (
            lambda s=s: st.matern(s, 1.3, 0.8, dt=None),
            1.69 * matern(GAPS / 0.8, s),
        )
        for s in (0.5, 1.5, 2.5)
    },
    "ornstein_uhlenbeck": (
        lambda: st.ornstein_uhlenbeck(0.5, 2.0, dt=None),
        0.25 * np.exp(-GAPS / 2.0),
    ),
    "periodic": (
        lambda: st.periodic(3.0, 2.0, 1.0, harmonics=12, dt=None),
        4.0 * wave(GAPS, 3.0, 1.0),
    ),
    "product": (
        lambda: st.matern(1.5, 1.3, 0.8, dt=None) * st.matern(2.5, 0.5, 3.0, dt=None, name="b"),
        1.69 * 0.25 * matern(GAPS / 0.8, 1.5) * matern(GAPS / 3.0, 2.5),
    ),
    "sum times periodic": (
        lambda: (st.matern(1.5, 1.3, 0.8, dt=None) + st.ornstein_uhlenbeck(2.0, 5.0, dt=None))
        * st.periodic(3.0, 1.0, 1.0, harmonics=12, dt=None),
        (1.69 * matern(GAPS / 0.8, 1.5) + 4.0 * np.exp(-GAPS / 5.0)) * wave(GAPS, 3.0, 1.0),
    ),
    "level in time": (lambda: st.level(0.7, dt=None), 0.49 * np.minimum.outer(TIMES, TIMES)),
    "trend in time": (
        lambda: st.trend(None, 0.7, dt=None),
        0.49 * np.minimum(*(T := np.meshgrid(TIMES, TIMES))) ** 2 * (
            np.maximum(*T) / 2 - np.minimum(*T) / 6
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_processes_in_time_have_their_kernels(x64, name):
    make, expected = KERNELS[name]
    np.testing.assert_allclose(covariance(make(), TIMES.size, DT), expected, atol=1e-11)


def test_short_steps_keep_their_digits_in_float32():
    model = st.matern(1.5, 1.0, 1.0, dt=None)
    Q = np.asarray(model.process_noise(None, jnp.float32(1e-3)))
    z = np.sqrt(3) * 1e-3
    np.testing.assert_allclose(Q, [[4 / 3 * z**3, 2 * z**2], [2 * z**2, 4 * z]], rtol=5e-3)
    assert np.linalg.eigvalsh(Q.astype(float)).min() > 0


def test_the_slope_where_short_and_long_steps_meet(x64):
    def noise(length_scale):
        return st.ornstein_uhlenbeck(1.0, length_scale).Q[0, 0]

    np.testing.assert_allclose(jax.grad(noise)(1.0), -2 * np.exp(-2.0), rtol=1e-12)


def test_a_cycle_and_an_autoregression_have_their_autocovariances(x64):
    k = np.arange(6)
    lags = np.abs(k[:, None] - k[None, :])
    cycle = st.cycle(7.0, 0.5, damping=0.9)
    expected = 0.25 / (1 - 0.81) * 0.9**lags * np.cos(2 * np.pi * lags / 7)
    np.testing.assert_allclose(covariance(cycle, 6), expected, atol=1e-12)
    # psi weights of an ARMA(2, 1) with a seasonal factor, summed to where they vanish
    model = st.arima([0.5, 0.2], [0.4], 1.5, period=4, seasonal_ar=[0.3], seasonal_ma=[-0.6])
    ar = np.convolve([1, -0.5, -0.2], [1, 0, 0, 0, -0.3])
    ma = np.convolve([1, 0.4], [1, 0, 0, 0, -0.6])
    psi = np.zeros(400)
    for j in range(psi.size):
        psi[j] = (ma[j] if j < ma.size else 0) - sum(
            ar[i] * psi[j - i] for i in range(1, min(j, ar.size - 1) + 1)
        )
    gamma = 2.25 * np.array([psi[: psi.size - h] @ psi[h:] for h in k])
    np.testing.assert_allclose(covariance(model, 6), gamma[lags], rtol=1e-10)


def test_a_vector_autoregression_is_stationary(x64):
    C = np.array([[[0.5, 0.2], [-0.1, 0.3]], [[0.1, 0.0], [0.2, -0.2]]])
    root = np.array([[1.0, 0.0], [0.4, 0.8]])
    model = st.vector_autoregression(C, root)
    F = np.block([[C[0], C[1]], [np.eye(2), np.zeros((2, 2))]])
    Q = dense.block_diag(root @ root.T, np.zeros((2, 2)))
    P = dense.solve_discrete_lyapunov(F, Q)
    np.testing.assert_allclose(model.prior.cov, P, rtol=1e-10)
    np.testing.assert_allclose(model.f.A, F)
    np.testing.assert_allclose(model.h.A, np.eye(2, 4))


@pytest.mark.parametrize(
    ("model", "period"),
    [
        (lambda: st.seasonal(5, None), 5),
        (lambda: st.seasonal(5, None, harmonics="all"), 5),
        (lambda: st.seasonal(6, None, harmonics="all"), 6),
    ],
)
def test_a_fixed_season_repeats_and_adds_up_to_zero(x64, model, period):
    model = model()
    x = np.random.default_rng(0).normal(size=model.n)
    ys = []
    for _ in range(2 * period):
        ys.append((model.h.A @ x)[0])
        x = model.f.A @ x
    np.testing.assert_allclose(ys[:period], ys[period:], atol=1e-12)
    np.testing.assert_allclose(sum(ys[:period]), 0, atol=1e-12)
    assert model.n == period - 1
    assert not model.Q.any()


def test_the_airline_model_is_that_of_its_differences(x64):
    model = st.arima(
        None, [-0.4], 1.0, difference=1, period=4, seasonal_ma=[-0.6], seasonal_difference=1
    )
    assert len(model.diffuse) == 5
    rng = np.random.default_rng(1)
    x, ys, shocks = np.concatenate([np.zeros(6), rng.normal(size=5)]), [], rng.normal(size=30)
    g = np.asarray([1.0, -0.4, 0, 0, -0.6, 0.24] + 5 * [0.0])
    np.testing.assert_allclose(model.Q, np.outer(g, g), atol=1e-15)
    for e in shocks:
        x = np.asarray(model.f.A) @ x + g * e
        ys.append((np.asarray(model.h.A) @ x)[0])
    w = np.diff(ys)
    w = w[4:] - w[:-4]
    expected = np.convolve(shocks, np.convolve([1, -0.4], [1, 0, 0, 0, -0.6]))[5:30]
    np.testing.assert_allclose(w, expected, atol=1e-11)


def test_several_series_share_a_disturbance_or_a_level(x64):
    factor = np.array([[1.0, 0.0], [0.5, 2.0]])
    related = st.trend(np.array([1.0, 3.0]), factor) + st.irregular(factor)
    np.testing.assert_allclose(related.R, factor @ factor.T)
    np.testing.assert_allclose(related.Q[:2, :2], np.diag([1.0, 9.0]))
    np.testing.assert_allclose(related.Q[2:, 2:], factor @ factor.T)
    np.testing.assert_allclose(related.f.A, np.kron([[1, 1], [0, 1]], np.eye(2)))
    common = st.level(0.5, loading=[[1.0], [2.0], [-1.0]]) + st.irregular(np.ones(3))
    np.testing.assert_allclose(common.h.A, [[1.0], [2.0], [-1.0]])
    assert common.kinds["level.loading"] == "real"
    assert related.kinds["trend.slope_std"] == "lower triangular factor"
    with pytest.raises(ValueError, match="level 1, irregular 2"):
        st.level() + st.irregular(np.ones(2))


def test_parameters_are_leaves_with_names(x64):
    model = st.level(0.5) + st.matern(1.5, 2.0, 5.0) * st.periodic(7.0) + st.irregular(0.1)
    assert set(model.parameters) == {
        "level.std",
        "matern*periodic.std",
        "matern*periodic.matern.length_scale",
        "matern*periodic.periodic.period",
        "matern*periodic.periodic.length_scale",
        "irregular.std",
    }
    assert set(model.kinds) == set(model.parameters)
    cycle = st.cycle(9.0, damping=0.5) + st.autoregression([0.5])
    assert cycle.bounds == {
        "cycle.period": (2.0, None),
        "cycle.std": (0.0, None),
        "cycle.damping": (0.0, 1.0),
        "autoregression.ar": (-1.0, 1.0),
        "autoregression.std": (0.0, None),
    }
    # an invertible moving average, one of the two of the same likelihood
    assert st.arima(ma=[0.5], seasonal_ma=[0.2, 0.1], period=4).bounds == {
        "arima.ma": (-1.0, 1.0),
        "arima.std": (0.0, None),
    }
    changed = model.with_parameters({"matern*periodic.matern.length_scale": 3.0})
    assert changed.parameters["matern*periodic.matern.length_scale"] == 3.0
    assert jax.tree.structure(changed) == jax.tree.structure(model)
    with pytest.raises(ValueError, match=r"Did you mean 'level\.std'"):
        model.with_parameters({"level.stt": 1.0})


def test_a_sum_runs_in_any_filter_and_has_gradients(x64):
    model = st.level(0.5) + st.seasonal(3, 0.2) + st.irregular(1.0)
    model = model.with_start(diffuse_variance=1e6)
    ys = np.random.default_rng(2).normal(size=(12, 1))
    by_std = lambda std: kf.log_likelihood(  # noqa: E731
        kf.kalman(), model.with_parameters({"level.std": std}), ys
    )
    slope = jax.grad(by_std)(0.5)
    numeric = (by_std(0.5 + 1e-4) - by_std(0.5 - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)
    batch = jax.vmap(by_std)(jnp.asarray([0.5, 1.0]))
    np.testing.assert_allclose(batch, [by_std(0.5), by_std(1.0)], rtol=1e-12)
    plain = kf.run(kf.kalman(), model.plain(), ys).outputs
    summed = kf.run(kf.kalman(), model, ys).outputs
    np.testing.assert_allclose(summed.mean, plain.mean, atol=1e-9)
    assert type(model.replace(Q=np.eye(3))) is kf.StateSpaceModel


def test_contributions_are_those_of_the_blocks(x64):
    model = st.level(0.5) + st.regression(2, name="x") + st.matern(0.5, dt=None) + st.irregular()
    rng = np.random.default_rng(3)
    us = {"x": rng.normal(size=(8, 2)), "dt": rng.uniform(0.1, 1.0, 8)}
    ys = rng.normal(size=(8, 1))
    exact = kf.exact_diffuse()
    states = kf.run(exact, model, ys, us=us, emit=kf.whole_state).outputs
    smoothed = kf.smooth(exact, model, states, us=us)
    parts = st.decompose(model, smoothed, us=us)
    assert list(parts) == ["level", "x", "matern"]
    np.testing.assert_allclose(parts["x"].mean[:, 0], (us["x"] * smoothed.mean[:, 1:3]).sum(1))
    whole = kf.observation_estimate(kf.kalman(), model, smoothed, us=us)
    np.testing.assert_allclose(sum(p.mean for p in parts.values()), whole.mean, atol=1e-10)
    variance = np.einsum("ti,tij,tj->t", us["x"], smoothed.cov[:, 1:3, 1:3], us["x"])
    np.testing.assert_allclose(parts["x"].cov[:, 0, 0], variance, rtol=1e-9)


SUMS = {
    "two levels": (lambda: st.level() + st.trend(), "'level' and 'trend' both contain a level"),
    "two seasons": (
        lambda: st.seasonal(12) + st.seasonal(4, name="quarter"),
        "'seasonal' and 'quarter' both contain a wave of period",
    ),
    "two noises": (lambda: st.irregular() + st.irregular(name="b"), "cannot be told apart"),
    "names": (lambda: st.matern() + st.matern(2.5), "two components called 'matern'"),
    "short season": (lambda: st.seasonal(1), "period is 1; expected a whole number"),
    "product": (lambda: st.level() * st.matern(), "level is not a kernel"),
    "not stationary": (lambda: st.autoregression([1.1]), "autoregression: ar is .* modulus 1.1"),
    "negative": (lambda: st.level(-1.0), "level: std is -1.0"),
    "damping": (lambda: st.cycle(5.0, damping=1.0), "cycle: damping is 1.0"),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_that_cannot_be_told_apart_raise(name):
    make, text = SUMS[name]
    with pytest.raises(ValueError, match=text):
        make()


def test_harmonics_keep_two_seasons_apart():
    both = st.seasonal(24, harmonics=2) + st.seasonal(168, harmonics=3, name="week")
    assert both.n == 10


def test_records_that_cannot_determine_a_sum_raise_or_warn():
    model = st.level() + st.seasonal(4) + st.irregular()
    with pytest.raises(ValueError, match=r"4 diffuse states \(level, seasonal\)"):
        st.check_record(model, np.arange(4.0)[:, None])
    with pytest.raises(ValueError, match="nothing is observed"):
        st.check_record(model, np.full((9, 1), np.nan))
    with pytest.raises(ValueError, match=r"times\[2\] is 1 after 1"):
        st.check_record(model, np.ones((3, 1)), times=[0.0, 1.0, 1.0])
    with pytest.warns(UserWarning, match=r"less than two periods of seasonal; seasonal\.std can"):
        st.check_record(model, np.arange(7.0)[:, None])
    with pytest.warns(UserWarning, match=r"constant; .* level\.std, seasonal\.std, irregular\.std"):
        st.check_record(model, np.ones((9, 1)))
