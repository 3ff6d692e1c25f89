"""Measured ranges that arrive late, beside wheels that do not: as if all had been in order."""

import chex
import jax
import numpy as np
import pytest
from support.compiling import quick_jit

import kfjax as kf
from kfjax.data import read_indoor_uwb


def rows_of(values):
    """Rows of a message of the wheels, then of one with a range, for each stamp."""
    return jax.tree.map(lambda a: np.repeat(np.asarray(a[0]), 2, axis=0), values)


@pytest.mark.slow
def test_late_ranges_give_what_sorted_ones_give(x64, shared_data):
    """Wheels and ranges have the same stamps; the wheels are inputs of rows without a range."""
    written = pytest.importorskip("benchmarks.models.indoor_uwb").model
    robot = jax.tree.map(lambda a: np.asarray(a, np.float64), written)
    data = read_indoor_uwb(shared_data / "indoor_uwb")
    ranges, us = rows_of((data.ys, data.us))
    stamps = np.repeat(np.cumsum(np.asarray(data.us["dt"][0], np.float64)), 2)
    is_range = np.arange(len(stamps)) % 2 == 1
    sent = stamps + is_range * np.random.default_rng(0).uniform(0.5, 1.5, len(stamps))
    arrival = np.argsort(sent, kind="stable")

    def estimates(method, index, steps):
        inputs = jax.tree.map(lambda a: a[index], us) | {"dt": steps}
        keep = {"observed": is_range[index], "emit": kf.estimate_and_info}
        return quick_jit(lambda: kf.run(method, robot, ranges[index], us=inputs, **keep))()

    once = jax.tree.map(lambda a: np.asarray(a[0]), data.us) | {
        "dt": kf.time_steps(stamps[::2], 0.0)
    }
    expected = kf.run(kf.unscented(), robot, data.ys[0], us=once)
    late = kf.delayed(kf.unscented(), 40, inputs=8)
    got = estimates(late, arrival, kf.time_steps(stamps[arrival], 0.0, ordered=False))
    as_if_new = estimates(kf.unscented(), arrival, kf.time_steps(sent[arrival], 0.0))

    chex.assert_trees_all_close(got.final.inner, expected.final, rtol=1e-9, atol=1e-11)
    total = expected.outputs.log_likelihood.sum()
    np.testing.assert_allclose(got.outputs[0].log_likelihood.sum(), total, rtol=1e-10)
    assert got.outputs[1].extra["late"].max() > 5
    assert not got.outputs[1].extra["refused"].any()

    def rmse(run):
        """Of the position at the times of the wheels, given what has arrived, from 5 s on."""
        mean = np.empty((len(stamps), 2))
        mean[arrival] = run.outputs[0].mean[:, :2]
        error = (mean[::2] - data.xs[0, :, :2])[40:]
        return np.sqrt(np.nanmean((error**2).sum(axis=1)))

    # taking a range for a new one costs accuracy
    assert rmse(got) < 0.8 * rmse(as_if_new)
