"""Backtests beside a loop in numpy, and the score of a normal distribution by quadrature."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from support.nile import local_level

import kfjax as kf
from kfjax.evaluation import backtest, gaussian_crps
from kfjax.evaluation.forecast_scores import mean_of_overlapping

SEASON, HORIZON, FIRST = 4, 3, 12
STD = (0.7, 1.3)  # of the level and of the noise


def series():
    """A season with noise, with a gap in the past and one in the future."""
    rng = np.random.default_rng(3)
    ys = 10 + 2 * np.sin(np.pi * np.arange(30) / 2 + 0.3) + rng.normal(size=30)
    ys[[5, 20]] = np.nan
    return ys


def level_before(ys, origin, q, r):
    """Return the mean and variance of a local level, with a loop."""
    mean, var = 0.0, 1e3
    for t in range(origin):
        var = var + q if t else var
        if not np.isnan(ys[t]):
            gain = var / (var + r)
            mean, var = mean + gain * (ys[t] - mean), (1 - gain) * var
    return mean, var


def by_hand(ys, origins):
    """Return {(method, horizon): list of (scaled error, error, std)} and the horizon's truth."""
    q, r = STD[0] ** 2, STD[1] ** 2
    found = {}
    for origin in origins:
        past = ys[:origin]
        scale = np.nanmean(np.abs(past[SEASON:] - past[:-SEASON]))
        mean, var = level_before(ys, origin, q, r)
        for h in range(1, HORIZON + 1):
            y = ys[origin + h - 1]
            if np.isnan(y):
                continue
            forecasts = {"model": (mean, np.sqrt(var + h * q + r))}
            for name, period in (("naive", 1), ("seasonal naive", SEASON)):
                at = origin + h - 1
                while at >= origin or np.isnan(ys[at]):
                    at -= period
                size = np.sqrt(np.nanmean((past[period:] - past[:-period]) ** 2))
                age = (origin + h - 1 - at) / period
                forecasts[name] = (ys[at], size * np.sqrt(age))
            for name, (centre, std) in forecasts.items():
                error = y - centre
                found.setdefault((name, h), []).append((abs(error) / scale, error, std))
    return found


@pytest.mark.parametrize("every", [1, 2])
def test_scores_are_those_of_a_loop(every, x64):
    ys = series()
    model = local_level(*STD, variance=1e3)
    result = backtest(
        kf.kalman(), model, ys[:, None], horizon=HORIZON, first=FIRST, every=every, season=SEASON
    )
    right = by_hand(ys, range(FIRST, 30 - HORIZON + 1, every))
    for row in result.rows:
        hs = range(1, HORIZON + 1) if row.horizon is None else [row.horizon]
        scaled, error, std = np.concatenate([right[row.method, h] for h in hs]).T
        assert row.forecasts == error.size
        if row.horizon is not None:  # over all horizons, origins count alike
            assert row.mase.value == pytest.approx(scaled.mean())
        assert row.rmse == pytest.approx(np.sqrt((error**2).mean()))
        assert row.crps == pytest.approx(gaussian_crps(0.0, std, error).mean())
        for p, covered in ((0.8, row.coverage_80), (0.95, row.coverage_95)):
            low, high = stats.norm(0, std).interval(p)
            assert covered == pytest.approx(np.mean((error > low) & (error < high)))
    written = json.loads(result.to_json())
    assert written["answer"] == result.answer
    assert written["rows"][0]["forecasts"] == result["model"].forecasts


@pytest.mark.parametrize(("mean", "std", "y"), [(0.0, 1.0, 0.0), (2.0, 0.5, 4.0), (1.0, 3.0, -2.0)])
def test_crps_is_the_integral_that_defines_it(mean, std, y):
    below = integrate.quad(lambda x: stats.norm.cdf(x, mean, std) ** 2, -np.inf, y)[0]
    above = integrate.quad(lambda x: stats.norm.sf(x, mean, std) ** 2, y, np.inf)[0]
    assert gaussian_crps(mean, std, y) == pytest.approx(below + above, rel=1e-6)


def test_crps_of_a_point_and_of_bad_numbers():
    np.testing.assert_allclose(gaussian_crps([1.0, 2.0], 0.0, [3.0, 2.0]), [2.0, 0.0])
    with pytest.raises(ValueError, match=r"std is -1\.0 somewhere; expected 0 or more"):
        gaussian_crps(0.0, -1.0, 0.0)
    with pytest.raises(ValueError, match=r"gaussian_crps: y has NaN at \[1\]; expected finite"):
        gaussian_crps(0.0, 1.0, [0.0, np.nan])
    with pytest.raises(ValueError, match=r"got shapes .*'y': \(3,\)}; expected equal ones"):
        gaussian_crps(np.zeros(2), 1.0, np.zeros(3))


def test_refits_see_the_past_alone_and_each_origin_has_its_own(x64):
    ys = series()
    seen = []

    def fit(params, train):
        assert train.steps == ys.size  # one shape
        origin = int(train.lengths[0])
        known = np.where(train.observed[0, :, 0], train.ys[0, :, 0], np.nan)
        np.testing.assert_array_equal(known[:origin], ys[:origin])
        assert (train.ys[0, origin:] == 0).all()
        seen.append(float(params.R[0, 0]))
        return params.replace(R=params.R + 1)

    model = local_level(*STD, variance=1e3)
    result = backtest(
        kf.kalman(), model, ys[:, None], horizon=2, first=FIRST, every=5, fit=fit, refit_every=2
    )
    assert result.origins.tolist() == [12, 17, 22, 27]
    assert result.refits.tolist() == [12, 22]
    np.testing.assert_allclose(seen, [STD[1] ** 2, STD[1] ** 2 + 1])
    for row, origin in enumerate(result.origins):
        r = STD[1] ** 2 + 1 + row // 2
        mean, var = level_before(ys, origin, STD[0] ** 2, r)
        assert result.mean[row, 0] == pytest.approx(mean)
        assert result.std[row, 0] == pytest.approx(np.sqrt(var + STD[0] ** 2 + r))
    assert "fitted 2 times" in str(result)


def test_inputs_of_future_steps_and_dtypes():
    """A model whose level is moved by its inputs forecasts with those of each origin."""
    us = np.arange(20.0)[:, None]
    ys = np.cumsum(us, axis=0)
    model = kf.StateSpaceModel(
        lambda x, u: x + u, lambda x, u: x, jnp.eye(1) * 1e-4, jnp.eye(1) * 1e-4,
        kf.Gaussian(jnp.zeros(1), jnp.eye(1) * 1e-4),
    )  # fmt: skip
    result = backtest(kf.extended(), model, ys, us=us, horizon=2, first=5)
    np.testing.assert_allclose(result.mean, result.truth, rtol=1e-4)
    assert result.best == "model"
    assert "is worse by at least" in result.answer


def test_no_verdict_where_intervals_hold_zero():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=60))[:, None]
    result = backtest(kf.kalman(), local_level(1.0, 0.05, variance=1e3), walk, horizon=1)
    assert result.answer.startswith("No verdict between ")
    few = backtest(kf.kalman(), local_level(1.0, 0.05, variance=1e3), walk, horizon=1, first=58)
    assert "too few origins for intervals" in few.answer
    text = str(few).splitlines()
    assert text[-1] == few.answer
    assert "MASE" in text[2]


def test_intervals_of_overlapping_forecasts(x64):
    """The variance of a moving average of 3 is larger than that of independent numbers."""
    noise = np.random.default_rng(0).normal(size=(400, 102))
    moving = (noise[:, 2:] + noise[:, 1:-1] + noise[:, :-2]) / 3
    inside = [mean_of_overlapping(row, 3) for row in moving]
    naive = [mean_of_overlapping(row, 1) for row in moving]
    covered, without = (np.mean([i.low < 0 < i.high for i in some]) for some in (inside, naive))
    assert 0.91 < covered < 0.98
    assert without < 0.8
    independent = mean_of_overlapping(noise[0], 1)
    half = stats.t(101).ppf(0.975) * noise[0].std(ddof=1) / np.sqrt(102)
    assert independent.high - independent.value == pytest.approx(half)


BAD = {
    "two": ({"data": kf.Dataset(np.ones((2, 9, 1)))}, "got 2 trajectories; expected one series"),
    "short": ({"horizon": 16}, "need 31 steps, and there are 30"),
    "first": ({"first": 4, "season": 4}, "first is 4 and season 4; expected an origin that knows"),
    "refit": ({"refit_every": 2}, "refit_every without fit"),
    "flat": ({"data": np.ones((30, 1))}, "the series does not change before them"),
    "none": (
        {"data": np.array([[1, np.nan]] * 30), "channel": 1},
        "nothing was observed of channel 1",
    ),
    "name": ({"name": "naive"}, "name is 'naive', which is another method"),
    "channel": ({"channel": 1}, "channel is 1; expected a whole number from 0 to 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    changes, text = BAD[case]
    given = {"data": series()[:, None], "horizon": 3} | changes
    with pytest.raises(ValueError, match=text):
        backtest(kf.kalman(), local_level(*STD, variance=1e3), given.pop("data"), **given)
    with pytest.raises(ValueError, match=r"params is None; expected a kfjax\.StateSpaceModel"):
        backtest(kf.kalman(), None, series()[:, None], horizon=3)
