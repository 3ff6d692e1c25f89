"""Readers: a Dataset has the contents of the file, and unreadable files raise errors."""

import numpy as np
import pytest

from kfjax.data import Dataset, read_data, read_indoor_uwb, read_npz, read_parts, split_parts

RNG = np.random.default_rng(0)
OBS, STATE = RNG.normal(size=(6, 10, 2)), RNG.normal(size=(6, 10, 3))


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_plain_file(tmp_path):
    obs = OBS.copy()
    obs[1, 2, 0] = np.nan
    path = write(
        tmp_path / "a.npz",
        obs=obs,
        state=STATE,
        inputs_dt=np.full((6, 10), 0.5),
        inputs_anchor=RNG.normal(size=(6, 10, 2)),
        length=np.array([10, 9, 8, 10, 10, 3]),
        initial=np.ones((6, 3)),
    )
    data = read_npz(path)
    assert np.argwhere(~data.observed).tolist() == [[1, 2, 0]]
    assert sorted(data.us) == ["anchor", "dt"]
    assert data.us["anchor"].shape == (6, 10, 2)
    assert data.lengths.tolist() == [10, 9, 8, 10, 10, 3]
    assert data.prior_mean.shape == (6, 3)
    np.testing.assert_allclose(data.ys[0], OBS[0], rtol=1e-6)
    np.testing.assert_allclose(data.xs[0], STATE[0], rtol=1e-6)
    assert not data.ys[5, 3:].any()


def test_plain_inputs_are_an_array(tmp_path):
    data = read_npz(write(tmp_path / "a.npz", obs=OBS, inputs=OBS))
    assert data.us.shape == OBS.shape
    assert data.xs is None


def test_one_trajectory_may_leave_out_the_leading_axis(tmp_path):
    path = write(
        tmp_path / "one.npz",
        obs=OBS[0],
        state=STATE[0],
        inputs_dt=np.ones(10),
        length=np.array(7),
        init=np.zeros(3),
    )
    data = read_npz(path)
    assert (data.size, data.steps, data.lengths.tolist()) == (1, 10, [7])
    assert data.xs.shape == (1, 10, 3)
    assert data.us["dt"].shape == (1, 10)
    assert data.prior_mean.shape == (1, 3)


def test_parts_by_name(tmp_path):
    named = {f"{prefix}_obs": OBS[:n] for prefix, n in (("train", 3), ("val", 2), ("test", 1))}
    path = write(tmp_path / "parts.npz", **named, test_state=STATE[:1], test_init=np.ones((1, 3)))
    assert [read_npz(path, split).size for split in ("train", "validation", "test")] == [3, 2, 1]
    assert read_npz(path).prior_mean.shape == (1, 3)
    parts = read_parts(path)
    assert [part.size for part in parts[:3]] == [3, 2, 1]
    assert parts.skip == (0, 0, 0)
    np.savez(tmp_path / "two.npz", train_obs=OBS, test_obs=OBS)
    with pytest.raises(ValueError, match="no validation part"):
        read_parts(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="has no validation part; expected one of train, test"):
        read_npz(tmp_path / "two.npz", "validation")


def test_keys_that_mean_nothing_are_named(tmp_path):
    with pytest.warns(UserWarning, match="not used: note, weights"):
        read_npz(write(tmp_path / "a.npz", obs=OBS, note=np.zeros(1), weights=np.zeros(2)))


def test_split_by_trajectory_and_in_time():
    data = Dataset(RNG.normal(size=(10, 4, 1)))
    parts = split_parts(data)
    assert [part.size for part in parts[:3]] == [6, 2, 2]
    assert parts.skip == (0, 0, 0)
    np.testing.assert_array_equal(np.concatenate([part.ys for part in parts[:3]]), data.ys)
    gaps = np.where(RNG.random((1, 233, 1)) < 0.1, np.nan, 1.0)
    data = Dataset(gaps, us={"dt": np.arange(233.0)[None]}, prior_mean=np.zeros((1, 2)))
    parts = split_parts(data)
    ends = [part.steps for part in parts[:3]]
    assert ends[2] == 233
    assert list(parts.skip) == [0, *ends[:2]]
    for part, end in zip(parts[:3], ends, strict=True):
        np.testing.assert_array_equal(part.observed, data.observed[:, :end])
        assert part.us["dt"].shape == (1, end)
        assert part.prior_mean.shape == (1, 2)


@pytest.mark.parametrize("total", [3, 4, 5, 7])
def test_every_part_of_a_split_has_something(total):
    for data in (Dataset(np.zeros((total, 2, 1))), Dataset(np.zeros((1, total, 1)))):
        parts = split_parts(data)
        counts = [
            part.size * part.steps - skip for part, skip in zip(parts[:3], parts.skip, strict=True)
        ]
        assert min(counts) >= 1
        assert sum(counts) == data.size * data.steps


def test_split_of_too_little():
    with pytest.raises(ValueError, match="at least 3"):
        split_parts(Dataset(np.zeros((1, 2, 1))))
    with pytest.raises(ValueError, match="together at most 1"):
        split_parts(Dataset(np.zeros((5, 2, 1))), (0.9, 0.2, 0.1))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"observations": OBS}, "no observations: got the keys observations; expected obs"),
        ({}, "the file is empty; expected obs"),
        ({"obs": OBS[:, :0]}, "expected \\[N, T, m\\], all above 0"),
        ({"obs": OBS, "inputs": OBS, "inputs_dt": OBS}, "both inputs and inputs_dt"),
        (
            {"obs": OBS, "inputs": OBS[:, :9]},
            "inputs has shape \\(6, 9, 2\\); expected 6 trajectories of 10 steps",
        ),
        ({"obs": OBS, "state": STATE[:5]}, "state has shape \\(5, 10, 3\\); expected 6"),
        ({"obs": np.array([1, None])}, "cannot be read .*; expected an npz file of numbers"),
    ],
)
def test_bad_files(tmp_path, arrays, text):
    with pytest.raises(ValueError, match=text):
        read_npz(write(tmp_path / "bad.npz", **arrays))


def test_no_npz_files(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_npz(tmp_path / "none.npz")
    np.save(tmp_path / "bare.npy", OBS)
    (tmp_path / "text.npz").write_text("hello")
    whole = write(tmp_path / "whole.npz", obs=OBS).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("bare.npy", "text.npz", "half.npz"):
        with pytest.raises(
            ValueError, match=f"{name} cannot be read .*; expected an npz file of numbers"
        ):
            read_npz(tmp_path / name)


def test_a_table_is_no_npz_file(tmp_path):
    (tmp_path / "log.csv").write_text("t,y\n0.0,1.0\n")
    with pytest.raises(ValueError, match=r"log.csv is not an npz file; .* by kf\.read_table"):
        read_npz(tmp_path / "log.csv")
    for read in (read_data, read_parts):
        with pytest.raises(ValueError, match=r"got no ys, expected the columns .*some of t, y"):
            read(tmp_path / "log.csv")


def test_wrong_split(tmp_path):
    path = write(tmp_path / "a.npz", obs=OBS)
    with pytest.raises(ValueError, match="has no parts; got split 'test'"):
        read_npz(path, "test")
    with pytest.raises(ValueError, match="Did you mean 'validation'"):
        read_npz(path, "validate")


def write_uwb(folder, sensors, truth):
    (folder / "Indoor_UWB_Input.txt").write_text("\n".join(sensors) + "\n")
    (folder / "Indoor_UWB_GT.txt").write_text("\n".join(truth) + "\n")


def test_indoor_uwb_is_put_in_order_and_on_one_clock(tmp_path):
    sensors = [
        "range2 2.0 1.5 0.01 4 5 107 0",
        "range2 0.5 2.5 0.01 0 1 105 0",  # out of order
        *(f"odom2diff {t} {t} {2 * t} 0 0.08 1e-4 1e-4 1e-4" for t in (0.0, 1.0, 3.0)),
    ]
    write_uwb(tmp_path, sensors, ["point2 0 0 10 0 0 0 0", "point2 1 1 11 0 0 0 0"])
    data = read_data(tmp_path)
    assert data.ys[0, :, 0].tolist() == [2.5, 1.5]
    assert data.us["anchor"][0].tolist() == [[0, 1], [4, 5]]
    assert data.us["dt"][0].tolist() == [0.5, 1.5]
    assert data.us["anchor_id"][0].tolist() == [105, 107]
    np.testing.assert_allclose(
        data.us["right"][0], [0.5, 2.0]
    )  # between the stamps of the odometry
    np.testing.assert_allclose(data.us["left"][0], [1.0, 4.0])
    np.testing.assert_allclose(data.xs[0, 0, :2], [0.5, 10.5])
    assert np.isnan(data.xs[0, 1]).all()
    assert np.isnan(data.xs[0, :, 2]).all()


@pytest.mark.parametrize(
    ("sensors", "text"),
    [
        (["range2 0.5 x 0.01 4 5 107 0"], "row that is not numeric"),
        (["range2 0.5 1.0 0.01"], "range2 rows of shape .* at least 6 numbers"),
        (["range2 0.5 1.0 0.01 4 5 107 0"], "odom2diff rows of shape"),
    ],
)
def test_bad_indoor_uwb(tmp_path, sensors, text):
    write_uwb(tmp_path, sensors, ["point2 0 0 10"])
    with pytest.raises(ValueError, match=text):
        read_indoor_uwb(tmp_path)


def test_folders_without_data(tmp_path):
    with pytest.raises(ValueError, match="no data set that a reader knows"):
        read_data(tmp_path)
    with pytest.raises(ValueError, match="there is no file or folder"):
        read_data(tmp_path / "none")
    write_uwb(tmp_path, ["range2 0.5 1.0 0.01 4 5 107 0"], ["point2 0 0 10"])
    with pytest.raises(ValueError, match="got split 'train', expected none"):
        read_data(tmp_path, "train")


def test_measured_uwb(shared_data):
    data = read_data(shared_data / "indoor_uwb")
    assert (data.size, data.steps) == (1, 233)
    np.testing.assert_allclose(data.ys[0, 0, 0], 2.95522014829822, rtol=1e-6)
    np.testing.assert_allclose(data.us["dt"].sum(), 29.9021980762482, rtol=1e-5)
    np.testing.assert_allclose(data.xs[0, -1, :2], truth_at_the_end(shared_data), rtol=1e-6)
    distance = np.linalg.norm(data.xs[0, :, :2] - data.us["anchor"][0], axis=-1)
    assert (
        abs(np.median(data.ys[0, :, 0] - distance) - 0.1) < 0.02
    )  # the ranges are too long, by a known bias


def truth_at_the_end(shared_data):
    return [
        float(text)
        for text in (shared_data / "indoor_uwb" / "Indoor_UWB_GT.txt").read_text().split()[-6:-4]
    ]


def test_published_sets(shared_data):
    parts = read_parts(shared_data / "kalmannet" / "linear_CA_dt1e-2_T100_randnInit.npz")
    assert [part.size for part in parts[:3]] == [1000, 100, 200]
    assert all(
        part.prior_mean.shape == (part.size, 3) and part.xs.shape[2] == 3 for part in parts[:3]
    )
