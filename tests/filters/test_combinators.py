"""Gates, fading memory, consider states, resets, and common properties of all combinators."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from support.combining import case, changed, conditioned, model_of, plain, single, tight
from support.table import MODELS, Case, outputs, predict, quick_jit, run, update

import kfjax as kf
from kfjax import filters
from kfjax.filters import (
    adaptive,
    box,
    constrained,
    fading,
    fallback,
    gated,
    huber,
    imm,
    schmidt,
    sequential,
    student_t,
)
from kfjax.filters.combinators.resets import to_prior

SQUARE_ROOT = filters.square_root(kf.moments.Taylor())


def far_walls(model):
    return filters.ConstrainedParams(model, box([-1e3] * model.n, [1e3] * model.n))


LIMITS = {
    "gated": gated(kf.extended(), 1.0),
    "fading": fading(kf.extended(), 1.0),
    "fallback": fallback(kf.extended(), probability=1.0),
    "huber": huber(kf.extended(), 1e9),
    "adaptive": adaptive(kf.extended(), forgetting_R=1.0),
    "schmidt": schmidt(kf.extended(), ()),
    "constrained": constrained(kf.extended()),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_combinator_at_its_limit_is_the_filter(x64, name):
    params = far_walls if name == "constrained" else lambda model: model
    est, info = run(case(LIMITS[name], "pendulum", params)).outputs
    chex.assert_trees_all_close(
        (est, plain(info)), outputs("extended", "pendulum").outputs, **tight
    )


def test_student_t_tends_to_the_filter_as_its_degrees_of_freedom_grow(x64):
    est, info = run(case(student_t(kf.extended(), 1e7), "pendulum")).outputs
    chex.assert_trees_all_close(
        (est, plain(info)), outputs("extended", "pendulum").outputs, atol=1e-6
    )


# gates


def test_a_gated_outlier_is_a_missing_row_in_estimates_and_their_gradients(x64):
    c = case(gated(kf.extended()))
    ys = changed(c.ys, 2, [30.0, -40.0])
    without = c.observed & (np.arange(len(ys)) != 2)[:, None]

    @functools.partial(quick_jit, static_argnums=0)
    def value_gradient_and_rest(method, observed):
        def score(model):
            est, info = kf.run(
                method, model, ys, observed=observed, emit=kf.estimate_and_info
            ).outputs
            return jnp.sum(jnp.cos(est.mean)), (est, info)

        return jax.value_and_grad(score, has_aux=True)(c.params)

    (value, (est, info)), gradient = value_gradient_and_rest(
        c.filter, c.observed | (np.arange(len(ys)) == 2)[:, None]
    )
    (expected, (kept, _)), slope = value_gradient_and_rest(kf.extended(), without)
    chex.assert_trees_all_close(
        (value, est.mean, est.cov, gradient), (expected, kept.mean, kept.cov, slope), **tight
    )
    np.testing.assert_array_equal(info.extra["accepted"], without.any(axis=1))
    np.testing.assert_array_equal(info.dof, c.observed.sum(axis=1) + 2 * (np.arange(len(ys)) == 2))
    # the likelihood of the outlier is that of a filter that has not seen it yet
    S = np.asarray(info.innovation_cov[2])
    density = scipy.stats.multivariate_normal(np.zeros(2), S).logpdf(info.innovation[2])
    np.testing.assert_allclose(est.log_likelihood[2], density, rtol=1e-10)
    others = np.arange(len(ys)) != 2
    np.testing.assert_allclose(est.log_likelihood[others], kept.log_likelihood[others], **tight)


REJECTING = {
    "gated": gated(kf.extended(), 0.5),
    "gated square root": gated(SQUARE_ROOT, 0.5),
    "gated fallback": gated(fallback(kf.extended()), 0.5),
    "fallback": fallback(kf.extended(), probability=0.5, patience=1),
    "fallback of gated": fallback(gated(kf.extended(), 0.5)),
    "adaptive gated": adaptive(gated(kf.extended(), 0.5)),
    "fixed lag of gated": filters.fixed_lag(gated(kf.extended(), 0.5), 1),
    "constrained gated": constrained(gated(kf.extended(), 0.5)),
    "student_t": student_t(kf.extended()),
    "huber": huber(kf.extended()),
    "student_t of gated": student_t(gated(kf.extended(), 0.5)),
    "sequential of gated": sequential(gated(kf.extended(), 0.5)),
    "imm of gated": imm((gated(kf.extended(), 0.5), kf.extended())),
}


@pytest.mark.parametrize("name", REJECTING)
def test_what_is_rejected_is_scored_as_the_filter_beneath_had_predicted_it(x64, name):
    c = case(kf.extended(), "pendulum")
    method, params, y, beneath = REJECTING[name], c.params, np.array([30.0, -40.0]), c.params
    if "constrained" in name:
        params = far_walls(params)
    if "imm" in name:
        params = filters.IMMParams((params, params), np.eye(2), [0.5, 0.5])
    if "sequential" in name:
        sensor = kf.Sensor(params.h, params.R)
        params, y = kf.Sensors(params.f, params.Q, params.prior, {"one": sensor}), {"one": y}
    before = predict(kf.extended(), beneath, beneath.prior, None)
    expected = update(kf.extended(), beneath, before, np.array([30.0, -40.0]), None, None)[1]
    state = predict(method, params, method.init(params), None)
    new, info = update(method, params, state, y, None, None)
    robust = name.startswith(("student_t", "huber"))
    for field in ("innovation", "innovation_cov", "log_likelihood", "nis", "dof"):
        value = getattr(info, field)
        if value is None:
            assert "sequential" in name
        elif robust and field == "log_likelihood":
            assert expected.log_likelihood < value < 0  # of a density with heavier tails
        else:
            np.testing.assert_allclose(value, getattr(expected, field), **tight)
    if name not in ("student_t", "huber"):
        assert info.extra["accepted"] == (0.5 if "imm" in name else 0)
    if not robust and "fallback" not in name and "imm" not in name:
        chex.assert_trees_all_equal((new.mean, new.cov), (state.mean, state.cov))


def test_accepted_is_the_share_of_the_channels_that_was_used():
    motion = kf.systems.constant_velocity()
    parts = {"a": kf.Sensor(motion.h, motion.R), "b": kf.Sensor(kf.Linear(jnp.eye(2)), jnp.eye(2))}
    params = kf.Sensors(motion.f, motion.Q, motion.prior, parts)
    ys = {"a": np.array([1e3]), "b": np.zeros(2)}
    for method, shares in (
        (sequential(gated(kf.kalman())), (2 / 3, 0, 1)),
        (sequential((gated(kf.kalman()), kf.kalman())), (2 / 3, 0, 1)),
    ):
        for observed, share in zip(
            (None, {"a": True, "b": False}, {"a": False, "b": True}), shares, strict=True
        ):
            info = update(method, params, motion.prior, ys, None, observed)[1]
            np.testing.assert_allclose(info.extra["accepted"], share, rtol=1e-6)
    plain = update(sequential(kf.kalman()), params, motion.prior, ys, None, None)[1]
    assert "accepted" not in plain.extra


@pytest.mark.parametrize("observed", [(True, True), (True, False)])
def test_the_gate_is_the_quantile_of_the_observed_channels(x64, observed):
    m, P, F, H, Q, R, y = single()
    model, seen = model_of(m, P, F, H, Q, R), np.flatnonzero(observed)
    S = (H @ P @ H.T + R)[np.ix_(seen, seen)]
    bound = scipy.stats.chi2.ppf(0.95, len(seen))
    direction = np.zeros(2)
    direction[seen] = np.linalg.cholesky(S)[:, 0]  # of NIS one
    for factor, expected in ((0.999, 1), (1.001, 0)):
        y = H @ m + factor * np.sqrt(bound) * direction
        _, info = update(
            gated(kf.extended(), 0.95), model, model.prior, y, None, np.array(observed)
        )
        assert info.extra["accepted"] == expected
        np.testing.assert_allclose(info.nis, factor**2 * bound, rtol=1e-12)


def test_a_gate_rejects_nan_and_infinity():
    c = case(gated(kf.kalman(), 1.0))
    state = c.filter.init(c.params)
    for bad in (np.nan, np.inf):
        new, info = update(c.filter, c.params, state, np.array([bad, 0.0]), None, None)
        chex.assert_trees_all_equal(new, state)
        assert (info.nis, info.log_likelihood, info.dof) == (np.inf, -np.inf, 2)
        assert info.extra["accepted"] == 0


# fading memory and consider states


def test_fading_against_numpy(x64):
    c = case(fading(kf.kalman(), 1.2))
    F, H, Q, R, m, P = (
        np.asarray(a) for a in (c.params.f.A, c.params.h.A, c.params.Q, c.params.R, *c.params.prior)
    )
    est = run(c, observed=np.ones_like(c.observed)).outputs[0]
    for y, mean, cov in zip(np.asarray(c.ys), est.mean, est.cov, strict=True):
        m, P = conditioned(F @ m, 1.2 * F @ P @ F.T + Q, H, R, y)
        chex.assert_trees_all_close((mean, cov), (m, P), **tight)


@pytest.mark.parametrize("inner", [kf.kalman(), SQUARE_ROOT], ids=["P", "L"])
def test_schmidt_against_numpy(x64, inner):
    c = case(schmidt(inner, (1, 2)))
    F, H, Q, R, m, P = (
        np.asarray(a) for a in (c.params.f.A, c.params.h.A, c.params.Q, c.params.R, *c.params.prior)
    )
    est = run(c, observed=np.ones_like(c.observed)).outputs[0]
    for y, mean, cov in zip(np.asarray(c.ys), est.mean, est.cov, strict=True):
        m, P = F @ m, F @ P @ F.T + Q
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        K[[1, 2]] = 0
        m, P = m + K @ (y - H @ m), (np.eye(4) - K @ H) @ P @ (np.eye(4) - K @ H).T + K @ R @ K.T
        chex.assert_trees_all_close((mean, cov), (m, P), **tight)


# resets


def test_fallback_starts_anew_from_what_is_stated(x64):
    c = case(fallback(kf.kalman()))
    ys = changed(c.ys, (2, 0), np.inf)
    final, (est, info) = run(c, ys=ys, observed=np.ones_like(c.observed))
    np.testing.assert_array_equal(info.extra["reset"], np.arange(len(ys)) == 2)
    np.testing.assert_array_equal(info.extra["accepted"], np.arange(len(ys)) != 2)
    np.testing.assert_array_equal(np.isneginf(est.log_likelihood), np.arange(len(ys)) == 2)
    np.testing.assert_array_equal(info.dof, 2)
    chex.assert_trees_all_close((est.mean[2], est.cov[2]), tuple(c.params.prior), **tight)
    again = run(case(kf.kalman()), ys=ys[3:], observed=np.ones_like(c.observed[3:])).final
    chex.assert_trees_all_close(final.inner, again, **tight)
    assert final.resets == 1


def test_fallback_has_finite_gradients_through_a_reset(x64):
    c = case(fallback(kf.kalman()))
    blown = kf.Gaussian(jnp.full(4, jnp.nan), jnp.full((4, 4), jnp.inf))
    ys = [changed(c.ys, (2, 0), bad) for bad in (np.inf, np.nan)]

    @quick_jit
    def gradient(model, ys, initial):
        def score(model):
            est = kf.run(c.filter, model, ys, state=initial).outputs
            return jnp.sum(jnp.cos(est.mean)) + est.log_likelihood.sum()

        return jax.value_and_grad(score)(model)

    for y in ys:
        value, slope = gradient(c.params, y, c.filter.init(c.params))
        assert value == -np.inf  # such an observation is impossible
        chex.assert_tree_all_finite(slope)
    started = c.filter.init(c.params)._replace(inner=blown)
    chex.assert_tree_all_finite(gradient(c.params, c.ys, started))


@pytest.mark.parametrize("inner", [kf.kalman(), gated(kf.kalman())], ids=["plain", "gated"])
def test_fallback_resets_a_lost_filter_after_some_patience(inner):
    model = kf.systems.constant_velocity(q_density=1e-6, r_std=0.1)
    method = fallback(inner, surroundings, patience=3)
    ys = jnp.where(jnp.arange(12) < 4, 0.0, 500.0)[:, None]
    final, (est, info) = run(Case(method, model, ys, None, None))
    np.testing.assert_array_equal(info.extra["reset"], np.arange(12) == 6)
    assert abs(est.mean[-1, 0] - 500) < 1
    assert final.alarms == 0


def surroundings(params):
    """A belief wide enough for anything."""
    return kf.Gaussian(jnp.zeros(2), 1e6 * jnp.eye(2))


# compositions


COMPOSED = {
    "fading adaptive student_t": fading(adaptive(student_t(kf.extended()), forgetting_Q=0.9), 1.05),
    "huber of gated": huber(gated(kf.extended(), 0.5)),
    "schmidt of gated square roots": schmidt(gated(SQUARE_ROOT), (1,)),
    "constrained fallback of gated huber": constrained(fallback(gated(huber(kf.extended())))),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_compositions_run_and_keep_the_law(name):
    method = COMPOSED[name]
    c = case(method, "pendulum", far_walls if "constrained" in name else lambda model: model)
    final, (est, info) = run(c)
    chex.assert_tree_all_finite((final, est, info))
    state = method.init(c.params)
    new, silent = update(method, c.params, state, np.full(2, np.nan), None, np.zeros(2, bool))
    chex.assert_trees_all_equal(new, state)
    chex.assert_trees_all_equal(silent, jax.tree.map(np.zeros_like, silent))
    chex.assert_trees_all_equal_shapes_and_dtypes(final, state)


# bad input

MODEL = kf.systems.constant_velocity()
PAIR = filters.IMMParams((MODEL, MODEL), [[0.5, 0.5], [0.5, 0.5]], [0.5, 0.5])


def sensors(parts):
    return kf.Sensors(MODEL.f, MODEL.Q, MODEL.prior, parts)


ONE = kf.Sensor(MODEL.h, MODEL.R)
SENSORS = sensors({"a": ONE})
BOTH = sensors((ONE, ONE))
STATELESS = kf.kalman()._replace(recentre=None)


BAD = {
    "gated: probability is 0": lambda: gated(kf.kalman(), 0.0),
    "gated: filter is kalman; expected a kfjax.Filter": lambda: gated(kf.kalman),
    "fading: factor is -1": lambda: fading(kf.kalman(), -1.0),
    "fading: the filter has no recentre": lambda: fading(STATELESS, 1.1),
    "fallback: probability is 2": lambda: fallback(kf.kalman(), probability=2.0),
    "fallback: params \\(dict\\) do not hold exactly one model": lambda: to_prior({}),
    "student_t: dof is 0": lambda: student_t(kf.kalman(), 0.0),
    "student_t: iterations is 0": lambda: student_t(kf.kalman(), iterations=0),
    "huber: threshold is -1": lambda: huber(kf.kalman(), -1.0),
    "student_t: params \\(IMMParams\\) hold 2": lambda: student_t(kf.kalman()).update(
        PAIR, MODEL.prior, jnp.zeros(1)
    ),
    "put student_t inside": lambda: student_t(sequential(kf.kalman())).update(
        SENSORS, MODEL.prior, {"a": np.zeros(1)}
    ),
    "adaptive: forgetting_R is 0": lambda: adaptive(kf.kalman(), forgetting_R=0.0),
    "adaptive: R is a function": lambda: adaptive(kf.extended()).init(MODELS["driven"]().model),
    "schmidt: considered is \\(2,\\)": lambda: schmidt(kf.kalman(), (2,)).update(
        MODEL, MODEL.prior, jnp.zeros(1)
    ),
    "constrained: params is StateSpaceModel": lambda: constrained(kf.kalman()).init(MODEL),
    "box: got lower": lambda: box([1.0], [0.0]),
    "Inequalities: A has shape": lambda: filters.Inequalities([1.0], [1.0]),
    "sequential: params is StateSpaceModel": lambda: sequential(kf.kalman()).init(MODEL),
    "sequential: got 2 filters": lambda: sequential((kf.kalman(), kf.kalman())).init(SENSORS),
    "sequential: the filters have different states": lambda: sequential(
        (kf.kalman(), SQUARE_ROOT)
    ).init(BOTH),
    "adaptive: params have several sensors": lambda: adaptive(sequential(kf.kalman())).init(
        SENSORS
    ),
    "sequential: params hold sensors": lambda: sequential(imm((kf.kalman(),) * 2)).init(
        filters.IMMParams((SENSORS, BOTH), PAIR.transition, PAIR.weights)
    ),
    "sequential: y has sensors in no dict": lambda: kf.run(
        sequential(kf.kalman()), SENSORS, jnp.zeros((3, 1))
    ),
    "y of 'a' has shape \\(2,\\)": lambda: kf.run(
        sequential(kf.kalman()), SENSORS, {"a": jnp.zeros((3, 2))}
    ),
    "Sensors: sensors is {}; expected a dict": lambda: sensors({}),
    "Sensors: sensors is .*; expected a dict": lambda: sensors({"a": MODEL.h}),
    "Sensors: with sensor 'a': .* h = Linear with A of shape": lambda: sensors(
        {"a": kf.Sensor(MODEL.h, np.eye(3))}
    ),
    "Sensor: space is .*; expected kf.Space": lambda: kf.Sensor(MODEL.h, MODEL.R, space=0),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_input_is_a_readable_error(text):
    with pytest.raises(ValueError, match=text):
        BAD[text]()
