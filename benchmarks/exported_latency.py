"""Latency of one step by `kf.step`, by a file of `jax.export`, and by an ONNX model.

    pip install 'kfjax[onnx]' && python benchmarks/exported_latency.py [--steps 2000]

Observations are taken one at a time: a numpy observation goes in, and the clock stops when the new
mean is back in numpy. The first 50 steps do not count. The last column is the largest difference of
a mean from that of `kf.step` in these 50 steps, relative to the largest mean (untrained networks do
not follow the truth, and a chaotic model later amplifies any rounding). onnxruntime has one thread.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import kfjax as kf
from kfjax import exporting, learned

WARM_UP = 50


def cases():
    """Yield (name, filter, params, model that makes the data) of every row."""
    linear = kf.systems.constant_velocity(2, dt=0.1)
    lorenz = kf.systems.lorenz(observation="spherical", q_std=0.1, r_std=0.1)
    net = learned.published("C4", n=3, m=3)
    yield "`kalman()`", kf.kalman(), linear, linear
    yield "`extended()`", kf.extended(), lorenz, lorenz
    yield "`unscented()`", kf.unscented(), lorenz, lorenz
    yield "`gated(extended())`", kf.gated(kf.extended()), lorenz, lorenz
    yield "KalmanNet C4", net, learned.init_params(jax.random.key(0), net, lorenz), lorenz


def in_kfjax(method, params):
    """Return the first state and the step of `kf.step`."""

    def take(state, y):
        state, _ = kf.step(method, params, state, y)
        return state, np.asarray(state.mean)

    return method.init(params), take


def in_a_file(method, params, folder):
    """Return the first state and the step of a program of jax.export."""
    program = exporting.load(exporting.export_step(folder / "filter.zip", method, params))

    def take(state, y):
        state, outputs = program(state, y=y)
        return state, np.asarray(outputs["mean"])

    return program.initial(), take


def in_onnx(method, params, folder):
    """Return the first state and the step of an ONNX model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    path = exporting.export_step(folder / "filter.onnx", method, params)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    initial = json.loads(session.get_modelmeta().custom_metadata_map["initial_state"])
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    start = {
        name: np.asarray(values, np.float32).reshape(shapes[name])
        for name, values in initial.items()
    }
    names = [*(f"new_{name}" for name in start), "mean"]

    def take(state, y):
        *new, mean = session.run(names, {**state, "y": y})
        return dict(zip(start, new, strict=True)), mean

    return start, take


def measured(start, take, ys):
    """Return the median and the 99th percentile in microseconds, and the means."""
    state = start
    seconds, means = [], []
    for y in ys:
        begin = time.perf_counter()
        state, mean = take(state, y)
        seconds.append(time.perf_counter() - begin)
        means.append(mean)
    median, high = 1e6 * np.percentile(seconds[WARM_UP:], [50, 99])
    return median, high, np.stack(means)


def difference(means, reference):
    """Return the largest difference in the warm-up, relative to the largest mean."""
    means, reference = means[:WARM_UP], reference[:WARM_UP]
    return np.abs(means - reference).max() / np.abs(reference).max()


def main():
    """Measure all filters in three ways, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="counted steps of each filter")
    steps = parser.parse_args().steps + WARM_UP
    print("| filter | as | median, us | 99 %, us | largest difference |\n|---|---|---|---|---|")
    for name, method, params, model in cases():
        ys = np.asarray(kf.simulate(jax.random.key(0), model, steps=steps)[1])
        with tempfile.TemporaryDirectory() as folder:
            ways = {
                "`kf.step`": in_kfjax(method, params),
                "`jax.export`": in_a_file(method, params, Path(folder)),
                "ONNX": in_onnx(method, params, Path(folder)),
            }
        reference = None
        for way, (start, take) in ways.items():
            median, high, means = measured(start, take, ys)
            if reference is None:
                reference = means
            figures = f"{median:.0f} | {high:.0f} | {difference(means, reference):.0e}"
            print(f"| {name} | {way} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
