"""Tables as loggers write them, which can be read, and may mean something else."""

import warnings

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import kfjax as kf
from kfjax._cli.angles import warn_of_angles


def table(**columns):
    return pd.DataFrame({"t": [0.0, 1.0, 1.0, 2.0, 3.0], "y": [1.0, 2.0, 2.0, 3.0, 4.0], **columns})


def said(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


def test_rows_that_were_written_twice():
    (text,) = said(lambda: kf.from_pandas(table(), ["y"], time="t"))
    assert "1 row observes the same channels as the row before at the same time (row 2, the" in text
    assert "drop_duplicates" in text
    assert said(lambda: kf.from_pandas(table().drop_duplicates(), ["y"], time="t")) == []


def test_years_of_quarters_are_too_coarse_times():
    frame = pd.DataFrame({"year": [1959.0, 1959.0, 1959.0, 1960.0], "gdp": [1.0, 2.0, 3.0, 4.0]})
    (text,) = said(lambda: kf.from_pandas(frame, ["gdp"], time="year"))
    assert "2 rows observe" in text
    assert "(row 1, other values)" in text


@pytest.mark.parametrize(
    ("frame", "options"),
    [
        # two sensors at one time
        (table(y=[1.0, 2.0, np.nan, 3.0, 4.0], z=[1.0, np.nan, 2.0, 3.0, 4.0]), {"ys": ["y", "z"]}),
        (table(anchor=[0, 0, 1, 0, 1]), {"ys": ["y"], "us": ["anchor"]}),
        (table(id=["a", "a", "b", "b", "b"]), {"ys": ["y"], "by": "id"}),
    ],
)
def test_rows_of_one_time_that_belong_together(frame, options):
    assert said(lambda: kf.from_pandas(frame, time="t", **options)) == []


def test_numbers_that_stand_for_nothing():
    frame = table(y=[10.0, -999.0, -999.0, 12.0, 11.0], t=range(5))
    (text,) = said(lambda: kf.from_pandas(frame, ["y"], time="t"))
    assert "column 'y' holds -999 in 2 rows, far from its other values (10 to 12)" in text
    found = []
    assert said(lambda: found.append(kf.from_pandas(frame, ["y"], missing=[-999]))) == []
    assert found[0].observed[0, :, 0].tolist() == [True, False, False, True, True]


@pytest.mark.parametrize("low", [-1200.0, 997.0])
def test_numbers_that_are_ordinary_values(low):
    values = np.array([low, low + 1, -999.0 if low < 0 else 999.0, low + 300, low + 2])
    assert said(lambda: kf.from_pandas(table(y=values, t=range(5)), ["y"])) == []


def test_a_first_column_without_a_name_is_the_index(tmp_path):
    dates = pd.date_range("1958-03-29", periods=4, freq="7D")
    pd.DataFrame({"co2": [316.1, 317.3, np.nan, 317.5]}, dates).to_csv(tmp_path / "co2.csv")
    data = kf.read_table(tmp_path / "co2.csv", ["co2"], time="index")
    assert data.us["dt"][0].tolist() == [0.0, 604800.0, 604800.0, 604800.0]
    with pytest.raises(ValueError, match="no column 'date'; expected one of co2, index"):
        kf.read_table(tmp_path / "co2.csv", ["co2"], time="date")


def compass(unit, space=None):
    model = kf.linear_gaussian(
        F=[[1.0]], H=[[1.0]], Q=[[0.1]], R=[[0.1]], prior=kf.Gaussian(np.zeros(1), np.eye(1))
    ).replace(observation_space=space)
    turned = (0.3 * np.arange(100)) % (2 * np.pi)
    ys = np.degrees(turned) if unit == "deg" else turned
    data = kf.Dataset(ys[None, :, None], labels=kf.data.Labels(ys=["heading"]))
    return said(lambda: warn_of_angles(model, data))


def test_angles_that_a_model_takes_for_numbers():
    assert compass("rad", kf.angles(0)) == []
    (text,) = compass("rad")
    assert "channel 'heading' jumps by a whole turn 4 times, and the model takes" in text
    assert "Give the model observation_space=kf.angles(0)" in text
    (text,) = compass("deg")
    assert "Convert degrees to radians in the table (numpy.radians), and give the model" in text
    (text,) = compass("deg", kf.angles(0))
    assert text.endswith("(numpy.radians); its observation_space wraps these.")


def robot(factor, x, u):
    """A robot (east, north, heading) that is told its speed and turn rate."""
    turned = x[2] + factor * u["rate"] * u["dt"]
    moved = u["dt"] * jnp.array([jnp.cos(x[2]), jnp.sin(x[2])])
    return jnp.append(x[:2] + moved, turned)


def in_radians(x, u):
    return robot(jnp.pi / 180, x, u)


def in_degrees(x, u):
    return robot(1.0, x, u)


def warned(f, rate, unit=None, dt=0.1, space=None):
    """What is said of a robot whose turn rates have this unit."""
    prior = kf.Gaussian(jnp.zeros(3), jnp.eye(3))
    model = kf.StateSpaceModel(f, kf.Linear(jnp.eye(2, 3)), jnp.eye(3), jnp.eye(2), prior)
    labels = kf.data.Labels(units={} if unit is None else {"rate": unit})
    us = {"rate": np.full((1, 20), rate), "dt": np.full((1, 20), dt)}
    data = kf.Dataset(np.zeros((1, 20, 2)), us=us, labels=labels)
    return said(lambda: warn_of_angles(model.replace(state_space=space), data))


@pytest.mark.parametrize("unit", ["deg/s", "°/s", "dps", "degrees per second"])
def test_turn_rates_in_degrees_that_a_model_takes_for_radians(unit):
    (text,) = warned(in_degrees, 5.0, unit)
    assert "'rate' seem to be in degrees, while the model has sines" in text
    assert warned(in_radians, 5.0, unit) == []


def test_turn_rates_without_a_unit_are_known_by_their_size():
    (text,) = warned(in_degrees, 40.0, space=kf.angles(2))
    assert "turn state 2 by more than half a turn in 100% of the steps (up to 4 rad)" in text
    assert warned(in_degrees, 40.0 * np.pi / 180, space=kf.angles(2)) == []
    assert warned(in_degrees, 40.0) == []  # nothing says which state is an angle


def test_other_units_are_no_degrees_and_names_are():
    for unit in ("degC", "rad/s", "m/s", "deg C"):
        assert warned(in_degrees, 0.1, unit) == []
    data = kf.Dataset(np.ones((1, 9, 1)), labels=kf.data.Labels(ys=["bearing_deg"]))
    model = kf.StateSpaceModel(
        kf.Linear(jnp.eye(2)), east_of, jnp.eye(2), jnp.eye(1), kf.Gaussian(jnp.ones(2), jnp.eye(2))
    )
    (text,) = said(lambda: warn_of_angles(model, data))
    assert "'bearing_deg' seem to be in degrees" in text


def east_of(x, u):
    return jnp.arctan2(x[1:], x[:1])
