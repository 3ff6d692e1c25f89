"""The interacting multiple model estimator: identities, a numpy oracle, maps, zero weights, members
of any kind.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from support.combining import plain, tight
from support.table import MODELS, Case, outputs, quick_jit, run

import kfjax as kf
from kfjax.filters import IMMParams, fallback, gated, imm, sequential
from kfjax.filters.combinators.mixtures import moment_match
from kfjax.filters.particles.bootstrap import particle


def two_models():
    """The linear problem, and one of livelier motion and coarser observation."""
    problem = MODELS["linear"]()
    lively = problem.model.replace(Q=9 * problem.model.Q, R=2 * problem.model.R)
    params = IMMParams((problem.model, lively), [[0.9, 0.1], [0.3, 0.7]], [0.6, 0.4])
    return problem, params


def test_members_alike_are_the_member(x64):
    problem = MODELS["pendulum"]()
    one = imm((kf.extended(),)), IMMParams((problem.model,), [[1.0]], [1.0])
    alike = (
        imm((kf.extended(), gated(kf.extended(), 1.0))),
        IMMParams((problem.model,) * 2, [[0.9, 0.1], [0.3, 0.7]], [0.2, 0.8]),
    )
    for method, params in (one, alike):
        est, info = run(Case(method, params, problem.ys, None, problem.observed)).outputs
        chex.assert_trees_all_close(
            (est, plain(info)), outputs("extended", "pendulum").outputs, **tight
        )


def in_numpy(params, ys, observed):
    """The textbook recursion of Kalman filters with all rows of unobserved channels deleted."""
    models = [tuple(np.asarray(a) for a in (m.f.A, m.h.A, m.Q, m.R)) for m in params.members]
    beliefs = [tuple(np.asarray(a) for a in m.prior) for m in params.members]
    p, mu = np.asarray(params.transition), np.asarray(params.weights)
    for y, seen in zip(np.asarray(ys), observed, strict=True):
        c = p.T @ mu
        mixed = []
        for j in range(2):
            w = p[:, j] * mu / c[j]
            m = sum(wi * b[0] for wi, b in zip(w, beliefs, strict=True))
            d = [b[0] - m for b in beliefs]
            mixed.append(
                (
                    m,
                    sum(
                        wi * (b[1] + np.outer(e, e)) for wi, b, e in zip(w, beliefs, d, strict=True)
                    ),
                )
            )
        density = np.ones(2)
        for j, ((F, H, Q, R), (m, P)) in enumerate(zip(models, mixed, strict=True)):
            m_pred, P_pred, H_seen = F @ m, F @ P @ F.T + Q, H[seen]
            S, nu = H_seen @ P_pred @ H_seen.T + R[np.ix_(seen, seen)], y[seen] - H_seen @ m_pred
            K = P_pred @ H_seen.T @ np.linalg.inv(S)
            beliefs[j] = m_pred + K @ nu, P_pred - K @ S @ K.T
            density[j] = np.exp(-0.5 * nu @ np.linalg.solve(S, nu)) / np.sqrt(
                np.linalg.det(2 * np.pi * S)
            )
        mu = c * density / (c @ density)
        mean = mu[0] * beliefs[0][0] + mu[1] * beliefs[1][0]
        d = [b[0] - mean for b in beliefs]
        cov = sum(w * (b[1] + np.outer(e, e)) for w, b, e in zip(mu, beliefs, d, strict=True))
        yield mean, cov, np.log(c @ density), mu


def test_two_members_against_numpy(x64):
    problem, params = two_models()
    final, (est, info) = run(
        Case(imm((kf.kalman(),) * 2), params, problem.ys, None, problem.observed)
    )
    *expected, weights = map(
        np.stack, zip(*in_numpy(params, problem.ys, problem.observed), strict=True)
    )
    chex.assert_trees_all_close(tuple(est), tuple(expected), **tight)
    seen = problem.observed.any(axis=1)
    np.testing.assert_allclose(info.extra["weights"][seen], weights[seen], **tight)
    np.testing.assert_allclose(final.weights, weights[-1], **tight)
    assert np.abs(weights[:, 0] - 0.6).max() > 0.1
    assert info.nis[seen].min() > 0


# zero weights


def test_a_weight_of_zero_stays_zero_and_has_a_gradient(x64):
    problem, params = two_models()
    method = imm((kf.kalman(),) * 2)

    @quick_jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def score(transition, weights):
        est = kf.run(
            method,
            IMMParams(params.members, transition, weights),
            problem.ys,
            observed=problem.observed,
        ).outputs
        return est.log_likelihood[0] + jnp.sum(jnp.cos(est.mean[0])), est

    never, first = jnp.eye(2), jnp.array([1.0, 0.0])
    (value, est), slopes = score(never, first)
    chex.assert_trees_all_close(est, outputs("kalman", "linear").outputs[0], **tight)
    chex.assert_tree_all_finite(slopes)
    towards = jnp.array([-1.0, 1.0])
    for direction in ((jnp.outer(first, towards), 0 * first), (0 * never, towards)):
        moved = score(never + 1e-7 * direction[0], first + 1e-7 * direction[1])[0][0]
        slope = sum(jnp.sum(s * d) for s, d in zip(slopes, direction, strict=True))
        np.testing.assert_allclose(slope, (moved - value) / 1e-7, rtol=1e-5)
        assert abs(slope) > 0.01


def test_a_hopeless_member_in_float32_has_finite_gradients():
    model = kf.systems.constant_velocity(q_density=0.01, r_std=0.1)
    members = (model, model.replace(R=1e-8 * model.R, Q=1e-8 * model.Q))
    ys = kf.simulate(jax.random.key(0), model, steps=40)[1]

    def score(params):
        final, est = kf.run(imm((kf.kalman(),) * 2), params, ys)
        return est.log_likelihood.sum(), final.weights

    for chain in (np.eye(2), [[1.0, 0.0], [1e-3, 0.999]]):
        (value, weights), gradient = quick_jit(jax.value_and_grad(score, has_aux=True))(
            IMMParams(members, chain, [0.5, 0.5])
        )
        chex.assert_tree_all_finite((value, gradient))
        np.testing.assert_allclose(weights, [1.0, 0.0], atol=1e-6)


# members of different dimension


def to_acceleration(belief):
    """Position and velocity, with an acceleration of zero, known to 1e-3."""
    n = belief.mean.shape[0]
    mean = jnp.concatenate([belief.mean, jnp.zeros(1, belief.mean.dtype)])
    cov = jnp.zeros((n + 1, n + 1), belief.cov.dtype).at[:n, :n].set(belief.cov).at[n, n].set(1e-6)
    return kf.Gaussian(mean, cov)


def without_acceleration(belief, own):
    n = own.mean.shape[0]
    return kf.Gaussian(belief.mean[:n], belief.cov[:n, :n])


def maneuver():
    """A stop-and-go in one dimension: calm, accelerating, calm; with a model of each kind of
    motion.
    """
    dt = 1.0
    F = [[1, dt, dt**2 / 2], [0, 1, dt], [0, 0, 1]]
    noise = 0.01 * np.eye(3)
    turning = kf.linear_gaussian(
        F, [[1.0, 0, 0]], noise + np.diag([0, 0, 0.3]), [[4.0]], (np.zeros(3), np.eye(3))
    )
    calm = kf.linear_gaussian(
        [[1, dt], [0, 1]], [[1.0, 0]], 0.01 * np.eye(2), [[4.0]], (np.zeros(2), np.eye(2))
    )
    acceleration = np.where((np.arange(60) >= 25) & (np.arange(60) < 40), 2.0, 0.0)
    position = np.cumsum(np.cumsum(acceleration))
    return turning, calm, position, position + 2 * np.random.default_rng(0).normal(size=60)


MAPS = (None, (to_acceleration, without_acceleration))


def test_members_of_different_dimension_take_over_when_their_time_comes():
    turning, calm, position, ys = maneuver()
    method = imm((kf.kalman(), kf.kalman()), MAPS)
    params = IMMParams((turning, calm), [[0.9, 0.1], [0.05, 0.95]], [0.1, 0.9])
    est, info = run(Case(method, params, ys[:, None], None, None)).outputs
    weights = info.extra["weights"][:, 0]
    assert weights[10:24].max() < 0.5 < weights[30:38].min()
    error = np.sqrt(np.mean((est.mean[:, 0] - position) ** 2))
    for model in (turning, calm):
        single = run(Case(kf.kalman(), model, ys[:, None], None, None)).outputs[0]
        assert error < np.sqrt(np.mean((single.mean[:, 0] - position) ** 2))
        assert est.log_likelihood.sum() > single.log_likelihood.sum()


def test_members_that_never_switch_run_alone(x64):
    turning, calm, _, ys = maneuver()
    ys = ys[:30]
    method = imm((kf.kalman(), kf.kalman()), MAPS)
    final, (est, _) = run(
        Case(method, IMMParams((turning, calm), np.eye(2), [0.5, 0.5]), ys[:, None], None, None)
    )
    likelihoods = []
    for model, member in zip((turning, calm), final.members, strict=True):
        alone, (kept, _) = run(Case(kf.kalman(), model, ys[:, None], None, None))
        chex.assert_trees_all_close(tuple(member), tuple(alone), **tight)
        likelihoods.append(kept.log_likelihood.sum())
    # then it is Bayesian model averaging
    np.testing.assert_allclose(
        est.log_likelihood.sum(), np.logaddexp(*likelihoods) - np.log(2), rtol=1e-10
    )
    np.testing.assert_allclose(
        final.weights, np.exp(likelihoods - np.logaddexp(*likelihoods)), rtol=1e-8, atol=1e-12
    )


def test_recentre_writes_a_common_belief_into_every_member(x64):
    turning, calm, _, _ = maneuver()
    method, params = (
        imm((kf.kalman(), kf.kalman()), MAPS),
        IMMParams((turning, calm), np.eye(2), [0.5, 0.5]),
    )
    belief = kf.Gaussian(jnp.arange(3.0), 2 * jnp.eye(3))
    state = method.recentre(params, method.init(params), belief)
    chex.assert_trees_all_equal(kf.Gaussian(state.mean, state.cov), belief)
    chex.assert_trees_all_equal(state.members, (belief, without_acceleration(belief, calm.prior)))


# members of any kind


def test_angles_are_mixed_across_the_cut(x64):
    space = MODELS["heading"]().model.state_space
    beliefs = [kf.Gaussian(jnp.array([0.0, 0.0, a]), 0.1 * jnp.eye(3)) for a in (0.0, 3.1, -3.1)]
    mixed = moment_match(jnp.array([0.0, 0.5, 0.5]), beliefs, space)
    np.testing.assert_allclose(np.abs(mixed.mean[2]), np.pi, rtol=1e-12)
    np.testing.assert_allclose(mixed.cov[2, 2], 0.1 + (np.pi - 3.1) ** 2, rtol=1e-12)


def test_a_member_that_rejects_an_observation_is_weighed_by_what_it_predicted(x64):
    problem, params = two_models()
    params = IMMParams(params.members, np.eye(2), [0.6, 0.4])
    ys = np.array(problem.ys)
    ys[0] = 10.0
    final, (est, info) = run(
        Case(imm((gated(kf.kalman()), kf.kalman())), params, ys[:1], None, None)
    )
    singles = [run(Case(kf.kalman(), m, ys[:1], None, None)).outputs[0] for m in params.members]
    scores = np.log([0.6, 0.4]) + [est.log_likelihood[0] for est in singles]
    total = scipy.special.logsumexp(scores)
    np.testing.assert_allclose(final.weights, np.exp(scores - total), **tight)
    np.testing.assert_allclose(est.log_likelihood, [total], **tight)
    assert info.extra["members"][0].extra["accepted"] == 0
    np.testing.assert_allclose(info.extra["accepted"], final.weights[1:], **tight)


def runaway(x, u):
    """A model that leaves the numbers of float32 in a few steps."""
    return jnp.exp(3 * jnp.abs(x) + 3)


def test_an_imm_survives_a_diverging_member_with_a_fallback():
    sane = kf.systems.constant_velocity()
    wild = sane.replace(f=runaway)
    method = imm((kf.extended(), fallback(kf.extended())))
    params = IMMParams((sane, wild), [[0.9, 0.1], [0.1, 0.9]], [0.5, 0.5])
    ys = kf.simulate(jax.random.key(0), sane, steps=20)[1]

    def score(params):
        final, (est, info) = kf.run(method, params, ys, emit=kf.estimate_and_info)
        return est.log_likelihood.sum(), (final, est, info)

    (value, (final, est, info)), gradient = quick_jit(jax.value_and_grad(score, has_aux=True))(
        params
    )
    chex.assert_tree_all_finite((value, final, est, info, gradient))
    assert final.members[1].resets > 0
    assert final.weights[0] > 0.5


def test_an_imm_within_sequential_and_within_a_gate(x64):
    problem, params = two_models()
    H = problem.model.h.A
    parts = {"a": kf.Sensor(kf.Linear(H[:1]), [[0.5]]), "b": kf.Sensor(kf.Linear(H[1:]), [[0.4]])}
    split = IMMParams(
        tuple(kf.Sensors(m.f, m.Q, m.prior, parts) for m in params.members),
        params.transition,
        params.weights,
    )
    ys = {"a": problem.ys[:, :1], "b": problem.ys[:, 1:]}
    observed = {"a": problem.observed[:, :1], "b": problem.observed[:, 1:]}
    method = sequential(gated(imm((kf.kalman(), kf.kalman())), 0.9999))
    final, (est, info) = run(Case(method, split, ys, None, observed))
    joint = IMMParams(
        tuple(m.replace(R=np.diag([0.5, 0.4])) for m in params.members),
        params.transition,
        params.weights,
    )
    expected = run(Case(imm((kf.kalman(), kf.kalman())), joint, problem.ys, None, problem.observed))
    np.testing.assert_allclose(est.log_likelihood, expected[1][0].log_likelihood, **tight)
    chex.assert_trees_all_close(final, expected[0], **tight)
    np.testing.assert_array_equal(info.dof, problem.observed.sum(axis=1))


def test_an_imm_of_a_gated_ukf_and_a_particle_filter_with_nan_channels_streamed():
    truth = kf.systems.lorenz(q_std=0.3, r_std=0.5)
    xs, ys = kf.simulate(jax.random.key(0), truth, steps=40)
    ys = ys.at[::3, 0].set(jnp.nan).at[5:8].set(jnp.nan)

    method = imm((gated(kf.unscented(), 0.999), particle(300)))
    params = IMMParams(
        (truth, truth.replace(Q=10 * truth.Q)), [[0.95, 0.05], [0.05, 0.95]], [0.5, 0.5]
    )
    state, errors = method.init(params, jax.random.key(1)), []
    for y, x in zip(ys, xs, strict=True):
        state, info = kf.step(method, params, state, y, observed=~np.isnan(y))
        errors.append(state.mean - x)

    assert np.sqrt(np.mean(np.square(errors[10:]))) < 1.0
    assert info.extra["weights"].sum() == pytest.approx(1.0, abs=1e-5)
    assert info.extra["members"][0].extra["accepted"] == 1


# bad input

CV = kf.systems.constant_velocity()
CA = kf.systems.constant_acceleration()
BAD = {
    "imm: filters is Filter": lambda: imm(kf.kalman()),
    "imm: got 1 maps for 2 filters": lambda: imm((kf.kalman(), kf.extended()), (None,)),
    "imm: the filter has no recentre": lambda: imm((kf.kalman()._replace(recentre=None),)),
    "imm: params is StateSpaceModel": lambda: imm((kf.kalman(),)).init(CV),
    "imm: params have 2 members; expected 1": lambda: imm((kf.kalman(),)).init(
        IMMParams((CV, CV), np.eye(2), [1, 0])
    ),
    "imm: member 1 has a mean of shape \\(3,\\)": lambda: imm((kf.kalman(),) * 2).init(
        IMMParams((CV, CA), np.eye(2), [1, 0])
    ),
    "IMMParams: members is list": lambda: IMMParams([CV], [[1.0]], [1.0]),
    "IMMParams: transition has shape \\(1, 1\\)": lambda: IMMParams((CV, CV), [[1.0]], [0.5, 0.5]),
    "IMMParams: transition is .*; expected probabilities": lambda: IMMParams(
        (CV, CV), [[0.5, 0.1], [0.5, 0.5]], [0.5, 0.5]
    ),
    "IMMParams: weights is .*; expected probabilities": lambda: IMMParams(
        (CV, CV), np.eye(2), [-0.5, 1.5]
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_input_is_a_readable_error(text):
    with pytest.raises(ValueError, match=text):
        BAD[text]()
