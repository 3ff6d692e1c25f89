"""The study of imitation: what is said about curves, and that the kept results are complete."""

import jax
import numpy as np
import pytest

from benchmarks.imitation.experiments import groups
from benchmarks.imitation.longer import FULL, students
from benchmarks.imitation.network import Shape, averages, draw, empty, unroll
from benchmarks.imitation.reading import Curve, Results, beside, compare
from benchmarks.imitation.training import Options


def curve(*ends, falls=0.0):
    """Curves of 40 points, which lose the part `falls` in their last tenth."""
    updates = np.arange(1, 41)
    levels = (updates / 40) ** (np.log(1 - falls) / np.log(1 / 0.9))
    return Curve("a", updates, np.array(ends)[:, None] * levels)


def test_what_the_last_tenth_gained():
    assert curve(0.5, 0.6, 0.8).gain == pytest.approx(0, abs=1e-12)
    assert curve(0.5, falls=0.1).gain == pytest.approx(0.1)
    assert curve(0.5, 0.6, 0.8).end == pytest.approx(0.6)
    assert curve(0.5, falls=0.005).stopped
    assert not curve(0.5, falls=0.05).stopped


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (curve(0.5, 0.6), curve(0.2, 0.3), "worse"),
        (curve(0.5, 0.6), curve(0.2, 0.3, falls=0.1), "worse"),  # which falls further
        (curve(0.2, 0.3), curve(0.5, 0.6), "better"),
        (curve(0.5, 0.6, falls=0.1), curve(0.2, 0.3), "not decided"),
        (curve(0.2, 0.3), curve(0.5, 0.6, falls=0.1), "not decided"),
        (curve(0.2, 0.5), curve(0.4, 0.6), "not told apart"),
    ],
)
def test_curves_are_compared_if_the_worse_one_has_stopped(first, second, said):
    assert compare(first, second) == said


def test_what_is_behind_says_how_far():
    slow = curve(0.4, falls=1 - 0.9**0.5)  # error ~ updates^-1/2: four times for one half
    assert beside(slow, curve(0.2, falls=1 - 0.9**0.5)).startswith("behind, and would need 4 times")
    assert beside(curve(0.2, falls=1 - 0.9**0.5), slow).startswith("ahead, and the other would")
    assert "more than 100 times" in beside(curve(0.9, falls=0.02), curve(0.2))
    assert beside(curve(0.5), curve(0.2)) == "worse (0.50 beside 0.20)"


def test_every_experiment_is_kept():
    results = Results()
    assert len({row["updates"] for row in results.rows.values()}) == 1  # ends are compared
    for name, group in groups().items():
        for variant in group.variants:
            row = results.rows[variant]
            assert row["group"] == name
            assert len(row["error"]) == len(group.seeds)
            assert len(row["error"][0]) * results.spacing == row["updates"] >= 20_000
    assert set(students(FULL)) < set(results.far)


def test_the_network_is_an_lstm_whose_memory_can_be_emptied():
    """Against the equations in NumPy, with feedback, increments and one reset."""
    shape = Shape((3,))
    params = draw(0, shape, 2, 2)
    options = Options(feedback=1.0, increment=1.0)
    ys = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    fresh = np.array([False, False, True, False])
    begin = empty(shape, 1, 2)
    with jax.numpy_rank_promotion("allow"):
        out = unroll(shape, options, params, begin, ys, fresh, moving=averages(shape))[1]

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    (layer,) = params["layers"]
    h = c = np.zeros(3)
    last = np.zeros(2)
    for t, y in enumerate(ys[0]):
        if fresh[t]:
            h = c = np.zeros(3)
            last = np.zeros(2)
        gates = np.concatenate([y, last]) @ layer["W"] + h @ layer["U"] + layer["b"]
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        last = h @ params["out"]["W"] + params["out"]["b"] + last
        np.testing.assert_allclose(out[0, t], last, rtol=2e-5, atol=2e-6)
