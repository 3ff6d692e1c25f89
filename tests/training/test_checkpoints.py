"""Checkpoints: a run killed at any moment resumes exactly, and only arrays are stored."""

import contextlib
import errno
import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

import kfjax as kf
from kfjax.training import Checkpoints, clipped_adam, fit, fit_stages, load_params, save_params

KEY = jax.random.key(3)
UPDATES = 240
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from test_checkpoints import train
train(sys.argv[2])
"""


def misfit(params, batch, key):
    """A small network, with noise in its loss."""
    hidden = jnp.tanh(batch["x"] @ params["a"])
    noise = 0.1 * jax.random.normal(key, batch["y"].shape)
    return jnp.mean((hidden @ params["b"] - batch["y"] - noise) ** 2)


def start(scale=0.3):
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
        for name, shape in (("a", (4, 8)), ("b", (8, 2)))
    }


def data(size):
    x = np.random.default_rng(size).normal(size=(size, 4)).astype(np.float32)
    return {"x": x, "y": np.sin(x[:, :2])}


def train(directory=None, updates=UPDATES, params=None, loss=misfit, **options):
    checkpoints = None if directory is None else Checkpoints(directory)
    options = {
        "batch_size": 7,
        "ema": 0.9,
        "reports": 40,
        "optimizer": clipped_adam(0.02),
        "key": KEY,
    } | options
    params = start() if params is None else params
    return fit(
        loss,
        params,
        data(50),
        validation=data(20),
        updates=updates,
        checkpoints=checkpoints,
        **options,
    )


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def reports(directory):
    return Checkpoints(directory).reports()


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(tmp_path):
    rng, killed, seen = np.random.default_rng(), 0, set()
    while killed < 2:
        command = [sys.executable, "-c", RUN, str(Path(__file__).parent), str(tmp_path)]
        run = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(Path(kf.__file__).parents[1])}
        )
        before = max(reports(tmp_path), default=-1)
        while run.poll() is None and max(reports(tmp_path), default=-1) == before:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))  # between two checkpoints, or in the middle of one
        if run.poll() is not None:
            break  # it was done
        run.send_signal(signal.SIGKILL)
        run.wait()
        killed += 1
        seen.add(max(reports(tmp_path)))
    assert killed >= 1
    assert min(seen) < 40, "nothing was left to do"
    resumed = train(tmp_path)
    assert_identical(resumed, train())
    assert max(reports(tmp_path)) == 40
    assert_identical(resumed, train(tmp_path))  # nothing is left to do


SHORT = {"updates": 4, "reports": 1}
TABLE = {"factor": 1.0}


def weighed(params, batch, key):
    """A loss by a table that no digest reads: only its values identify it."""
    return TABLE["factor"] * misfit(params, batch, key)


def doubled(factor, params, batch, key):
    return factor * misfit(params, batch, key)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    train(folder, loss=Partial(doubled, 1.0), **SHORT)
    return folder


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"updates": 8}, "updates, reports"),
        ({"params": start(0.2)}, "params.a, params.b"),
        ({"key": jax.random.key(4)}, "key"),
        ({"batch_size": 5}, "batch_size"),
        ({"reports": 2}, "reports"),
        ({"ema": 0.8}, "ema"),
        ({"learn": {"a": True, "b": False}}, "learn"),
        ({"optimizer": clipped_adam(0.02, clip=0.5)}, r"optimizer\.init, optimizer\.update"),
        ({"optimizer": optax.adam(0.02)}, r"optimizer\.init, optimizer\.update"),
        ({"hyperparameters": {"learning_rate": 0.01}}, "hyperparameters"),
        ({"loss": Partial(doubled, 2.0)}, "loss, validation_loss"),
        ({"loss": functools.partial(doubled, 3.0)}, "loss, validation_loss"),
        ({"validation_loss": misfit}, "validation_loss"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_run_of_other_arguments_is_refused(finished, other, differs):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(ValueError, match=f"of another run, which differs in {differs}; expected"):
        train(finished, **{"loss": Partial(doubled, 1.0)} | SHORT | other)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def called(params, batch, key):
    return jnp.mean((params["model"](batch["x"]) - batch["y"]) ** 2)


def bent(by):
    def model(a, x):
        return x[:, :2] @ a + by * x[:, :2] ** 2

    return {"model": Partial(model, jnp.eye(2))}


def test_a_model_function_of_the_same_name_is_another_run(tmp_path):
    train(tmp_path, params=bent(0.1), loss=called, **SHORT)
    with pytest.raises(ValueError, match=r"which differs in params\.model; expected its own"):
        train(tmp_path, params=bent(0.2), loss=called, **SHORT)


def test_the_stored_validation_loss_is_computed_again(tmp_path, monkeypatch):
    train(tmp_path, loss=weighed, **SHORT)
    assert_identical(train(tmp_path, loss=weighed, **SHORT), train(loss=weighed, **SHORT))
    monkeypatch.setitem(TABLE, "factor", 2.0)
    jax.clear_caches()
    with pytest.raises(ValueError, match="another run: the validation loss after 4 updates is"):
        train(tmp_path, loss=weighed, **SHORT)


def damage(path, how):
    data = path.read_bytes()
    path.write_bytes(
        {"truncated": data[: len(data) // 2], "empty": b"", "flipped": flip(data)}[how]
    )


def flip(data):
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped"])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(tmp_path, how):
    options = {"updates": 6, "reports": 3}
    whole = train(tmp_path, **options)
    first, last = sorted(tmp_path.glob("report_*.npz"))
    damage(last, how)
    with pytest.warns(UserWarning, match=f"{last} cannot be read; the run continues from {first}"):
        assert_identical(train(tmp_path, **options), whole)
    assert_identical(train(tmp_path, **options), whole)
    damage(first, how)
    damage(last, how)
    with pytest.raises(ValueError, match=f"no checkpoint in {tmp_path} can be read .*{last}"):
        train(tmp_path, **options)
    assert len(list(tmp_path.glob("report_*"))) == 2  # nothing was deleted


def test_only_checkpoints_are_deleted(tmp_path):
    for name in ("0", "1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("1")
    (tmp_path / "report_1.npz").write_text("mine")
    train(tmp_path, updates=6, reports=6)
    assert Checkpoints(tmp_path).reports() == [5, 6]
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        "0",
        "1",
        "2",
        "report_1.npz",
        "report_00000005.npz",
        "report_00000006.npz",
    }
    assert all((tmp_path / name / "mine").exists() for name in "012")


def test_two_runs_in_one_directory(tmp_path):
    with (
        Checkpoints(tmp_path).kept_alone(),
        pytest.raises(ValueError, match="fit: another process uses"),
    ):
        train(tmp_path, **SHORT)
    train(tmp_path, **SHORT)


def test_the_last_report_is_saved_too(tmp_path):
    fitted = fit(
        misfit,
        start(),
        data(50),
        key=KEY,
        updates=5,
        reports=5,
        checkpoints=Checkpoints(tmp_path, every=3),
    )
    assert Checkpoints(tmp_path).reports() == [3, 5]
    assert fitted.history.update[-1] == 5


def test_several_runs_and_stages_go_on(tmp_path):
    keys, params = jax.random.split(KEY, 2), kf.training.replicate(start(), 2)
    stages = [{"data": data(50), "updates": 6}, {"data": data(20), "updates": 4}]
    shared = {"key": keys, "batch_size": 7, "reports": 2}
    whole = fit_stages(misfit, params, stages, **shared)
    fit_stages(misfit, params, stages[:1], checkpoints=Checkpoints(tmp_path), **shared)
    assert_identical(
        fit_stages(misfit, params, stages, checkpoints=Checkpoints(tmp_path), **shared), whole
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage_0", "stage_1"]


def test_params_are_saved_as_arrays_and_read_by_structure(tmp_path):
    model = kf.systems.lorenz(observation="spherical", q_std=0.1, r_std=0.1)
    saved = model.replace(R=4 * model.R)
    save_params(tmp_path / "a", saved)
    save_params(tmp_path / "a", saved)  # in place of what was there
    loaded = load_params(tmp_path / "a", model)
    assert_identical(loaded, saved)
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"pickle" not in stored
    assert not re.search(rb"builtins|__reduce__|kfjax\.systems", stored)
    with pytest.raises(ValueError, match="holds other parameters than `like`: got"):
        load_params(tmp_path / "a", kf.systems.constant_velocity())
    with pytest.raises(ValueError, match="there is no file"):
        load_params(tmp_path / "b", model)


def test_bfloat16_and_keys_of_other_generators_come_back(tmp_path):
    tree = {
        "half": jnp.asarray([1.5, -2.25], jnp.bfloat16),
        "key": jax.random.key(3, impl="rbg"),
        "number": 2.0,
    }
    save_params(tmp_path / "a", tree)
    back = load_params(tmp_path / "a", tree)
    assert back["half"].dtype == jnp.bfloat16
    assert back["half"].tolist() == [1.5, -2.25]
    assert jax.random.bits(back["key"]) == jax.random.bits(tree["key"])
    assert back["number"] == 2.0
    with pytest.raises(ValueError, match="holds other parameters"):
        load_params(tmp_path / "a", tree | {"half": jnp.zeros(2, jnp.float16)})


def test_nothing_but_saved_params_is_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter_1.tex").write_text("Once upon a time")
    np.savez(tmp_path / "data.npz", obs=np.zeros(3))
    (tmp_path / "notes").write_text("1")
    for name in ("thesis", "data.npz", "notes"):
        with pytest.raises(ValueError, match=f"{name} exists and is damaged or was not"):
            save_params(tmp_path / name, start())
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            load_params(tmp_path / name, start())
    assert (tmp_path / "thesis" / "chapter_1.tex").read_text() == "Once upon a time"
    with np.load(tmp_path / "data.npz") as archive:
        assert archive.files == ["obs"]


def test_a_full_disk_leaves_the_old_params(tmp_path, monkeypatch):
    save_params(tmp_path / "a", start())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"a was not written; its earlier content is unchanged"):
            save_params(tmp_path / "a", start(2.0))
    assert_identical(load_params(tmp_path / "a", start()), start())
    assert os.listdir(tmp_path) == ["a"]


def test_damaged_params_are_named(tmp_path):
    path = tmp_path / "a"
    save_params(path, start())
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in (0, 1, 10, *rng.integers(20, len(data), 10)):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=f"load_params: {path} cannot be read"):
            load_params(path, start())
    accepted = 0
    for place in rng.integers(0, len(data), 100):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        with contextlib.suppress(ValueError):  # unless the byte has no effect, as in a date
            assert_identical(load_params(path, start()), start())
            accepted += 1
    assert accepted < 50
