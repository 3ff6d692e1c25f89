"""Data frames and xarray datasets: round trips, with missing and irregular data."""

import builtins

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import kfjax as kf

FRAME = pd.DataFrame(
    {
        "run": ["b", "b", "b", "a", "a"],
        "t": [0.0, 0.5, 2.0, 1.0, 1.25],
        "range": [3.0, np.nan, 4.0, 5.0, 6.0],
        "bearing": [0.1, 0.2, np.nan, 0.4, 0.5],
        "x": [1.0, 2.0, 3.0, 4.0, 5.0],
        "gear": [1, 2, 2, 3, 1],
    }
)


def test_frames_of_several_trajectories():
    data = kf.from_pandas(
        FRAME,
        ["range", "bearing"],
        xs=["x"],
        us=["gear"],
        time="t",
        by="run",
        start=-1.0,
    )
    assert data.lengths.tolist() == [3, 2]
    np.testing.assert_allclose(data.ys[0], [[3.0, 0.1], [0.0, 0.2], [4.0, 0.0]], rtol=1e-6)
    assert data.observed[0].tolist() == [[True, True], [False, True], [True, False]]
    np.testing.assert_allclose(data.xs[1, :2, 0], [4.0, 5.0])
    np.testing.assert_allclose(data.us["dt"], [[1.0, 0.5, 1.5], [2.0, 0.25, 0.0]])
    assert data.us["gear"].dtype.kind == "i"
    assert data.us["gear"].tolist() == [[1, 2, 2], [3, 1, 0]]


def test_dates_are_seconds_and_may_be_the_index():
    dates = pd.to_datetime(
        ["2024-01-01 00:00:00.0", "2024-01-01 00:00:01.5", "2024-01-01 00:01:00.0"]
    )
    frame = pd.DataFrame({"y": [1.0, 2.0, 3.0]}, index=pd.Index(dates, name="when"))
    np.testing.assert_allclose(
        kf.from_pandas(frame, ["y"], time="when").us["dt"], [[0.0, 1.5, 58.5]]
    )
    earlier = kf.from_pandas(frame, ["y"], time="when", start=np.datetime64("2023-12-31T23:59:58"))
    np.testing.assert_allclose(earlier.us["dt"], [[2.0, 1.5, 58.5]])
    array = xr.Dataset({"y": (("when", "channel"), np.ones((3, 2)))}, {"when": dates})
    np.testing.assert_allclose(kf.from_xarray(array, "y", time="when").us["dt"], [[0.0, 1.5, 58.5]])


def test_datasets_with_axes_in_any_order():
    y = np.arange(12.0).reshape(2, 3, 2)  # channel, time, trajectory
    data = xr.Dataset(
        {"y": (("channel", "time", "run"), y), "x": (("run", "time", "n"), np.ones((2, 3, 1)))},
        {"time": [0, 1, 4]},
    )
    data["force"] = (("time", "run"), np.ones((3, 2)))
    read = kf.from_xarray(data, "y", xs="x", us=["force"], by="run", start=-2)
    np.testing.assert_array_equal(read.ys, np.moveaxis(y, (0, 1, 2), (2, 1, 0)))
    assert read.us["force"].shape == (2, 3)
    np.testing.assert_array_equal(read.us["dt"], [[2, 1, 3], [2, 1, 3]])
    data = data.assign_coords(channel=["a", "b"], run=[7, 8])
    data["y"].attrs["units"] = "m"
    labels = kf.from_xarray(data, "y", xs="x", by="run").labels
    assert (labels.ys, labels.xs, labels.series) == (("a", "b"), None, ("7", "8"))
    assert labels.units == {"a": "m", "b": "m"}
    assert labels.times.tolist() == [[0, 1, 4], [0, 1, 4]]
    assert kf.from_xarray(data.drop_vars("time"), "y", by="run").us is None


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: kf.from_pandas(FRAME, ["rnage"]),
            "no column 'rnage'; expected one of .* Did you mean 'range'",
        ),
        (lambda: kf.from_pandas(FRAME, ["range"], time=object()), "there is no column <object"),
        (lambda: kf.from_pandas(FRAME, "range"), "expected a list of columns. Write \\['range'\\]"),
        (
            lambda: kf.from_pandas(FRAME, ["x"], time="t"),
            "times go back from 2.0 to 1.0 in row 3; .* several series apart",
        ),
        (lambda: kf.from_xarray(xr.Dataset(), "y"), "there is no variable 'y'"),
        (
            lambda: kf.from_xarray(xr.Dataset({"y": ("t", [1.0])}), "y"),
            "\\['y'\\] lack a dimension; expected",
        ),
        (
            lambda: kf.to_pandas(kf.Gaussian(np.zeros((3, 2)), None), states=["p"]),
            "1 names of states; expected .* 2",
        ),
        (lambda: kf.to_xarray(kf.Gaussian(np.zeros(2), np.eye(2))), "mean has shape \\(2,\\)"),
    ],
)
def test_what_does_not_fit(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def estimate(*leading):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(*leading, 2, 2))
    return kf.Estimate(
        jnp.asarray(rng.normal(size=(*leading, 2))), A @ np.swapaxes(A, -1, -2), np.ones(leading)
    )


def test_estimates_of_one_trajectory():
    est = estimate(3)
    frame = kf.to_pandas(est, times=[0.5, 1.0, 4.0], states=["p", "v"])
    np.testing.assert_allclose(frame.loc[4.0, "v_std"], np.sqrt(est.cov[2, 1, 1]))
    np.testing.assert_array_equal(frame[["p", "v"]].to_numpy(), est.mean)
    data = kf.to_xarray(est, times=[0.5, 1.0, 4.0], states=["p", "v"])
    np.testing.assert_array_equal(data.cov.sel(time=1.0, state="p", state_2="v"), est.cov[1, 0, 1])


def test_estimates_of_a_batch_and_without_covariance():
    est = estimate(4, 3)
    np.testing.assert_array_equal(kf.to_pandas(est).loc[(2, 3), ["x1", "x2"]], est.mean[2, 2])
    assert dict(kf.to_xarray(est).sizes) == {"trajectory": 4, "time": 3, "state": 2, "state_2": 2}
    bare = kf.Estimate(est.mean, None, None)
    assert list(kf.to_pandas(bare).columns) == ["x1", "x2"]
    assert list(kf.to_xarray(bare).data_vars) == ["mean"]


def test_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name in ("pandas", "xarray"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for convert in (kf.to_pandas, kf.to_xarray):
        with pytest.raises(ImportError, match=r"pip install 'kfjax\[data\]'"):
            convert(estimate(3))


def test_what_is_no_estimate_or_no_number_is_refused():
    with pytest.raises(ValueError, match="got int; expected an estimate"):
        kf.to_pandas(3)
    with pytest.raises(ValueError, match="holds 'a' in row 0, which is not a number"):
        kf.from_pandas(pd.DataFrame({"y": ["a", "b"]}), ys=["y"])


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (FRAME[:0], "the frame has no rows"),
        (pd.concat([FRAME, FRAME], axis=1), "several columns are called"),
        (FRAME.assign(**{FRAME.columns[-1]: 1j}), "which is not a number"),
    ],
)
def test_a_frame_without_rows_with_a_column_twice_or_complex_is_refused(frame, text):
    with pytest.raises(ValueError, match=text):
        kf.from_pandas(frame, [FRAME.columns[-1]])


def test_a_column_of_missing_dates_is_missing():
    frame = pd.DataFrame({"y": [1.0, 2.0], "z": pd.to_datetime([None, None])})
    assert kf.from_pandas(frame, ["y", "z"]).observed.tolist() == [[[True, False]] * 2]
