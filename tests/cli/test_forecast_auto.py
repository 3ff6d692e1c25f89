"""`kfjax forecast --model auto`: the season, the candidates, the choice, and bad series."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import kfjax as kf
from kfjax._cli import forecast_auto, forecast_cycle
from kfjax._cli.parser import main

QUARTERS = pd.date_range("2010-01-01", periods=40, freq="QS")


def sales():
    """Forty quarters of a level with a season."""
    rng = np.random.default_rng(1)
    season = 8 * np.sin(np.pi * np.arange(40) / 2 + 0.4)
    return 100 + np.cumsum(rng.normal(size=40)) + season + rng.normal(size=40)


def written(folder, values, dates=QUARTERS):
    """Write a table, and return its path."""
    path = folder / "sales.csv"
    pd.DataFrame({"quarter": dates[: len(values)], "sales": values}).to_csv(path, index=False)
    return str(path)


def forecast(path, *arguments):
    """Call the command, and return its status."""
    out = ("--out", path.replace("sales.csv", "forecast.csv"))
    return main(["forecast", path, "--time", "quarter", "--ys", "sales", *out, *arguments])


@pytest.mark.parametrize(
    ("frequency", "season"),
    [
        *[("MS", 12), ("ME", 12), ("BME", 12), ("QS-OCT", 4), ("QE-DEC", 4), ("W-SUN", 52)],
        *[("D", 7), ("B", 5), ("h", 24), ("2h", 12), ("5h", None), ("YS-JAN", 1), ("min", None)],
    ],
)
def test_the_season_of_a_calendar(frequency, season):
    assert forecast_auto.season_by(frequency) == season
    dates = pd.date_range("2010-01-01", periods=60, freq=frequency).to_numpy()
    data = kf.Dataset(np.ones((1, 60, 1)), labels=kf.data.Labels(ys=["y"], times=dates[None]))
    assert forecast_auto.season_of(None, data)[0] == (season or 1)
    assert forecast_auto.season_of(9, data) == (9, [])


def test_the_candidates():
    ys = sales()
    assert list(forecast_auto.candidates(ys, 4)) == [
        *["level", "level + season 4", "trend", "trend + season 4", "damped trend + season 4"]
    ]
    assert list(forecast_auto.candidates(ys, 1)) == ["level", "trend", "damped trend"]
    weekly = forecast_auto.candidates(ys, 52)["trend + season 52 of 6 waves"]
    assert weekly.n == 14
    for model in forecast_auto.candidates(ys, 4).values():
        assert set(model.parameters) - set(model.bounds) == set()


def test_the_likelihoods_that_are_compared_begin_when_every_start_is_known():
    ys = sales()
    assert forecast_auto.first_steps_of(ys, 1) == 2
    assert forecast_auto.first_steps_of(ys, 4) == 5
    ys[[1, 4]] = np.nan  # the second quarter is first seen at step 6
    assert forecast_auto.first_steps_of(ys, 4) == 7


def pretended(monkeypatch, log_likelihoods, period=None):
    """Replace fits by stand-ins that leave the model as it is, and the search for a cycle."""
    calls = []

    def fit(filter, model, data, *, skip, **settings):
        calls.append(skip)
        values = model.parameters
        names = tuple(kf.training.Parameter(n, float(v), *[None] * 5) for n, v in values.items())
        return kf.training.MaximumLikelihood(
            params=model, values=values, parameters=names, cov=np.eye(len(names)),
            log_likelihood=log_likelihoods[model.n], observations=35, converged=model.n != 2,
            gain=0.0, updates=1, starts=(0.0,), level=0.95, notes=(), filter=str(filter),
        )  # fmt: skip

    monkeypatch.setattr(forecast_auto, "maximum_likelihood", fit)
    monkeypatch.setattr(forecast_auto, "missing_cycle", lambda *_: period)
    return calls


def test_the_least_aic_is_chosen_and_forecast(tmp_path, monkeypatch, capsys):
    # by states: level 1, trend 2, with the season 3 more; the damped trend has one number more
    calls = pretended(monkeypatch, {1: -120.0, 2: -119.0, 4: -70.0, 5: -69.5})
    assert forecast(written(tmp_path, sales()), "--steps", "4") == 0
    printed, errors = capsys.readouterr()
    assert errors.splitlines()[-1] == "kfjax: fitting damped trend + season 4"
    assert "note" not in errors
    assert calls == [5, 5, 5, 5, 5, 0]
    assert re.search(r"> level \+ season 4 +3 +-70\.000 +146\.000\n", printed)
    assert re.search(r"  damped trend \+ season 4 +5 +-69\.500 +149\.000\n", printed)
    assert "35 observations after the first 5\nsteps" in printed
    assert "within 2 of the least AIC: trend + season 4." in printed
    assert "did not converge for: trend. Try --x64." in printed
    assert "although" not in printed
    table = pd.read_csv(tmp_path / "forecast.csv")
    assert list(table["quarter"].str[:10]) == [
        "2020-01-01",
        "2020-04-01",
        "2020-07-01",
        "2020-10-01",
    ]
    assert (tmp_path / "forecast.png").exists()


class Tried(SimpleNamespace):
    """A stand-in for a backtest."""

    def __getitem__(self, name):
        return self.scores[name]


def chosen(values, choose):
    """Call the choice alone, and return the chosen model."""
    args = SimpleNamespace(
        season=None, choose=choose, steps=4, skip=0, starts=1, level=0.95, seed=0
    )
    times = QUARTERS[: values.size].to_numpy()[None]
    labels = kf.data.Labels(ys=["sales"], times=times)
    data = kf.Dataset(values[None, :, None], labels=labels)
    return forecast_auto.choose_model(args, data).params


def test_the_least_mase_of_a_backtest_is_chosen(monkeypatch, capsys):
    pretended(monkeypatch, {1: -70.0, 2: -119.0, 4: -70.0, 5: -69.5})

    def tried(filter, model, data, *, horizon, first, season, fit):
        assert (horizon, first, season) == (4, 26, 4)
        assert fit(model, data).n == model.n
        score = SimpleNamespace(mase=SimpleNamespace(value=3.0 / model.n), coverage_95=0.9)
        return Tried(scores={"model": score}, answer="an answer.")

    monkeypatch.setattr(forecast_auto, "backtest", tried)
    assert chosen(sales(), "backtest").n == 5
    printed = capsys.readouterr().out
    assert re.search(r"> trend \+ season 4 .* 0\.600 +90 %", printed)
    assert "backtest of trend + season 4: an answer." in printed


def test_a_cycle_that_residuals_show_is_a_candidate(monkeypatch, capsys):
    # the cycle has two states more, and joins the better of level and trend without a season
    calls = pretended(monkeypatch, {1: -60.0, 2: -61.0, 3: -40.0, 4: -70.0, 5: -70.0}, 6.5)
    model = chosen(sales(), "aic")
    assert set(model.parameters) == {
        *["level.std", "irregular.std", "cycle.period", "cycle.std", "cycle.damping"]
    }
    assert float(model.parameters["cycle.period"]) == 6.5
    printed = capsys.readouterr().out
    assert re.search(r"> level \+ cycle +5 +-40\.000 +90\.000\n", printed)
    assert "Note: residuals of the sums without a cycle repeat after about 6.5 steps" in printed
    assert calls == [5, 5, 5, 5, 5, 5, 0]


def test_a_sum_whose_fit_did_not_converge_does_not_win_without_a_word(monkeypatch, capsys):
    pretended(monkeypatch, {1: -90.0, 2: -60.0, 4: -70.0, 5: -69.5})
    assert chosen(sales(), "aic").n == 2
    printed = capsys.readouterr().out
    assert "Note: trend was chosen although its fit did not converge" in printed
    assert "The best sum that converged is level + season 4, AIC 146.000." in printed


def test_the_cycle_of_residuals_is_found():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=200)
    wave = 2 * np.sin(2 * np.pi * np.arange(200) / 11)
    model = kf.structural.level(0.1) + kf.structural.irregular(1.0)

    def period(values, season=1):
        seasonal = forecast_auto.seasonal_periods(season)
        return forecast_cycle.missing_cycle(model, kf.Dataset(values[None, :, None]), 2, seasonal)

    assert period(noise) is None
    assert period(noise + wave) == pytest.approx(11, rel=0.03)
    # a season that is a candidate leaves out no cycle of its own period, nor of its second wave
    assert period(noise + wave, season=11) is None
    assert period(noise + wave, season=22) is None
    assert period(noise + wave, season=7) == pytest.approx(11, rel=0.03)
    # three cycles are too few, and correlation without a peak is no cycle
    assert forecast_cycle.peak_of(np.sin(np.arange(200) * 2 * np.pi * 3 / 200)) is None
    assert forecast_cycle.peak_of(noise + np.roll(noise, 1)) is None


def test_short_series_have_no_season(monkeypatch, capsys):
    calls = pretended(monkeypatch, {1: -20.0, 2: -30.0})
    assert chosen(sales()[:11], "aic").n == 1
    printed = capsys.readouterr().out
    assert "Note: 11 observations are fewer than two seasons of 4, or leave fewer" in printed
    assert "season 4 " not in printed
    assert calls == [2, 2, 2, 0]


UNEVEN = QUARTERS[[0, 1, 2, 5, 6, 9, 10, 11, 13, 20, 21]]
BAD = {
    "constant": (np.full(40, 3.0), QUARTERS, (), "the series is constant, 3 in all 40"),
    "missing": (np.full(40, np.nan), QUARTERS, (), "no observed number"),
    "uneven": (sales()[:11], UNEVEN, (), "the steps of the times vary from .* equal steps"),
    "few": (sales()[:5], QUARTERS, (), "5 numbers were observed; expected at least 10"),
    "fit": (sales(), QUARTERS, ("--fit",), "got --model auto and --fit; expected one of them"),
    "file": (sales(), QUARTERS, ("--data", "b.csv"), "got b.csv and .*sales.csv as data"),
    "season": (sales(), QUARTERS, ("--season", "0"), "whole number of at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_series_and_arguments_are_one_line(tmp_path, capsys, case):
    values, dates, arguments, text = BAD[case]
    assert forecast(written(tmp_path, values, dates), *arguments) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(text, line), line
    assert not (tmp_path / "forecast.csv").exists()


@pytest.mark.slow
def test_the_aic_of_the_table_is_that_of_the_steps_that_count(tmp_path, capsys, x64):
    path = written(tmp_path, sales())
    assert forecast(path, "--steps", "4", "--x64", "--starts", "1") == 0
    printed = capsys.readouterr().out
    best = re.search(r"> (level \+ season 4) +3 +(\S+) +(\S+)\n", printed)
    assert best, printed
    ys = sales()[:, None]
    data = kf.Dataset(ys[None])
    model = forecast_auto.candidates(ys[:, 0], 4)["level + season 4"]
    args = SimpleNamespace(starts=1, level=0.95, seed=0)
    fit = forecast_auto.fitted(args, model, data, 5)
    exact = kf.exact_diffuse(kf.kalman())
    _, info = kf.run(exact, fit.params, ys, emit=kf.estimate_and_info).outputs
    total = float(np.asarray(info.log_likelihood)[5:].sum())
    assert float(best[2]) == pytest.approx(total, abs=2e-3)
    assert float(best[3]) == pytest.approx(6 - 2 * total, abs=4e-3)
