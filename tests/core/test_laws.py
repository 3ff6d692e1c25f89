"""The laws that every filter of the table obeys."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import forget_programs
from support.table import (
    CASES,
    FILTERS,
    STEPS,
    case,
    counted,
    first,
    outputs,
    predict,
    quick_jit,
    run,
    score_and_gradient,
    traces,
    update,
    whole_run,
)
from support.typechecking import assert_fields

import kfjax as kf
from kfjax import runner

every_case = pytest.mark.parametrize(("name", "model"), CASES)
every_filter = pytest.mark.parametrize("name", FILTERS)

close = {"rtol": 1e-9, "atol": 1e-11}

# Functions that return or change a filter of another name, and one whose observations are dicts
# and which has tests of its own.
WITHOUT_A_ROW = {
    "by_name",
    "gain_filter",
    "learned_by_name",
    "published",
    "recurrent_baseline",
    "sequence_regressor",
    "with_dropout",
    "sequential",
}


def test_every_filter_has_a_row():
    made = [str(row.filter) for row in FILTERS.values()]
    names = {
        name
        for package in (kf.filters, kf.learned)
        for name in package.__all__
        if getattr(getattr(package, name), "__annotations__", {}).get("return") == "Filter"
    }
    without = {name for name in names if not any(f"{name}(" in text for text in made)}
    assert without == WITHOUT_A_ROW


def at(tree, index):
    """An entry, or a slice, of every leaf."""
    return jax.tree.map(lambda a: a[index], tree)


def stack(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


@every_case
def test_a_stream_of_predict_and_update_equals_the_run(x64, name, model):
    c = case(name, model)
    state, steps = first(c), []
    for t in range(STEPS):
        u = at(c.us, t)
        state, info = update(
            c.filter, c.params, predict(c.filter, c.params, state, u), c.ys[t], u, c.observed[t]
        )
        steps.append(kf.estimate_and_info(state, info))
    chex.assert_trees_all_close(kf.Run(state, stack(steps)), outputs(name, model), **close)


@every_case
def test_an_unobserved_update_changes_no_bit(x64, name, model):
    c = case(name, model)
    u, y = at(c.us, 0), np.full_like(c.ys[0], np.nan)
    state = predict(c.filter, c.params, first(c), u)
    new, info = update(c.filter, c.params, state, y, u, np.zeros_like(c.observed[0]))
    chex.assert_trees_all_equal(new, state)
    chex.assert_trees_all_equal(info, jax.tree.map(np.zeros_like, info))


@every_case
def test_the_state_keeps_structure_shapes_and_dtypes(x64, name, model):
    c = case(name, model)
    u, y = at(c.us, 0), c.ys[0]
    state = jax.eval_shape(lambda: first(c))
    predicted = jax.eval_shape(c.filter.predict, c.params, state, u)
    results = [
        jax.eval_shape(c.filter.update, c.params, predicted, y, u, seen)
        for seen in (None, c.observed[0])
    ]
    chex.assert_trees_all_equal_shapes_and_dtypes(state, predicted, *(new for new, _ in results))
    chex.assert_trees_all_equal_shapes_and_dtypes(*(info for _, info in results))


@every_case
def test_states_and_results_have_the_shapes_that_their_fields_state(x64, name, model):
    assert_fields(jax.tree.map(jnp.asarray, outputs(name, model)))


@every_case
def test_results_are_finite_and_covariances_are_covariances(x64, name, model):
    final, (est, info) = outputs(name, model)
    chex.assert_tree_all_finite((final, est, info))
    for cov in [cov for cov in (est.cov, info.innovation_cov) if cov is not None]:
        np.testing.assert_array_equal(cov, cov.swapaxes(-1, -2))
        assert np.linalg.eigvalsh(cov).min() > -1e-14


@every_case
def test_info_of_unobserved_channels_is_zero(x64, name, model):
    _, (est, info) = outputs(name, model)
    whole = case(name, model).observed
    seen = whole.copy()
    for start in FILTERS[name].starts:
        seen[start] = False
    np.testing.assert_array_equal(info.dof, seen.sum(axis=1))
    np.testing.assert_array_equal(info.innovation != 0, seen)
    if info.innovation_cov is not None:
        assert not info.innovation_cov[~(seen[:, :, None] & seen[:, None, :])].any()
        np.testing.assert_array_equal(info.log_likelihood != 0, whole.any(axis=1))
        np.testing.assert_array_equal(est.log_likelihood, info.log_likelihood)


@every_case
def test_what_was_predicted_of_an_observation_is_scored_whether_or_not_it_is_used(x64, name, model):
    c = case(name, model)
    u, everything = at(c.us, 0), np.ones_like(c.observed[0])
    state = predict(c.filter, c.params, first(c), u)
    if FILTERS[name].starts:  # nothing is predicted of an observation that determines what it was
        state = update(c.filter, c.params, state, c.ys[0], u, everything)[0]
    near, far = (
        update(c.filter, c.params, state, y, u, everything)[1] for y in (c.ys[0], c.ys[0] + 1e3)
    )
    for info in (near, far):
        assert info.dof == everything.size
        assert (info.innovation != 0).all()
        if info.innovation_cov is None:
            continue
        assert info.log_likelihood != 0
        nu, S = np.asarray(info.innovation), np.asarray(info.innovation_cov)
        np.testing.assert_allclose(info.nis, nu @ np.linalg.solve(S, nu), rtol=1e-9)
    # S is that of the prediction and does not depend on y
    chex.assert_trees_all_close(near.innovation_cov, far.innovation_cov, **close)
    assert model == "heading" or far.nis is None or far.nis > near.nis


@every_filter
def test_predictions_alone_equal_a_run_in_which_nothing_is_observed(x64, name):
    c = case(name)
    state, (_, info) = run(c, ys=np.full_like(c.ys, np.nan), observed=np.zeros_like(c.observed))
    predicted = first(c)
    for t in range(STEPS):
        predicted = predict(c.filter, c.params, predicted, at(c.us, t))
    chex.assert_trees_all_close(state, predicted, **close)
    chex.assert_trees_all_equal(info, jax.tree.map(np.zeros_like, info))


# states of every kind; that predict and update carry all that matters is said above for all filters
@pytest.mark.parametrize(
    "name", ["extended", "fixed_lag", "imm", "rao_blackwellised", "ensemble", "kalman_net_2"]
)
def test_windows_that_hand_on_the_state_equal_one_run_and_no_mask_equals_a_mask_of_ones(x64, name):
    c, windows, state = case(name), [], None
    for half in (slice(STEPS // 2), slice(STEPS // 2, None)):
        state = first(c) if state is None else state
        state, window = run(c, ys=c.ys[half], us=at(c.us, half), observed=None, state=state)
        windows.append(window)
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *windows)
    chex.assert_trees_all_close(
        kf.Run(state, joined), run(c, observed=np.ones_like(c.observed)), **close
    )


@every_filter
def test_vmap_equals_a_loop(x64, name):
    c = case(name)
    ys = np.stack([c.ys, c.ys[::-1], -c.ys])
    masks = np.stack([c.observed, ~c.observed, np.ones_like(c.observed)])
    loop = jax.vmap(lambda y, observed: whole_run(c.filter, c.params, y, c.us, observed, first(c)))
    batch = quick_jit(loop)(ys, masks)
    chex.assert_trees_all_close(
        batch, stack([run(c, ys=y, observed=o) for y, o in zip(ys, masks, strict=True)]), **close
    )


@every_filter
def test_models_built_alike_share_one_trace(x64, name):
    outputs(name)
    before = traces[0]
    c = case(name)
    run(c, ys=c.ys + 1.0)
    assert traces[0] == before


def test_run_compiles_itself_once(x64):
    c = case("extended")
    forget_programs(runner._run)
    kf.run(c.filter, c.params, c.ys, emit=counted)
    before = traces[0]
    c = case("extended")
    kf.run(c.filter, c.params, c.ys + 1.0, emit=counted)
    jax.jit(lambda ys: kf.run(c.filter, c.params, ys, emit=counted))(c.ys)
    assert traces[0] == before


@every_filter
def test_the_same_call_gives_the_same_bits(x64, name):
    chex.assert_trees_all_equal(run(case(name)), outputs(name))


@pytest.mark.parametrize(
    "name", ["kalman", "imm", "particle", "kalman_net_2"]
)  # `step` is the same for all
def test_step_takes_one_truth_value_for_a_whole_row(x64, name):
    c = case(name)
    u, y = at(c.us, 0), c.ys[0]
    expected = predict(c.filter, c.params, first(c), u)
    step = quick_jit(
        lambda params, y, observed: kf.step(c.filter, params, first(c), y, u=u, observed=observed)
    )
    missed, info = step(c.params, np.full_like(y, np.nan), False)
    chex.assert_trees_all_close(missed, expected, **close)
    chex.assert_trees_all_equal(info, jax.tree.map(np.zeros_like, info))
    seen = step(c.params, y, True)
    chex.assert_trees_all_close(
        seen, update(c.filter, c.params, expected, y, u, np.ones_like(c.observed[0])), **close
    )


@every_filter
def test_gradients_are_finite_with_missing_data_and_right(x64, name):
    c = case(name)
    ys = np.where(c.observed, c.ys, np.nan)
    value, gradient = score_and_gradient(c.filter, c.params, ys, c.us, c.observed)
    chex.assert_tree_all_finite((value, gradient))
    used = getattr(
        gradient, "network", gradient
    )  # a network may not use the noise of its design model
    alive = [np.any(leaf != 0) for leaf in jax.tree.leaves(used)]
    assert any(alive) if name == "constant_gain" else all(alive)

    step = (
        1e-6 if FILTERS[name].draws else 1e-4
    )  # which particle is drawn changes at some thresholds
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), c.params)
    square = lambda a: a.ndim == 2 and a.shape[0] == a.shape[1]  # noqa: E731
    direction = jax.tree.map(
        lambda a: a + a.T if square(a) else a, direction
    )  # covariances stay symmetric

    def moved(step):
        params = jax.tree.map(lambda a, d: a + step * d, c.params, direction)
        return score_and_gradient(c.filter, params, ys, c.us, c.observed)[0]

    slope = sum(
        np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    )
    numeric = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (
        12 * step
    )
    np.testing.assert_allclose(slope, numeric, rtol=1e-6 if FILTERS[name].draws else 1e-7)


@every_filter
def test_float32_stays_float32_and_agrees_with_float64(name):
    with jax.enable_x64(True):
        wide = outputs(name)
    narrow = outputs(name)
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} <= set(
        map(np.dtype, ("float32", "int32", "uint32", "bool"))
    )
    if FILTERS[name].draws:
        return  # draws differ between precisions
    double = jax.tree.map(lambda *pair: [np.asarray(a, np.float64) for a in pair], narrow, wide)
    for a, b in jax.tree.leaves(double, is_leaf=lambda x: isinstance(x, list)):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@every_filter
def test_names_of_arguments(name):
    signatures = {
        f: inspect.signature(getattr(FILTERS[name].filter, f))
        for f in ("init", "predict", "update")
    }
    assert {f: list(s.parameters) for f, s in signatures.items()} == {
        "init": ["params", "key"],
        "predict": ["params", "state", "u"],
        "update": ["params", "state", "y", "u", "observed"],
    }
    for required, signature in zip((1, 2, 3), signatures.values(), strict=True):
        assert all(p.default is None for p in list(signature.parameters.values())[required:])


@pytest.mark.parametrize(
    "name", [name for name, row in FILTERS.items() if row.filter.recentre is not None]
)
def test_recentre_writes_a_belief(x64, name):
    c = case(name)
    state = first(c)
    belief = kf.Gaussian(0.5 * state.mean + 0.1, None if state.cov is None else 2.0 * state.cov)
    new = c.filter.recentre(c.params, state, belief)
    chex.assert_trees_all_close(kf.Gaussian(new.mean, new.cov), belief, rtol=1e-14)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, state)


@every_filter
def test_a_donated_first_state_leaves_the_model_alone(x64, name):
    c = case(name)
    jax.jit(lambda state: jax.tree.map(jnp.copy, state), donate_argnums=0)(first(c))
    chex.assert_tree_all_finite(c.params)


def test_covariances_of_a_model_and_of_a_user_may_be_asymmetric_by_rounding():
    """Every covariance that leaves a function equals its transpose to the bit."""
    rng = np.random.default_rng(4)
    T = rng.normal(size=(4, 4))
    P = T @ np.diag([1.0, 1e-3, 2.0, 5.0]) @ T.T
    P = P.astype(np.float32)
    P[0, 1] = np.nextafter(P[0, 1], 10)
    assert (P != P.T).any()
    model = kf.linear_gaussian(
        T @ np.diag([0.9, 0.8, 0.7, 0.6]) @ np.linalg.inv(T),
        rng.normal(size=(2, 4)),
        0.1 * P,
        T[:2] @ T[:2].T,
        kf.Gaussian(np.zeros(4), P),
    )
    est = kf.run(kf.kalman(), model, rng.normal(size=(STEPS, 2))).outputs
    skew = np.triu(1e-7 * rng.normal(size=est.cov.shape))
    brought = est._replace(cov=est.cov * (1 + skew.astype(est.cov.dtype)))
    smoothed = kf.smooth(kf.kalman(), model, brought)
    square = kf.run(
        kf.square_root(kf.moments.Taylor()),
        model,
        rng.normal(size=(STEPS, 2)),
        emit=kf.whole_state,
    ).outputs
    for cov in (
        model.Q,
        model.R,
        model.prior.cov,
        est.cov,
        smoothed.cov,
        smoothed.initial.cov,
        kf.predicted(kf.kalman(), model, brought).cov,
        kf.observation_estimate(kf.kalman(), model, brought).cov,
        square.cov,
        kf.smooth(kf.square_root(kf.moments.Taylor()), model, square).cov,
        kf.parallel_filter(model, rng.normal(size=(STEPS, 2))).cov,
        kf.parallel_smooth(model, rng.normal(size=(STEPS, 2))).cov,
        kf.two_filter_smooth(model, rng.normal(size=(STEPS, 2))).cov,
    ):
        np.testing.assert_array_equal(cov, np.swapaxes(cov, -1, -2))
