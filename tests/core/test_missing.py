"""Missing data: values and gradients are those of a model without the missing entries."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.table import BELIEFS, FILTERS, STEPS, case, quick_jit

import kfjax as kf
from kfjax.models.observing import observe

exact = {"rtol": 1e-9, "atol": 1e-11}


def symmetrised(tree):
    """Gradients by square matrices are defined up to their antisymmetric part."""
    return jax.tree.map(
        lambda a: (a + a.T) / 2 if a.ndim == 2 and a.shape[0] == a.shape[1] else a, tree
    )


def reduced(model, channels):
    """The model of some channels only."""
    rows = jnp.asarray(channels)
    if isinstance(model.h, kf.Linear):
        return model.replace(h=kf.Linear(model.h.A[rows]), R=model.R[rows][:, rows])
    return model.replace(
        h=Partial(functools.partial(_rows_of, channels), model.h), R=model.R[rows][:, rows]
    )


def _rows_of(channels, h, x, u):
    return h(x, u)[jnp.asarray(channels)]


# one update


def weighed(state, info):
    """A number that depends on every entry of the posterior and of the likelihood."""
    weight = jnp.arange(1.0, 1 + state.cov.size).reshape(state.cov.shape)
    return (
        jnp.sum(jnp.sin(state.mean))
        + jnp.sum(jnp.cos(weight + weight.T) * state.cov)
        + 0.3 * info.log_likelihood
    )


@functools.partial(quick_jit, static_argnums=(0, 4))
def update_and_gradients(filter, params, state, y, channels, observed):
    """Posterior, likelihood, and gradients by the model and the prior belief; with channels, of the
    reduced model.
    """

    def posterior(params, state):
        model = params if channels is None else reduced(params, channels)
        new, info = filter.update(model, state, y, None, observed)
        return weighed(new, info), (new, info.log_likelihood, info.nis, info.dof)

    (_, outputs), gradients = jax.value_and_grad(posterior, argnums=(0, 1), has_aux=True)(
        params, state
    )
    return outputs, symmetrised(gradients)


@pytest.mark.parametrize("name", BELIEFS)
def test_an_update_with_a_missing_channel_is_the_update_of_the_other(x64, name):
    """By the chain rule this covers whole runs, since predictions do not depend on data."""
    c = case(name)
    state, y = c.filter.init(c.params), np.array([np.nan, c.ys[0, 1]])
    masked = update_and_gradients(c.filter, c.params, state, y, None, np.array([False, True]))
    chex.assert_tree_all_finite(masked)
    deleted = update_and_gradients(c.filter, c.params, state, y[1:], (1,), None)
    chex.assert_trees_all_close(masked, deleted, **exact)


@pytest.mark.parametrize("name", BELIEFS)
def test_an_update_with_nothing_observed_leaves_values_and_gradients_alone(x64, name):
    c = case(name)
    state = c.filter.init(c.params)
    nothing = np.zeros(2, bool)
    outputs, gradients = update_and_gradients(
        c.filter, c.params, state, np.full(2, np.nan), None, nothing
    )
    chex.assert_trees_all_equal(outputs, (state, 0.0, 0.0, 0))
    of_model, of_state = gradients
    chex.assert_trees_all_close(of_model, jax.tree.map(np.zeros_like, of_model), atol=0)
    chex.assert_trees_all_close(
        of_state, symmetrised(jax.grad(lambda s: weighed(s, kf.Info(log_likelihood=0.0)))(state))
    )


def distance(x, u):
    """Without a derivative at u."""
    return jnp.sqrt(jnp.sum((x - u) ** 2))[None]


@pytest.mark.parametrize("anchor", [0.0, np.nan])
@pytest.mark.parametrize("name", ["extended", "unscented"])
def test_an_unobserved_sensor_need_not_have_a_derivative(x64, name, anchor):
    model = kf.StateSpaceModel(
        kf.Linear(np.eye(2)), distance, 0.1 * np.eye(2), [[0.1]], (np.zeros(2), np.eye(2))
    )

    @quick_jit
    def gradients(us, observed):
        def total(model):
            final, est = kf.run(
                FILTERS[name].filter, model, np.full((2, 1), 0.5), us=us, observed=observed
            )
            return weighed(final, kf.Info(log_likelihood=est.log_likelihood.sum()))

        return jax.grad(total)(model)

    sensible = np.array([[3.0, 1.0], [1.0, 2.0]])
    strange = np.where([[True], [False]], anchor, sensible)
    observed = np.array([False, True])
    chex.assert_trees_all_equal(gradients(strange, observed), gradients(sensible, observed))


# whole runs


def branches(filter, model, y, u):
    """The four updates of two channels: nothing, either, both, each by a model of just these
    channels.
    """

    def seeing(channels):
        def update(state):
            new, info = filter.update(reduced(model, channels), state, y[jnp.asarray(channels)], u)
            return new, info.log_likelihood

        return update

    return [lambda state: (state, jnp.zeros(())), seeing((0,)), seeing((1,)), seeing((0, 1))]


def deleted_run(filter, model, ys, kinds):
    """The likelihood and final state of a run in which every update is that of a reduced model."""

    def body(state, at):
        y, kind = at
        state = filter.predict(model, state)
        return jax.lax.switch(kind, branches(filter, model, y, None), state)

    final, log_likelihood = jax.lax.scan(body, filter.init(model), (ys, kinds))
    return final, log_likelihood


def masked_run(filter, model, ys, observed):
    final, est = kf.run(filter, model, ys, observed=observed)
    return final, est.log_likelihood


@functools.partial(quick_jit, static_argnums=(0, 1))
def with_gradient(run, filter, model, ys, pattern):
    def value(model):
        final, log_likelihood = run(filter, model, ys, pattern)
        return weighed(final, kf.Info(log_likelihood=log_likelihood.sum())), (final, log_likelihood)

    (_, outputs), gradient = jax.value_and_grad(value, has_aux=True)(model)
    return outputs, symmetrised(gradient)


def test_a_masked_run_is_the_run_of_reduced_models(x64):
    c = case("unscented")
    ys, kinds = np.where(c.observed, c.ys, np.nan), c.observed @ [1, 2]
    assert set(kinds) >= {0, 1, 3}
    masked = with_gradient(masked_run, c.filter, c.params, ys, c.observed)
    deleted = with_gradient(deleted_run, c.filter, c.params, c.ys, kinds)
    chex.assert_tree_all_finite(masked)
    chex.assert_trees_all_close(masked, deleted, **exact)


# sequences that end early


def score(filter, model, ys, us, observed, length):
    """A number from filtered and smoothed estimates before the end, and from the final state."""
    final, est = kf.run(filter, model, ys, us=us, observed=observed, length=length)
    smoothed = kf.smooth(filter, model, est, us=us, length=length)
    end = ys.shape[0] if length is None else length
    inside = jnp.arange(ys.shape[0]) < end
    parts = (est.mean, est.cov, smoothed.mean, smoothed.cov)
    total = sum(
        jnp.sum(jnp.where(inside.reshape(-1, *[1] * (a.ndim - 1)), jnp.cos(a + 1), 0))
        for a in parts
    )
    return total + weighed(
        final, kf.Info(log_likelihood=est.log_likelihood.sum())
    ) + smoothed.initial.cov.sum(), (
        final,
        est,
        smoothed,
    )


score_with_gradients = quick_jit(
    jax.value_and_grad(score, argnums=(1, 2), has_aux=True), static_argnums=0
)


def test_length_equals_truncation_whatever_stands_after_the_end(x64):
    c, end = case("extended", "driven"), 4
    ys, us = np.array(c.ys), np.array(c.us)
    ys[end:], us[end:] = np.nan, np.nan
    (value, (final, est, smoothed)), gradients = score_with_gradients(
        c.filter, c.params, ys, us, np.ones_like(c.observed), end
    )
    (cut_value, (cut_final, cut_est, cut_smoothed)), cut_gradients = score_with_gradients(
        c.filter, c.params, ys[:end], us[:end], np.ones_like(c.observed)[:end], None
    )
    np.testing.assert_allclose(value, cut_value, rtol=1e-12)
    chex.assert_trees_all_close(final, cut_final, **exact)
    before = functools.partial(jax.tree.map, lambda a: a[:end])
    chex.assert_trees_all_close(before(est), cut_est, **exact)
    chex.assert_trees_all_close(
        (before(smoothed.mean), smoothed.initial),
        (cut_smoothed.mean, cut_smoothed.initial),
        **exact,
    )
    assert not est.log_likelihood[end:].any()
    chex.assert_trees_all_equal(est.mean[end:], np.stack([final.mean] * (STEPS - end)))
    chex.assert_trees_all_close(symmetrised(gradients[0]), symmetrised(cut_gradients[0]), **exact)
    np.testing.assert_allclose(gradients[1][:end], cut_gradients[1], **exact)
    assert not gradients[1][end:].any()


def test_lengths_in_a_batch_and_a_length_of_zero(x64):
    c = case("kalman", "driven")

    def total(params, us, lengths):
        final, est = jax.vmap(lambda n: kf.run(c.filter, params, c.ys, us=us, length=n))(lengths)
        return est.log_likelihood.sum(), (final, est.log_likelihood)

    total = quick_jit(jax.value_and_grad(total, has_aux=True))
    us = np.array(c.us)
    us[2:] = np.nan
    (_, (final, log_likelihood)), gradient = total(c.params, us, np.array([0, 1, 2]))
    chex.assert_tree_all_finite((final, gradient))
    chex.assert_trees_all_equal(jax.tree.map(lambda a: a[0], final), c.params.prior)
    assert log_likelihood[2].all(where=np.arange(STEPS) < 2)
    for length in range(3):
        expected = np.where(np.arange(STEPS) < length, log_likelihood[2], 0)
        np.testing.assert_allclose(log_likelihood[length], expected, rtol=1e-12)

    us[:] = np.nan
    (value, _), gradient = total(c.params, us, np.zeros(3, int))
    assert value == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


# no silent NaN


def test_nan_without_a_mask_is_refused():
    c = case("kalman")
    ys = np.where(c.observed, c.ys, np.nan)
    with pytest.raises(ValueError, match=r"NaN where it counts as observed.*isnan"):
        kf.run(c.filter, c.params, ys)
    with pytest.raises(ValueError, match=r"NaN where it counts as observed.*isnan"):
        kf.run(c.filter, c.params, ys, observed=np.ones(STEPS, bool))
    with pytest.raises(ValueError, match="NaN where it counts as observed"):
        jax.jit(lambda: kf.run(c.filter, c.params, ys))()  # data that are concrete in the trace
    filled, observed = kf.split_missing(ys)
    np.testing.assert_array_equal(observed, c.observed)
    np.testing.assert_array_equal(filled, np.where(c.observed, ys, 0).astype(np.float32))


@pytest.fixture(scope="module")
def checked():
    """A checked run of tiny model under jit."""
    model = kf.linear_gaussian([[1.0]], [[1.0]], [[0.1]], [[0.1]], kf.Gaussian([0.0], [[1.0]]))
    return jax.jit(
        lambda ys, observed: kf.run(kf.kalman(), model, ys, observed=observed, checked=True)
    )


def test_checked_runs_raise_under_jit(checked):
    ys = np.array([[0.1], [np.nan], [0.3]])
    with pytest.raises(Exception, match="ys has NaN where it counts as observed"):
        jax.block_until_ready(checked(ys, np.array([True, True, True])))
    with pytest.raises(Exception, match="an estimate is not finite"):
        jax.block_until_ready(checked(np.full((3, 1), 1e38), np.array([True, True, True])))


def test_checked_runs_let_good_data_pass(checked):
    ys = np.array([[0.1], [np.nan], [0.3]])
    final, est = jax.block_until_ready(checked(ys, np.array([True, False, True])))
    chex.assert_tree_all_finite((final, est))


@pytest.mark.parametrize("seen", [0, 1])
def test_of_observations_that_wrap_the_unobserved_channels_do_not_count(x64, seen):
    """Two bearings near the cut, of which one is observed."""
    h = kf.Linear([[1.0, 0.2], [0.3, 1.0]], b=[0.1, -0.2])
    prior = kf.Gaussian(np.array([3.0, -3.0]), np.array([[0.2, 0.05], [0.05, 0.3]]))
    model = kf.StateSpaceModel(
        kf.Linear(np.eye(2)), h, np.eye(2), 0.1 * np.eye(2), prior, None, kf.angles(0, 1)
    )
    row = slice(seen, seen + 1)
    one = model.replace(
        h=kf.Linear(h.A[row], b=h.b[row]), R=[[0.1]], observation_space=kf.angles(0)
    )
    y = np.array([-2.9, 2.8])
    mask = np.arange(2) == seen
    state, info = kf.extended().update(model, kf.extended().init(model), y, observed=mask)
    expected, alone = kf.extended().update(one, kf.extended().init(one), y[row])
    chex.assert_trees_all_close(state, expected, **exact)
    np.testing.assert_allclose(info.innovation, np.where(mask, alone.innovation[0], 0), **exact)
    np.testing.assert_allclose(info.innovation_cov[seen, seen], alone.innovation_cov[0, 0])
    assert not info.innovation_cov[1 - seen].any()
    assert not info.innovation_cov[:, 1 - seen].any()
    np.testing.assert_allclose(info.log_likelihood, alone.log_likelihood, **exact)
    # filters that predict an observation without h pass any y_hat
    flat = model.replace(observation_space=None)
    innovation = observe(flat, prior.mean, y, None, mask).innovation(np.ones(2))
    assert innovation[seen] != 0
    assert innovation[1 - seen] == 0


def turned(a, b):
    """The difference of angles, whose derivative at NaN is NaN."""
    return jnp.arctan2(jnp.sin(a - b), jnp.cos(a - b))


def test_gradients_know_nothing_of_what_stands_behind_a_mask_on_a_circle(x64):
    space = kf.Space(turned, jnp.add)
    h, prior = kf.Linear([[1.0, 0.2], [0.3, 1.0]]), kf.Gaussian(np.ones(2), np.eye(2))
    model = kf.StateSpaceModel(kf.Linear(np.eye(2)), h, np.eye(2), np.eye(2), prior)
    model = model.replace(observation_space=space)
    mask = np.array([True, False])

    def score(model, hidden):
        state = kf.extended().init(model)
        y = jnp.array([0.4, 1.0]).at[1].set(hidden)
        return kf.extended().update(model, state, y, observed=mask)[1].log_likelihood

    found, expected = (jax.grad(score)(model, hidden) for hidden in (jnp.nan, 0.7))
    chex.assert_trees_all_equal(found, expected)
    chex.assert_tree_all_finite(found)
