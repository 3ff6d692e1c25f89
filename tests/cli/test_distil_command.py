"""`kfjax distil`: from a table of readings and filter outputs to a network and its diagnosis."""

import json
import re

import jax
import numpy as np
import pandas as pd
import pytest

import kfjax as kf
from kfjax._cli import distil as command
from kfjax._cli.parser import main
from kfjax.training import load_params

DATA = ("--data", "recorded.csv", "--by", "drive", "--ys", "gps", "--targets", "place,speed")
STEPS = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten drives, tracked by a filter of constant gain; every fifth reading is missing."""
    place = tmp_path_factory.mktemp("recorded")
    rng = np.random.default_rng(0)
    rows = []
    for drive in range(10):
        x = np.zeros(2)
        for t in range(STEPS - drive % 2):
            y = rng.normal()
            x = np.array([[0.9, 0.1], [0.0, 0.8]]) @ x + np.array([0.5, 0.2]) * y
            gps = np.nan if t % 5 == 4 else y
            rows.append([drive, 0.5 * t, gps, *x, *(0.8 * x)])
    names = ["drive", "t", "gps", "place", "speed", "net_p", "net_s"]
    pd.DataFrame(rows, columns=names).to_csv(place / "recorded.csv", index=False)
    one = pd.DataFrame(rows * 2, columns=names)
    one.to_csv(place / "one.csv", index=False)
    return place


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def distil(*arguments, out, status=0):
    assert main(["distil", *arguments, "--out", str(out)]) == status
    return json.loads((out / "training.json").read_text()) if status == 0 else None


def test_predictions_of_another_network_are_diagnosed(tmp_path, capsys):
    predictions = ("--predictions", "net_p,net_s", "--window-seen", "2")
    about = distil(*DATA, *predictions, out=tmp_path / "a")
    data = kf.read_table("recorded.csv", ["gps"], xs=["place", "speed"], by="drive")
    train, _, test = data.split(0.6, 0.2, 0.2)
    given = 0.8 * np.asarray(test.xs)
    found = kf.training.diagnose(train=train, validation=test, predictions=given, window=2)
    figures = about["figures"]
    for name, error in found.figures.compared.items():
        np.testing.assert_allclose(figures["compared"][name], error, rtol=1e-4, err_msg=name)
    shown = capsys.readouterr().out
    assert "predictions" in shown
    assert (tmp_path / "a" / "diagnosis.txt").read_text().split() == (
        shown[shown.index("Errors on") : shown.index("Wrote")].split()
    )
    assert not (tmp_path / "a" / "params.npz").exists()
    distil(*DATA, *predictions, out=tmp_path / "a")  # may be repeated


@pytest.mark.slow
def test_a_network_is_trained_and_runs_on_other_data(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_picture", lambda fitted: b"png")
    out = tmp_path / "net"
    sizes = ("--updates", "6", "--hidden", "4", "--cell", "gru", "--time", "t")
    about = distil(*DATA, *sizes, out=out)
    assert about["imitator"]["inputs"] == 0  # equal steps tell nothing
    assert {"baselines", "overfitting"} <= {verdict["about"] for verdict in about["verdicts"]}
    columns = ("--data", "recorded.csv", "--by", "drive", "--ys", "gps")
    estimates = tmp_path / "estimates.csv"
    assert main(["filter", *columns, "--load", str(out), "--out", str(estimates)]) == 0
    rows = pd.read_csv(estimates)
    data = kf.read_table("recorded.csv", ["gps"], xs=["place", "speed"], by="drive")
    train, *_ = data.split(0.6, 0.2, 0.2)
    student, like = kf.learned.imitator(jax.random.key(0), train, (4,), cell="gru")
    params = load_params(out / "params.npz", like)
    last = data[9]
    length = last.lengths[0]
    ys, observed = last.ys[0, :length], last.observed[0, :length]
    mean = kf.run(student, params, ys, observed=observed).outputs.mean
    np.testing.assert_allclose(rows[rows["drive"] == 9][["place", "speed"]], mean, atol=1e-5)


@pytest.mark.slow
def test_one_record_is_cut_in_time_and_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_picture", lambda fitted: b"png")
    one = ("--data", "one.csv", "--ys", "gps", "--targets", "place,speed")
    about = distil(*one, "--updates", "4", "--hidden", "4", "--level", out=tmp_path / "one")
    assert about["history"]["update"][-1] == 4
    assert about["imitator"]["feedback"] is False


BAD = {
    ("--data", "recorded.csv", "--by", "drive", "--ys", "gps"): "got no --targets",
    (*DATA, "--predictions", "net_p"): "got 1 columns of --predictions and 2 of --targets",
    (*DATA, "--hidden", "8,x"): "expected a whole number",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_mistakes_are_one_line(arguments, tmp_path, capsys):
    distil(*arguments, out=tmp_path / "bad", status=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(BAD[arguments], line), line


def test_a_folder_without_a_network_is_refused(tmp_path, capsys):
    distil(*DATA, "--predictions", "net_p,net_s", out=tmp_path / "a")
    for folder in ("a", "nowhere"):
        load = ("--load", str(tmp_path / folder), "--out", str(tmp_path / "est.csv"))
        assert main(["filter", "--data", "recorded.csv", "--ys", "gps", *load]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "holds no network of `kfjax distil`" in first
    assert "no readable training.json" in second
