"""Latitude and longitude as metres: against the textbook formula, there and back, in tables."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import kfjax as kf
from kfjax.data import LocalFrame

FRAME = LocalFrame(50.8133, 12.9296, 300.0)


def earth_centred(latitude, longitude, height):
    """Return x, y and z of WGS 84, in the closed form of any textbook."""
    a, flattening = 6378137.0, 1 / 298.257223563
    square = flattening * (2 - flattening)
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    N = a / np.sqrt(1 - square * np.sin(phi) ** 2)
    horizontal = (N + height) * np.cos(phi)
    z = (N * (1 - square) + height) * np.sin(phi)
    return np.stack([horizontal * np.cos(lam), horizontal * np.sin(lam), z], axis=-1)


def test_the_formula_and_back():
    rng = np.random.default_rng(0)
    latitude = 50.8133 + rng.normal(size=20) * 0.2
    longitude = 12.9296 + rng.normal(size=20) * 0.2
    height = rng.uniform(0, 1000, 20)
    place = FRAME.to_local(latitude, longitude, height)
    phi, lam = np.deg2rad([FRAME.latitude, FRAME.longitude])
    axes = np.array(
        [
            [-np.sin(lam), np.cos(lam), 0],
            [-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)],
            [np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)],
        ]
    )
    offsets = earth_centred(latitude, longitude, height) - earth_centred(50.8133, 12.9296, 300.0)
    np.testing.assert_allclose(np.stack(place, axis=-1), offsets @ axes.T, atol=1e-6)
    back = FRAME.to_global(*place)
    np.testing.assert_allclose(back, [latitude, longitude, height], rtol=0, atol=1e-6)
    np.testing.assert_allclose(back[:2], [latitude, longitude], rtol=0, atol=1e-11)


def test_no_fix_is_missing():
    place = FRAME.to_local([50.8133, np.nan], [12.9296, 12.93])
    assert np.isnan(np.stack(place)[:, 1]).all()
    np.testing.assert_allclose(np.stack(place)[:, 0], 0, atol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: LocalFrame(508133000, 129296000),
        lambda: LocalFrame(129.3, 50.8),
        lambda: FRAME.to_local([508133000.0], [129296000.0]),
    ],
)
def test_what_is_not_in_degrees(call):
    with pytest.raises(
        ValueError, match=r"expected degrees, at most 90\. Divide .*latitude before"
    ):
        call()


def walk():
    rng = np.random.default_rng(1)
    north = rng.normal(size=60).cumsum()
    latitude, longitude, _ = FRAME.to_global(0.5 * np.arange(60), north)
    return pd.DataFrame({"lat": latitude, "lon": longitude, "t": np.arange(60)}), north


def test_tables_have_metres_from_the_first_row():
    frame, north = walk()
    frame.loc[[0, 7], "lat"] = np.nan
    data = kf.from_pandas(frame, ["east", "north"], gps=["lat", "lon"], time="t")
    assert data.labels.frame == LocalFrame(frame["lat"][1], frame["lon"][1], 0.0)
    assert data.labels.units == {"east": "m", "north": "m"}
    assert data.observed[0, :, 0].tolist() == [k not in (0, 7) for k in range(60)]
    expected = np.delete(north - north[1], [0, 7])
    found = data.ys[0, :, 1][data.observed[0, :, 1]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    ("gps", "text"),
    [
        (["lat"], "expected the columns of latitude and longitude"),
        (["lat", "long"], "no column 'long'; .* Did you mean 'lon'"),
        ("lat", r"gps is 'lat'; expected a list of columns"),
        (["lat", "empty"], "have no position"),
    ],
)
def test_columns_that_are_no_positions(gps, text):
    frame = walk()[0].assign(empty=np.nan)
    with pytest.raises(ValueError, match=text):
        kf.from_pandas(frame, ["east"], gps=gps)
    with pytest.raises(ValueError, match=r"columns \['up'\], which gps would make"):
        kf.from_pandas(frame.assign(up=1.0), ["east"], gps=["lat", "lon"])


def test_a_warning_where_float32_cannot_hold_the_coordinates(x64):
    frame, north = walk()
    utm = frame.assign(northing=5.63e6 + north, easting=400.0 + north)
    columns = (["lat", "lon"], ["northing"])
    for ys in columns:
        kf.from_pandas(utm, ys)  # in double precision
        with pytest.warns(UserWarning, match=r"channel 0 of ys reaches 5.*rounding distorts it"):
            kf.Dataset(utm[ys].to_numpy()[None], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kf.Dataset(utm[["easting"]].to_numpy()[None], dtype=np.float32)
        kf.Dataset(np.full((1, 9, 1), 5e6), dtype=np.float32)  # constant
        kf.Dataset(utm[["northing"]].to_numpy(np.float32)[None], dtype=np.float32)  # too late


def test_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyproj", None)
    with pytest.raises(ImportError, match=r"pyproj is not .*pip install 'kfjax\[data\]'"):
        FRAME.to_local(50.0, 12.0)
