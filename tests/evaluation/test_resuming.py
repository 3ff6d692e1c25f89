"""Monte Carlo studies that were stopped: they continue, and end with the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kfjax as kf
from kfjax.evaluation import monte_carlo, trials

MODEL = kf.systems.constant_velocity()
PARAMS = kf.ConstantGainParams(MODEL, jnp.array([[0.5], [0.3]]))
KEY = jax.random.key(5)


def study(**changes):
    arguments = {
        "key": KEY,
        "truth": MODEL,
        "filter": kf.constant_gain(),
        "params": PARAMS,
    } | changes
    return monte_carlo(**({"trials": 23, "steps": 6, "chunk": 5} | arguments))


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, (a.statistics, a.curves), (b.statistics, b.curves))


@pytest.fixture
def calls(monkeypatch):
    """The first trial of every chunk that is run."""
    run, seen = trials._trials, []

    def spied(*arguments):
        seen.append(int(arguments[-1][0]))
        return run(*arguments)

    monkeypatch.setattr(trials, "_trials", spied)
    return seen


def test_a_stopped_study_goes_on_and_ends_with_the_same_bits(tmp_path, monkeypatch, calls):
    whole, folder = study(), tmp_path / "study"
    run = trials._trials

    def killed(*arguments):
        if len(calls) == 8:  # five of the whole study, then three
            raise KeyboardInterrupt
        return run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trials, "_trials", killed)
        with pytest.raises(KeyboardInterrupt):
            study(resume=folder)
    assert len(list(folder.iterdir())) == 3
    calls.clear()
    assert_identical(study(resume=folder, chunk=None), whole)
    assert calls == [0, 15, 20]  # the first one is run for comparison
    calls.clear()
    assert_identical(study(resume=folder), whole)
    assert calls == [0]


def test_a_finished_study_takes_more_trials(tmp_path, calls):
    study(resume=tmp_path)
    calls.clear()
    assert_identical(study(resume=tmp_path, trials=31), study(trials=31))
    assert calls[:4] == [0, 20, 25, 30]  # of the last chunk there were three only


def test_progress_counts_what_was_there(tmp_path, capsys):
    study(resume=tmp_path)
    study(resume=tmp_path, progress=True)
    assert "trials" in capsys.readouterr().err


def other_h(x, u):
    return x[:1] * 1.01


@pytest.mark.parametrize(
    "changes",
    [
        {"key": jax.random.key(6)},
        {"truth": MODEL.replace(R=1.01 * MODEL.R)},
        {"steps": 7},
        {"skip": 1},
        {"filter": kf.kalman(), "params": MODEL},
        {"params": PARAMS._replace(gain=PARAMS.gain + 1e-3)},
        {"truth": MODEL.replace(h=other_h)},
    ],
)
def test_another_study_is_refused(tmp_path, changes):
    study(resume=tmp_path)
    with pytest.raises(ValueError, match="is of another study"):
        study(resume=tmp_path, **changes)


def scaled(gain):
    """A filter with the same parameters that computes other numbers: only these identify it."""

    def update(params, state, y, u=None, observed=None):
        return kf.constant_gain().update(
            params._replace(gain=gain * params.gain), state, y, u, observed
        )

    return kf.constant_gain()._replace(update=update)


def test_another_filter_of_the_same_parameters_is_refused(tmp_path):
    study(resume=tmp_path)
    with pytest.raises(ValueError, match="is of another study"):
        study(resume=tmp_path, filter=scaled(0.9))


def test_wrong_folders_are_refused(tmp_path):
    study(resume=tmp_path)
    with pytest.raises(ValueError, match=r"holds chunks of 5 trials, got chunk=4"):
        study(resume=tmp_path, chunk=4)
    damaged = sorted(tmp_path.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"is damaged .*Delete it"):
        study(resume=tmp_path)
    with pytest.raises(ValueError, match="resume is the file"):
        study(resume=damaged)
