"""Filters as ONNX models: onnxruntime gives the numbers of kfjax."""

import importlib.util
import json
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from support import table

import kfjax as kf
from kfjax import exporting

DTYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(bool)": bool}
INSTALLED = all(map(importlib.util.find_spec, ("jax2onnx", "onnxruntime")))
needs_onnx = pytest.mark.skipif(
    not INSTALLED, reason="needs jax2onnx and onnxruntime: pip install 'kfjax[onnx]'"
)


def session_of(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def streamed(session, case):
    """Means and covariances of a session that takes one step."""
    kinds = {entry.name: DTYPES[entry.type] for entry in session.get_inputs()}
    initial = json.loads(session.get_modelmeta().custom_metadata_map["initial_state"])
    state = {name: np.asarray(values, kinds[name]) for name, values in initial.items()}
    names = [output.name for output in session.get_outputs()]
    found = []
    for k, y in enumerate(case.ys):
        series = {"y": y, "observed": case.observed[k]} | (
            {} if case.us is None else {"u": case.us[k]}
        )
        series = {name: np.asarray(value, kinds[name]) for name, value in series.items()}
        outputs = dict(zip(names, session.run(None, state | series), strict=True))
        state = {name: outputs[f"new_{name}"] for name in state}
        found.append((outputs["mean"], outputs.get("cov")))
    return found


# the rest of the table draws random numbers, which jax2onnx does not know, or is much like one of
# these
SLOW = (
    "unscented",
    "iterated_extended",
    "square_root_unscented",
    "gated",
    "huber",
    "adaptive",
    "constant_gain",
    "imm",
)
SLOW += ("corrected_gain", "recursive_kalman_net", "recurrent")


@needs_onnx
@pytest.mark.parametrize(
    "name", ["kalman", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_round_trip(name, tmp_path):
    case = table.case(name)
    u = None if case.us is None else case.us[0]
    path = exporting.export_step(
        tmp_path / "filter.onnx", case.filter, case.params, u=u, masked=True
    )
    estimate = table.outputs(name).outputs[0]
    for k, (mean, cov) in enumerate(streamed(session_of(path), case)):
        np.testing.assert_allclose(mean, estimate.mean[k], rtol=1e-5, atol=1e-5)
        if estimate.cov is not None:
            np.testing.assert_allclose(cov, estimate.cov[k], rtol=1e-5, atol=1e-5)


@needs_onnx
@pytest.mark.xdist_group("kalman")
def test_a_whole_run_of_a_batch(tmp_path):
    problem = table.linear()
    path = tmp_path / "run.onnx"
    exporting.export_run(path, kf.kalman(), problem.model, steps=table.STEPS, batch=2)
    session = session_of(path)
    initial = json.loads(session.get_modelmeta().custom_metadata_map["initial_state"])
    state = {
        name: np.tile(np.float32(values), (2, *np.ndim(values) * [1]))
        for name, values in initial.items()
    }
    ys = np.float32([problem.ys, problem.ys + 1])
    mean, final = session.run(["mean", "new_state.mean"], {**state, "y": ys})
    for k, y in enumerate(ys):
        last, estimate = kf.run(kf.kalman(), problem.model, y)
        np.testing.assert_allclose(mean[k], estimate.mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(final[k], last.mean, rtol=1e-5, atol=1e-5)


class Remembering(NamedTuple):
    """A state that keeps the observation as it came, as the state of a learned gain does."""

    mean: Any
    last: Any
    cov: Any = None


@needs_onnx
def test_an_input_that_is_handed_on(tmp_path):
    remembering = kf.Filter(
        init=lambda gain, key=None: Remembering(np.zeros(2, np.float32), np.zeros(2, np.float32)),
        predict=lambda gain, state, u=None: state,
        update=lambda gain, state, y, u=None, observed=None: (
            Remembering(state.mean + gain * (y - state.last), y),
            kf.Info(),
        ),
    )
    ys = np.float32([[1.0, 2.0], [4.0, 0.0]])
    session = session_of(
        exporting.export_step(tmp_path / "filter.onnx", remembering, np.float32(0.5), y=ys[0])
    )
    state = {"state.mean": np.zeros(2, np.float32), "state.last": np.zeros(2, np.float32)}
    for y in ys:
        names = ["new_state.mean", "new_state.last", "mean"]
        *new, mean = session.run(names, {**state, "y": y})
        state = dict(zip(state, new, strict=True))
        np.testing.assert_array_equal(new[1], y)
    np.testing.assert_allclose(mean, kf.run(remembering, np.float32(0.5), ys).outputs.mean[-1])


@needs_onnx
@pytest.mark.xdist_group("kalman")
def test_what_onnx_cannot_express(tmp_path):
    model = table.linear().model
    with pytest.raises(ValueError, match=r"the filter draws random numbers \(.*random"):
        exporting.export_step(tmp_path / "a.onnx", kf.particle(8), model, key=jax.random.key(0))
    with pytest.raises(ValueError, match="the sizes \\['b'\\] are names; expected numbers"):
        exporting.export_step(tmp_path / "a.onnx", kf.kalman(), model, batch="b")


def test_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)  # importing it raises
    with pytest.raises(ImportError, match="pip install 'kfjax\\[onnx\\]'"):
        exporting.export_step(tmp_path / "a.onnx", kf.kalman(), table.linear().model)
