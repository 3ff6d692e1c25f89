"""Models whose prior is about x_1: functions of whole records begin with an update."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.choosing import slow_except
from support.compiling import quick_jit
from support.dense import constant, posterior
from support.table import FILTERS, MODELS, STEPS, case, first, predict, update

import kfjax as kf
from kfjax.filters.starting import BegunState, update_first

tight = {"rtol": 1e-9, "atol": 1e-10}
close = functools.partial(chex.assert_trees_all_close, rtol=1e-9, atol=1e-10)


def rows(tree, index):
    return jax.tree.map(lambda a: a[index], tree)


def problem():
    """The linear model of the table with its prior about x_1, and a record with gaps."""
    linear = MODELS["linear"]()
    return linear.model.replace(first="update"), linear.ys, linear.observed


def exact(model, ys, observed):
    """The joint Gaussian of the record given what was observed: x_1 = x_0 without noise."""
    steps = constant(model, len(ys))
    n = model.n
    steps[0] = steps[0]._replace(F=np.eye(n), c=np.zeros(n), Q=np.zeros((n, n)))
    return posterior(steps, *map(np.asarray, model.prior), ys, observed)


def assert_smoothed(smoothed, model, ys, observed):
    expected = exact(model, ys, observed)
    np.testing.assert_allclose(smoothed.mean, expected.mean[1:], **tight)
    np.testing.assert_allclose(smoothed.cov, expected.marginal[1:], **tight)
    np.testing.assert_allclose(smoothed.cross[1:], expected.cross[1:], **tight)
    assert smoothed.initial is None
    assert not smoothed.cross[0].any()


@pytest.mark.parametrize("filter", [kf.kalman(), kf.square_root(kf.moments.Taylor())], ids=str)
@pytest.mark.parametrize("seen_first", [True, False])
def test_runs_and_smoothers_condition_the_joint_gaussian(x64, filter, seen_first):
    model, ys, observed = problem()
    observed = observed.copy()
    observed[0] &= seen_first

    @quick_jit
    def everything(model, ys):
        est = kf.run(filter, model, ys, observed=observed).outputs
        ahead = kf.predicted(filter, model, est)
        return est, ahead, kf.smooth(filter, model, est)

    est, ahead, smoothed = everything(model, ys)
    assert_smoothed(smoothed, model, ys, observed)
    for t in range(STEPS):
        so_far, before = observed.copy(), observed.copy()
        so_far[t + 1 :] = before[t:] = False
        expected = exact(model, ys, so_far)
        np.testing.assert_allclose(est.mean[t], expected.mean[t + 1], **tight)
        np.testing.assert_allclose(est.cov[t], expected.marginal[t + 1], **tight)
        expected = exact(model, ys, before)
        np.testing.assert_allclose(ahead.mean[t], expected.mean[t + 1], **tight)
        np.testing.assert_allclose(ahead.cov[t], expected.marginal[t + 1], **tight)
    likelihood = exact(model, ys, observed).log_likelihood
    np.testing.assert_allclose(est.log_likelihood.sum(), likelihood, **tight)
    total = kf.log_likelihood(filter, model, ys, observed=observed)
    np.testing.assert_allclose(total, likelihood, **tight)


@pytest.mark.parametrize(
    "smoother", [kf.parallel_smooth, kf.two_filter_smooth, kf.parallel_iterated_smooth]
)
def test_smoothers_of_whole_records_condition_the_joint_gaussian(x64, smoother):
    model, ys, observed = problem()
    run = quick_jit(lambda model, ys: smoother(model, ys, observed=observed))
    assert_smoothed(run(model, ys), model, ys, observed)


def test_the_parallel_filter_is_the_kalman_filter(x64):
    model, ys, observed = problem()
    serial = kf.run(kf.kalman(), model, ys, observed=observed).outputs
    close(kf.parallel_filter(model, ys, observed=observed), serial)


def test_a_record_of_one_step(x64):
    model, ys, _ = problem()
    ys, every = ys[:1], np.ones_like(ys[:1], bool)
    est = kf.run(kf.kalman(), model, ys).outputs
    assert_smoothed(kf.smooth(kf.kalman(), model, est), model, ys, every)
    close(kf.predicted(kf.kalman(), model, est), rows(model.prior, None))
    close(kf.parallel_filter(model, ys), est)
    assert_smoothed(kf.two_filter_smooth(model, ys), model, ys, every)
    drawn = kf.sample_posterior(jax.random.key(0), kf.kalman(), model, est, trajectories=3)
    assert drawn.states.shape == (3, 1, 4)
    assert drawn.initial is None


def test_draws_have_the_moments_of_the_smoother(x64):
    model, ys, observed = problem()
    est = kf.run(kf.kalman(), model, ys, observed=observed).outputs
    count = 20_000
    drawn = kf.sample_posterior(
        jax.random.key(0), kf.kalman(), model, est, trajectories=count
    ).states
    drawn = np.asarray(drawn)
    expected = exact(model, ys, observed)
    spread = np.sqrt(np.diagonal(expected.marginal[1:], axis1=1, axis2=2))
    error = (drawn.mean(0) - expected.mean[1:]) / spread * np.sqrt(count)
    assert np.abs(error).max() < 4
    moved = drawn - drawn.mean(0)
    cross = np.einsum("kti,ktj->tij", moved[:, 1:], moved[:, :-1]) / count
    np.testing.assert_allclose(cross, expected.cross[1:], atol=0.03)


def test_a_fixed_lag_looks_back_to_x1(x64):
    model, ys, observed = problem()
    late = kf.run(
        kf.fixed_lag(kf.kalman(), 2), model, ys, observed=observed, emit=kf.lagged
    ).outputs
    for t in range(STEPS):
        so_far = observed.copy()
        so_far[t + 1 :] = False
        expected, at = exact(model, ys, so_far), max(t + 1 - 2, 1)
        np.testing.assert_allclose(late.mean[t], expected.mean[at], **tight)
        np.testing.assert_allclose(late.cov[t], expected.marginal[at], **tight)


# the models of the table with a first step that leaves the state as it is: the same without `first`


def _still(f, x, u):
    return jnp.where(u[1], x, f(x, u[0]))


def _quiet(Q, x, u):
    return jnp.where(u[1], 0, Q(x, u[0]) if callable(Q) else Q)


def _given(fn, x, u):
    return fn(x, u[0])


def still_at_first(model, us):
    """An equivalent model whose prior is about x_0, with its inputs."""
    still = np.arange(STEPS) == 0
    pulled = model.replace(
        f=Partial(_still, model.f),
        h=Partial(_given, model.h),
        Q=Partial(_quiet, model.Q),
        R=Partial(_given, model.R) if callable(model.R) else model.R,
        first="predict",
    )
    return pulled, (us, still)


@pytest.mark.parametrize(
    ("filter", "name"),
    [
        (kf.extended(), "heading"),
        (kf.unscented(), "driven"),
        (kf.square_root(kf.moments.Cubature()), "pendulum"),
    ],
    ids=str,
)
def test_a_first_step_that_moves_nothing_is_no_step(x64, filter, name):
    model, ys, us, observed = MODELS[name]()
    model = model.replace(first="update")

    @quick_jit
    def everything(model, us):
        est = kf.run(filter, model, ys, us=us, observed=observed, length=4).outputs
        smoothed = kf.smooth(filter, model, est, us=us, length=4)
        return est, smoothed.mean, smoothed.cov, smoothed.cross[1:]

    close(everything(model, us), everything(*still_at_first(model, us)))


def test_iterated_smoothing_of_a_nonlinear_model(x64):
    model, ys, us, observed = MODELS["pendulum"]()
    model = model.replace(first="update")

    @quick_jit
    def smoothed(model, us):
        found = kf.parallel_iterated_smooth(model, ys, us=us, observed=observed)
        return found.mean, found.cov, found.cross[1:]

    close(smoothed(model, us), smoothed(*still_at_first(model, us)))


# states of every kind: which step comes first is decided outside of the filters
BEGINNING = ["unscented", "square_root_unscented", "schmidt", "constant_gain", "fixed_lag"]
BEGINNING += ["delayed", "particle", "rao_blackwellised", "ensemble", "kalman_net_2", "imm"]


@pytest.mark.parametrize("name", slow_except(BEGINNING, FILTERS))
def test_every_filter_begins_with_an_update(x64, name):
    c = case(name)
    state, kept = first(c), []
    for t in range(STEPS):
        u = rows(c.us, t)
        state = state if t == 0 else predict(c.filter, c.params, state, u)
        state, info = update(c.filter, c.params, state, c.ys[t], u, c.observed[t])
        kept.append(kf.estimate_and_info(state, info))
    begins = kf.with_model(c.params, first="update")

    options = {"us": c.us, "observed": c.observed, "emit": kf.estimate_and_info}
    run = quick_jit(lambda params, key: kf.run(c.filter, params, c.ys, key=key, **options))
    outputs = jax.tree.map(lambda *leaves: np.stack(leaves), *kept)
    close(run(begins, jax.random.key(1)), kf.Run(state, outputs))


def test_a_stream_starts_without_a_state(x64):
    for name in ("extended", "particle"):
        c = case(name)
        for which in ("predict", "update"):
            params = kf.with_model(c.params, first=which)
            state, key = None, jax.random.key(1)
            for y, seen, t in zip(c.ys, c.observed, range(STEPS), strict=True):
                u = rows(c.us, t)
                state, _ = kf.step(c.filter, params, state, y, u=u, observed=seen, key=key)
                key = None
            final = kf.run(
                c.filter, params, c.ys, us=c.us, observed=c.observed, key=jax.random.key(1)
            ).final
            close(state, final)
    with pytest.raises(ValueError, match="step: got both state and key"):
        kf.step(c.filter, params, state, c.ys[0], key=jax.random.key(0))


def test_nothing_counts_where_the_length_is_zero(x64):
    model, ys, _ = problem()
    final, est = kf.run(kf.kalman(), model, np.full_like(ys, np.nan), length=0)
    close(final, model.prior)
    assert not est.log_likelihood.any()
    smoothed = kf.smooth(kf.kalman(), model, est, length=0)
    close(smoothed.mean, np.broadcast_to(model.prior.mean, smoothed.mean.shape))


def test_a_run_that_goes_on_from_a_state_predicts_first(x64):
    model, ys, observed = problem()
    begun = kf.run(kf.kalman(), model, ys[:2], observed=observed[:2]).final
    final = kf.run(kf.kalman(), model, ys[2:], observed=observed[2:], state=begun).final
    close(final, kf.run(kf.kalman(), model, ys, observed=observed).final)


def test_smoothing_a_run_that_began_with_an_update_by_hand(x64):
    model, ys, _ = problem()
    by_hand, _ = kf.kalman().update(model, model.prior, ys[0])
    est = kf.run(kf.kalman(), model, ys[1:], state=by_hand).outputs
    later = kf.smooth(kf.kalman(), model, est, prior=by_hand)
    whole = kf.smooth(kf.kalman(), model, kf.run(kf.kalman(), model, ys).outputs)
    close(later.mean, whole.mean[1:])
    close(later.cross, whole.cross[1:])
    close(tuple(later.initial), (whole.mean[0], whole.cov[0]))
    ahead = kf.predicted(kf.kalman(), model, est, prior=by_hand)
    close(ahead.mean[0], model.f(by_hand.mean))


def test_published_example_of_a_smoother_that_starts_at_the_first_observation(x64):
    # the example of a Kalman smoother in the tests of Stone Soup
    model = kf.linear_gaussian(
        [[1.0, 1.0], [0.0, 1.0]],
        [[1.0, 0.0]],
        np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]]),
        [[0.4]],
        kf.Gaussian(np.ones(2), np.eye(2)),
        first="update",
    )
    ys = [2.486559674128609, 2.424165626519697, 6.603176662762473, 9.32909912407459]
    ys = np.array([*ys, 14.637975326666801])[:, None]
    smoothed = kf.smooth(kf.kalman(), model, kf.run(kf.kalman(), model, ys).outputs)
    expected = [
        [1.688813974839928, 1.267196351952188],
        [3.307200214998506, 2.187167840595264],
        [6.130402001958210, 3.308896367021604],
        [9.821303658438408, 4.119557021638030],
        [14.257730973981149, 4.594862462495096],
    ]
    np.testing.assert_allclose(smoothed.mean, expected, rtol=1e-12)


def test_simulation_begins_at_the_prior(x64):
    F, H = np.array([[1.0, 0.5], [0.0, 0.9]]), np.array([[1.0, 0.0]])
    start, zero = np.array([1.0, 2.0]), np.zeros((2, 2))
    model = kf.linear_gaussian(F, H, zero, [[0.0]], kf.Gaussian(start, zero), first="update")
    xs, ys = kf.simulate(jax.random.key(0), model, 3)
    np.testing.assert_allclose(xs, [start, F @ start, F @ F @ start], **tight)
    np.testing.assert_allclose(ys[:, 0], xs[:, 0], **tight)
    xs, _ = kf.simulate(jax.random.key(0), model, 1, x0=[5.0, 6.0])
    np.testing.assert_array_equal(xs, [[5.0, 6.0]])


def test_studies_of_a_model_are_consistent(x64):
    model = kf.systems.constant_velocity(prior=kf.Gaussian(np.zeros(2), 25 * np.eye(2)))
    model = model.replace(first="update")
    result = kf.monte_carlo(jax.random.key(0), model, kf.kalman(), model, trials=400, steps=3)
    value, low, high = result.anees()
    assert low < value < high < 1.2
    est = kf.run(kf.kalman(), model, np.zeros((3, 1))).outputs
    close(kf.evaluation.expected_error(model, steps=3), est.cov)
    with pytest.raises(ValueError, match="expected the same in all"):
        kf.evaluation.expected_error(model, model.replace(first="predict"), steps=3)


def test_prior_means_of_data_are_of_x1(x64):
    model, ys, _ = problem()
    mean = np.array([1.0, 2.0, 3.0, 4.0])
    data = kf.Dataset(ys[None], prior_mean=mean[None])
    est = kf.data.run_trajectory(kf.kalman(), model, rows(data, 0)).outputs
    moved = model.replace(prior=kf.Gaussian(mean, model.prior.cov))
    close(est, kf.run(kf.kalman(), moved, ys).outputs)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_pieces_start_at_their_own_first_states(steps):
    xs = np.arange(5.0)[None, :, None]
    data = kf.Dataset(10 * xs, xs)
    after = kf.data.pieces(data, steps, prior_mean=[-1.0])
    at = kf.data.pieces(data, steps, prior_mean=[-1.0], first="update")
    starts = np.arange(0, 5, steps)
    np.testing.assert_array_equal(after.prior_mean[:, 0], starts - 1)
    np.testing.assert_array_equal(at.prior_mean[:, 0], [-1, *starts[1:]])
    np.testing.assert_array_equal(at.ys, after.ys)


def test_training_runs_the_same_filter_in_pieces_and_windows(x64):
    model, ys, observed = problem()
    training = kf.training
    batch = kf.Dataset(np.stack([ys, ys[::-1]]), observed=np.stack([observed, observed]))
    whole = training.innovation_nll(kf.kalman())
    expected = quick_jit(whole)(model, batch, jax.random.key(0))
    for rollout in (training.Rollout(detach=2), training.Rollout(remat=4)):
        loss = training.innovation_nll(kf.kalman(), rollout=rollout)
        found = quick_jit(loss)(model, batch, jax.random.key(0))
        np.testing.assert_allclose(found, expected, **tight)
    states, means = whole.start(model, batch, jax.random.key(0)), []
    loss = training.FilterLoss(kf.kalman(), _likelihoods, kf.estimate)
    for begin in (0, 3):
        window = kf.data.window_at(jax.tree.map(jnp.asarray, batch), begin, 3)
        value, states = quick_jit(loss.continued)(model, window, jax.random.key(0), states)
        means.append(value)
    each = jax.vmap(lambda y: kf.log_likelihood(kf.kalman(), model, y, observed=observed))(batch.ys)
    np.testing.assert_allclose(np.mean(means), each.mean() / STEPS, **tight)


def _likelihoods(params, trajectory, outputs):
    return outputs.log_likelihood, jnp.ones_like(outputs.log_likelihood)


@pytest.mark.slow
def test_windows_of_an_adapting_filter_are_one_run(x64):
    model, ys, _ = problem()
    method = kf.learned.corrected_gain(4, 2, hidden=2)
    params = kf.learned.init_params(jax.random.key(0), method, model)
    adaptation = kf.learned.start_adapting(method, params)
    _, est = kf.learned.adapt(method, adaptation, ys)
    close(est, kf.run(method, params, ys).outputs)


def test_exported_programs_begin_with_an_update(tmp_path):
    model, ys, _ = problem()
    exporting = kf.exporting
    final, est = kf.run(kf.kalman(), model, ys)
    program = exporting.load(exporting.export_run(tmp_path / "run.zip", kf.kalman(), model))
    _, outputs = program(program.initial(), y=ys.astype(np.float32))
    np.testing.assert_allclose(outputs["mean"], est.mean, rtol=1e-5, atol=1e-6)
    program = exporting.load(exporting.export_step(tmp_path / "step.zip", kf.kalman(), model))
    state = program.initial()
    for y in ys.astype(np.float32):
        state, outputs = program(state, y=y)
    np.testing.assert_allclose(outputs["mean"], final.mean, rtol=1e-5, atol=1e-6)


def test_several_sensors_begin_with_an_update(x64):
    model, ys, _ = problem()
    R = np.diag([0.5, 0.4])
    parts = {
        name: kf.Sensor(kf.Linear(np.eye(4)[i : i + 1]), R[i : i + 1, i : i + 1])
        for i, name in enumerate("ab")
    }
    sensors = kf.Sensors(model.f, model.Q, model.prior, parts, first="update")
    split = {name: ys[:, i : i + 1] for i, name in enumerate("ab")}
    several = kf.run(kf.sequential(kf.kalman()), sensors, split).outputs
    close(several, kf.run(kf.kalman(), model.replace(R=R), ys).outputs)
    assert sensors.one("a").first == sensors.model.first == "update"
    with pytest.raises(ValueError, match="Sensors: first is 'never'"):
        sensors.replace(first="never")


def test_it_is_static_and_one_of_two_names():
    model, ys, _ = problem()
    assert "update" not in jax.tree.leaves(model)
    gradient = jax.grad(lambda model: kf.log_likelihood(kf.kalman(), model, ys))(model)
    assert gradient.first == "update"
    with pytest.raises(ValueError, match="first is 'filter'; expected 'predict'"):
        model.replace(first="filter")
    other = model.replace(first="predict")
    with pytest.raises(ValueError, match="expected the same in all"):
        kf.IMMParams((model, other), np.eye(2), [0.5, 0.5])
    many = jax.tree.map(lambda a: a, model).replace(Q=model.Q)
    axes = kf.StateSpaceModel.axes(Q=0, first="update")
    stacked = jax.vmap(lambda q: many.replace(Q=q * model.Q), out_axes=axes)(jnp.ones(2))
    total = jax.vmap(lambda m: kf.log_likelihood(kf.kalman(), m, ys), in_axes=(axes,))(stacked)
    np.testing.assert_allclose(total, kf.log_likelihood(kf.kalman(), model, ys), rtol=1e-5)


def test_a_state_that_knows_whether_its_record_has_begun(x64):
    model, ys, _ = problem()
    begins = update_first(kf.kalman())
    start = begins.init(model)
    assert isinstance(start, BegunState)
    run = kf.run(begins, model, ys, state=start)
    close(run.outputs, kf.run(kf.kalman(), model, ys).outputs)
    frozen = kf.run(begins, model, ys, state=start, length=0).final
    assert not frozen.begun
