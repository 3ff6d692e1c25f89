"""Filters as files: the same numbers, in a process without kfjax."""

import contextlib
import errno
import os
import subprocess
import sys
import zipfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import table
from support.choosing import slow_except
from support.files import arrays_in

import kfjax as kf
from kfjax import exporting

ELSEWHERE = """
import sys
import numpy as np
sys.modules.update(kfjax=None, flax=None)  # importing them raises
step_file, run_file, data_file, out_file = sys.argv[1:]
sys.path.insert(0, step_file)
from kfjax_program import load

data = np.load(data_file)
program = load(step_file)
state = program.initial()
means = []
for y, seen in zip(data["ys"], data["observed"]):
    state, outputs = program(state, y=y, observed=seen)
    means.append(outputs["mean"])
program = load(run_file)
final, run = program(program.initial(batch=2), y=np.stack([data["filled"], data["filled"] + 1]))
np.savez(out_file, means=np.stack(means), nis=outputs["nis"], run=run["mean"], final=final[0])
"""


def test_files_run_where_there_is_no_kfjax(tmp_path):
    problem = table.linear()
    names = ("step.zip", "run.zip", "data.npz", "out.npz")
    step, whole, data, out = (tmp_path / name for name in names)
    exporting.export_step(step, kf.kalman(), problem.model, masked=True)
    exporting.export_run(whole, kf.kalman(), problem.model, batch="b")
    ys = np.where(problem.observed, problem.ys, np.nan).astype(np.float32)
    np.savez(data, ys=ys, observed=problem.observed, filled=problem.ys.astype(np.float32))
    command = [sys.executable, "-c", ELSEWHERE, step, whole, data, out]
    subprocess.run(
        command, check=True, cwd=tmp_path, timeout=300, env=os.environ | {"PYTHONPATH": ""}
    )
    found = arrays_in(out)
    masked = kf.run(
        kf.kalman(), problem.model, problem.ys, observed=problem.observed, emit=kf.estimate_and_info
    ).outputs
    np.testing.assert_allclose(found["means"], masked[0].mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["nis"], masked[1].nis[-1], rtol=1e-5)
    for offset, mean in enumerate(found["run"]):
        final, estimate = kf.run(kf.kalman(), problem.model, problem.ys + offset)
        np.testing.assert_allclose(mean, estimate.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["final"][offset], final.mean, rtol=1e-5, atol=1e-6)


def streamed(program, case):
    """The means of an exported step over the data of a case."""
    state, means = program.initial(), []
    for k, y in enumerate(case.ys):
        inputs = {} if case.us is None else {"u": case.us[k]}
        state, outputs = program(state, y=y, observed=case.observed[k], **inputs)
        means.append(outputs["mean"])
    return np.stack(means)


def exported(case, path, **options):
    """A case as a program that takes one masked step."""
    u = None if case.us is None else case.us[0]
    exporting.export_step(
        path, case.filter, case.params, u=u, masked=True, key=jax.random.key(1), **options
    )
    return exporting.load(path)


# one that draws and takes inputs, one that learned; the rest of the table with -m slow
SOME = ("ensemble", "constant_gain", "sequence_regressor")


@pytest.mark.parametrize("name", slow_except(SOME, table.FILTERS))
def test_any_filter_gives_the_numbers_of_its_run(name, tmp_path):
    case = table.case(name)
    means = streamed(exported(case, tmp_path / "filter.zip"), case)
    expected = table.outputs(name).outputs[0].mean
    np.testing.assert_allclose(means, expected, rtol=2e-4, atol=2e-5)


def test_double_precision_is_kept_and_insisted_on(tmp_path):
    with jax.enable_x64(True):
        case = table.case("kalman")
        program = exported(case, tmp_path / "filter.zip")
        assert program.initial()[0].dtype == np.float64
        np.testing.assert_allclose(
            streamed(program, case), table.outputs("kalman").outputs[0].mean, rtol=1e-12, atol=1e-13
        )
    with pytest.raises(ValueError, match="is in double precision; expected jax_enable_x64"):
        exporting.load(tmp_path / "filter.zip")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    """The Kalman filter as a file that takes missing data, without inputs."""
    path = tmp_path_factory.mktemp("export") / "tracker.zip"
    return exporting.export_step(
        path, kf.kalman(), table.linear().model, masked=True, platforms=("cpu", "cuda", "tpu")
    )


def test_a_file_says_what_it_takes(tracker):
    program = exporting.load(tracker)
    assert program.state_names == ["state.mean", "state.cov"]
    assert program.input_names == ["observed", "y"]
    signature = program.signature
    assert signature["platforms"] == ["cpu", "cuda", "tpu"]
    assert signature["versions"] == {"kfjax": kf.__version__, "jax": jax.__version__}
    assert {"name": "y", "shape": [2], "dtype": "float32"} in signature["inputs"]
    assert {"name": "cov", "shape": [4, 4], "dtype": "float32"} in signature["outputs"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"y": [1.0]}, "y is float64 of shape \\(1,\\); expected float32 of shape \\(2,\\)"),
        ({"y": [1.0, np.nan]}, "y has NaN where it counts; .* observed=~np.isnan"),
        ({"observed": [0.5, 1.0]}, "observed is float64 of shape \\(2,\\); expected bool"),
        ({"u": [1.0]}, "got the inputs \\['observed', 'u', 'y'\\]; expected \\['observed', 'y'\\]"),
        ({"state": []}, "the state has 0 arrays; expected 2: \\['state.mean', 'state.cov'\\]"),
    ],
)
def test_wrong_inputs_are_refused(tracker, change, text):
    program = exporting.load(tracker)
    arguments = {"state": program.initial(), "y": [1.0, 2.0], "observed": [True, True]} | change
    with pytest.raises(ValueError, match=text):
        program(**arguments)


def test_bad_files_and_batches_are_refused(tracker, tmp_path):
    (tmp_path / "text.zip").write_text("hello")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    for name in ("text.zip", "empty.zip", "absent.zip"):
        with pytest.raises(
            ValueError, match=f"{name} cannot be read .* expected an undamaged file written by"
        ):
            exporting.load(tmp_path / name)
    with pytest.raises(ValueError, match="batch is 3; expected None"):
        exporting.load(tracker).initial(batch=3)


def test_damaged_files_are_named(tracker, tmp_path):
    data, path = tracker.read_bytes(), tmp_path / "damaged.zip"
    rng = np.random.default_rng(0)
    for size in (0, 1, *rng.integers(2, len(data), 10)):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=f"{path} cannot be read"):
            exporting.load(path)
    accepted = 0
    for place in rng.integers(0, len(data), 60):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        with contextlib.suppress(ValueError):  # unless the byte has no effect, as in a date
            chex.assert_trees_all_equal(
                exporting.load(path).initial(), exporting.load(tracker).initial()
            )
            accepted += 1
    assert accepted < 30


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_file(tracker, tmp_path, monkeypatch, call):
    path = tmp_path / "tracker.zip"
    path.write_bytes(tracker.read_bytes())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match=r"tracker\.zip was not written"):
            exporting.export_step(path, kf.kalman(), table.linear().model)
    assert path.read_bytes() == tracker.read_bytes()
    assert os.listdir(tmp_path) == ["tracker.zip"]


def test_what_cannot_be_exported(tmp_path):
    model = table.linear().model
    with pytest.raises(ValueError, match=r"draws random numbers, .* expected batch=None"):
        exporting.export_step(
            tmp_path / "a.zip", kf.particle(8), model, batch="b", key=jax.random.key(0)
        )
    bare = kf.kalman()._replace(init=lambda params, key=None: kf.Gaussian(jnp.zeros(1), jnp.eye(1)))
    with pytest.raises(ValueError, match="params is dict; expected y, an example"):
        exporting.export_step(tmp_path / "a.zip", bare, {})
    with pytest.raises(ValueError, match="filter is kalman; expected a kfjax"):
        exporting.export_step(tmp_path / "a.zip", kf.kalman, model)
    with pytest.raises(ValueError, match="expected None, since an ONNX"):
        exporting.export_step(tmp_path / "a.onnx", kf.kalman(), model, platforms=("cpu",))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch": 0}, "batch is 0; expected an integer"),
        ({"platforms": ("toaster",)}, "platforms is 'toaster'; expected one of"),
        ({"y": [1.0, 2.0]}, "expected"),
    ],
)
def test_impossible_options_are_refused(options, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        kf.exporting.export_step(
            tmp_path / "step.zip", kf.kalman(), kf.systems.constant_velocity(), **options
        )
