"""Comparisons of kfjax with the joint Gaussian of a random linear record."""

import functools

import jax
import numpy as np
from support import random_models
from support.joint_gaussian import history
from support.random_models import AHEAD, STEPS, Case
from support.rounding import assert_close, assert_close_belief, assert_close_moments, sizes

import kfjax as kf
from kfjax.training.expectation_maximisation import em

LAG, DRAWS = 2, 2000
EXACT = {
    "kalman": kf.kalman(),
    "extended": kf.extended(),
    "unscented": kf.unscented(),
    "square_root": kf.square_root(kf.moments.Taylor()),
}
BY_POINTS = {
    "extended": kf.extended(),
    "iterated": kf.extended(2),
    "unscented": kf.unscented(),
    "cubature": kf.cubature(),
    "gauss_hermite": kf.gauss_hermite(3),
    "square_root": kf.square_root(kf.moments.Unscented()),
}
# Combinators that change nothing with these arguments, as long as nothing unlikely is observed.
NEUTRAL = {
    "fading": kf.fading(kf.kalman(), 1.0),
    "fallback": kf.fallback(kf.kalman(), patience=STEPS + 1),
    "gated": kf.gated(kf.unscented(), 1 - 1e-9),
    "imm": kf.imm((kf.kalman(), kf.square_root(kf.moments.Cubature()))),
}
LARGEST_CONDITION = {"float32": 1e3, "float64": 1e8}


def filters_of(case: Case):
    """The filters that are exact for a record, by name."""
    if case.shape.kind != "opaque":
        return EXACT
    # an iteration resolves what noise-free channels determine only to the rounding of f and h
    left_out = {"iterated"} if case.traits.singular[1] else set()
    return {name: method for name, method in BY_POINTS.items() if name not in left_out}


def any_filter(case: Case):
    """A filter for results that do not depend on the filter."""
    return next(iter(filters_of(case).values()))


def beliefs(joint_and_places):
    """Stacked means and covariances at places in joints."""
    pairs = [joint.belief(at) for joint, at in joint_and_places]
    return tuple(np.stack(part) for part in zip(*pairs, strict=True))


def frozen(case: Case, t: int) -> int:
    """The step to which the estimate at t belongs, in a record with a length."""
    return min(t, case.length)


def record(case: Case):
    """The keyword arguments of a run over a record."""
    return {"us": case.us[:STEPS], "observed": case.observed, "length": np.int32(case.length)}


def assert_filters(case: Case):
    """Filtered beliefs, likelihoods and ranks of every filter that is exact."""
    joints = case.truth.joints
    steps = range(1, STEPS + 1)
    expected = beliefs((joints[t], joints[t].x(frozen(case, t))) for t in steps)
    for name, method in filters_of(case).items():
        assert_close_filtered(case, name, method, case.model, expected)


def assert_close_filtered(case: Case, name: str, method, params, expected):
    """Compare filtered beliefs, likelihoods and ranks of a filter."""
    estimate, info = kf.run(
        method, params, case.ys, **record(case), emit=kf.estimate_and_info
    ).outputs
    assert_close_belief(case, name, estimate, expected)
    score = case.truth.terms
    scale = 1 + np.abs(score[np.isfinite(score)]).max(initial=0.0) * sizes(case)[0]
    assert_close(case, f"{name}.log_likelihood", estimate.log_likelihood, score, scale)
    np.testing.assert_array_equal(info.dof, case.truth.ranks, f"{name}.dof")


def assert_neutral_combinators(case: Case):
    """Compare combinators that should not change anything."""
    if case.shape.kind != "constant":
        return
    joints = case.truth.joints
    expected = beliefs((joints[t], joints[t].x(frozen(case, t))) for t in range(1, STEPS + 1))
    for name, method in NEUTRAL.items():
        params = case.model
        if name == "imm":
            chain = np.array([[0.75, 0.25], [0.5, 0.5]])
            params = kf.IMMParams((params, params), chain, chain[0])
        assert_close_filtered(case, name, method, params, expected)


def assert_beliefs_ahead(case: Case):
    """Predicted beliefs, and forecasts of states and observations."""
    joints, method = case.truth.joints, any_filter(case)
    run = kf.run(method, case.model, case.ys, us=case.us[:STEPS], observed=case.seen)
    predicted = kf.predicted(method, case.model, run.outputs, us=case.us[:STEPS])
    steps = range(1, STEPS + 1)
    assert_close_belief(
        case, "predicted", predicted, beliefs((joints[t - 1], joints[t].x(t)) for t in steps)
    )
    expected = kf.observation_estimate(method, case.model, predicted, us=case.us[:STEPS])
    assert_close_belief(
        case, "expected y", expected, beliefs((joints[t - 1], joints[t].y(t)) for t in steps)
    )
    ahead = kf.forecast(method, case.model, run.final, us=case.us[STEPS:])
    steps, last = range(STEPS + 1, STEPS + AHEAD + 1), case.truth.last
    assert_close_belief(case, "forecast", ahead.state, beliefs((last, last.x(t)) for t in steps))
    assert_close_belief(
        case, "forecast of y", ahead.observation, beliefs((last, last.y(t)) for t in steps)
    )


def assert_close_smoothed(case: Case, what: str, got, steps: int = STEPS):
    """Compare smoothed beliefs; with `steps`, estimates stay those of that step."""
    last = case.truth.last
    times = [min(t, steps) for t in range(1, STEPS + 1)]
    assert_close_belief(case, what, got, beliefs((last, last.x(t)) for t in times))
    start = case.system.start
    assert (got.initial is None) == bool(start)
    if got.initial is not None:
        assert_close_belief(case, f"{what}.initial", got.initial, last.belief(last.x(0)))
    later = range(1 + start, steps + 1)
    for t in later:
        cross = last.cross(last.x(t), last.x(t - 1))
        assert_close(case, f"{what}.cross", got.cross[t - 1], cross, sizes(case)[1])


def assert_smoothers(case: Case):
    """Smoothed beliefs of every filter, and a fixed lag behind."""
    for name, method in filters_of(case).items():
        states = kf.run(method, case.model, case.ys, **record(case), emit=kf.whole_state).outputs
        smoothed = kf.smooth(
            method, case.model, states, us=case.us[:STEPS], length=np.int32(case.length)
        )
        assert_close_smoothed(case, f"smooth({name})", smoothed, case.length)
    method, joints, start = (
        kf.fixed_lag(any_filter(case), LAG),
        case.truth.joints,
        case.system.start,
    )
    late = kf.run(
        method, case.model, case.ys, us=case.us[:STEPS], observed=case.seen, emit=kf.lagged
    ).outputs
    steps = range(1, STEPS + 1)
    expected = beliefs((joints[t], joints[t].x(max(t - LAG, start))) for t in steps)
    assert_close_belief(case, "fixed_lag", late, expected)


def assert_whole_records(case: Case):
    """Functions of linear models that take a whole record."""
    if case.shape.kind == "opaque":
        return
    arguments = {"us": case.us[:STEPS], "observed": case.seen}
    joints, steps = case.truth.joints, range(1, STEPS + 1)
    filtered = kf.parallel_filter(case.model, case.ys, **arguments)
    assert_close_belief(
        case, "parallel_filter", filtered, beliefs((joints[t], joints[t].x(t)) for t in steps)
    )
    score = case.truth.terms
    scale = 1 + np.abs(score).max() * sizes(case)[0]
    assert_close(case, "parallel_filter.log_likelihood", filtered.log_likelihood, score, scale)
    smoothed = kf.parallel_smooth(case.model, case.ys, **arguments)
    assert_close_smoothed(case, "parallel_smooth", smoothed)
    if case.traits.singular[1]:
        return
    smoothed = kf.two_filter_smooth(case.model, case.ys, **arguments)
    assert_close_smoothed(case, "two_filter_smooth", smoothed)


def assert_iterated_smoothers(case: Case):
    """Smoothers of nonlinear models, for which the first linearisation is exact."""
    if case.shape.kind != "opaque" or not case.regular:
        return
    arguments = {"us": case.us[:STEPS], "observed": case.seen}
    for rule in (kf.moments.Taylor(), kf.moments.Cubature()):
        smoothed = kf.parallel_iterated_smooth(
            case.model, case.ys, **arguments, rule=rule, iterations=2
        )
        assert_close_smoothed(case, f"parallel_iterated_smooth({rule})", smoothed)


def assert_imputation(case: Case):
    """Compare imputed observations, from smoothed beliefs."""
    method, arguments = any_filter(case), {"us": case.us[:STEPS]}
    run = kf.run(method, case.model, case.ys, observed=case.seen, **arguments)
    smoothed = kf.smooth(method, case.model, run.outputs, **arguments)
    filled = kf.impute(method, case.model, smoothed, case.ys, observed=case.seen, **arguments)
    last = case.truth.last
    expected = beliefs((last, last.y(t)) for t in range(1, STEPS + 1))
    assert_close_belief(case, "impute", filled, expected)


def assert_draws(case: Case):
    """Moments of paths drawn from the prior and from the posterior."""
    key = jax.random.key(case.traits.seed)
    method, prior, last = any_filter(case), case.truth.joints[0], case.truth.last
    us = case.us[:STEPS]
    xs, ys = _simulated(jax.random.split(key, DRAWS), case.model, us)
    states = np.concatenate([prior.x(t) for t in range(1, STEPS + 1)])
    places = np.concatenate([states, *(prior.y(t) for t in range(1, STEPS + 1))])
    drawn = np.concatenate([xs.reshape(DRAWS, -1), ys.reshape(DRAWS, -1)], axis=1)
    assert_close_moments(case, "simulate", drawn, prior.belief(places))
    run = kf.run(method, case.model, case.ys, us=us, observed=case.seen)
    paths = kf.sample_posterior(key, method, case.model, run.outputs, us=us, trajectories=DRAWS)
    drawn = np.asarray(paths.states).reshape(DRAWS, -1)
    assert (paths.initial is None) == bool(case.system.start)
    if paths.initial is not None:
        drawn = np.concatenate([paths.initial, drawn], axis=1)
        states = np.concatenate([prior.x(0), states])
    assert_close_moments(case, "sample_posterior", drawn, last.belief(states))


@jax.jit
def _simulated(keys, model, us):
    return jax.vmap(lambda key: kf.simulate(key, model, us=us))(keys)


def assert_gradients(case: Case):
    """The slope of the log-likelihood along a random direction of all parameters."""
    if not case.regular:
        return
    rng, step = np.random.default_rng(case.traits.seed), 1e-30

    def random(leaf):
        d = random_models.dyadic(rng, np.shape(leaf))
        square = d.ndim >= 2 and d.shape[-1] == d.shape[-2]
        return (d + d.swapaxes(-1, -2)) / 2 if square else d

    direction = jax.tree.map(random, case.model)
    moved = jax.tree.map(lambda a, d: np.asarray(a, float) + 1j * step * d, case.model, direction)
    system = random_models.system_of(moved, case.shape, case.us)
    terms = history(system, case.exact_ys.astype(complex), case.seen).terms
    methods = list(filters_of(case).values())
    method = methods[(case.shape.n + case.shape.m) % len(methods)]  # one is compiled for a shape
    gradient = _gradient(method, case.model, case.ys, case.us[:STEPS], case.seen)
    parts = [
        np.asarray(g, float) * d
        for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    ]
    size = 1 + sum(np.abs(part).sum() for part in parts)
    slope = sum(part.sum() for part in parts)
    assert_close(case, "gradient", slope, np.sum(terms).imag / step, size * sizes(case)[0] ** 2)


@functools.partial(jax.jit, static_argnums=0)
def _gradient(filter, model, ys, us, observed):
    def score(model):
        return kf.log_likelihood(filter, model, ys, us=us, observed=observed)

    return jax.grad(score)(model)


LEARNT = ("Q", "R", "prior_mean", "prior_cov")


def assert_expectation_maximisation(case: Case):
    """One iteration, from expected squares of the noise and of the start."""
    moves = case.length - case.system.start
    if case.shape.kind != "constant" or not moves or not case.seen.any():
        return
    data = kf.Dataset(
        case.ys[None], us=case.us[None, :STEPS], observed=case.observed[None],
        length=np.array([case.length], np.int32),
    )  # fmt: skip
    fitted = em(case.model, data, learn=LEARNT, iterations=1)
    last, system = case.truth.last, case.system
    moves = range(1 + system.start, case.length + 1)
    rows = [t for t in range(1, case.length + 1) if case.seen[t - 1].any()]
    noises = {
        "Q": (moves, system.F, system.c, last.x, lambda t: last.x(t - 1)),
        "R": (rows, system.H, system.d, last.y, last.x),
    }
    size = sizes(case)[0] ** 2 + sizes(case)[1]
    for name, (times, A, offset, target, source) in noises.items():
        squares = [
            expected_square(last, target(t), source(t), A[t - 1], offset[t - 1]) for t in times
        ]
        if squares:
            assert_close(
                case, f"em: {name}", getattr(fitted.model, name), np.mean(squares, axis=0), size
            )
    mean, cov = last.belief(last.x(system.start))
    assert_close_belief(case, "em: prior", fitted.model.prior, (mean, cov))
    terms = case.truth.terms
    scale = 1 + np.abs(terms).max() * sizes(case)[0]
    assert_close(case, "em: log_likelihood", fitted.log_likelihood[0], terms.sum(), scale)


def expected_square(joint, target, source, A, offset):
    """E[w w'] of w = z[target] - A z[source] - offset."""
    mean, cov = joint.belief(np.concatenate([target, source]))
    combine = np.concatenate([np.eye(len(target)), -A], axis=1)
    w = combine @ mean - offset
    return np.outer(w, w) + combine @ cov @ combine.T


FORWARD = (assert_filters, assert_beliefs_ahead, assert_gradients)
BACKWARD = (
    assert_smoothers,
    assert_whole_records,
    assert_imputation,
    assert_draws,
)
SLOW = (  # to compile
    assert_neutral_combinators,
    assert_iterated_smoothers,
    assert_expectation_maximisation,
)


def assert_record(traits, *, slow: bool = False):
    """Make all checks of a record that its precision allows; return their names."""
    with jax.enable_x64(traits.shape.dtype == "float64"):
        case = random_models.make(traits)
        backward = BACKWARD + SLOW if slow else BACKWARD
        conditions = ((case.truth.condition, FORWARD), (case.truth.backward_condition, backward))
        made = []
        for condition, checks in conditions:
            if condition > LARGEST_CONDITION[traits.shape.dtype]:
                continue
            for one in checks:
                one(case._replace(condition=condition))
                made.append(one.__name__)
    return made
