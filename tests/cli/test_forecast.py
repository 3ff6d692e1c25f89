"""`kfjax forecast` as people call it: a summary, a table, a picture, and JSON."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from support.nile import NILE

from kfjax._cli.parser import main

MODELS = """
import numpy as np
import kfjax as kf

PRIOR = kf.Gaussian(np.zeros(1), 1e7 * np.eye(1))

def level(level_std=30.0, irregular_std=100.0):
    Q, R = level_std**2 * np.eye(1), irregular_std**2 * np.eye(1)
    return kf.linear_gaussian([[1.0]], [[1.0]], Q, R, PRIOR, first="update")

def in_numpy(level_std=30.0):
    return kf.linear_gaussian([[1.0]], [[1.0]], np.diag([level_std]), [[1e4]], PRIOR)

fixed = level(38.0, 123.0)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "nile.py").write_text(MODELS)
    frame = pd.DataFrame({"year": range(1871, 1971), "volume [1e8 m3]": NILE[:, 0]})
    frame.to_csv(tmp_path / "nile.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


DATA = ("--data", "nile.csv", "--time", "year", "--ys", "volume")


def forecast(*arguments, model="level"):
    """Call the command, and return its status."""
    return main(["forecast", *DATA, "--model", f"nile.py:{model}", *arguments])


def test_a_fit_with_the_last_years_kept_back(here, capsys, x64):
    assert forecast("--fit", "--holdout", "20", "--x64", "--out", "f.csv") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for part in ("1871 to 1970", "level_std", "Ljung-Box", "20 observations kept back"):
        assert part in printed.out
    table = pd.read_csv(here / "f.csv")
    assert list(table["year"]) == list(range(1951, 1971))
    names = ["year", "volume", "volume_std", "volume_low", "volume_high"]
    assert list(table.columns) == names
    written = json.loads((here / "f.json").read_text())
    level, irregular = (
        next(p for p in written["fit"]["parameters"] if p["name"] == name)
        for name in ("level_std", "irregular_std")
    )
    # the variance of the first year ahead: that of the level, a step of it, and the noise
    q, r = level["estimate"] ** 2, irregular["estimate"] ** 2
    steady = (q + np.sqrt(q**2 + 4 * q * r)) / 2
    np.testing.assert_allclose(table["volume_std"][0], np.sqrt(steady + r), rtol=1e-6)
    assert written["fit"]["converged"]
    (held,) = written["holdout"]
    error = NILE[80:, 0] - table["volume"]
    np.testing.assert_allclose(held["mae"], np.abs(error).mean(), rtol=1e-6)
    naive = np.abs(NILE[80:, 0] - NILE[79, 0]).mean()
    np.testing.assert_allclose(held["naive_mae"], naive, rtol=1e-6)
    assert held["covered"] == 1
    assert (here / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_as_it_is(here, capsys):
    kept_back = ("--holdout", "5", "--steps", "3")
    assert forecast(*kept_back, "--level", "0.5", model="fixed") == 0
    table = pd.read_csv(here / "forecast.csv")
    assert list(table["year"]) == [1966, 1967, 1968]
    half = table["volume_high"] - table["volume"]
    np.testing.assert_allclose(half, 0.67449 * table["volume_std"], rtol=1e-4)
    printed = capsys.readouterr().out
    assert "50 % intervals; times: steps of 1" in printed
    assert "of 3 observations in the first 3 of the 5 steps kept back" in printed
    assert "Note: residuals" not in printed


def test_quarters_and_a_model_that_leaves_something_out(here, capsys):
    steps = np.arange(100)
    columns = {"year": 1959 + steps // 4, "quarter": 1 + steps % 4}
    cycle = 1000 + 300 * np.sin(steps / 2)
    pd.DataFrame(columns | {"volume": cycle}).to_csv("nile.csv", index=False)
    dark = ("--style", "dark_background")
    assert forecast("--time", "year,quarter", "--steps", "3", *dark, model="fixed") == 0
    assert imread("forecast.png")[0, 0, :3].max() == 0
    printed = capsys.readouterr().out
    assert "Note: residuals of volume are correlated in time (Prob(Q) " in printed
    assert "times: QS" in printed
    assert " s (90 to 92 days)" in printed
    assert list(pd.read_csv("forecast.csv")["time"]) == ["1984-01-01", "1984-04-01", "1984-07-01"]


BAD = {
    (): "forecast_series: steps is None, and the data end with an observation",
    ("--steps", "0"): "--steps: got '0'; expected a whole number of at least 1",
    (
        "--steps",
        "2",
        "--fit",
        "levle_std",
    ): "'levle_std' cannot be fitted.* Did you mean 'level_std'",
    ("--steps", "2", "--holdout", "100"): "got --holdout 100 for series of 100 to 100 steps",
    ("--steps", "2", "--level", "95"): "--level: got '95'; expected a number between 0 and 1",
    ("--steps", "2", "--out", "f.npz"): "--out is f.npz; expected a file that ends in .csv or",
    ("--steps", "2", "--style", "dark"): "got 'dark'; expected one of",
    ("--steps", "2", "--filter", "kalmann"): "Did you mean 'kalman'",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_what_is_wrong_is_one_line(here, capsys, arguments):
    assert forecast(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(BAD[arguments], line), line
    assert not (here / "forecast.csv").exists()


def test_functions_that_cannot_be_fitted_say_why(here, capsys):
    assert forecast("--steps", "2", "--fit", model="in_numpy") == 2
    assert "in_numpy turns an argument that is fitted into an array of numpy" in (
        capsys.readouterr().err
    )
    assert forecast("--steps", "2", "--fit", "level_std", model="fixed") == 2
    assert "nile.py:fixed is not a function of numbers" in capsys.readouterr().err
