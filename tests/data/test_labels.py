"""Names, units and times of a Dataset: functions keep them, and results do not depend on them."""

import dataclasses

import jax
import numpy as np
import pytest

import kfjax as kf
from kfjax._support.fingerprints import fingerprint, identity
from kfjax.data import Labels, LocalFrame, first_steps, read_folder, read_npz, write_folder

RNG = np.random.default_rng(0)
TIMES = np.datetime64("2024-05-01T12:00", "us") + np.arange(12).reshape(3, 4) * np.timedelta64(
    1, "s"
)
LABELS = Labels(
    ys=["east", "north"],
    xs=["p", "v", "w"],
    units={"east": "m", "push": "N"},
    times=TIMES,
    zone="Europe/Berlin",
    series=["a", 7, "c"],
    frame=LocalFrame(50.8, 12.9, 300.0),
)


def data(**changes):
    ys = RNG.normal(size=(3, 4, 2))
    ys[1, 2, 0] = np.nan
    fields = {
        "xs": RNG.normal(size=(3, 4, 3)),
        "us": {"dt": np.ones((3, 4)), "gear": np.arange(12).reshape(3, 4)},
        "length": [4, 3, 4],
        "prior_mean": np.zeros((3, 3)),
        "labels": LABELS,
    }
    return kf.Dataset(ys, **(fields | changes))


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def assert_same_labels(a, b):
    for name in ("ys", "xs", "units", "zone", "series", "frame"):
        assert getattr(a, name) == getattr(b, name)
    assert a.times.dtype == b.times.dtype
    np.testing.assert_array_equal(a.times, b.times)


INPUTS = {
    "a dict": {},
    "an array": {"us": np.ones((3, 4, 2))},
    "none": {"us": None, "xs": None, "prior_mean": None, "length": None},
}


@pytest.mark.parametrize("name", INPUTS)
def test_what_is_saved_is_read_again(tmp_path, name):
    whole = data(**INPUTS[name])
    whole.save(tmp_path / "a.npz")
    back = read_npz(tmp_path / "a.npz")
    assert_same(whole, back)
    assert_same_labels(whole.labels, back.labels)
    whole.save(tmp_path / "a.npz")  # in place of the earlier one
    assert_same(whole, kf.data.read_data(tmp_path / "a.npz"))


def test_without_labels(tmp_path):
    data(labels=None).save(tmp_path / "a.npz")
    assert read_npz(tmp_path / "a.npz").labels is None


def test_labels_go_with_the_trajectories():
    whole = data()
    assert whole[1].labels.series == (7,)
    assert whole[[2, 0]].labels.series == ("c", "a")
    assert whole[np.array([True, False, True])].labels.times.tolist() == TIMES[[0, 2]].tolist()
    first, second = whole.split(1, 2)
    assert (first.labels.series, second.labels.series) == (("a",), (7, "c"))
    assert first_steps(whole, 2).labels.times.tolist() == TIMES[:, :2].tolist()
    assert first_steps(whole, 2).labels.ys == ("east", "north")


def test_a_folder_keeps_names_and_units(tmp_path):
    whole = data()
    write_folder(tmp_path / "many", [whole, whole])
    labels = read_folder(tmp_path / "many")[2:4].labels
    assert (labels.ys, labels.units, labels.frame) == (LABELS.ys, LABELS.units, LABELS.frame)
    assert (labels.times, labels.series) == (None, None)


def test_nothing_compiles_for_labels():
    plain = data(labels=None)
    traced = []

    @jax.jit
    def total(data):
        traced.append(data.labels)
        return data.ys.sum()

    total(plain)
    total(data())
    assert traced == [None]
    assert jax.tree.structure(plain) == jax.tree.structure(data())
    assert jax.tree.map(np.asarray, data()).labels is None
    whole = data()
    other = dataclasses.replace(whole, labels=None)
    assert fingerprint(whole) == fingerprint(other)  # an interrupted training goes on
    assert identity(data=whole) == identity(data=other)


BAD = {
    "names of channels": (lambda: data(labels=Labels(ys=["a"])), r"labels.ys has 1 names; .* 2"),
    "names of states": (lambda: data(labels=Labels(xs=["a"])), r"labels.xs has 1 names; .* 3"),
    "names of series": (lambda: data(labels=Labels(series="abcd")), "series is 'abcd'; expected"),
    "times": (
        lambda: data(labels=Labels(times=TIMES[:2])),
        r"times has shape \(2, 4\); .*3, 4",
    ),
    "times of one": (lambda: Labels(times=TIMES[0]), r"times is ndarray .*; expected \[N, T\]"),
    "something else": (lambda: data(labels={"ys": ["a", "b"]}), "labels is a dict; expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_labels_that_do_not_fit(name):
    call, pattern = BAD[name]
    with pytest.raises(ValueError, match=pattern):
        call()


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match=r"expected one that ends in \.npz"):
        data().save(tmp_path / "a.csv")
    nested = data(us={"a": {"b": np.ones((3, 4))}})
    with pytest.raises(ValueError, match="us is nested"):
        nested.save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="got an array named 'inputs_v/s'"):
        data(us={"v/s": np.ones((3, 4))}).save(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", obs=np.ones((1, 2, 1)), labels=np.array("{}"))
    with pytest.raises(ValueError, match="the labels cannot be read"):
        read_npz(tmp_path / "b.npz")
