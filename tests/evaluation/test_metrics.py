"""Metrics against numpy and scipy, and intervals against their nominal frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import kfjax as kf
from kfjax import evaluation as ev

N, T, DIM = 4, 6, 3


def estimates(rng):
    """A batch of truths and estimates with proper covariances; some truth is not known, some steps
    do not count.
    """
    A = rng.normal(size=(N, T, DIM, 2 * DIM))
    truth, mean, cov = (
        rng.normal(size=(N, T, DIM)),
        rng.normal(size=(N, T, DIM)),
        A @ A.swapaxes(-1, -2),
    )
    length = np.array([6, 4, 6, 1])
    counted = np.broadcast_to((np.arange(T) < length[:, None])[..., None], truth.shape).copy()
    truth[0, 2, 1] = truth[2, 3] = np.nan
    counted[0, 2, 1] = counted[2, 3] = False
    truth[1, 4:], mean[1, 5], cov[3, 1:] = (
        np.nan,
        np.nan,
        np.inf,
    )  # after the end anything may stand
    return truth, mean, cov, length, counted


def test_mse_is_over_steps_and_known_dimensions(x64):
    truth, mean, _, length, counted = estimates(np.random.default_rng(0))
    expected = [np.mean((truth[i] - mean[i])[counted[i]] ** 2) for i in range(N)]
    np.testing.assert_allclose(ev.mse(truth, mean, length=length), expected, rtol=1e-12)
    np.testing.assert_allclose(ev.rmse(truth, mean, length=length), np.sqrt(expected), rtol=1e-12)
    np.testing.assert_allclose(ev.mse(truth[0], mean[0]), expected[0], rtol=1e-12)


def test_nees_and_coverage_against_numpy(x64):
    truth, mean, cov, length, counted = estimates(np.random.default_rng(1))
    nees, coverage = (
        ev.nees(truth, mean, cov, length=length),
        ev.coverage(truth, mean, cov, length=length, probability=0.5),
    )
    for i, t in np.ndindex(N, T):
        known = counted[i, t]
        e, P = (truth - mean)[i, t][known], cov[i, t][np.ix_(known, known)]
        np.testing.assert_allclose(
            nees.total[i, t], e @ np.linalg.solve(P, e) if known.any() else 0.0, rtol=1e-10
        )
        assert nees.count[i, t] == known.sum()
        inside = np.abs(e) <= stats.norm.ppf(0.75) * np.sqrt(np.diag(P))
        assert coverage.total[i, t][known].tolist() == inside.tolist()
        assert coverage.count[i, t].tolist() == known.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nees_with_a_singular_covariance_counts_its_rank(dtype, x64):
    rng = np.random.default_rng(2)
    L = rng.normal(size=(20, DIM, 2)).astype(dtype)
    z = rng.normal(size=(20, 2)).astype(dtype)
    value, dof = ev.nees(
        (L @ z[..., None])[..., 0], np.zeros((20, DIM), dtype), L @ L.swapaxes(-1, -2)
    )
    assert (np.asarray(dof) == 2).all()
    np.testing.assert_allclose(value, (z**2).sum(-1), rtol=1e-8 if dtype == np.float64 else 0.02)
    known_exactly = ev.nees(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2, 2)))
    assert (float(known_exactly.total[0]), int(known_exactly.count[0])) == (0.0, 0)


def finite_and_broken(rng):
    """Consistent estimates [20, 2], of which every other one may be replaced."""
    A = rng.normal(size=(20, 2, 4))
    cov = A @ A.swapaxes(-1, -2)
    error = (np.linalg.cholesky(cov) @ rng.normal(size=(20, 2, 1)))[..., 0]
    return error, np.zeros((20, 2)), cov


BROKEN = {
    "negative": (100.0, -np.eye(2)),
    "indefinite": (0.0, np.array([[1.0, 2.0], [2.0, 1.0]])),
    "correlated without variance": (0.0, np.array([[0.0, 1.0], [1.0, 2.0]])),
    "no variance": (1.0, np.zeros((2, 2))),
    "NaN": (0.0, np.full((2, 2), np.nan)),
    "one NaN": (0.0, np.array([[1.0, np.nan], [np.nan, 1.0]])),
    "infinite": (0.0, np.diag([np.inf, 1.0])),
    "estimate NaN": (np.nan, np.eye(2)),
    "estimate infinite": (np.inf, np.eye(2)),
    "error across the range": (np.array([1.0, -1.0]), np.ones((2, 2))),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BROKEN)
def test_steps_at_which_a_filter_broke_count_against_it(name, dtype, x64):
    truth, mean, cov = finite_and_broken(np.random.default_rng(8))
    mean[::2] = truth[::2] + BROKEN[name][0]
    cov[::2] = BROKEN[name][1]
    truth, mean, cov = (a.astype(dtype) for a in (truth, mean, cov))
    nees, coverage = ev.nees(truth, mean, cov), ev.coverage(truth, mean, cov)
    assert np.isposinf(nees.total[::2]).all()
    assert (nees.count == 2).all()
    assert np.isfinite(nees.total[1::2]).all()
    assert (coverage.count == 1).all()
    if name != "error across the range":  # each component alone is within its interval
        assert not coverage.total[::2].any()
    total, count = (np.asarray(leaf.sum(), np.float64)[None] for leaf in nees)
    value, low, high = ev.anees(total, count, [20])
    assert value == np.inf > high > low
    if not np.isfinite(BROKEN[name][0]).all():
        assert ev.mse(truth, mean) == ev.rmse(truth, mean) == np.inf
    sums = ev.nees(np.where(np.arange(20)[:, None] % 2, truth, np.nan), mean, cov)
    assert np.isfinite(sums.total).all()  # nothing is known of the steps at which the filter failed
    assert sums.count.tolist() == [0, 2] * 10
    assert np.isfinite(ev.nees(truth, mean, cov, length=0).total).all()


def test_rounding_is_no_error_where_a_state_is_known_exactly():
    steps = np.arange(1, 1001, dtype=np.float32)[:, None]
    truth = np.concatenate([steps * np.float32(0.1), np.ones((1000, 1), np.float32)], axis=1)
    drifted = np.cumsum(np.full((1000, 1), 0.1, np.float32), axis=0, dtype=np.float32)
    mean = np.concatenate([drifted, np.zeros((1000, 1), np.float32)], axis=1)
    assert np.abs(truth - mean)[:, 0].max() > 1e-4
    cov = np.broadcast_to(np.diag([0.0, 1.0]).astype(np.float32), (1000, 2, 2))
    value, dof = ev.nees(truth, mean, cov)
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)
    assert (dof == 1).all()
    assert ev.coverage(truth, mean, cov).count.sum(0).tolist() == [0, 1000]


def test_a_state_that_is_known_to_be_zero_has_no_interval_to_lie_in():
    zeros = np.zeros((4, 1))
    assert ev.coverage(zeros, zeros, zeros[..., None]).count.sum() == 0
    assert ev.nees(zeros, zeros, zeros[..., None]).count.sum() == 0


def test_the_error_of_a_perfect_estimate_and_its_gradient_are_zero():
    truth = jnp.ones((5, 2))
    for metric in (ev.mse, ev.rmse):
        assert metric(truth, truth) == 0.0
        assert metric(truth, truth + 1) == 1.0
        np.testing.assert_array_equal(jax.grad(lambda m, f=metric: f(truth, m))(truth), 0.0)
    slope = jax.grad(lambda m: ev.rmse(truth, m))(truth.at[0, 0].add(0.3))
    np.testing.assert_allclose(slope[0, 0], 1 / np.sqrt(10), rtol=1e-5)


def test_an_infinite_truth_is_refused_or_counts():
    truth, mean = np.zeros((3, 2)), np.zeros((3, 2))
    truth[1, 0] = np.inf
    cov = np.broadcast_to(np.eye(2), (3, 2, 2))
    for metric, more in ((ev.mse, ()), (ev.rmse, ()), (ev.nees, (cov,)), (ev.coverage, (cov,))):
        with pytest.raises(ValueError, match=r"truth is infinite at \(1, 0\); expected finite"):
            metric(truth, mean, *more)
        metric(truth, mean, *more, length=1)  # after the end anything may stand
    assert jax.jit(ev.mse)(truth, mean) == np.inf
    assert jax.jit(ev.nees)(truth, mean, cov).total.tolist() == [0, np.inf, 0]
    assert jax.jit(ev.coverage)(truth, mean, cov).total[1, 0] == 0


def test_errors_on_curved_spaces_use_the_difference_of_the_model():
    truth, mean = jnp.array([[3.1, 1.0]]), jnp.array([[-3.1, 1.0]])
    wrapped = (2 * np.pi - 6.2) ** 2
    assert float(ev.mse(truth, mean, difference=kf.angles(0).difference)) == pytest.approx(
        wrapped / 2, rel=1e-4
    )

    def on_circle(a, b):  # points of the plane, one tangent dimension
        return jnp.arctan2(b[0] * a[1] - b[1] * a[0], a @ b)[None]

    a, b = jnp.array([[0.0, 1.0], [jnp.nan, jnp.nan]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])
    value, dof = ev.nees(a, b, jnp.full((2, 1, 1), 4.0), difference=on_circle)
    assert value[0] == pytest.approx((np.pi / 2) ** 2 / 4, rel=1e-5)
    assert dof.tolist() == [1, 0]


def test_innovation_products_against_loops(x64):
    rng = np.random.default_rng(3)
    A = rng.normal(size=(N, T, 2, 3))
    S, seen = A @ A.swapaxes(-1, -2), rng.random((N, T, 2)) < 0.7
    S = np.where(seen[..., None] & seen[..., None, :], S, 0)
    innovation = np.where(seen, rng.normal(size=(N, T, 2)), 0)
    w = np.zeros((N, T, 2))
    for at in np.ndindex(N, T):
        k = seen[at]
        w[at][k] = np.linalg.solve(np.linalg.cholesky(S[at][np.ix_(k, k)]), innovation[at][k])
    total, count = ev.innovation_products(innovation, S, lags=3)
    for lag in range(4):
        np.testing.assert_allclose(
            total[:, lag], (w[:, lag:] * w[:, : T - lag]).sum((1, 2)), atol=1e-12
        )
        np.testing.assert_array_equal(
            count[:, lag], (seen[:, lag:] & seen[:, : T - lag]).sum((1, 2))
        )


def test_mean_and_chi_square_intervals_against_scipy():
    values = np.random.default_rng(4).exponential(size=30)
    expected = stats.t.interval(0.9, 29, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(ev.mean_interval(values, level=0.9), [values.mean(), *expected])
    dofs = np.array([1.0, 7.0, 1e5])
    np.testing.assert_allclose(
        ev.chi_square_interval(dofs), stats.chi2.ppf([[0.025], [0.975]], dofs) / dofs
    )
    np.testing.assert_allclose(
        ev.anis([3.0, 5.0], [4, 6]), [0.8, *(stats.chi2.ppf([0.025, 0.975], 10) / 10)]
    )


def test_decibels():
    mses = np.array([0.5, 1.0, 1.5, 9.0])
    value, low, high = ev.mse_db(mses)
    assert value == pytest.approx(10 * np.log10(3))
    half = stats.t.ppf(0.975, 3) * stats.sem(mses)
    assert high - value == pytest.approx(value - low) == pytest.approx(10 / np.log(10) * half / 3)
    root = ev.rmse_interval(mses)
    assert root.value == pytest.approx(np.sqrt(3))
    assert root.high - root.value == pytest.approx(half / (2 * np.sqrt(3)))
    assert ev.median_db(mses) == pytest.approx(10 * np.log10(1.25))
    assert ev.to_db(0.0) == -np.inf


def test_one_trajectory_has_no_spread_and_a_failed_one_no_interval():
    assert ev.mse_db([2.0])[1:] == (-np.inf, np.inf)
    assert ev.paired_db([2.0], [1.0])[1:] == (-np.inf, np.inf)
    failed = [1.0, np.inf, 2.0]
    for interval in (ev.mse_db(failed), ev.rmse_interval(failed)):
        assert interval.value == np.inf
        assert np.isnan(interval[1:]).all()
    assert np.isnan(ev.paired_db(failed, [1.0, 1.0, 1.0])).all()
    assert ev.median_db(failed) == pytest.approx(10 * np.log10(2))
    assert ev.mse_db([0.0, 0.0]).value == -np.inf
    assert ev.rmse_interval([0.0, 0.0]) == (0.0, 0.0, 0.0)


def test_confidence_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(5)
    a = rng.gamma(2.0, size=(1000, 60))
    b = a * rng.gamma(8.0, size=a.shape) / 8.0 * 0.5  # correlated with a, half its mean
    single = [ev.mse_db(row) for row in a]
    paired = [ev.paired_db(x, y) for x, y in zip(a, b, strict=True)]
    for intervals, true in ((single, 2.0), (paired, 2.0)):
        held = np.mean([low <= 10 * np.log10(true) <= high for _, low, high in intervals])
        assert 0.92 < held < 0.975
    unpaired = ev.mse_db(a[0]).high - ev.mse_db(a[0]).value
    assert paired[0].high - paired[0].value < 0.8 * unpaired
    np.testing.assert_allclose(ev.paired_db(a[0], b[0]).value, -ev.paired_db(b[0], a[0]).value)


@pytest.mark.parametrize("correlation", [0.0, 0.9, 0.999])
def test_anees_interval_accounts_for_correlation_in_time(correlation):
    rng = np.random.default_rng(6)
    repeats, trials, steps, n = 400, 40, 60, 2
    e = rng.normal(size=(steps, repeats, trials, n))
    for t in range(1, steps):
        e[t] = correlation * e[t - 1] + np.sqrt(1 - correlation**2) * e[t]
    totals = (e**2).sum((0, -1))
    one = np.ones(trials)
    intervals = [ev.anees(row, steps * n * one, steps * one) for row in totals]
    assert 0.92 < np.mean([low <= value <= high for value, low, high in intervals]) <= 0.985
    np.testing.assert_allclose(intervals[0].value, totals[0].sum() / (trials * steps * n))
    overconfident = ev.anees(2 * totals[0], steps * n * one, steps * one)
    assert overconfident.value > overconfident.high
    alone = ev.anees(totals[0, :1], [steps * n], [steps])
    np.testing.assert_allclose(alone[1:], stats.chi2.ppf([0.025, 0.975], n) / n)


def test_whiteness():
    rng = np.random.default_rng(7)
    noise, ones = rng.normal(size=(200, 50, 2)), np.ones((200, 50, 2, 2)) * np.eye(2)
    products, counts = ev.innovation_products(noise, ones, lags=5)
    white = ev.whiteness(products, counts)
    expected = [np.mean(noise[:, k:] * noise[:, : 50 - k]) / np.mean(noise**2) for k in range(1, 6)]
    np.testing.assert_allclose(white.autocorrelation, expected, atol=1e-5)
    np.testing.assert_allclose(
        white.bound, 1.959964 / np.sqrt(200 * 2 * (50 - np.arange(1, 6))), rtol=1e-5
    )
    assert (np.abs(white.autocorrelation) < 1.5 * white.bound).all()
    assert white.p_value == pytest.approx(stats.chi2.sf(white.statistic, 5))
    assert white.p_value > 0.01
    coloured = ev.whiteness(
        *ev.innovation_products(noise[:, 1:] + 0.2 * noise[:, :-1], ones[:, 1:], lags=5)
    )
    assert coloured.autocorrelation[0] > 0.15 > coloured.bound[0]
    assert coloured.p_value < 1e-6
    for S in (-np.eye(2), np.array([[1.0, 2.0], [2.0, 1.0]]), np.full((2, 2), np.nan)):
        broken = np.where(np.arange(50)[:, None, None] == 7, S, ones)
        assert np.isnan(ev.whiteness(*ev.innovation_products(noise, broken, 3)).p_value)
    gaps = ev.whiteness([3.0, 0.5, 0.0], [4, 2, 0])  # nothing seen two steps apart
    assert np.isnan(gaps.autocorrelation[1])
    statistic = (1 + 2 / 4) * 2 * (0.25 / 0.75) ** 2
    assert gaps.p_value == pytest.approx(stats.chi2.sf(statistic, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ev.mse(jnp.zeros((3, 2)), jnp.zeros((3, 4))),
            r"truth has shape \(3, 2\) and the estimates \(3, 4\)",
        ),
        (
            lambda: ev.coverage(
                jnp.zeros((3, 1)), jnp.zeros((3, 1)), jnp.ones((3, 1, 1)), probability=95
            ),
            "probability is 95",
        ),
        (
            lambda: ev.innovation_products(jnp.zeros((3, 1)), jnp.ones((3, 1, 1)), lags=3),
            "lags is 3; expected a whole number from 0 to 2",
        ),
        (lambda: ev.mse(jnp.ones((3, 2)) * 1j, jnp.zeros((3, 2))), "truth is complex"),
        (lambda: ev.mse(jnp.zeros((3, 2)), 1j * jnp.ones((3, 2))), "estimates is complex"),
        (lambda: ev.mse(np.array([["a"]]), np.array([["b"]])), "truth has type <U1"),
        (
            lambda: ev.nees(jnp.zeros((3, 2)), jnp.zeros((3, 2)), jnp.ones((3, 2))),
            r"nees: cov has shape \(3, 2\); expected \(3, 2, 2\)",
        ),
        (
            lambda: ev.coverage(jnp.zeros((3, 2)), jnp.zeros((3, 2)), 1j * jnp.ones((3, 2, 2))),
            "coverage: cov is complex",
        ),
        (
            lambda: ev.mse(jnp.zeros((3, 2)), jnp.zeros((3, 2)), length=4),
            "between 4 and 4; .* 0 to",
        ),
        (lambda: ev.mse(jnp.zeros((3, 2)), jnp.zeros((3, 2)), length=-1), "between -1 and -1"),
        (lambda: ev.mse(jnp.zeros((3, 2)), jnp.zeros((3, 2)), length=2.0), "length is float"),
        (
            lambda: ev.mse(jnp.zeros((5, 3, 2)), jnp.zeros((5, 3, 2)), length=[1, 2]),
            r"of shape \(2,\); expected whole numbers of shape \(5,\)",
        ),
        (lambda: ev.anis([], [4]), r"anis: totals: got shape \(0,\); expected \[N\]"),
        (lambda: ev.anis([1.0, 2.0], [4]), "anis: got shapes .*; expected"),
        (lambda: ev.anis([1.0], [-4]), "anis: dofs is -4"),
        (lambda: ev.anis([1j], [4]), "anis: totals is complex"),
        (lambda: ev.anees([1.0], [4], [1, 2]), "anees: got shapes"),
        (lambda: ev.anees([1.0], [4], [0]), "steps is 0 where dofs is not"),
        (lambda: ev.to_db([1j]), "to_db: x is complex"),
        (lambda: ev.to_db([1.0, -2.0]), "to_db: x is -2.0 somewhere; expected 0 or more"),
        (lambda: ev.chi_square_interval(-1), "dof is -1.0 somewhere; expected degrees of freedom"),
        (
            lambda: ev.innovation_products(jnp.zeros((3, 1)), jnp.ones((3, 1)), lags=1),
            r"cov \(3, 1\); expected \[..., T, m\]",
        ),
        (lambda: ev.whiteness([1.0, 2.0], [1]), r"counts has shape \(1,\)"),
        (lambda: ev.whiteness([1.0, 2.0], [1, 2, 3]), "and counts"),
        (lambda: ev.mse_db([]), r"mse_db: got shape \(0,\); expected \[N\]"),
        (lambda: ev.mse_db([[1.0]]), r"got shape \(1, 1\)"),
        (lambda: ev.mean_interval([1.0, 2.0], level=95), "level is 95; expected a finite number"),
        (lambda: ev.paired_db([1.0, 2.0], [1.0]), "got 2 and 1 trajectories"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["mse", "rmse", "squared_error"])
def test_errors_name_the_function_that_was_called(name):
    with pytest.raises(ValueError, match=rf"^{name}: truth has shape .* expected"):
        getattr(ev, name)(np.ones((3, 2)), np.ones((4, 2)))
