"""`kfjax compare` and `kfjax filter` on csv and parquet files, as people call them."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest

import kfjax as kf
from kfjax._cli import compare as commands
from kfjax._cli import filter as filtering
from kfjax._cli import forecast as forecasting
from kfjax._cli.parser import main
from kfjax._cli.studies import data_study

MODELS = """
import numpy as np
import kfjax as kf

prior = kf.Gaussian(np.zeros(4), 100 * np.eye(4))
tracker = kf.systems.constant_velocity(2, dt=None, r_std=0.5, prior=prior)
named = tracker.replace(names=["east [m]", "v_east", "north [m]", "v_north"])
fixed = kf.systems.constant_velocity(2, prior=prior)
"""
LENGTHS = [14, 9, 12]


def walks():
    """Three walks of different lengths, of which one cell in five is empty."""
    rng = np.random.default_rng(0)
    steps = rng.choice([0.5, 1.0, 2.0], sum(LENGTHS))
    times = pd.Timestamp("2024-03-31 00:30", tz="Europe/Berlin") + pd.to_timedelta(
        steps.cumsum(), unit="s"
    )
    places = rng.normal(size=(len(steps), 2)).cumsum(0)
    seen = np.where(rng.random(places.shape) < 0.2, np.nan, places)
    return pd.DataFrame(
        {
            "walk": np.repeat(["c", "a", "b"], LENGTHS),
            "stamp": times,
            "east [m]": seen[:, 0],
            "north [m]": seen[:, 1],
            "true_e": places[:, 0],
            "true_n": places[:, 1],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tables")
    (place / "models.py").write_text(MODELS)
    frame = walks()
    frame.to_csv(place / "walks.csv", index=False)
    frame.to_parquet(place / "walks.parquet", index=False)
    return place


@pytest.fixture
def here(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(commands, "_pictures", lambda *_: {})
    return tmp_path


PICTURES = commands._pictures
COLUMNS = ("--time", "stamp", "--ys", "east,north", "--by", "walk")
MODEL = ("--model", "models.py:tracker")


def test_compare_reports_what_it_read(here, capsys):
    truth = ("--xs", "true_e,-,true_n,-")
    arguments = ("--data", "walks.csv", *COLUMNS, *truth, *MODEL, "--filters", "kalman")
    assert main(["compare", *arguments, "--out", str(here)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    first, last = walks()["stamp"].iloc[[0, -1]].dt.tz_convert("UTC")
    assert f"3 trajectories of 9 to 14 steps, {first:%Y-%m-%dT%H:%M:%S} to" in out
    assert f"{last:%H:%M:%S} UTC, dt 0.5 to 2 s, " in out
    assert "% missing" in out
    written = json.loads((here / "compare.json").read_text())
    (row,) = written["tables"][0]["rows"]
    assert row["mse_db"]["value"] < 5  # only the positions are known
    assert written["arguments"]["ys"] == ["east", "north"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_filter_writes_a_table_in_the_times_of_the_data(here, suffix, x64):
    out = here / f"est.{suffix}"
    arguments = ("--data", f"walks.{suffix}", *COLUMNS, *MODEL, "--filter", "kalman", "--smooth")
    assert main(["filter", *arguments, "--x64", "--out", str(out)]) == 0
    table = pd.read_parquet(out) if suffix == "parquet" else pd.read_csv(out)
    frame = walks()
    assert list(table["walk"]) == list(frame["walk"])
    times = pd.to_datetime(table["stamp"], utc=True)
    assert (times == pd.read_parquet("walks.parquet")["stamp"]).all()
    data = kf.read_table(f"walks.{suffix}", ["east", "north"], time="stamp", by="walk")
    model = kf.systems.constant_velocity(
        2, dt=None, r_std=0.5, prior=kf.Gaussian(np.zeros(4), 100 * np.eye(4))
    )
    one = {"us": data.us["dt"][1], "observed": data.observed[1], "length": data.length[1]}
    est = kf.run(kf.kalman(), model, data.ys[1], **one).outputs
    smoothed = kf.smooth(kf.kalman(), model, est, us=one["us"], length=one["length"])
    rows = table[table["walk"] == "a"]
    np.testing.assert_allclose(rows["x3"], est.mean[:9, 2], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(rows["x1_std"], np.sqrt(est.cov[:9, 0, 0]), rtol=1e-8)
    np.testing.assert_allclose(rows["x1_smoothed"], smoothed.mean[:9, 0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("name", "start"), [("est.png", b"\x89PNG"), ("est.pdf", b"%PDF")])
def test_filter_draws_and_names_states_as_the_model_does(here, capsys, name, start):
    arguments = ("--data", "walks.csv", *COLUMNS, "--model", "models.py:named", "--filter")
    arguments += ("kalman", "--show", "north,1", "--style", "dark_background")
    places = ("--out", str(here / "est.csv"), "--plot", str(here / name))
    assert main(["filter", *arguments, *places]) == 0
    assert (here / name).read_bytes().startswith(start)
    assert f"{name}: {3 if name == 'est.pdf' else 1} of 3 trajectories" in capsys.readouterr().out
    table = pd.read_csv(here / "est.csv")
    assert list(table)[:5] == ["walk", "stamp", "east", "v_east", "north"]
    assert "north_std" in table


def test_compare_draws_one_s_own_data(here, monkeypatch):
    monkeypatch.setattr(commands, "_pictures", PICTURES)
    drawn = []
    monkeypatch.setattr(commands, "picture_bytes", lambda figure: drawn.append(figure) or b"")
    arguments = ("--data", "walks.csv", *COLUMNS, "--model", "models.py:named", "--filters")
    assert main(["compare", *arguments, "kalman", "--show", "2", "--out", str(here)]) == 0
    (figure,) = drawn
    assert figure.get_suptitle().startswith("walks.csv, models.py:named, kalman: 3 trajectories")
    assert [ax.get_ylabel() for ax in figure.axes[:3]] == ["north [m]", "east [m]", "north [m]"]
    assert figure.axes[2].get_xlabel().startswith("stamp (")
    assert figure.axes[0].get_title(loc="left") == "c: kalman"


@pytest.mark.parametrize("command", ["compare", "filter", "forecast"])
def test_the_series_that_is_drawn_can_be_chosen(here, monkeypatch, command):
    modules = {"compare": commands, "filter": filtering, "forecast": forecasting}
    module = modules[command]
    figures = []
    if command == "forecast":
        keep = forecasting.plot_forecast
        monkeypatch.setattr(
            module, "plot_forecast", lambda *a, **k: figures.append(keep(*a, **k)) or figures[-1]
        )
    else:
        if command == "compare":
            monkeypatch.setattr(commands, "_pictures", PICTURES)
        monkeypatch.setattr(module, "picture_bytes", lambda f, *_: figures.append(f) or b"")
    places = {
        "compare": ("--filters", "kalman", "--out", str(here / "study")),
        "filter": ("--filter", "kalman", "--out", str(here / "e.csv"), "--plot", "e.png"),
        "forecast": ("--steps", "2", "--out", str(here / "ahead.csv")),
    }
    arguments = ("--data", "walks.csv", *COLUMNS, *MODEL, "--series", "b", *places[command])
    assert main([command, *arguments]) == 0
    (shown,) = figures
    axes = shown if command == "forecast" else shown.axes
    heading = shown.get_suptitle() if command == "filter" else axes[0].get_title(loc="left")
    assert re.search(r"\bb\b", heading)
    frame = walks()
    seen = frame[frame["walk"] == "b"]["east [m]"].dropna()
    name = {"forecast": "observed"}.get(command, "measured")
    lines = [line for ax in axes for line in ax.lines]
    drawn = next(line.get_ydata() for line in lines if line.get_label() == name)
    np.testing.assert_allclose(drawn[~np.isnan(drawn)], seen, rtol=1e-5)


def test_steps_that_vary_and_a_model_that_does_not_see_it(here, capsys):
    arguments = ("--data", "walks.csv", *COLUMNS, "--model", "models.py:fixed")
    assert main(["filter", *arguments, "--filter", "kalman", "--out", str(here / "e.npz")]) == 0
    (note,) = capsys.readouterr().err.splitlines()
    assert re.search(r"steps of the data vary from 0.5 to 2, .* reads u\['dt'\]", note)


def test_training_takes_parts_of_a_table(here):
    columns = {"ys": ["east", "north"], "time": "stamp", "by": "walk"}
    study = data_study("walks.csv", "m", None, split=None, tuning=True, columns=columns)
    sizes = [(part.size, part.labels.series) for part in study.parts[:3]]
    assert sizes == [(1, ("c",)), (1, ("a",)), (1, ("b",))]


DATA = ("--data", "walks.csv")
BAD = {
    (*DATA,): r"walks.csv is a table; got no ys, .* some of walk, stamp, east \[m\]",
    (*DATA, "--ys", "east,nroth"): "no column 'nroth'; .* Did you mean 'north'",
    (*DATA, *COLUMNS, "--by", "wlak"): "no column 'wlak'; .* Did you mean 'walk'",
    (*DATA, "--ys", "east,north"): r"reads dt from u: got none; .*\(time=, on the command line --t",
    (*DATA, "--ys", "east,north", "--time", "walk"): "times are .* such as 'c'",
    (*DATA, *COLUMNS, "--style", "darkest"): "got 'darkest'; expected one of .*dark_background",
    (*DATA, *COLUMNS, "--plot", "e.png", "--series", "d"): "no 'd' among the 3 series; .* c, a, b",
    (*DATA, "--ys", "east,north", "--time", "stamp", "--plot", "e.png", "--series", "2"): (
        "got '2'; expected a number from 1 to 1. .* --by"
    ),
    (*DATA, *COLUMNS, "--show", "0,,1"): "expected names or numbers from 0 with commas",
    (*DATA, *COLUMNS, "--show", "0"): "got --show, --series or --style without --plot",
    (
        *DATA,
        *COLUMNS,
        "--plot",
        "e.png",
        "--show",
        "north",
    ): "--show: got .*; expected indices from",
    (*DATA, *COLUMNS, "--plot", "est.jpeg"): "not of a known kind; .* .pdf, .png, .svg",
    (*DATA, *COLUMNS, "--xs", "true_e,true_n"): "2 components and the model's 4; .* --xs A,-,B",
    (*DATA, *COLUMNS, "--us", "east"): "column 'east' of us is missing in row",
    (*DATA, *COLUMNS, "--time-format", "msec"): "times are .*with time_format|Did you mean 'ms'",
    (*DATA, *COLUMNS, "--split", "test"): "has no parts; got split 'test'",
    (*DATA, *COLUMNS, "--gps", "true_e"): "expected the columns of latitude and longitude",
    (*DATA, "--ys", "east,"): "--ys: got 'east,'; expected names of columns",
    ("--data", "models.py", "--ys", "east"): "models.py has no columns; got ys",
    ("--data", "none.csv", "--ys", "east"): "there is no file or folder none.csv",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_what_is_wrong_is_one_line(here, capsys, arguments):
    out = ("--filter", "kalman", "--out", str(here / "est.csv"))
    assert main(["filter", *arguments, *MODEL, *out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kfjax: error: ")
    assert re.search(BAD[arguments], line)
    assert not (here / "est.csv").exists()


def test_columns_without_data(here, capsys):
    assert main(["compare", "--system", "pendulum", "--time", "t", "--out", str(here)]) == 2
    assert "got --time without --data" in capsys.readouterr().err


def test_a_package_that_is_not_installed_is_one_line(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyproj", None)
    pd.DataFrame({"lat": [50.0, 50.1], "lon": [8.0, 8.1]}).to_csv(here / "gps.csv", index=False)
    columns = ("--gps", "lat,lon", "--ys", "east,north")
    data = ("--data", str(here / "gps.csv"), *MODEL, "--filter", "kalman")
    assert main(["filter", *data, *columns, "--out", str(here / "est.npz")]) == 2
    assert "pip install 'kfjax[data]'" in capsys.readouterr().err
