"""Trajectories cut in time: nothing is lost, and pieces start at the true state."""

import jax
import numpy as np
import pytest

from kfjax.data import Dataset, first_steps, pieces, whole_windows, window_at


@pytest.fixture
def data():
    """Numbered steps: y = 100 i + t, x = (y, -y), u = y; trajectories of 10, 7 and 3 steps, one
    entry missing.
    """
    y = 100.0 * np.arange(3)[:, None, None] + np.arange(1, 11)[None, :, None]
    obs = y.copy()
    obs[0, 4] = np.nan
    return Dataset(
        obs,
        np.concatenate([y, -y], -1),
        {"u": y},
        length=[10, 7, 3],
        prior_mean=[[0, 0], [100, -100], [200, -200]],
    )


def test_pieces_hold_every_step_once_and_start_at_the_truth(data):
    cut = pieces(data, 4)
    assert cut.lengths.tolist() == [4, 4, 2, 4, 3, 3]
    np.testing.assert_array_equal(cut.prior_mean[:, 0], [0, 4, 8, 100, 104, 200])
    np.testing.assert_array_equal(cut.prior_mean[:, 1], -cut.prior_mean[:, 0])
    steps = [t for i, T in enumerate(cut.lengths) for t in cut.us["u"][i, :T, 0]]
    assert steps == [*range(1, 11), *range(101, 108), *range(201, 204)]
    for i, T in enumerate(cut.lengths):
        seen = np.asarray(cut.observed[i, :T, 0])
        np.testing.assert_array_equal(cut.xs[i, :T, 0], cut.us["u"][i, :T, 0])
        np.testing.assert_array_equal(cut.ys[i, :T, 0][seen], cut.us["u"][i, :T, 0][seen])
        np.testing.assert_array_equal(cut.xs[i, :T, 0][~seen], [5.0] * (~seen).sum())
    assert (~cut.observed).sum() == 1
    whole = pieces(data[:1], 5)
    assert whole.length is None
    assert pieces(data, 20).lengths.tolist() == [10, 7, 3]


def test_pieces_that_are_longer_than_the_trajectories_are_not_padded(data):
    cut = pieces(data, 50)
    assert cut.steps == data.steps
    assert cut.lengths.tolist() == data.lengths.tolist()
    np.testing.assert_array_equal(cut.prior_mean, data.prior_mean)


def test_first_steps(data):
    cut = first_steps(data, 5)
    assert (cut.steps, cut.lengths.tolist()) == (5, [5, 5, 3])
    np.testing.assert_array_equal(cut.xs, data.xs[:, :5])


def test_windows_follow_each_other(data):
    padded = jax.tree.map(jax.numpy.asarray, whole_windows(data, 4))
    assert padded.ys.shape == (3, 12, 1)
    windows = [window_at(padded, start, 4) for start in (0, 4, 8)]
    assert [w.length.tolist() for w in windows] == [[4, 4, 3], [4, 3, 0], [2, 0, 0]]
    np.testing.assert_array_equal(np.concatenate([w.ys for w in windows], 1)[:, :10], data.ys)
    assert whole_windows(data, 5) is data


def test_bad_input(data):
    with pytest.raises(ValueError, match="steps is 0; expected a whole number of at least 1"):
        first_steps(data, 0)
    with pytest.raises(ValueError, match="without true states or prior means"):
        pieces(Dataset(data.ys, data.xs), 4)
    state = data.xs.copy()
    state[0, 3, 1] = np.nan
    with pytest.raises(ValueError, match="not known where 1 of 6 pieces start"):
        pieces(Dataset(data.ys, state, length=data.length), 4, prior_mean=np.zeros(2))
