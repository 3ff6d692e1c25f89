"""Checkpoints: a run killed at any moment goes on as if nothing had been, and what is stored are
arrays alone.
"""

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
import pytest

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


def train(directory=None, updates=UPDATES, params=None, **options):
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
        misfit,
        params,
        data(50),
        validation=data(20),
        updates=updates,
        checkpoints=checkpoints,
        **options,
    )


def identical(a, b):
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
        time.sleep(rng.uniform(0, 0.3))  # between two checkpoints, or in the middle of one
        if run.poll() is not None:
            break  # it was done
        run.send_signal(signal.SIGKILL)
        run.wait()
        killed += 1
        seen.add(max(reports(tmp_path)))
    assert killed >= 1
    assert max(seen) < 40, "nothing was left to do"
    resumed = train(tmp_path)
    identical(resumed, train())
    assert max(reports(tmp_path)) == 40
    identical(resumed, train(tmp_path))  # nothing is left to do


def test_a_run_of_other_arguments_is_refused(tmp_path):
    train(tmp_path, updates=4, reports=1)
    for other in (
        {"updates": 8},
        {"params": start(0.2)},
        {"key": jax.random.key(4)},
        {"batch_size": 5},
        {"reports": 2},
    ):
        with pytest.raises(ValueError, match="holds checkpoints of another run"):
            train(tmp_path, **({"updates": 4, "reports": 1} | other))


def test_several_runs_and_stages_go_on(tmp_path):
    keys, params = jax.random.split(KEY, 2), kf.training.replicate(start(), 2)
    stages = [{"data": data(50), "updates": 6}, {"data": data(20), "updates": 4}]
    shared = {"key": keys, "batch_size": 7, "reports": 2}
    whole = fit_stages(misfit, params, stages, **shared)
    fit_stages(misfit, params, stages[:1], checkpoints=Checkpoints(tmp_path), **shared)
    identical(
        fit_stages(misfit, params, stages, checkpoints=Checkpoints(tmp_path), **shared), whole
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage_0", "stage_1"]


def test_params_are_saved_as_arrays_and_read_by_structure(tmp_path):
    model = kf.systems.lorenz(observation="spherical", q_std=0.1, r_std=0.1)
    saved = model.replace(R=4 * model.R)
    save_params(tmp_path / "a", saved)
    save_params(tmp_path / "a", saved)  # in place of what was there
    loaded = load_params(tmp_path / "a", model)
    identical(loaded, saved)
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"pickle" not in stored
    assert not re.search(rb"builtins|__reduce__|kfjax\.systems", stored)
    with pytest.raises(ValueError, match="holds other parameters than `like`: got"):
        load_params(tmp_path / "a", kf.systems.constant_velocity())
    with pytest.raises(ValueError, match="there is no file"):
        load_params(tmp_path / "b", model)
