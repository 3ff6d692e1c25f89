"""Csv and parquet files: the same labelled Dataset for all separators and line endings."""

import builtins

import jax
import numpy as np
import pandas as pd
import pytest

import kfjax as kf
from kfjax.data import read_data, read_parts

TIMES = ["01 12:00", "01 12:01", "01 00:00", "01 12:03", "02 00:00"]
FRAME = pd.DataFrame(
    {
        "walk": ["b", "b", "a", "b", "a"],
        "when": pd.to_datetime([f"2024-05-{time}" for time in TIMES]).tz_localize("Europe/Berlin"),
        "east [m]": [0.5, np.nan, 3.0, 4.25, -1.5],
        "north (m)": [1.0, 2.0, 3.0, 4.0, 5.0],
        "gear": [1, 2, 2, 3, 1],
    }
)
COLUMNS = {"time": "when", "by": "walk", "us": ["gear"], "xs": ["north", None]}


def written(path):
    options = {"index": False}
    if path.suffix == ".parquet":
        FRAME.to_parquet(path, **options)
    elif path.suffix == ".txt":
        moments = FRAME.assign(when=[time.isoformat() for time in FRAME["when"]])
        moments = moments.rename(columns={"east [m]": "east[m]", "north (m)": "north(m)"})
        moments.to_csv(path, sep=" ", na_rep="NaN", **options)
    elif path.name == "european.csv":
        FRAME.to_csv(path, sep=";", decimal=",", encoding="utf-8-sig", **options)
    else:
        FRAME.to_csv(path, sep={".tsv": "\t"}.get(path.suffix, ","), **options)
    return path


@pytest.mark.parametrize(
    "name", ["a.csv", "a.csv.gz", "a.tsv", "a.txt", "european.csv", "a.parquet"]
)
def test_every_kind_of_file_gives_the_same(tmp_path, name):
    data = kf.read_table(written(tmp_path / name), ["east", "north"], **COLUMNS)
    assert repr(data) == (
        "Dataset(2 trajectories of 2 to 3 steps, m=2 (east, north), n=2, 10.0 % missing)"
    )
    assert data.ys.tolist() == [[[0.5, 1], [0, 2], [4.25, 4]], [[3, 3], [-1.5, 5], [0, 0]]]
    assert data.observed[0, :, 0].tolist() == [True, False, True]
    assert data.us["dt"].tolist() == [[0, 60, 120], [0, 86400, 0]]
    assert data.us["gear"].tolist() == [[1, 2, 3], [2, 1, 0]]
    assert data.us["gear"].dtype.kind == "i"
    np.testing.assert_array_equal(data.xs[0, :, 0], [1, 2, 4])
    assert np.isnan(data.xs[0, :, 1]).all()
    labels = data.labels
    assert (labels.ys, labels.xs) == (("east", "north"), ("north", "x2"))
    assert labels.units == {"east": "m", "north": "m"}
    assert labels.series == ("b", "a")
    assert labels.times[0, 1] == np.datetime64("2024-05-01T10:01")  # UTC
    assert np.isnat(labels.times[1, 2])
    assert labels.zone in ("Europe/Berlin", "UTC+02:00")  # text has no names of zones


def test_the_commands_readers_take_columns(tmp_path):
    path = written(tmp_path / "a.csv")
    data = read_data(path, ys=["north"], time="when", by="walk")
    assert data.size == 2
    long = pd.DataFrame({"t": np.arange(50.0), "y": np.arange(50.0)})
    long.to_csv(tmp_path / "long.csv", index=False)
    parts = read_parts(tmp_path / "long.csv", ys=["y"], time="t")
    assert parts.skip == (0, 30, 40)
    assert parts.train.labels.times.tolist() == [list(range(30))]
    with pytest.raises(ValueError, match="has no parts; got split 'test'"):
        read_data(path, "test", ys=["north"])
    np.savez(tmp_path / "a.npz", obs=np.ones((2, 3, 1)))
    with pytest.raises(ValueError, match=r"has no columns; got ys, time, expected them for a csv"):
        read_data(tmp_path / "a.npz", ys=["y"], time="t")


def text(place, content, name="bad.csv"):
    (place / name).write_bytes(content.encode("latin-1"))
    return place / name


BAD = {
    "a column that is not there": (
        "time,east\n0,1\n",
        {"ys": ["esat"]},
        r"bad.csv: there is no column 'esat'; expected one of east, time\. Did you mean 'east'",
    ),
    "a column of times that is not there": (
        "stamp,east\n0,1\n",
        {"ys": ["east"], "time": "stmp"},
        "no column 'stmp'; .* Did you mean 'stamp'",
    ),
    "text among numbers": (
        "east\n1\n2\nlow\n",
        {"ys": ["east"]},
        "column 'east' holds 'low' in row 2, which is not a number",
    ),
    "an input that is missing": (
        "east,push\n1,2\n2,\n",
        {"ys": ["east"], "us": ["push"]},
        "column 'push' of us is missing in row 1; .* Fill the gaps",
    ),
    "no series": ("id,y\na,1\n,2\n", {"ys": ["y"], "by": "id"}, "'id' is missing in row 1"),
    "no names": ("0.5,1\n1.5,2\n", {"ys": ["y"]}, r"the first line is '0.5,1'\); expected .*names"),
    "nothing": ("", {"ys": ["y"]}, "cannot be read .*first line names the columns"),
    "no rows": ("y\n", {"ys": ["y"]}, "has no rows"),
    "another encoding": ("y\n\xe4\n", {"ys": ["y"]}, "cannot be read .*UTF-8"),
    "one name": ("y\n1\n", {"ys": "y"}, r"ys is 'y'; expected a list of columns. Write \['y'\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_says_so(tmp_path, name):
    content, columns, pattern = BAD[name]
    with pytest.raises(ValueError, match=pattern):
        kf.read_table(text(tmp_path, content), **columns)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.csv.* pass the data frame to kf.from_pandas"):
        kf.read_table(tmp_path / "a.xlsx", ["y"])
    with pytest.raises(ValueError, match="there is no file"):
        kf.read_table(tmp_path / "a.csv", ["y"])
    with pytest.raises(ValueError, match=r"cannot be read .*expected a parquet file"):
        kf.read_table(text(tmp_path, "hello", "a.parquet"), ["y"])


@pytest.mark.parametrize(("missing", "name"), [("pandas", "a.csv"), ("pyarrow", "a.parquet")])
def test_what_to_install(tmp_path, monkeypatch, missing, name):
    path = written(tmp_path / name)
    real = builtins.__import__

    def without(module, *args, **kwargs):
        if module.partition(".")[0] == missing:
            raise ImportError(f"No module named {module!r}")
        return real(module, *args, **kwargs)

    def no_engine(*args, **kwargs):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(builtins, "__import__", without)
    if missing == "pyarrow":
        monkeypatch.setattr(pd, "read_parquet", no_engine)
    with pytest.raises(ImportError, match=rf"{missing} is not .*pip install 'kfjax\[data\]'"):
        kf.read_table(path, ["north"])


def test_names_that_only_look_like_units():
    frame = pd.DataFrame({"acc[0]": [1.0], "acc[1]": [2.0], "v (m/s)": [3.0], "v [km/h]": [4.0]})
    data = kf.from_pandas(frame, ["acc[0]", "acc[1]", "v"], us=["v [km/h]"])
    assert data.labels.ys == ("acc[0]", "acc[1]", "v")
    assert data.labels.units == {"v": "m/s"}
    assert list(data.us) == ["v [km/h]"]


def test_series_of_many_lengths_are_compiled_once():
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 30, 12)
    frame = pd.DataFrame(
        {
            "id": np.repeat(np.arange(12), lengths),
            "t": np.concatenate([rng.exponential(1.0, n).cumsum() for n in lengths]),
            "y": rng.normal(size=lengths.sum()),
        }
    )
    data = kf.from_pandas(frame, ["y"], time="t", by="id")
    traced = []

    def h(x, u):
        traced.append(u)
        return x[:1]

    model = kf.systems.constant_velocity(dt=None).replace(h=h)
    run = jax.jit(jax.vmap(lambda one: kf.data.run_trajectory(kf.extended(), model, one).outputs))
    estimates = run(data)
    count = len(traced)
    again = run(data[::-1])
    assert len(traced) == count
    row = int(lengths.argmin())
    alone = kf.from_pandas(frame[frame["id"] == row], ["y"], time="t")
    est = kf.run(kf.extended(), model, alone.ys[0], us=alone.us["dt"][0]).outputs
    for many, index in ((estimates, row), (again, 11 - row)):
        means = many.mean[index, : alone.steps]
        np.testing.assert_allclose(means, est.mean, rtol=2e-4, atol=2e-5)
