"""One long series: residual checks, forecasts at the data's own times, and splits in time."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support.nile import NILE, local_level

import kfjax as kf
from kfjax.evaluation import forecast_series, residual_checks


def optimum():
    """The model at the maximum of the likelihood."""
    return local_level(1463.5472**0.5, 15108.3157**0.5, variance=1e6)


def test_residuals_of_the_nile_as_statsmodels_has_them(x64):
    """Statsmodels 0.15: UnobservedComponents(nile, "llevel").smooth([15108.3157, 1463.5472])."""
    checks = residual_checks(kf.kalman(), optimum(), NILE, skip=1)
    (channel,) = checks.channels
    assert channel.observations == 99
    assert channel.ljung_box == pytest.approx(13.23968087, rel=1e-6)
    assert channel.ljung_box_p == pytest.approx(0.21057805, rel=1e-6)
    assert channel.jarque_bera == pytest.approx(0.04518448, rel=1e-5)
    assert channel.jarque_bera_p == pytest.approx(0.97766105, rel=1e-6)
    assert channel.skewness == pytest.approx(-0.03243844, rel=1e-5)
    assert channel.kurtosis == pytest.approx(3.08212676, rel=1e-6)
    assert channel.heteroskedasticity == pytest.approx(0.61291486, rel=1e-6)
    assert channel.heteroskedasticity_p == pytest.approx(0.1649441, rel=1e-5)
    assert channel.variance == pytest.approx(1, abs=1e-4)  # as at every optimum
    assert "Ljung-Box (L10) (Q):             13.24" in str(checks)
    json.dumps(checks.to_dict(), allow_nan=False)


def test_missing_values_have_no_residual_and_trajectories_are_pooled(x64):
    gaps = np.where(np.arange(100)[:, None] % 17 == 5, np.nan, NILE)
    checks = residual_checks(kf.kalman(), optimum(), gaps, skip=1, lags=1)
    e = checks.residuals[0, :, 0]
    np.testing.assert_array_equal(np.isnan(e), np.isnan(gaps[:, 0]) | (np.arange(100) < 1))
    _, (_, info) = kf.run(
        kf.kalman(), optimum(), gaps, observed=~np.isnan(gaps), emit=kf.estimate_and_info
    )
    seen = ~np.isnan(e)
    right = info.innovation[:, 0] / np.sqrt(info.innovation_cov[:, 0, 0])
    np.testing.assert_allclose(e[seen], right[seen], rtol=1e-12)
    (channel,) = checks.channels
    early, late = e[1:34], e[67:]
    early, late = early[~np.isnan(early)], late[~np.isnan(late)]
    ratio = np.mean(late**2) / np.mean(early**2)
    below = stats.f.cdf(ratio, late.size, early.size)
    assert channel.heteroskedasticity == pytest.approx(ratio)
    assert channel.heteroskedasticity_p == pytest.approx(2 * min(below, 1 - below))
    about = e - np.nanmean(e)
    pairs = (about[1:] * about[:-1])[seen[1:] & seen[:-1]]
    r = pairs.mean() / np.nanmean(about**2)
    q = (1 + 2 / seen.sum()) * pairs.size * r**2
    assert channel.ljung_box == pytest.approx(q)
    twice = kf.Dataset(np.stack([gaps, gaps]), length=[100, 100])
    (pooled,) = residual_checks(kf.kalman(), optimum(), twice, skip=1, lags=1).channels
    assert pooled.observations == 2 * channel.observations
    assert pooled.kurtosis == pytest.approx(channel.kurtosis)


def test_residuals_of_a_wrong_model_fail():
    rng = np.random.default_rng(0)
    jumps = np.where(rng.random(400) < 0.03, 8.0, 1.0)  # heavy tails
    sizes = np.where(np.arange(400) < 200, 1.0, 3.0)  # and a variance that grows
    ys = (jumps * sizes * rng.normal(size=400)).cumsum()[:, None]
    (channel,) = residual_checks(kf.kalman(), local_level(0.1, 1.0), ys, skip=1).channels
    for p_value in (channel.ljung_box_p, channel.jarque_bera_p, channel.heteroskedasticity_p):
        assert p_value < 1e-3


def months(count, zone=None):
    """The Nile's numbers as a table by months."""
    dates = pd.date_range("2001-10-01", periods=count, freq="MS", tz=zone)
    return pd.DataFrame({"month": dates, "flow [m3/s]": NILE[:count, 0]})


@pytest.mark.filterwarnings("ignore:run. no function of the model reads u")
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_forecasts_go_on_by_the_calendar(zone, x64):
    data = kf.from_pandas(months(24, zone), ["flow"], time="month")
    ahead = forecast_series(kf.kalman(), optimum(), data, steps=4, level=0.9)
    table = ahead.to_pandas(time="month")
    dates = pd.date_range("2003-10-01", periods=4, freq="MS", tz=zone)
    assert (table["month"] == dates).all()
    assert ahead.future.spacing == "MS"
    days = np.diff(dates, prepend=dates[:1] - pd.DateOffset(months=1)) / np.timedelta64(86400, "s")
    np.testing.assert_allclose(ahead.future.us["dt"], 86400 * days[None].astype(float))
    final = kf.run(kf.kalman(), optimum(), NILE[:24]).final
    mean, cov = kf.forecast(kf.kalman(), optimum(), final, steps=4).observation
    np.testing.assert_allclose(table["flow"], mean[:, 0], rtol=1e-12)
    reach = stats.norm.ppf(0.95) * np.sqrt(cov[:, 0, 0])
    np.testing.assert_allclose(table["flow_high"] - table["flow"], reach, rtol=1e-9)
    np.testing.assert_allclose(table["flow"] - table["flow_low"], reach, rtol=1e-9)


def test_later_steps_with_inputs_are_rows_without_observations():
    rows = {"t": [1.0, 2.0, 3.0, 4.0, 5.0], "y": [1.0, 2.0, 3.0, None, None], "heat": range(5)}
    data = kf.from_pandas(pd.DataFrame(rows), ["y"], time="t", us=["heat"])
    known, future = kf.data.split_future(data)
    assert (known.steps, future.steps) == (3, 2)
    assert future.us["heat"].tolist() == [[3, 4]]
    assert future.times.tolist() == [[4.0, 5.0]]
    with pytest.raises(ValueError, match="those of 1 of 3 later steps are not known"):
        kf.data.split_future(data, 3)
    without = kf.from_pandas(pd.DataFrame(rows), ["y"], time="t")
    known, future = kf.data.split_future(without, 4)
    assert future.times.tolist() == [[4.0, 5.0, 6.0, 7.0]]
    assert future.us["dt"].tolist() == [[1.0] * 4]
    with pytest.raises(ValueError, match="expected a number of steps, or rows at the end"):
        kf.data.split_future(known)


def test_uneven_steps_go_on_with_their_median():
    rows = pd.DataFrame({"t": [0.0, 1.0, 5.0, 6.0, 7.0], "y": np.ones(5)})
    _, future = kf.data.split_future(kf.from_pandas(rows, ["y"], time="t"), 2)
    assert future.times.tolist() == [[8.0, 9.0]]
    assert future.spacing == "steps of 1, the median"


def test_splits_in_time_of_series_of_different_lengths():
    ys = np.arange(20.0).reshape(2, 10, 1)
    times = np.tile(np.arange(10.0), (2, 1))
    labels = kf.data.Labels(ys=["y"], times=times)
    data = kf.Dataset(ys, ys, {"a": ys[..., 0]}, length=[10, 5], labels=labels)
    first, second = kf.data.split_time(data, 0.6, 0.4)
    assert first.lengths.tolist() == [6, 3]
    assert second.lengths.tolist() == [4, 2]
    assert second.ys[0, :, 0].tolist() == [6, 7, 8, 9]
    assert second.us["a"][1, :2].tolist() == [13, 14]
    assert second.labels.times[1, :2].tolist() == [3, 4]
    by_count = kf.data.split_time(data[0], 8, 2)
    assert [part.steps for part in by_count] == [8, 2]
    for parts in ((6, 2), (0.9, 0.2), (), (0.5, 0.0)):
        with pytest.raises(ValueError, match="expected parts of at least one step"):
            kf.data.split_time(data, *parts)


def test_bad_series():
    with pytest.raises(ValueError, match="has 4 residuals; expected at least 6"):
        residual_checks(kf.kalman(), optimum(), NILE[:4])
    with pytest.raises(ValueError, match="lags is 10; expected a whole number from 1 to 9"):
        residual_checks(kf.kalman(), optimum(), NILE[:10], lags=10)
    with pytest.raises(ValueError, match="no forecasts of observations"):
        forecast_series(kf.particle(10), optimum(), kf.Dataset(NILE[None, :10]), steps=2)
