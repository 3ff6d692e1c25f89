"""The container of trajectories: conversion of its arguments, and errors."""

import dataclasses

import jax
import numpy as np
import pytest

from kfjax.data import Dataset

OBS = np.arange(12.0).reshape(3, 4, 1)


def test_nan_becomes_the_mask_and_what_follows_the_end_never_counts():
    obs = OBS.copy()
    obs[0, 1], obs[1, 3], obs[2, 2:] = np.nan, np.inf, np.nan
    state = np.where(np.isfinite(obs), obs, np.nan)
    data = Dataset(obs, state, length=[4, 3, 2])
    assert data.observed[..., 0].tolist() == [[True, False, True, True], [True] * 4, [True] * 4]
    np.testing.assert_array_equal(data.ys[..., 0], [[0, 0, 2, 3], [4, 5, 6, 0], [8, 9, 0, 0]])
    assert np.isnan(data.xs[0, 1, 0])
    assert data.xs[2, 3, 0] == 0
    assert data.missing == pytest.approx(1 / 9)
    assert "3 trajectories of 2 to 4 steps, m=1, n=1, 11.1 % missing" in repr(data)


def test_what_is_complete_needs_no_mask_and_no_length():
    data = Dataset(OBS, length=[4, 4, 4], observed=np.ones((3, 4), bool))
    assert data.observed is None
    assert data.length is None
    assert data.lengths.tolist() == [4, 4, 4]


def test_a_mask_of_whole_rows_and_a_nan_that_it_covers():
    obs = OBS.copy()
    obs[1, 2] = np.nan
    observed = np.ones((3, 4), bool)
    observed[1, 2] = observed[0, 0] = False
    data = Dataset(obs, observed=observed)
    assert data.observed.shape == (3, 4, 1)
    assert (~data.observed).sum() == 2


def test_dtype_follows_jax_or_the_argument(x64):
    assert Dataset(OBS).dtype == np.float64
    assert Dataset(OBS, dtype=np.float32).dtype == np.float32
    with jax.enable_x64(False):
        assert Dataset(OBS).dtype == np.float32
    data = Dataset(
        OBS,
        us={"sensor": np.ones((3, 4), int), "dt": np.ones((3, 4), np.float32)},
        dtype=np.float32,
    )
    assert data.us["sensor"].dtype == int
    assert dataclasses.replace(data, xs=OBS).dtype == np.float32


def test_slices_splits_and_vmap_see_trajectories():
    data = Dataset(
        OBS, xs=2 * OBS, us=(OBS[..., 0],), length=[4, 3, 2], prior_mean=np.zeros((3, 1))
    )
    assert len(data) == data.size == 3
    assert data[-1].lengths.tolist() == [2]
    assert data[[2, 0]].ys[0, 0, 0] == data.ys[2, 0, 0]
    assert data[np.array([True, False, True])].size == 2
    a, b = data.split(2, 1)
    assert (a.size, b.size) == (2, 1)
    assert [part.size for part in Dataset(np.zeros((10, 2, 1))).split(0.7, 0.1, 0.2)] == [7, 1, 2]
    assert jax.vmap(lambda one: one.xs.sum() + one.length)(data).shape == (3,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ys": OBS[0]}, r"ys has shape \(4, 1\); expected \[N, T, m\].*ys\[None\]"),
        ({"ys": OBS[:, :0]}, "all above 0"),
        ({"ys": OBS + 1j}, "complex128; expected real numbers"),
        ({"ys": np.where(OBS > 3, np.inf, OBS)}, "ys has infinite entries"),
        (
            {"ys": OBS, "xs": OBS[:, :3]},
            r"xs has shape \(3, 3, 1\); expected 3 trajectories of 4 steps",
        ),
        ({"ys": OBS, "xs": OBS[..., 0]}, r"xs has shape \(3, 4\); expected \(3, 4, n\)"),
        (
            {"ys": OBS, "xs": np.full_like(OBS, np.inf)},
            "xs has infinite entries; expected numbers, or NaN",
        ),
        ({"ys": OBS, "xs": np.nan * OBS}, "xs has no number"),
        ({"ys": np.nan * OBS}, "ys has no observed number"),
        ({"ys": OBS, "us": {"u": OBS * np.nan}}, "us has NaN or infinite entries"),
        ({"ys": OBS, "us": {"u": OBS[0]}}, "us has shape"),
        (
            {"ys": OBS, "length": [4, 4]},
            r"length has shape \(2,\).*expected \(3,\) integers from 1 to 4",
        ),
        ({"ys": OBS, "length": [0, 4, 4]}, "from 0 to 4; expected"),
        ({"ys": OBS, "length": [4.0, 4.0, 4.0]}, "float64"),
        (
            {"ys": OBS, "observed": np.ones((3, 4))},
            "observed has shape .* dtype float64; expected booleans",
        ),
        ({"ys": OBS * np.nan, "observed": OBS > 5}, "ys has NaN where observed is True"),
        ({"ys": OBS, "prior_mean": np.zeros(3)}, r"prior_mean has shape \(3,\)"),
    ],
)
def test_bad_data_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Dataset(**arguments)


def test_bad_parts_are_refused():
    data = Dataset(OBS)
    for parts in ((), (2, 2), (0.5, 0.6), (0, 3)):
        with pytest.raises(ValueError, match="expected nonempty parts"):
            data.split(*parts)
    with pytest.raises(ValueError, match="leaves none of 3 trajectories"):
        data[3:]


def test_a_mask_of_numpy_is_not_lost():
    with pytest.raises(ValueError, match=r"Dataset: ys is a masked array of numpy"):
        Dataset(np.ma.masked_equal(OBS, 3.0))
