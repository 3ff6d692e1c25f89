"""Times of tables: with time zones, as differences, in the index; what cannot be read says so."""

import datetime as dt

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import kfjax as kf

DATES = pd.to_datetime(["2024-03-31 00:30:00.0", "2024-03-31 03:30:00.0", "2024-03-31 03:30:01.5"])
DT = [0.0, 3 * 3600.0, 1.5]
BERLIN = DATES.tz_localize("Europe/Berlin")  # an hour was left out that night
IN_BERLIN = [0.0, 2 * 3600.0, 1.5]


def frame(times, **index):
    return pd.DataFrame({"t": times, "y": [1.0, 2.0, 3.0]}, **index)


def dt_of(frame, time="t", **options):
    return kf.from_pandas(frame, ["y"], time=time, **options).us["dt"][0].tolist()


def test_dates_with_a_time_zone():
    assert dt_of(frame(BERLIN)) == IN_BERLIN
    assert dt_of(frame(BERLIN), start=BERLIN[0] - pd.Timedelta("2s")) == [2.0, *IN_BERLIN[1:]]
    utc = dt.datetime(2024, 3, 30, 23, 29, 58, tzinfo=dt.UTC)
    assert dt_of(frame(BERLIN), start=utc) == [2.0, *IN_BERLIN[1:]]


def test_time_differences():
    elapsed = DATES - DATES[0]
    assert dt_of(frame(elapsed)) == DT
    assert dt_of(frame(elapsed), start=-dt.timedelta(seconds=2)) == [2.0, *DT[1:]]
    assert dt_of(frame(elapsed), start=np.timedelta64(-2, "s")) == [2.0, *DT[1:]]


def test_an_index_without_a_name_and_one_of_several_levels():
    assert dt_of(pd.DataFrame({"y": [1.0, 2.0, 3.0]}, index=DATES), "index") == DT
    levels = pd.MultiIndex.from_arrays([["a", "a", "b"], DATES], names=["run", "when"])
    data = kf.from_pandas(
        pd.DataFrame({"y": [1.0, 2.0, 3.0]}, index=levels), ["y"], time="when", trajectory="run"
    )
    assert data.lengths.tolist() == [2, 1]
    assert data.us["dt"].tolist() == [DT[:2], [0.0, 0.0]]


def test_xarray_knows_them_too():
    elapsed = (DATES - DATES[0]).to_numpy()
    for times in (DATES, elapsed):
        data = xr.Dataset({"y": (("time", "channel"), np.ones((3, 1)))}, {"time": times})
        assert kf.from_xarray(data, "y").us["dt"][0].tolist() == DT


REFUSED = {
    "text": (
        lambda: dt_of(frame(["2024-01-01", "2024-01-02", "2024-01-03"])),
        "pandas.to_datetime",
    ),
    "NaT": (lambda: dt_of(frame([DATES[0], pd.NaT, DATES[2]])), "the time of row 1 is missing"),
    "NaN": (lambda: dt_of(frame([0.0, 1.0, np.nan])), "the time of row 2 is missing"),
    "objects": (lambda: dt_of(frame([dt.date(2024, 1, d) for d in (1, 2, 3)])), "all alike"),
    "a start without a zone": (
        lambda: dt_of(frame(BERLIN), start=np.datetime64("2024-03-30")),
        "time zones included",
    ),
    "a number as start": (lambda: dt_of(frame(DATES), start=3.0), "start is 3.0 .*all alike"),
    "a date as start": (lambda: dt_of(frame([0.0, 1.0, 2.0]), start=DATES[0]), "all alike"),
    "no such column": (lambda: dt_of(frame(DATES), "when"), r"no columns \['when'\]; expected"),
    "a row of no trajectory": (
        lambda: kf.from_pandas(frame([1.0, np.nan, 1.0]), ["y"], trajectory="t"),
        "'t' is missing in row 1",
    ),
    "a series": (
        lambda: dt_of(frame(DATES)["y"]),
        r"frame is Series.*; expected a pandas.DataFrame",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_time_says_so(name):
    call, pattern = REFUSED[name]
    with pytest.raises(ValueError, match=pattern):
        call()


def test_times_too_coarse_for_their_steps_are_refused():
    epoch = 1.7e9 + np.arange(5) * 0.1
    np.testing.assert_allclose(kf.time_steps(epoch, epoch[0])[1:], 0.1, rtol=1e-4)
    for times in (epoch.astype(np.float32), jnp.asarray(epoch)):
        with pytest.raises(
            ValueError, match=r"float32, whose resolution at 1\.7e\+09 is 1\.3e\+02"
        ):
            kf.time_steps(times, times[0])
    with pytest.raises(ValueError, match=r"have steps of 1e\+02; expected a finer"):
        kf.time_steps((1.7e9 + np.arange(20) * 100).astype(np.float32), 1.7e9)
    together = np.full(3, 2.5, np.float32)  # as several sensors may report
    assert kf.time_steps(together, 2.0).tolist() == [0.5, 0.0, 0.0]
    assert kf.time_steps(np.arange(3, dtype=np.float32), 0.0).tolist() == [0.0, 1.0, 1.0]
