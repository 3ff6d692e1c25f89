"""Times of tables: with time zones, as differences, in the index, and errors."""

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
        pd.DataFrame({"y": [1.0, 2.0, 3.0]}, index=levels), ["y"], time="when", by="run"
    )
    assert data.lengths.tolist() == [2, 1]
    assert data.us["dt"].tolist() == [DT[:2], [0.0, 0.0]]


def test_xarray_knows_them_too():
    elapsed = (DATES - DATES[0]).to_numpy()
    for times in (DATES, elapsed):
        data = xr.Dataset({"y": (("time", "channel"), np.ones((3, 1)))}, {"time": times})
        assert kf.from_xarray(data, "y").us["dt"][0].tolist() == DT


EPOCH = 1711845000  # DATES[0] in seconds since 1970
TEXT = ["2024-03-31T00:30:00", "2024-03-31 03:30", "2024-03-31T03:30:01.5"]
FORMS = {
    "ISO 8601": (TEXT, {}),
    "ISO 8601 in UTC": ([f"{time}Z" for time in TEXT], {}),
    "offsets that change": (
        ["2024-03-31T01:30:00+01:00", "2024-03-31T05:30+02:00", "2024-03-31T05:30:01.5+02:00"],
        {},
    ),
    "a format": (
        ["31.03.2024 00:30:00.0", "31.03.2024 03:30:00.0", "31.03.2024 03:30:01.5"],
        {"time_format": "%d.%m.%Y %H:%M:%S.%f"},
    ),
    "python's dates": ([time.to_pydatetime() for time in DATES], {}),
    "elapsed": (["0:30:00", "3:30:00", "3:30:01.5"], {}),
    "elapsed in words": (["30 min", "3.5 hours", "0 days 03:30:01.5"], {}),
    "elapsed in ISO 8601": (["PT30M", "PT3H30M", "PT3H30M1.5S"], {}),
    "seconds since 1970": ([EPOCH, EPOCH + 10800, EPOCH + 10801.5], {}),
    "elapsed milliseconds": ([5, 10800005, 10801505], {"time_format": "ms"}),
    "nanoseconds since 1970": (
        [EPOCH * 10**9 + ns for ns in (0, 10800 * 10**9, 10801500000000)],
        {"time_format": "ns"},
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_usual_form_gives_the_same_steps(name):
    times, options = FORMS[name]
    assert dt_of(frame(times), **options) == DT
    start = {"start": times[0]} | options
    assert dt_of(frame(times), **start) == DT


def test_days_months_and_their_numbers():
    days = [dt.date(2024, 2, day) for day in (27, 28, 29)]
    assert dt_of(frame(days)) == [0.0, 86400.0, 86400.0]
    numbers = [20240227, 20240228, 20240229]
    assert dt_of(frame(numbers), time_format="%Y%m%d") == [0.0, 86400.0, 86400.0]
    months = pd.period_range("2024-01", periods=3, freq="M")
    assert dt_of(frame(months)) == [0.0, 31 * 86400.0, 29 * 86400.0]


QUARTERS = [0.0, 90 * 86400.0, 91 * 86400.0]
PERIODS = {
    "quarters": (["1959Q1", "1959Q2", "1959Q3"], QUARTERS),
    "quarters with a dash": (["1959-q1", "1959-q2", "1959-q3"], QUARTERS),
    "months": (["1959M1", "1959M4", "1959M07"], QUARTERS),
    "weeks": (["2023-W52", "2024-W01", "2024-W03"], [0.0, 7 * 86400.0, 14 * 86400.0]),
}


@pytest.mark.parametrize("name", PERIODS)
def test_periods_as_text(name):
    times, steps = PERIODS[name]
    data = kf.from_pandas(frame(times), ["y"], time="t", start=times[0])
    assert data.us["dt"][0].tolist() == steps
    assert data.labels.times[0, 0] == np.datetime64(
        "1959-01-01" if "19" in times[0] else "2023-12-25"
    )


TOGETHER = {
    "year and quarter": ({"year": [1959.0] * 3, "quarter": [1.0, 2.0, 3.0]}, QUARTERS),
    "year and quarter as text": ({"Year": [1959.0] * 3, "Q": ["Q1", "Q2", "Q3"]}, QUARTERS),
    "year and month": ({"Month": [1, 4, 7], "Year": [1959, 1959, 1959]}, QUARTERS),
    "all of a date": (
        {"year": [2024] * 3, "month": [3] * 3, "day": [31] * 3, "hour": [0, 3, 3]}
        | {"minute": [30] * 3, "second [s]": [0.0, 0.0, 1.5]},
        DT,
    ),
    "date and clock": (
        {"date": ["2024-03-31"] * 3, "clock": ["00:30:00", "03:30:00", "03:30:01.5"]},
        DT,
    ),
    "date and clock as numbers": (
        {"date": [20240331] * 3, "hhmmss": [3000, 33000, 33001.5]},
        DT,
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_times_in_several_columns(name):
    columns, steps = TOGETHER[name]
    table = pd.DataFrame({"y": [1.0, 2.0, 3.0]} | columns)
    names = [column.partition(" [")[0] for column in columns]
    data = kf.from_pandas(table, ["y"], time=names)
    assert data.us["dt"][0].tolist() == steps
    assert data.labels.times[0, 0] in (np.datetime64("1959-01-01"), np.datetime64(TEXT[0]))
    assert data.labels.time == "time"


def test_a_part_of_a_date_names_the_others():
    columns = {"y": [1.0, 2.0, 3.0], "year": [1959, 1959, 1960], "quarter": [3, 4, 1]}
    remedy = r"time=\['year', 'quarter'\] \(on the command line year,quarter\)"
    with pytest.warns(UserWarning, match=f"1 row observes .*{remedy}"):
        kf.from_pandas(pd.DataFrame(columns), ["y"], time="year")
    with pytest.raises(ValueError, match=f"times go back from 4.0 to 1.0 .*{remedy}"):
        kf.from_pandas(pd.DataFrame(columns), ["y"], time="quarter")


def test_dates_as_numbers_are_found_and_told():
    with pytest.warns(UserWarning, match=r"to be dates.*--time-format %Y%m%d"):
        steps = dt_of(frame([20240229, 20240301, 20240401]))
    assert steps == [0.0, 86400.0, 31 * 86400.0]
    assert dt_of(frame([20240229, 20240230, 20240401])) == [0.0, 1.0, 171.0]  # 30 February


def test_a_clock_has_60_minutes():
    table = pd.DataFrame({"y": [1.0, 2.0], "date": [20240331] * 2, "clock": [100000, 106000]})
    with pytest.raises(ValueError, match="a date and a time of day as numbers"):
        kf.from_pandas(table, ["y"], time=["date", "clock"])


@pytest.mark.parametrize(("unit", "count"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_a_unit_of_numbers_since_1970_is_found_and_told(unit, count):
    times = [EPOCH * count, (EPOCH + 1) * count, (EPOCH + 1) * count + count // 4]
    with pytest.warns(UserWarning, match=f"{unit} since 1970: the first is 2024-03-31T00:30:00"):
        assert dt_of(frame(times)) == [0.0, 1.0, 0.25]
    data = kf.from_pandas(frame(times), ["y"], time="t", time_format=unit)
    assert data.labels.times[0, 0] == np.datetime64("2024-03-31T00:30")
    assert data.labels.zone == "UTC"
    named = frame([0, count, count + count // 4]).rename(columns={"t": f"t [{unit}]"})
    assert dt_of(named) == [0.0, 1.0, 0.25]


def test_labels_have_the_times_as_they_are():
    kept = {
        "dates": (DATES, DATES.to_numpy(), None),
        "zones": (BERLIN, BERLIN.tz_convert("UTC").tz_localize(None).to_numpy(), "Europe/Berlin"),
        "differences": (DATES - DATES[0], (DATES - DATES[0]).to_numpy(), None),
        "numbers": ([3, 4, 6], [3.0, 4.0, 6.0], None),
    }
    for times, expected, zone in kept.values():
        labels = kf.from_pandas(frame(times), ["y"], time="t").labels
        np.testing.assert_array_equal(labels.times[0], expected)
        assert labels.zone == zone


REFUSED = {
    "text": (
        lambda: dt_of(frame(["01/02/2024", "02/02/2024", "03/02/2024"])),
        "not ISO8601 .*--time-format.*such as '%d/%m/%Y' or '%m/%d/%Y'",
    ),
    "text after the twelfth": (
        lambda: dt_of(frame(["31.01.2024", "01.02.2024", "02.02.2024"])),
        r"such as '%d\.%m\.%Y'\.$",
    ),
    "NaT": (lambda: dt_of(frame([DATES[0], pd.NaT, DATES[2]])), "the time of row 1 is missing"),
    "NaN": (lambda: dt_of(frame([0.0, 1.0, np.nan])), "the time of row 2 is missing"),
    "dates that pandas takes for elapsed time": (
        lambda: dt_of(frame([f"01.05.2024 0{hour}:00" for hour in (1, 2, 3)])),
        r"such as '%d\.%m\.%Y %H:%M'\.$",
    ),
    "booleans": (lambda: dt_of(frame([False, True, True])), "these are not times"),
    "numbers as text": (lambda: dt_of(frame(["5", "6", "7"])), "not ISO8601"),
    "a zone that not all have": (
        lambda: dt_of(frame(["2024-05-01T12:00", "2024-05-01T13:00", "2024-05-01T14:00+02:00"])),
        "time zones included",
    ),
    "an unknown unit": (
        lambda: dt_of(frame([1, 2, 3]), time_format="msec"),
        "'msec'; expected one of ms, ns, s, us. Did you mean 'ms'",
    ),
    "a unit of dates": (lambda: dt_of(frame(DATES), time_format="ms"), "expected numbers"),
    "a start without a zone": (
        lambda: dt_of(frame(BERLIN), start=np.datetime64("2024-03-30")),
        "time zones included",
    ),
    "a number as start": (lambda: dt_of(frame(DATES), start=3.0), "start is 3.0 .*all alike"),
    "a date as start": (lambda: dt_of(frame([0.0, 1.0, 2.0]), start=DATES[0]), "all alike"),
    "no such column": (
        lambda: dt_of(frame(DATES), "when"),
        r"no column 'when'; expected one of t, y",
    ),
    "a row of no trajectory": (
        lambda: kf.from_pandas(frame([1.0, np.nan, 1.0]), ["y"], by="t"),
        "'t' is missing in row 1",
    ),
    "columns without a year": (
        lambda: kf.from_pandas(pd.DataFrame({"a": [1, 2], "b": [1, 2]}), ["a"], time=["a", "b"]),
        r"time is \['a', 'b'\]; expected numbers in columns called year, quarter, month",
    ),
    "a fifth quarter": (
        lambda: kf.from_pandas(
            pd.DataFrame({"year": [1959], "quarter": [5], "y": [1.0]}),
            ["y"],
            time=["year", "quarter"],
        ),
        r"columns \['year', 'quarter'\] are no dates .*quarter 1 to 4",
    ),
    "a row without a quarter": (
        lambda: kf.from_pandas(
            pd.DataFrame({"year": [1959, 1959], "quarter": [1, np.nan], "y": [1.0, 2.0]}),
            ["y"],
            time=["year", "quarter"],
        ),
        "the time of row 1 is missing",
    ),
    "an empty list": (lambda: dt_of(frame(DATES), []), "time is an empty list; expected a column"),
    "a list of numbers": (lambda: dt_of(frame(DATES), [1, 2]), "there is no column '1'"),
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
