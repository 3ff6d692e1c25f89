"""The trainer: batches, updates, the params that are kept, and several runs at once."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from jax.tree_util import Partial
from support.programs import forget_programs

import kfjax as kf
from kfjax.data import Dataset
from kfjax.plotting import plot_history
from kfjax.training import (
    clipped_adam,
    curriculum,
    fit,
    fit_stages,
    partition,
    replicate,
    spread,
    state_mse,
    stepping,
)

KEY = jax.random.key(0)
SGD = optax.sgd(1.0)


def visits(params, batch, key):
    """Its gradient is one for every row that is in the batch."""
    del key
    return jnp.sum(params["w"][batch["row"]])


def rows(count):
    return {"row": np.arange(count)}


class Learned(NamedTuple):
    model: Any
    network: Any

    def learned_by_default(self):
        return Learned(False, True)


@pytest.mark.parametrize(("count", "batch", "updates"), [(6, 2, 9), (6, 1, 6), (4, 9, 3)])
def test_every_trajectory_once_per_epoch(count, batch, updates):
    fitted = fit(
        visits,
        {"w": jnp.zeros(count)},
        rows(count),
        key=KEY,
        updates=updates,
        batch_size=batch,
        optimizer=SGD,
    )
    np.testing.assert_array_equal(
        fitted.params["w"], np.full(count, -updates * min(batch, count) / count)
    )


def test_what_fills_no_batch_waits_for_the_next_shuffle():
    start = {"w": jnp.zeros(5)}
    fitted = fit(visits, start, rows(5), key=KEY, updates=2, batch_size=2, optimizer=SGD)
    assert sorted(fitted.params["w"].tolist()) == [-1, -1, -1, -1, 0]
    fitted = fit(
        visits, start, rows(5), key=KEY, updates=200, batch_size=2, optimizer=SGD, reports=7
    )
    assert fitted.params["w"].sum() == -400
    assert fitted.params["w"].max() < -60  # another row is left out every time
    assert fitted.history.update.tolist() == [0, 29, 58, 87, 116, 145, 174, 200]


def refusing(params, batch, key):
    """A loss that is not finite, or whose gradient is not, if the batch has row 1 or 2."""
    row, w = batch["row"][0], params["w"]
    steep = jnp.sqrt(jnp.where(row == 2, w[2], 1.0)) - 1  # at w_2 = 0
    return visits(params, batch, key) + jnp.where(row == 1, jnp.nan, 0) + steep


def test_updates_that_are_not_finite_move_nothing_and_are_counted():
    momentum = optax.sgd(1.0, momentum=0.5)
    fitted = fit(
        refusing,
        {"w": jnp.zeros(4)},
        rows(4),
        key=KEY,
        updates=12,
        batch_size=1,
        optimizer=momentum,
    )
    assert fitted.refused == 6
    assert fitted.history.refused[-1] == 6
    assert fitted.params["w"][1] == fitted.params["w"][2] == 0
    assert np.isfinite(fitted.params["w"]).all()
    assert np.isfinite(fitted.history.loss[1:]).any()
    with pytest.raises(ValueError, match="not finite in any of 3 updates"):
        fit(refusing, {"w": jnp.full(4, jnp.nan)}, rows(4), key=KEY, updates=3, batch_size=1)


def squares(params, batch, key):
    del batch, key
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def test_frozen_leaves_stay_to_the_bit_whatever_the_optimiser_decays():
    params = Learned({"q": jnp.array([1.0, 2.0])}, {"kernel": jnp.ones(2), "count": jnp.arange(2)})
    options = {"key": KEY, "updates": 5, "optimizer": clipped_adam(0.1, weight_decay=0.5)}
    by_default = fit(squares, params, rows(3), **options).params
    np.testing.assert_array_equal(by_default.model["q"], params.model["q"])
    np.testing.assert_array_equal(by_default.network["count"], params.network["count"])
    assert (by_default.network["kernel"] < 0.8).all()
    other = fit(squares, params, rows(3), learn=Learned(True, None), **options).params
    assert (other.model["q"] < params.model["q"]).all()
    np.testing.assert_array_equal(other.network["kernel"], params.network["kernel"])


def test_partition_by_path_and_by_prefix():
    model = kf.systems.constant_velocity()
    for learn in (
        lambda path, leaf: path in ("Q", "f/A"),
        kf.StateSpaceModel.axes(Q=True, f=True),
    ):
        trained, frozen = partition(model, learn)
        assert [leaf is None for leaf in (trained.Q, trained.f.A, trained.R, trained.h.A)] == [
            False,
            False,
            True,
            True,
        ]
        assert frozen.Q is None
        whole = kf.training.merge(trained, frozen)
        assert jax.tree.structure(whole) == jax.tree.structure(model)
        jax.tree.map(np.testing.assert_array_equal, whole, model)
    for wrong, text in (
        (False, "leaves no float of params"),
        ({"Q": True}, "does not fit the params"),
    ):
        with pytest.raises(ValueError, match=text):
            partition(model, wrong)


def forward(params, batch, key):
    del batch, key
    return -params


def from_three(params, batch, key):
    del batch, key
    return (params - 3.2) ** 2


def test_the_best_on_validation_is_kept_and_patience_ends_the_training():
    options = {"key": KEY, "optimizer": SGD, "validation": rows(2), "validation_loss": from_three}
    fitted = fit(forward, jnp.zeros(()), rows(4), updates=20, reports=20, **options)
    assert (fitted.params, fitted.update, fitted.history.update[-1]) == (3.0, 3, 20)
    np.testing.assert_allclose(fitted.validation, 0.04, rtol=1e-4)
    stopped = fit(forward, jnp.zeros(()), rows(4), updates=20, reports=20, patience=4, **options)
    assert (stopped.params, stopped.update, stopped.history.update[-1]) == (3.0, 3, 7)
    assert fit(forward, jnp.zeros(()), rows(4), updates=20, key=KEY, optimizer=SGD).params == 20.0


def with_a_second_dip(params, batch, key):
    """Fall at 1 and lower at 6 for a run from 0; fall without end for a run from 100."""
    del batch, key
    dips = jnp.where(params == 6, -2.0, jnp.where(params == 1, -1.0, 0.0))
    return jnp.where(params < 50, dips, -params)


def test_a_run_out_of_patience_stays_as_it_is_while_others_go_on():
    options = {"optimizer": SGD, "validation": rows(2), "validation_loss": with_a_second_dip}
    options |= {"updates": 8, "reports": 8, "patience": 4}
    starts = jnp.array([0.0, 100.0])
    alone = fit(forward, starts[0], rows(4), key=KEY, **options)
    both = fit(forward, starts, rows(4), key=jax.random.split(KEY), **options)
    assert (alone.params, alone.update, alone.history.update[-1]) == (1.0, 1, 5)
    assert (both.run(0).params, both.run(0).update) == (1.0, 1)
    assert (both.run(1).params, both.run(1).update) == (108.0, 8)


def test_moving_average():
    start = jnp.zeros((), jnp.float32)
    fitted = fit(forward, start, rows(4), updates=30, key=KEY, optimizer=SGD, ema=0.8)
    with jax.enable_x64(True):
        assert (
            fit(forward, start, rows(4), updates=30, key=KEY, optimizer=SGD, ema=0.8).params.dtype
            == jnp.float32
        )
    average = 0.0
    for s in range(30):
        decay = min(0.8, (1 + s) / (10 + s))
        average = decay * average + (1 - decay) * (s + 1)
    np.testing.assert_allclose(fitted.params, average, rtol=1e-5)


@pytest.fixture(scope="module")
def problem():
    """A gain to be learned, from too little: model, training and validation data."""
    model = kf.systems.constant_velocity(
        q_density=0.09, r_std=0.5, prior=kf.Gaussian(jnp.zeros(2), jnp.zeros((2, 2)))
    )
    rng, F = np.random.default_rng(0), np.asarray(model.f.A)
    L = np.linalg.cholesky(np.asarray(model.Q) + 1e-9 * np.eye(2))
    x, xs = np.zeros((40, 2)), []
    for _ in range(24):
        x = x @ F.T + rng.normal(size=x.shape) @ L.T
        xs.append(x)
    xs = np.stack(xs, 1)
    data = Dataset(xs @ np.asarray(model.h.A).T + 0.5 * rng.normal(size=(40, 24, 1)), xs)
    return kf.ConstantGainParams(model, jnp.zeros((2, 1))), data[:30], data[30:]


LOSS, GAIN = state_mse(kf.constant_gain()), kf.ConstantGainParams(False, True)


def test_several_runs_at_once_are_the_same_as_one_after_the_other(problem):
    params, train, validation = problem
    keys, rates = jax.random.split(KEY, 3), jnp.array([1e-3, 0.03, 0.1])
    options = {
        "updates": 60,
        "reports": 6,
        "batch_size": 8,
        "validation": validation,
        "learn": GAIN,
        "patience": 2,
    }
    many = fit(
        LOSS,
        replicate(params, 3),
        train,
        key=keys,
        hyperparameters={"learning_rate": rates},
        **options,
    )
    for i in range(3):
        one = fit(
            LOSS, params, train, key=keys[i], hyperparameters={"learning_rate": rates[i]}, **options
        )
        np.testing.assert_allclose(many.run(i).params.gain, one.params.gain, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(many.validation[i], one.validation, rtol=1e-4)
        assert many.run(i).update == one.update
    assert many.spread == spread(many.validation)
    assert (
        many.spread.min
        == many.validation.min()
        == many.validation[many.best_run]
        < many.spread.median
    )
    assert plot_history(many.history).get_yscale() == "log"
    assert one.history.loss[-1] < one.history.loss[1]


def test_the_same_call_gives_the_same_and_compiles_once(problem):
    params, train, validation = problem
    options = {"updates": 20, "batch_size": 8, "validation": validation, "learn": GAIN}
    forget_programs(*vars(stepping).values())
    traces = []

    def counted(params, batch, key):
        traces.append(1)
        return LOSS(params, batch, key)

    first, again, other = (
        fit(counted, params, train, key=key, **options) for key in (KEY, KEY, jax.random.key(1))
    )
    assert len(traces) == 2  # training and validation
    np.testing.assert_array_equal(first.params.gain, again.params.gain)
    assert (first.params.gain != other.params.gain).any()


def test_windows_with_carried_states(problem):
    params, train, _ = problem
    params = params._replace(gain=jnp.array([[0.5], [0.4]]))
    options = {"key": KEY, "learn": GAIN, "window": 4, "batch_size": 10, "reports": 1}
    still = fit(LOSS, params, train, updates=18, hyperparameters={"learning_rate": 0.0}, **options)
    start = LOSS(params, train, KEY)
    np.testing.assert_allclose(
        still.history.loss[1], start, rtol=1e-5
    )  # three batches of six windows each
    moving = fit(
        LOSS, params, train, updates=120, hyperparameters={"learning_rate": 0.02}, **options
    )
    best = params._replace(gain=kf.steady_state(params.model).gain)
    assert start > 1.1 * LOSS(best, train, KEY)
    assert LOSS(moving.params, train, KEY) < 1.02 * LOSS(best, train, KEY)


def test_a_learned_start_has_its_gradient_in_the_first_window(problem):
    params, train, _ = problem
    wrong = params._replace(
        model=params.model.replace(prior=kf.Gaussian(jnp.array([3.0, -3.0]), jnp.zeros((2, 2))))
    )
    options = {
        "key": KEY,
        "window": 6,
        "batch_size": 30,
        "reports": 1,
        "updates": 240,
        "optimizer": clipped_adam(0.1),
    }
    fitted = fit(LOSS, wrong, train, learn=lambda path, leaf: path == "model/prior/mean", **options)
    assert abs(fitted.params.model.prior.mean).max() < 1.0  # x_0 is 0


def test_stages_go_on_from_each_other(problem):
    params, train, validation = problem
    split = kf.data.pieces(train, 8, prior_mean=params.model.prior.mean)
    stages = [{"data": split, "updates": 30}, *curriculum(train, (12, 24), 20)]
    shared = {
        "key": KEY,
        "learn": GAIN,
        "optimizer": clipped_adam(0.03),
        "validation": validation,
        "reports": 2,
    }
    fitted = fit_stages(LOSS, params, stages, **shared)
    assert fitted.history.update.tolist() == [0, 15, 30, 30, 40, 50, 50, 60, 70]
    np.testing.assert_allclose(fitted.history.validation[3], fitted.history.validation[:3].min())
    assert fitted.validation <= fitted.history.validation.min()
    with pytest.raises(ValueError, match="stage 0 lacks updates"):
        fit_stages(LOSS, params, [{"data": train}], key=KEY)


NETWORK = linen.Dense(2, use_bias=False)


def network_step(variables, x, u):
    del u
    return NETWORK.apply(variables, x)


def test_a_linen_network_inside_a_model_is_learned(problem):
    params, train, _ = problem
    variables = NETWORK.init(KEY, jnp.zeros(2))
    params = kf.ConstantGainParams(
        params.model.replace(f=Partial(network_step, variables)), jnp.array([[0.5], [0.4]])
    )
    options = {"key": KEY, "updates": 400, "optimizer": clipped_adam(0.1, clip=10.0), "reports": 4}
    fitted = fit(LOSS, params, train, learn=lambda path, leaf: "kernel" in path, **options)
    known = problem[0]._replace(gain=params.gain)
    assert fitted.history.loss[-1] < 1.05 * LOSS(known, train, KEY) < 0.1 * LOSS(params, train, KEY)
    np.testing.assert_array_equal(fitted.params.gain, params.gain)


def test_whoever_watches_sees_loss_and_decibels(problem, capsys):
    params, train, validation = problem
    fit(LOSS, params, train, key=KEY, updates=20, validation=validation, learn=GAIN, progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"loss -?[0-9.]+ dB, validation -?[0-9.]+ dB", shown)


def vector(params, batch, key):
    del batch, key
    return params


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"updates": 0},
            "updates is 0; expected a whole number of at least 1",
        ),
        ({"patience": 3}, "got patience or validation_loss without validation"),
        ({"learn": "w"}, "learn: got 'w', which does not fit the params; expected booleans"),
        ({"learn": 1.0}, "learn: got 1.0, which does not fit the params; expected booleans"),
        ({"ema": 1.0}, "is 1.0; expected a finite number above 0 and below 1"),
        ({"window": 4}, "got window with data of type dict"),
        ({"data": {"a": np.zeros(3), "b": np.zeros(4)}}, "with leading axes [(3,), (4,)]"),
        ({"key": jax.random.split(KEY, 2)}, "got 2 keys, and params without that leading axis"),
        ({"hyperparameters": {"rate": 1.0}}, "the optimiser has no hyperparameter 'rate'"),
        ({"loss": vector}, "the loss has shape (4,); expected a scalar"),
        (
            {"validation": rows(2), "validation_loss": lambda *_: jnp.nan},
            "the validation loss was never finite",
        ),
    ],
)
def test_bad_input(changes, text):
    given = {
        "loss": squares,
        "params": jnp.ones(4),
        "data": rows(4),
        "key": KEY,
        "updates": 1,
    } | changes
    with pytest.raises(ValueError, match=re.escape(text)):
        fit(given.pop("loss"), given.pop("params"), given.pop("data"), **given)


def bowl(params, batch, key):
    """A narrow valley, in which plain gradient descent takes thousands of updates."""
    del batch, key
    return jnp.sum(jnp.array([1.0, 1e3]) * (params["w"] - 1.0) ** 2)


def test_an_optimiser_that_searches_along_a_line_is_given_the_objective():
    fitted = fit(
        bowl, {"w": jnp.zeros(2)}, rows(1), key=KEY, updates=10, optimizer=optax.lbfgs(), reports=1
    )
    np.testing.assert_allclose(fitted.params["w"], 1, atol=1e-4)


def uphill(params, batch, key):
    """A loss that never falls: its gradient has the wrong sign."""
    del batch, key
    w = params["w"]
    return jnp.sum(jax.lax.stop_gradient(2 * w) - w)


def test_an_optimiser_that_waits_for_the_loss_to_fall_is_told_the_loss():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    optimizer = optax.chain(SGD, plateau)
    options = {"key": KEY, "updates": 6, "reports": 1}
    fitted = fit(uphill, {"w": jnp.zeros(1)}, rows(1), optimizer=optimizer, **options)
    plain = fit(uphill, {"w": jnp.zeros(1)}, rows(1), optimizer=SGD, **options)
    assert plain.params["w"] == 6
    assert fitted.params["w"] == sum(0.5**k for k in range(6))
