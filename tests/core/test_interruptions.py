"""Everything that kfjax writes survives a full disk, a read-only folder, kills and rivals."""

import os
import resource
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
from kfjax import data, exporting, training
from kfjax._support import files

KEY = jax.random.key(0)
CV = kf.systems.constant_velocity()
SERIES = kf.Dataset(np.random.default_rng(0).normal(size=(4, 12, 1)))
WALK = kf.linear_gaussian([[1.0]], [[1.0]], [[0.1]], [[1.0]], (np.zeros(1), np.eye(1)))


def scaled(number):
    """A model for each number."""
    return CV.replace(R=number * CV.R)


def misfit(params, batch, key):
    return jnp.mean((params[None] - batch) ** 2)


def fit(folder, number):
    return training.fit(
        misfit,
        jnp.zeros(300),
        np.full((4, 300), number, np.float32),
        key=KEY,
        updates=4,
        reports=2,
        progress=False,
        checkpoints=training.Checkpoints(folder / f"fit_{number}"),
    ).params


def trials(folder, number):
    place = folder / f"trials_{number}"
    return kf.monte_carlo(
        KEY, scaled(number), kf.kalman(), CV, trials=4, steps=5, chunk=2, resume=place
    ).mses


def series(folder, number):
    options = {"learn": ("R",), "resume": folder / f"series_{number}", "progress": False}
    return training.fit_many(kf.kalman(), WALK.replace(Q=number * WALK.Q), SERIES, **options)


SLOW = {"monte_carlo", "fit_many"}  # they compile for seconds
WRITERS = {
    "save_params": lambda folder, i: training.save_params(folder / "params.npz", scaled(i)),
    "Dataset.save": lambda folder, i: kf.Dataset(np.full((2, 50, 1), i)).save(folder / "data.npz"),
    "write_folder": lambda folder, i: data.write_folder(
        folder / f"on_disk_{i}", kf.Dataset(np.full((20, 50, 1), i))
    ),
    "export_step": lambda folder, i: exporting.export_step(
        folder / "step.kfjax", kf.kalman(), scaled(i)
    ),
    "fit": fit,
    "monte_carlo": trials,
    "fit_many": series,
}


def content(folder):
    """The bytes of all files but the empty ones of locks."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != files.LOCK
    }


class no_room:
    """A disk on which no file can have more than some bytes."""

    def __enter__(self):
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, self.limits[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)
        signal.signal(signal.SIGXFSZ, self.handler)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in WRITERS],
)
def test_a_full_disk_leaves_what_was_there_and_is_told(name, tmp_path):
    write = WRITERS[name]
    write(tmp_path, 1)
    before = content(tmp_path)
    assert before
    with no_room(), pytest.raises(OSError, match=f"File too large: {tmp_path}.* was not written"):
        write(tmp_path, 2)
    assert content(tmp_path) == before
    write(tmp_path, 2)  # goes on where it was stopped
    assert content(tmp_path) != before


@pytest.fixture
def read_only():
    """A function that makes a folder read-only for everybody, the superuser included."""
    mounted = []

    def close(folder):
        if os.geteuid():
            folder.chmod(0o555)
            return
        for options in (["--bind", folder], ["-o", "remount,ro,bind"]):
            done = subprocess.run(["mount", *options, folder], check=False, capture_output=True)
            if done.returncode:
                pytest.skip("the superuser can write into any folder, and may not mount one")
            mounted.append(folder)

    yield close
    for folder in set(mounted):
        subprocess.run(["umount", folder], check=True)


def test_what_is_in_a_read_only_folder_can_be_read(tmp_path, read_only):
    place = tmp_path / "closed"
    place.mkdir()
    for name in ("save_params", "fit"):
        WRITERS[name](place, 1)
    (place / "fit_1" / ".report_3.npz.0.unfinished").touch()  # of a killed process
    before = content(place)
    read_only(place)
    np.testing.assert_array_equal(fit(place, 1), fit(tmp_path, 1))
    with pytest.raises(OSError, match=r"params\.npz"):
        WRITERS["save_params"](place, 2)
    with pytest.raises(OSError, match=r"fit_2.* was not written"):
        fit(place, 2)
    assert content(place) == before


def start(code, *arguments):
    """Start a process that has the names of this module."""
    paths = [str(Path(kf.__file__).parents[1]), str(Path(__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", f"from core.test_interruptions import *\n{code}", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


QUICK = [name for name in WRITERS if name not in SLOW | {"write_folder"}]
REPEAT = """
for number in range(1, 10_000):
    for name in QUICK:
        WRITERS[name](Path(sys.argv[1]), number)
    print(number, flush=True)
"""


@pytest.mark.slow
def test_files_are_whole_whenever_the_process_is_killed(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(3):
        run = start(REPEAT, str(tmp_path))
        run.stdout.readline()  # everything has been written once
        time.sleep(rng.uniform(0, 0.3))
        run.kill()
        run.communicate()
        model = training.load_params(tmp_path / "params.npz", CV)
        factor = float(model.R[0, 0] / CV.R[0, 0])
        assert factor == round(factor)
        assert len(set(data.read_data(tmp_path / "data.npz").ys.ravel().tolist())) == 1
        program = exporting.load(tmp_path / "step.kfjax")
        assert program is not None
        np.testing.assert_array_equal(fit(tmp_path, 1), fit(tmp_path / "undisturbed", 1))


STUDY = "np.save(sys.argv[2], WRITERS['monte_carlo'](Path(sys.argv[1]), 1))"


@pytest.mark.slow
def test_two_processes_in_the_folder_of_a_study_find_the_same(tmp_path):
    alone = trials(tmp_path / "alone", 1)
    results = [tmp_path / f"{i}.npy" for i in range(2)]
    for run in [start(STUDY, str(tmp_path), str(result)) for result in results]:
        run.communicate()
        assert run.returncode == 0
    for result in results:
        np.testing.assert_allclose(np.load(result), alone, rtol=1e-6)
