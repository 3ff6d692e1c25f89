"""Data that stay on disk: the same trajectories and results as in memory, and little memory."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf
from kfjax.data import (
    Dataset,
    DiskArray,
    on_disk,
    parallel_streams,
    pieces,
    read_data,
    read_folder,
    take,
    write_folder,
)
from kfjax.evaluation import compare
from kfjax.training import Checkpoints, clipped_adam, fit, replicate, state_mse

MODEL = kf.systems.constant_velocity()
PARAMS = kf.ConstantGainParams(MODEL, jnp.array([[0.5], [0.3]]))
LOSS, GAIN = state_mse(kf.constant_gain()), kf.ConstantGainParams(False, True)
KEY = jax.random.key(2)


def trajectories(*, gaps=False, size=26, steps=10):
    """A random walk of all fields; only the last third has gaps, lengths, both, or none."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(size, steps, 2)).cumsum(1)
    ys = xs[..., :1] + rng.normal(size=(size, steps, 1))
    length = np.full(size, steps)
    if gaps:
        ys[-size // 3 :][rng.random((-(-size // 3), steps)) < 0.3] = np.nan
        xs[-1, 2], length[-3:] = np.nan, 6
    return Dataset(ys, xs, length=length)


def parts(data, size=7):
    return (data[i : i + size] for i in range(0, data.size, size))


@pytest.fixture
def stored(tmp_path):
    """Write data and open them."""

    def store(data, name="stored"):
        write_folder(tmp_path / name, parts(data))
        return read_folder(tmp_path / name)

    return store


def assert_identical(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("gaps", [False, True])
def test_what_is_read_is_what_was_written(stored, gaps, tmp_path):
    data = trajectories(gaps=gaps)
    back = stored(data)
    assert repr(back) == f"Dataset(26 trajectories of {'6 to ' * gaps}10 steps, m=1, n=2, on disk)"
    assert on_disk(back)
    assert back.missing == pytest.approx(data.missing)
    assert on_disk((back[3:9], back.split(0.5, 0.5)[1]))
    for index in (
        [3, 25, -1, 4, 5],
        np.arange(data.size) % 3 == 0,
        slice(None, None, 2),
        slice(2, 9),
    ):
        assert_identical(jax.tree.map(np.asarray, back[index]), data[index])
    assert not on_disk(back[[0, 1]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stored"]
    assert read_data(tmp_path / "stored").size == data.size
    with pytest.raises(ValueError, match="has no parts; got split 'test'"):
        read_data(tmp_path / "stored", "test")


@pytest.mark.parametrize("steps", [4, 5])
def test_data_on_disk_are_cut_as_those_in_memory(stored, steps):
    data = trajectories(gaps=True)
    start = np.zeros(2)
    assert_identical(
        pieces(stored(data), steps, prior_mean=start), pieces(data, steps, prior_mean=start)
    )
    assert_identical(parallel_streams(stored(data, "other"), steps), parallel_streams(data, steps))


def test_inputs_and_initial_states(stored):
    rng = np.random.default_rng(1)
    inputs = {
        "dt": np.ones((9, 4)),
        "sensor": rng.integers(3, size=(9, 4)),
        "b": rng.normal(size=(9, 4, 2)),
    }
    for name, given in (("named", inputs), ("plain", inputs["b"])):
        data = Dataset(rng.normal(size=(9, 4, 1)), us=given, prior_mean=rng.normal(size=(9, 3)))
        assert_identical(stored(data, name)[np.arange(9)], data)


def test_evaluation_takes_chunks(stored):
    data = trajectories(gaps=True)
    filters = {"gain": (kf.constant_gain(), PARAMS)}
    here, there = (compare(filters, d, chunk=8, repeats=1) for d in (data, stored(data)))
    assert_identical(here.evaluations["gain"].statistics, there.evaluations["gain"].statistics)
    assert here.settings == there.settings
    np.testing.assert_array_equal(here.estimates["gain"].mean, there.estimates["gain"].mean)


OPTIONS = {
    "key": KEY,
    "learn": GAIN,
    "optimizer": clipped_adam(0.03),
    "batch_size": 5,
    "reports": 3,
}


@pytest.mark.parametrize(
    "options",
    [{"updates": 14}, {"updates": 40, "window": 4}, {"updates": 8, "key": jax.random.split(KEY)}],
)
def test_training_draws_the_same_batches(stored, options):
    data = trajectories(gaps=True)
    options = OPTIONS | {"validation": data[20:]} | options
    params = replicate(PARAMS, 2) if options["key"].ndim else PARAMS
    here, there = (fit(LOSS, params, d, **options) for d in (data[:20], stored(data)[:20]))
    np.testing.assert_allclose(there.params.gain, here.params.gain, rtol=1e-5)
    np.testing.assert_allclose(there.history.loss[..., 1:], here.history.loss[..., 1:], rtol=1e-5)
    np.testing.assert_array_equal(there.update, here.update)


def test_a_stopped_training_goes_on_with_the_same_bits(stored, tmp_path):
    data = stored(trajectories())
    whole = fit(LOSS, PARAMS, data, updates=12, **OPTIONS)
    checkpoints = Checkpoints(tmp_path / "run")
    fit(LOSS, PARAMS, data, updates=12, checkpoints=checkpoints, **OPTIONS)
    max((tmp_path / "run").glob("report_*")).rename(tmp_path / "lost")
    assert_identical(fit(LOSS, PARAMS, data, updates=12, checkpoints=checkpoints, **OPTIONS), whole)
    with pytest.raises(ValueError, match="checkpoints of another run"):
        fit(LOSS, PARAMS, data[:25], updates=12, checkpoints=checkpoints, **OPTIONS)


def test_rows_of_a_file(tmp_path):
    array = np.arange(60.0).reshape(10, 2, 3)
    np.save(tmp_path / "a.npy", array)
    stored = DiskArray.open(tmp_path / "a.npy")
    assert (stored.shape, stored.dtype, stored.ndim, len(stored)) == (
        (10, 2, 3),
        array.dtype,
        3,
        10,
    )
    later = stored[4:][1:-1]
    for found, expected in (
        (later, array[5:9]),
        (later[-1], array[8]),
        (later[::-2], array[5:9][::-2]),
        (take({"a": later}, [0, 1, 3, 3, 0])["a"], array[[5, 6, 8, 8, 5]]),
        (later[:, 0], array[5:9, 0]),
        (later[[]], array[:0]),
    ):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(IndexError, match="rows 4 to 4; expected 0 to 3"):
        later[[4]]
    np.save(tmp_path / "f.npy", np.asfortranarray(array))
    with pytest.raises(ValueError, match="its columns are contiguous"):
        DiskArray.open(tmp_path / "f.npy")


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    data, folder = trajectories(), tmp_path / "new"
    for given, text in (
        ((), "got no part"),
        ((data, data.ys), "a part is ndarray; expected a Dataset"),
        (
            (data, trajectories(steps=9)),
            r"of a part is bool \(26, 9, 1\); expected bool \(N, 10, 1\)",
        ),
        (
            (data, Dataset(data.ys)),
            "a part has observed, length, obs; expected observed, length, obs, state",
        ),
        ((data, Dataset(data.ys, data.xs, dtype=np.float64)), "obs of a part is float64"),
        ((Dataset(data.ys, us=(data.ys, data.ys)),), "us is nested"),
    ):
        with pytest.raises(ValueError, match=text):
            write_folder(folder, given)
        assert not list(tmp_path.iterdir())
    write_folder(folder, data)
    with pytest.raises(ValueError, match="exists; expected a new folder"):
        write_folder(folder, data)


def test_what_is_no_such_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no trajectories\.json"):
        read_folder(tmp_path)
    with pytest.raises(ValueError, match="holds no data set that a reader knows"):
        read_data(tmp_path)
    folder = tmp_path / "new"
    write_folder(folder, trajectories())
    np.save(folder / "obs.npy", np.zeros((2, 3, 1)))
    with pytest.raises(
        ValueError, match=r"obs\.npy is float64 \(2, 3, 1\); expected float32 \(26, 10, 1\)"
    ):
        read_folder(folder)
    (folder / "obs.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        read_folder(folder)


@pytest.fixture
def seal(tmp_path):
    """A stored folder, and a function that changes what its JSON file says."""
    folder = tmp_path / "new"
    write_folder(folder, trajectories())

    def change(alter):
        about = json.loads((folder / "trajectories.json").read_text())
        (folder / "trajectories.json").write_text(json.dumps(alter(about)))

    return folder, change


@pytest.mark.parametrize(
    ("alter", "text"),
    [
        (lambda about: about | {"format": 2}, "it is of format 2, not 1"),
        (lambda about: {"arrays": about["arrays"]}, "KeyError: 'format'"),
        (lambda about: {"format": 1}, "KeyError: 'arrays'"),
        (lambda about: [], "TypeError"),
        (lambda about: about | {"arrays": {}}, "it has no observations"),
        (lambda about: about | {"arrays": {"obs": 3}}, "TypeError"),
        (
            lambda about: about | {"arrays": about["arrays"] | {"../obs": about["arrays"]["obs"]}},
            r"read_folder: got an array named '\.\./obs'",
        ),
        (
            lambda about: (
                about | {"arrays": about["arrays"] | {"inputs_/../a": about["arrays"]["obs"]}}
            ),
            "read_folder: got an array named",
        ),
    ],
)
def test_a_changed_description_is_refused(seal, tmp_path, alter, text):
    folder, change = seal
    np.save(tmp_path / "obs.npy", np.load(folder / "obs.npy"))
    change(alter)
    with pytest.raises(ValueError, match=text):
        read_folder(folder)


def test_damaged_folders_are_named(seal):
    folder, _ = seal
    for name in ("trajectories.json", "obs.npy", "state.npy"):
        data = (folder / name).read_bytes()
        for size in (0, 1, 7, len(data) // 2):
            (folder / name).write_bytes(data[:size])
            with pytest.raises(ValueError, match=f"{folder / name} .* [Ww]rite the folder again"):
                read_folder(folder)
        (folder / name).write_bytes(data)
    assert read_folder(folder).size == 26


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "a\\b", "c:a", ""])
def test_inputs_are_not_written_elsewhere(tmp_path, name):
    data = Dataset(np.zeros((2, 3, 1)), us={name: np.zeros((2, 3))})
    with pytest.raises(ValueError, match="write_folder: got an array named"):
        write_folder(tmp_path / "new", data)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=f"No space left on device: {tmp_path}/new was not"):
            write_folder(tmp_path / "new", trajectories())
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)
def test_memory_stays_bounded(tmp_path):
    script = Path(__file__).parents[1] / "support" / "bounded.py"
    environment = os.environ | {"PYTHONPATH": str(Path(kf.__file__).parents[1])}
    command = [sys.executable, script, tmp_path / "large", "12"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    growth, size = map(float, run.stdout.split())
    assert size > 100
    assert growth < size / 3
