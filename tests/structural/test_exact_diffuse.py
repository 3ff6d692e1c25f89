"""An exactly diffuse start: published values, and the limit of large variances."""

import json
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import quick_jit

import kfjax as kf
from kfjax import structural as st

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())
FORMS = {"covariance": kf.kalman(), "square_root": kf.square_root(kf.moments.Taylor())}


def log_likelihood(filter, model, ys, us, observed):
    return kf.log_likelihood(filter, model, ys, us=us, observed=observed)


def states_and_smoothed(filter, model, ys, observed):
    """The states, the log-likelihoods and the smoothed beliefs of a run."""
    keep = lambda state, info: (state, info.log_likelihood)  # noqa: E731
    states, terms = kf.run(filter, model, ys, observed=observed, emit=keep).outputs
    return states, terms, kf.smooth(filter, model, states)


quick_likelihood = quick_jit(log_likelihood, static_argnums=0)
quick_run = quick_jit(states_and_smoothed, static_argnums=0)


def published(name):
    """A model of KFAS with its diffuse states, its data, and what was observed."""
    case = PUBLISHED["models"][name]
    F, H, Q, R, cov, ys = (np.array(case[key]) for key in ("F", "H", "Q", "R", "cov", "ys"))
    prior = kf.Gaussian(np.zeros(len(F)), cov)
    model = kf.linear_gaussian(F, H, Q, R, prior, first="update")
    return model, tuple(case["diffuse"]), np.nan_to_num(ys), ~np.isnan(ys), case


def quick(chosen, quick_ones):
    """Mark a case as slow unless it is among the quick ones."""
    return pytest.param(*chosen, marks=() if chosen in quick_ones else pytest.mark.slow)


QUICK = [("common_level", "covariance"), ("var1_missing", "square_root")]


@pytest.mark.parametrize(
    ("name", "form"), [quick((n, form), QUICK) for n in PUBLISHED["models"] for form in FORMS]
)
def test_values_of_kfas_and_statsmodels(x64, name, form):
    model, diffuse, ys, seen, case = published(name)
    exact = kf.exact_diffuse(FORMS[form], diffuse)
    _, terms, smoothed = quick_run(exact, model, ys, seen)
    np.testing.assert_allclose(terms.sum(), case["kfas_llf"], rtol=1e-9)
    np.testing.assert_allclose(smoothed.mean, case["smoothed"], rtol=1e-6, atol=1e-7)
    variances = np.diagonal(smoothed.cov, axis1=1, axis2=2)
    np.testing.assert_allclose(variances, case["variances"], rtol=1e-6, atol=1e-7)


TURN = 10.0
SUMS = {
    "nile": lambda: st.level(1469.1**0.5) + st.irregular(15099.0**0.5),
    "local level": lambda: st.level(0.12**0.5) + st.irregular(0.1**0.5),
    "local linear trend": lambda: st.trend(0.1, 0.06**0.5) + st.irregular(0.1),
    "smooth trend": lambda: st.trend(None, 0.08**0.5) + st.irregular(0.001**0.5),
    "dummies": lambda: st.seasonal(4, 0.1**0.5) + st.irregular(38.0**0.5),
    "waves": lambda: st.seasonal(5, 0.05**0.5, harmonics="all") + st.irregular(38.0**0.5),
    "even waves": lambda: st.seasonal(12, 0.05**0.5, harmonics="all") + st.irregular(38.0**0.5),
    "damped cycle": lambda: st.cycle(TURN, 0.1**0.5, damping=0.9) + st.irregular(20.0**0.5),
    "regression": lambda: st.regression() + st.irregular(2.2**0.5),
    "trend and autoregression": lambda: st.trend(None, 0.06**0.5) + st.autoregression([0.96], 0.1),
    "everything": lambda: (
        st.trend(0.1, 0.06**0.5)
        + st.seasonal(4, 0.01)
        + st.cycle(TURN, 0.01)
        + st.autoregression([0.2], 0.1**0.5)
        + st.regression()
        + st.irregular(0.01)
    ),
    "airline": lambda: st.arima(
        ma=[-0.4],
        std=0.0014**0.5,
        difference=1,
        period=12,
        seasonal_ma=[-0.55],
        seasonal_difference=1,
    ),
}


@pytest.mark.parametrize("name", [quick((n,), [("nile",), ("dummies",)]) for n in SUMS])
def test_log_likelihoods_of_sums_are_those_of_statsmodels(x64, name):
    series = {key: np.array(value) for key, value in PUBLISHED["series"].items()}
    y = {"airline": series["log_passengers"], "nile": series["nile"]}.get(
        name, series["unemployment"]
    )
    model = SUMS[name]()
    us = series["log_gdp"][:, None] if "regression" in model.blocks else None
    # statsmodels makes a cycle diffuse even if it is stationary
    exact = kf.exact_diffuse(None, (0, 1) if name == "damped cycle" else None)
    value = quick_likelihood(exact, model, y[:, None], us, None)
    np.testing.assert_allclose(value, PUBLISHED["values"][name], rtol=1e-8)


def test_the_published_likelihood_of_the_nile(x64):
    """-632.5456 in KFAS, which has no constant for the observation that starts the level."""
    y = np.array(PUBLISHED["series"]["nile"])[:, None]
    value = quick_likelihood(kf.exact_diffuse(), SUMS["nile"](), y, None, None)
    np.testing.assert_allclose(value + 0.5 * np.log(2 * np.pi), -632.5456, atol=5e-5)


@pytest.mark.slow
def test_maximum_likelihood_finds_the_variances_of_the_nile(x64):
    """15099 and 1469.1 in Durbin and Koopman (2012), section 2.2.5 and table 2.1."""
    y = np.array(PUBLISHED["series"]["nile"])[:, None]
    model = st.level(30.0) + st.irregular(100.0)
    fit = kf.training.maximum_likelihood(
        kf.exact_diffuse(),
        model.parameters,
        y,
        transform=model.with_parameters,
        bounds=model.bounds,
        starts=1,
    )
    np.testing.assert_allclose(fit["irregular.std"].estimate ** 2, 15099, rtol=1e-3)
    np.testing.assert_allclose(fit["level.std"].estimate ** 2, 1469.1, rtol=1e-3)


def rational(a):
    return np.vectorize(lambda v: Fraction(float(v)), otypes=[object])(np.asarray(a))


def inverted(S):
    """The inverse of a rational matrix and its determinant, by elimination."""
    n = len(S)
    rows = np.concatenate([S.copy(), rational(np.eye(n))], axis=1)
    determinant = Fraction(1)
    for i in range(n):
        determinant *= rows[i, i]
        rows[i] = rows[i] / rows[i, i]
        for j in range(n):
            if j != i:
                rows[j] = rows[j] - rows[j, i] * rows[i]
    return rows[:, n:], determinant


def in_the_limit(model, diffuse, ys, seen, variance=Fraction(10) ** 40):
    """Filtered and smoothed moments from a large variance, in exact arithmetic."""
    F, H, Q, R, P = map(rational, (model.f.A, model.h.A, model.Q, model.R, model.prior.cov))
    P[list(diffuse), :] = P[:, list(diffuse)] = Fraction(0)
    P[list(diffuse), list(diffuse)] = variance
    m, total, kept = rational(model.prior.mean), 0.0, []
    for t, y in enumerate(ys):
        if t:
            m, P = F @ m, F @ P @ F.T + Q
        at = np.flatnonzero(seen[t])
        if at.size:
            h = H[at]
            inverse, determinant = inverted(h @ P @ h.T + R[np.ix_(at, at)])
            nu, K = rational(y[at]) - h @ m, P @ h.T @ inverse
            total -= 0.5 * (float(nu @ inverse @ nu) + at.size * np.log(2 * np.pi))
            total -= 0.5 * (log_of(determinant))
            m, P = m + K @ nu, P - K @ h @ P
        kept.append((m, P))
    total += 0.5 * len(diffuse) * log_of(variance)
    smoothed = [kept[-1]]
    for m, P in reversed(kept[:-1]):
        predicted = F @ P @ F.T + Q
        G = P @ F.T @ inverted(predicted)[0]
        later = smoothed[0]
        smoothed.insert(0, (m + G @ (later[0] - F @ m), P + G @ (later[1] - predicted) @ G.T))
    as_floats = lambda pairs, i: np.array([p[i] for p in pairs]).astype(float)  # noqa: E731
    return total, *((as_floats(pairs, 0), as_floats(pairs, 1)) for pairs in (kept, smoothed))


def log_of(number):
    """The logarithm of a rational number beyond the range of floats."""
    return log_of_whole(number.numerator) - log_of_whole(number.denominator)


def log_of_whole(number):
    shift = max(number.bit_length() - 60, 0)
    return float(np.log(float(number >> shift))) + shift * np.log(2)


def random_model(noise_free=False):
    """Four states, of which three are diffuse, and two channels with correlated noise."""
    rng = np.random.default_rng(7)
    root = rng.normal(size=(2, 2))
    prior = kf.Gaussian(np.zeros(4), np.diag([0.0, 0.0, 0.0, 2.0]))
    return kf.linear_gaussian(
        np.eye(4) + 0.3 * rng.normal(size=(4, 4)),
        rng.normal(size=(2, 4)),
        0.2 * np.eye(4),
        np.diag([0.0, 0.5]) if noise_free else root @ root.T,
        prior,
        first="update",
    )


SEEN = np.array([[1, 0], [0, 0], [1, 1], [0, 1], [1, 1], [1, 1]], bool)
BOTH = np.ones((6, 2), bool)


@pytest.mark.parametrize("seen", [SEEN, BOTH], ids=["missing", "complete"])
@pytest.mark.parametrize(
    ("form", "noise_free"),
    [quick((form, free), [("covariance", False)]) for form in FORMS for free in (False, True)],
)
def test_the_limit_of_large_variances_in_exact_arithmetic(x64, form, noise_free, seen):
    model, diffuse = random_model(noise_free), (0, 1, 2)
    ys = np.random.default_rng(8).normal(size=(6, 2))
    total, filtered, expected = in_the_limit(model, diffuse, ys, seen)
    exact = kf.exact_diffuse(FORMS[form], diffuse)
    states, terms, smoothed = quick_run(exact, model, ys, seen)
    np.testing.assert_allclose(terms.sum(), total, rtol=1e-10)
    np.testing.assert_allclose(smoothed.mean, expected[0], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(smoothed.cov, expected[1], rtol=1e-9, atol=1e-10)
    known = ~np.asarray(states.diffuse).any((1, 2))
    assert known[-1]
    assert not known[0]
    np.testing.assert_allclose(states.mean[known], filtered[0][known], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(states.cov[known], filtered[1][known], rtol=1e-9, atol=1e-10)


def test_two_sensors_of_one_level_share_its_start(x64):
    model = kf.linear_gaussian(
        [[1.0]], [[1.0], [1.0]], [[0.3]], np.diag([1.0, 4.0]), kf.Gaussian([0.0], [[1.0]]),
        first="update",
    )  # fmt: skip
    keep = kf.estimate_and_info
    est, info = kf.run(kf.exact_diffuse(), model, np.array([[2.0, 7.0]]), emit=keep).outputs
    np.testing.assert_allclose(est.mean, [[3.0]])  # weighted by 1 and 1 / 4
    np.testing.assert_allclose(est.cov, [[[0.8]]])
    np.testing.assert_array_equal(info.dof, [1])
    np.testing.assert_allclose(info.innovation, [[0.0, 5.0]])
    np.testing.assert_allclose(info.innovation_cov, [[[0.0, 0.0], [0.0, 5.0]]])
    np.testing.assert_allclose(info.nis, [5.0])


def test_what_is_never_observed_stays_diffuse(x64):
    model = kf.linear_gaussian(
        np.eye(2), [[1.0, 0.0]], 0.1 * np.eye(2), [[1.0]], kf.Gaussian(np.zeros(2), np.eye(2))
    )
    final, est = kf.run(kf.exact_diffuse(), model, np.ones((5, 1)))
    np.testing.assert_array_equal(final.diffuse, [[0.0, 0.0], [0.0, 1.0]])
    one = model.replace(
        f=kf.Linear([[1.0]]), h=kf.Linear([[1.0]]), Q=[[0.1]], prior=kf.Gaussian([0.0], [[1.0]])
    )
    alone = kf.run(kf.exact_diffuse(), one, np.ones((5, 1))).outputs
    np.testing.assert_allclose(est.log_likelihood, alone.log_likelihood, rtol=1e-12)


def test_there_is_nothing_before_a_diffuse_start_that_is_about_the_first_step(x64):
    prior = kf.Gaussian(np.zeros(1), np.eye(1))
    model = kf.linear_gaussian([[1.0]], [[1.0]], [[0.1]], [[1.0]], prior, first="update")
    states = kf.run(kf.exact_diffuse(), model, np.ones((3, 1)), emit=kf.whole_state).outputs
    smoothed = kf.smooth(kf.exact_diffuse(), model, states)
    assert smoothed.initial is None
    np.testing.assert_allclose(smoothed.mean, np.ones((3, 1)), rtol=1e-9)


@pytest.mark.slow
def test_gradients_through_the_start(x64):
    model = st.trend(0.5, 0.2) + st.cycle(7.0, 0.3) + st.irregular(1.0)
    rng = np.random.default_rng(9)
    ys, seen = rng.normal(size=(12, 1)).cumsum(0), rng.random((12, 1)) < 0.8
    value = quick_jit(
        jax.value_and_grad(lambda p: quick_likelihood.__wrapped__(
            kf.exact_diffuse(), model.with_parameters(p), ys, None, seen
        ))
    )  # fmt: skip
    start = model.parameters
    slopes = value(start)[1]
    for name in ("cycle.period", "trend.slope_std", "irregular.std"):
        moved = [value(start | {name: start[name] + h})[0] for h in (1e-4, -1e-4)]
        np.testing.assert_allclose(slopes[name], (moved[0] - moved[1]) / 2e-4, rtol=1e-6)


@pytest.mark.slow
def test_a_batch_with_different_gaps_and_other_combinators(x64):
    model = st.trend(0.5, 0.2) + st.irregular(1.0)
    rng = np.random.default_rng(10)
    ys, seen = rng.normal(size=(3, 8, 1)), rng.random((3, 8, 1)) < 0.6
    exact = kf.exact_diffuse()
    batch = jax.vmap(lambda y, o: kf.run(exact, model, y, observed=o).outputs)(ys, seen)
    gated = kf.gated(exact, 1 - 1e-12)
    for i in range(3):
        one = kf.run(gated, model, ys[i], observed=seen[i]).outputs
        np.testing.assert_allclose(batch.log_likelihood[i], one.log_likelihood, atol=1e-12)
    lagged = kf.run(kf.fixed_lag(exact, 7), model, ys[0], emit=kf.lagged).outputs
    states = kf.run(exact, model, ys[0], emit=kf.whole_state).outputs
    smoothed = kf.smooth(exact, model, states)
    np.testing.assert_allclose(lagged.mean[-1], smoothed.mean[0], atol=1e-10)
    np.testing.assert_allclose(lagged.cov[-1], smoothed.cov[0], atol=1e-10)


@pytest.mark.parametrize("unit", [1.0, 0.01])
def test_single_precision_starts_a_trend_with_a_season(unit):
    model = st.trend(0.5 * unit, 0.1 * unit) + st.seasonal(4, 0.2 * unit) + st.irregular(unit)
    ys = 5 + unit * np.random.default_rng(11).normal(size=(30, 1)).cumsum(0)
    single = quick_likelihood(kf.exact_diffuse(), model, jnp.asarray(ys, jnp.float32), None, None)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda a: a.astype(jnp.float64), model)
        expected = quick_likelihood(kf.exact_diffuse(), double, ys, None, None)
    np.testing.assert_allclose(single, expected, rtol=1e-5)


def test_filters_that_need_a_prior_say_so():
    """A prior variance of 1e6 beside disturbances of 0.01 leaves float32 no digits."""
    model = st.trend(0.01, 0.001) + st.seasonal(12, 0.01) + st.irregular(0.02)
    ys = np.sin(np.arange(30.0))[:, None]
    refused = {
        "run": lambda: kf.run(kf.kalman(), model, ys),
        "gradient": lambda: jax.grad(lambda m: kf.log_likelihood(kf.kalman(), m, ys))(model),
        "init": lambda: kf.unscented().init(model),
        "parallel": lambda: kf.parallel_filter(model, ys),
        "simulate": lambda: kf.simulate(jax.random.key(0), model, 3),
        "fit": lambda: kf.training.maximum_likelihood(kf.kalman(), model, ys),
        "plain": model.plain,
    }
    for call in refused.values():
        with pytest.raises(ValueError, match=r"exactly diffuse in trend, seasonal, .*kf\.exact_di"):
            call()
    with pytest.raises(ValueError, match=r"diffuse_variance is 1e\+06, .* expected at most"):
        model.with_start(diffuse_variance=1e6)
    start = model.with_start(diffuse_variance=100.0).prior.cov
    assert np.diag(start).tolist() == [100.0] * 13
    assert kf.simulate(jax.random.key(0), model, 3, x0=np.zeros(13))[1].shape == (3, 1)


def test_a_diffuse_state_forgets_its_covariance_with_the_others(x64):
    F, Q, mean = np.array([[1.0, 0.5], [0.0, 0.8]]), 0.1 * np.eye(2), np.array([1.0, -1.0])
    prior = kf.Gaussian(mean, np.array([[2.0, 0.9], [0.9, 1.0]]))
    model = kf.linear_gaussian(F, [[1.0, 0.3]], Q, [[0.4]], prior)
    apart = model.replace(prior=kf.Gaussian(mean, np.diag([2.0, 1.0])))
    ys = np.array([[0.3], [1.2], [-0.4]])
    values = [
        quick_likelihood(kf.exact_diffuse(kf.kalman(), (1,)), m, ys, None, None)
        for m in (model, apart)
    ]
    np.testing.assert_allclose(*values, rtol=1e-12)
    # nothing is diffuse
    found = quick_likelihood(kf.exact_diffuse(kf.kalman(), ()), model, ys, None, None)
    np.testing.assert_allclose(found, kf.log_likelihood(kf.kalman(), model, ys), rtol=1e-12)


def dense_log_likelihood(F, rows, Q, R, ys):
    """The diffuse likelihood of y = C x_0 + v, all states diffuse, by generalised least squares."""
    powers = [np.eye(len(F))]
    for _ in ys:
        powers.append(F @ powers[-1])
    seen = np.array([h @ power for h, power in zip(rows, powers[1:], strict=True)])
    V = R * np.eye(len(ys))
    for t in range(len(ys)):
        after = np.array([h @ power for h, power in zip(rows[t:], powers, strict=False)])
        V[t:, t:] += after @ Q @ after.T
    whitened = np.linalg.solve(np.linalg.cholesky(V), np.column_stack([seen, ys]))
    triangle = np.linalg.qr(whitened, mode="r")
    logdet = np.linalg.slogdet(V)[1] + 2 * np.log(abs(np.diag(triangle)[:-1])).sum()
    return -0.5 * (len(ys) * np.log(2 * np.pi) + logdet + triangle[-1, -1] ** 2)


HARDLY_TOLD_APART = {
    "waves": st.level(0.3) + st.seasonal(52, 0.1, harmonics=6) + st.irregular(1.0),
    "cycle": st.trend(0.3, 0.01) + st.cycle(130.0, 0.1) + st.irregular(1.0),
    "regression": st.level(0.3) + st.regression(2) + st.irregular(1.0),
}


@pytest.mark.parametrize("name", HARDLY_TOLD_APART)
def test_starts_that_first_observations_hardly_tell_apart(x64, name):
    model = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), HARDLY_TOLD_APART[name])
    steps = np.arange(110.0)
    X = np.column_stack([1e-6 * steps, 1e-6 * steps + 1e-9 * steps**2])
    ys = 100 + 3 * np.sin(2 * np.pi * steps / 52) + np.random.default_rng(0).normal(size=110)
    if name == "regression":
        us, F, Q, rows = X, np.eye(3), np.diag([0.09, 0.0, 0.0]), np.column_stack([X**0, X])[:, 1:]
    else:
        us, rows = None, np.tile(model.h.A, (110, 1))
        F, Q = np.asarray(model.f.A), np.asarray(model.Q)
    expected = dense_log_likelihood(F, rows, Q, 1.0, ys)
    found = quick_likelihood(kf.exact_diffuse(), model, ys[:, None], us, None)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_models_whose_states_are_told_apart_keep_covariances():
    told = st.trend(1.0, 1.0) + st.seasonal(12, 1.0) + st.irregular(1.0)
    for model in (told, told.with_start(diffuse_variance=1e4).plain()):
        state = jax.eval_shape(kf.exact_diffuse().init, model)
        assert (type(state.belief) is kf.Gaussian) == (model is told)
    with pytest.warns(UserWarning, match="keeps covariances, which may lose all digits"):
        kf.exact_diffuse(kf.kalman()).init(HARDLY_TOLD_APART["waves"])
    plain = kf.systems.constant_velocity()
    one = jax.eval_shape(kf.exact_diffuse(components=(0,)).init, plain)
    assert type(one.belief) is kf.Gaussian


def test_misuse_raises():
    model = st.level() + st.irregular()
    exact = kf.exact_diffuse()
    with pytest.raises(ValueError, match="expected one that linearises"):
        kf.exact_diffuse(kf.unscented())
    with pytest.raises(ValueError, match="components are"):
        kf.run(kf.exact_diffuse(kf.kalman(), (3,)), model, np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"emit=kf\.whole_state"):
        kf.smooth(exact, model, kf.run(exact, model, np.ones((3, 1))).outputs)
