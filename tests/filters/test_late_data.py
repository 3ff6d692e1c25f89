"""A filter that takes late observations gives what the same filter gives on sorted data."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.choosing import slow_except
from support.compiling import quick_jit
from support.table import FILTERS, STEPS, case, predict, update

import kfjax as kf

WINDOW = 3
ARRIVAL = np.array([0, 2, 4, 1, 3, 5])  # rows in order of arrival: row 1 comes after two later ones
LATE = [0, 0, 0, 2, 1, 0]
# states of every kind; the others are slow tests
QUICK = ("extended", "particle", "kalman_net_2")


def inputs_with_steps(c, name):
    """Inputs of a case with time steps, and where these are: ones for models that read none."""
    if FILTERS[name].models[0] == "driven":
        return c.us, 0
    steps = np.ones(STEPS)
    if c.us is None:
        return steps, "dt"
    return np.column_stack([c.us, steps]), c.us.shape[1]


def late_inputs(us, dt, arrival):
    """The same inputs in order of arrival."""
    steps = us if us.ndim == 1 else us[:, dt]
    late = np.asarray(kf.time_steps(np.cumsum(steps)[arrival], 0.0, ordered=False))
    if us.ndim == 1:
        return late
    rows = us[arrival]
    rows[:, dt] = late
    return rows


@functools.partial(quick_jit, static_argnums=0)
def run(filter, params, ys, us, observed):
    """A run from the start of a record that keeps everything."""
    return kf.run(
        filter,
        params,
        ys,
        us=us,
        observed=observed,
        key=jax.random.key(1),
        emit=kf.estimate_and_info,
    )


@pytest.mark.parametrize(
    "name", slow_except(QUICK, [name for name in FILTERS if name != "delayed"])
)
def test_late_rows_give_what_sorted_rows_give(x64, name):
    c = case(name)
    us, dt = inputs_with_steps(c, name)
    late_filter = kf.delayed(c.filter, WINDOW, dt=dt, inputs=us[0].size)
    seen = c.observed[ARRIVAL]
    expected = run(c.filter, c.params, c.ys, us, c.observed)
    got = run(late_filter, c.params, c.ys[ARRIVAL], late_inputs(us, dt, ARRIVAL), seen)
    chex.assert_trees_all_close(got.final.inner, expected.final, rtol=1e-9, atol=1e-11)
    info = got.outputs[1]
    if info.log_likelihood is not None:
        total = expected.outputs[1].log_likelihood.sum()
        np.testing.assert_allclose(info.log_likelihood.sum(), total, rtol=1e-10)
    np.testing.assert_array_equal(info.extra["late"], np.where(seen.any(axis=1), LATE, 0))
    np.testing.assert_array_equal(info.dof, seen.sum(axis=1))
    assert not info.extra["refused"].any()


MODEL = functools.partial(kf.systems.constant_velocity, dt=None)
TIMES = np.array([0.3, 0.7, 0.7, 1.6, 2.0, 2.9])
YS = np.array([0.2, 0.5, 0.9, 1.4, 2.6, 2.1])[:, None]


def sorted_run(arrival):
    """A run of the rows that have arrived, in order of time (of arrival, for equal times)."""
    index = arrival[np.argsort(TIMES[arrival], kind="stable")]
    # rows over no time, in which nothing is observed, make all runs equally long
    index = np.append(index, np.repeat(index[-1], STEPS - len(index)))
    seen = np.arange(STEPS) < len(arrival)
    return run(kf.kalman(), MODEL(), YS[index], kf.time_steps(TIMES[index], 0.0), seen[:, None])


def late_run(arrival, window=WINDOW):
    us = kf.time_steps(TIMES[arrival], 0.0, ordered=False)
    filter = kf.delayed(kf.kalman(), window)  # noqa: A001
    return run(filter, MODEL(), YS[arrival], us, np.ones((len(arrival), 1), bool))


def test_every_estimate_is_that_of_what_has_arrived_and_equal_times_keep_their_order(x64):
    for arrival in (ARRIVAL, np.array([2, 1, 0, 3, 5, 4])):
        est, info = late_run(arrival).outputs
        for k in range(1, STEPS + 1):
            expected = sorted_run(arrival[:k])
            np.testing.assert_allclose(est.mean[k - 1], expected.final.mean, rtol=1e-12)
            np.testing.assert_allclose(est.cov[k - 1], expected.final.cov, rtol=1e-12)
            total = expected.outputs[1].log_likelihood.sum()
            np.testing.assert_allclose(info.log_likelihood[:k].sum(), total, rtol=1e-12)
            # the row is scored as it was predicted from those before it in time
            row = np.flatnonzero(np.sort(arrival[:k]) == arrival[k - 1])[0]
            if TIMES[arrival[k - 1]] != 0.7:
                np.testing.assert_allclose(
                    info.nis[k - 1], expected.outputs[1].nis[row], rtol=1e-12
                )


def test_a_stream_gives_what_a_run_gives(x64):
    late = kf.delayed(kf.kalman(), WINDOW)
    expected = late_run(ARRIVAL)
    state = late.init(MODEL())
    for k, u in enumerate(np.asarray(kf.time_steps(TIMES[ARRIVAL], 0.0, ordered=False))):
        y, seen = YS[ARRIVAL[k]], np.ones(1, bool)
        state, info = kf.step(late, MODEL(), state, y, u=u, observed=seen, donate=k > 0)
        est = kf.estimate(state, info)
        chex.assert_trees_all_close(
            (est, info), jax.tree.map(lambda a: a[k], expected.outputs), rtol=1e-12
        )


def test_what_is_older_than_the_window_is_refused_and_reported(x64):
    arrival = np.array([1, 2, 3, 4, 5, 0])  # row 0 comes after five later ones
    final, (_, info) = late_run(arrival, window=4)
    np.testing.assert_array_equal(info.extra["refused"], [0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(info.extra["accepted"], [1, 1, 1, 1, 1, 0])
    expected = sorted_run(arrival[:5]).final
    chex.assert_trees_all_close(final.inner, expected, rtol=1e-12)
    for field in (info.innovation, info.innovation_cov, info.log_likelihood, info.nis, info.dof):
        assert not field[-1].any()
    final, (_, info) = late_run(arrival, window=5)
    assert not info.extra["refused"].any()
    chex.assert_trees_all_close(final.inner, sorted_run(arrival).final, rtol=1e-12)


def test_what_was_measured_before_the_start_is_refused(x64):
    late = kf.delayed(kf.kalman(), WINDOW)
    state, info = kf.step(late, MODEL(), None, YS[0], u=-0.1)
    assert info.extra["refused"] == 1
    chex.assert_trees_all_equal(state.inner, MODEL().prior)
    # and the filter continues
    state, info = kf.step(late, MODEL(), state, YS[0], u=0.3)
    expected, _ = kf.step(kf.kalman(), MODEL(), None, YS[0], u=0.3)
    chex.assert_trees_all_close(state.inner, expected, rtol=1e-12)


def test_a_batch_with_its_own_delays_equals_a_loop_and_has_gradients(x64):
    orders = np.stack([ARRIVAL, np.arange(STEPS), ARRIVAL[[1, 0, 3, 2, 5, 4]]])
    late = kf.delayed(kf.kalman(), WINDOW)

    def likelihood(model, ys, us):
        return kf.log_likelihood(late, model, ys, us=us)

    us = jnp.stack([kf.time_steps(TIMES[order], 0.0, ordered=False) for order in orders])
    both = quick_jit(jax.vmap(jax.value_and_grad(likelihood), (None, 0, 0)))
    values, gradients = both(MODEL(), YS[orders], us)
    steps = kf.time_steps(TIMES, 0.0)
    reference = quick_jit(
        jax.value_and_grad(lambda m: kf.log_likelihood(kf.kalman(), m, YS, us=steps))
    )
    value, gradient = reference(MODEL())
    for b in range(len(orders)):
        np.testing.assert_allclose(values[b], value, rtol=1e-11)
        chex.assert_trees_all_close(
            jax.tree.map(lambda a, b=b: a[b], gradients), gradient, rtol=1e-9, atol=1e-12
        )


def test_rounding_of_times_makes_no_step():
    """A model with a fixed step must not be predicted over a step of rounding."""
    fixed = kf.systems.constant_velocity()
    late = kf.delayed(kf.kalman(), 40)
    unseen = np.zeros(1, bool)
    state = late.init(fixed)
    for _ in range(40):
        state, _ = kf.step(late, fixed, state, YS[0], u=np.float32(0.1), observed=unseen)
    before = state.inner
    # 3.9 is not the sum of 39 steps of 0.1 in float32
    state, info = kf.step(late, fixed, state, YS[0], u=np.float32(-3.9), observed=~unseen)
    assert info.extra["late"] == 39
    again = predict(late, fixed, state, np.float32(-3.9))
    np.testing.assert_allclose(again.inner.cov, state.inner.cov, rtol=1e-6)
    assert (jnp.diag(state.inner.cov) < jnp.diag(before.cov)).all()


def test_a_second_update_of_a_row_counts_too(x64):
    late, model = kf.delayed(kf.kalman(), WINDOW), MODEL()
    state = predict(late, model, late.init(model), 0.3)
    for y in YS[:2]:
        state, _ = update(late, model, state, y, 0.3, True)
    state, _ = kf.step(late, model, state, YS[2], u=1.0)
    state, _ = kf.step(late, model, state, YS[3], u=-0.5)
    us = np.array([0.3, 0.5, 0.5])
    expected = kf.run(
        kf.sequential(kf.kalman()),
        kf.Sensors(model.f, model.Q, model.prior, {k: kf.Sensor(model.h, model.R) for k in "ab"}),
        {"a": YS[[0, 3, 2]], "b": YS[[1, 0, 0]]},
        us=us,
        observed={"a": np.ones(3, bool), "b": np.array([True, False, False])},
    ).final
    chex.assert_trees_all_close(state.inner, expected, rtol=1e-12)


def test_a_record_may_start_with_an_update(x64):
    model = MODEL().replace(first="update")
    times, arrival = TIMES - TIMES[0], np.array([0, 2, 4, 1, 3, 5])
    late = kf.delayed(kf.kalman(), WINDOW)
    us = kf.time_steps(times[arrival], 0.0, ordered=False)
    got = kf.run(late, model, YS[arrival], us=us)
    # rows 1 and 2 have one time, and row 2 came first
    expected = kf.run(kf.kalman(), model, YS[[0, 2, 1, 3, 4, 5]], us=kf.time_steps(times, 0.0))
    chex.assert_trees_all_close(got.final.inner, expected.final, rtol=1e-12)
    total = expected.outputs.log_likelihood.sum()
    np.testing.assert_allclose(got.outputs.log_likelihood.sum(), total, rtol=1e-12)


def position_and_speed(n, rng):
    """Two sensors of one motion: rows in order, the gate of one of them rejects row 3."""
    model = MODEL()
    sensors = {
        "position": kf.Sensor(kf.Linear([[1.0, 0.0]]), [[0.1]]),
        "speed": kf.Sensor(kf.Linear([[0.0, 1.0]]), [[0.2]]),
    }
    ys = {"position": np.linspace(0, 1, n)[:, None], "speed": rng.normal(1, 0.4, (n, 1))}
    ys["position"][3] = 40.0
    which = np.arange(n) % 3 == 0
    seen = {"position": which, "speed": ~which}
    return kf.Sensors(model.f, model.Q, model.prior, sensors), ys, seen


def test_several_sensors_with_their_own_delays_and_gates(x64):
    n = 12
    rng = np.random.default_rng(0)
    params, ys, seen = position_and_speed(n, rng)
    fusion = kf.sequential((kf.gated(kf.kalman()), kf.kalman()))
    times = np.cumsum(rng.exponential(0.5, n))
    arrival = np.argsort(times + np.where(seen["position"], 1.2, 0.1 * rng.random(n)))
    late = kf.delayed(fusion, 6)
    take = lambda tree: jax.tree.map(lambda a: a[arrival], tree)  # noqa: E731
    us = kf.time_steps(times[arrival], 0.0, ordered=False)
    final, (_, info) = run(late, params, take(ys), us, take(seen))
    expected = run(fusion, params, ys, kf.time_steps(times, 0.0), seen)
    chex.assert_trees_all_close(final.inner, expected.final, rtol=1e-11)
    total = expected.outputs[1].log_likelihood.sum()
    np.testing.assert_allclose(info.log_likelihood.sum(), total, rtol=1e-11)
    assert info.extra["late"].max() > 1
    # what the gate rejects is reported where it arrives
    np.testing.assert_array_equal(arrival[np.asarray(info.extra["accepted"]) == 0], [3])


def test_a_gate_may_be_outside(x64):
    ys = YS.copy()
    ys[4] = 100.0
    us = kf.time_steps(TIMES[ARRIVAL], 0.0, ordered=False)
    seen = np.ones((STEPS, 1), bool)
    inside, outside = (
        run(late, MODEL(), ys[ARRIVAL], us, seen)
        for late in (
            kf.delayed(kf.gated(kf.kalman()), WINDOW),
            kf.gated(kf.delayed(kf.kalman(), WINDOW)),
        )
    )
    chex.assert_trees_all_close(inside.final.inner, outside.final.inner, rtol=1e-12)
    for got in (inside, outside):
        accepted = np.asarray(got.outputs[1].extra["accepted"])
        np.testing.assert_array_equal(ARRIVAL[accepted == 0], [4])


def test_times_in_order_of_arrival():
    stamps = 1.7e9 + np.array([0.5, 1.5, 1.0, 2.5])
    expected = np.float32([0.5, 1.0, -0.5, 1.0])
    np.testing.assert_array_equal(kf.time_steps(stamps, 1.7e9, ordered=False), expected)
    traced = jax.jit(lambda times: kf.time_steps(times, 0.0, ordered=False))
    np.testing.assert_array_equal(traced(jnp.asarray(stamps - 1.7e9)), expected)
    early = kf.time_steps(np.float32([1.5, 0.5]), 1.0, ordered=False)
    np.testing.assert_array_equal(early, np.float32([0.5, -1.0]))
    with pytest.raises(ValueError, match="got a step of nan at index 1"):
        kf.time_steps(np.array([0.5, np.nan]), 0.0, ordered=False)


DRIVEN = case("delayed").params
FIXED = kf.systems.constant_velocity()
NO_MODEL = kf.kalman()._replace(init=lambda params, key=None: params)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kf.delayed(kf.kalman, 3), r"filter is kalman; expected a kfjax\.Filter"),
        (lambda: kf.delayed(kf.kalman(), 0), "window is 0; expected a whole number from 1"),
        (lambda: kf.delayed(kf.kalman(), 3, inputs=0), "inputs is 0; expected a whole number"),
        (lambda: kf.delayed(kf.kalman(), 3, dt=1.5), "dt is 1.5; expected a key or an index"),
        (
            lambda: kf.step(kf.delayed(kf.kalman(), 3), FIXED, None, YS[0]),
            "expected the time since the newest row",
        ),
        (
            lambda: kf.step(kf.delayed(kf.kalman(), 3), FIXED, None, YS[0], u={"step": 1.0}),
            r"keys \['step'\], and dt is 'dt'; expected the time",
        ),
        (
            lambda: kf.run(kf.delayed(kf.kalman(), 3, dt=0), DRIVEN, YS, us=np.ones((6, 2))),
            r"u holds 2 numbers; expected 1\. Write delayed\(\.\.\., inputs=2\)",
        ),
        (
            lambda: kf.delayed(kf.extended(), 3).init(
                DRIVEN.replace(h=lambda x, u: x[:1])  # R is a function as well
            ),
            r"do not tell how many channels .* Pass channels=",
        ),
        (
            lambda: kf.delayed(NO_MODEL, 3).init(MODEL().prior),
            "params is Gaussian; expected a StateSpaceModel",
        ),
        (
            lambda: kf.sequential(kf.delayed(kf.kalman(), 3)).init(
                position_and_speed(6, np.random.default_rng(0))[0]
            ),
            r"write delayed\(sequential\(\.\.\.\), window\)",
        ),
        (lambda: kf.fading(kf.delayed(kf.kalman(), 3), 1.1), "has no recentre"),
    ],
)
def test_bad_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()
