"""The law table: every filter, the models it runs, and one shared set of results. Adding a filter =
adding a row.

The models are small and cover the kinds of models that a filter may be given: a linear one, a
nonlinear one with learnable parameters, a linear one whose matrices and noise depend on inputs, and
one with angles in the state and in the observations; and two hidden Markov models.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from support.compiling import quick_jit
from support.regimes import counts, gaussian

import kfjax as kf
from kfjax import filters, learned, linalg

STEPS = 6


class Problem(NamedTuple):
    """A model with data (numpy): ys [T, m], us (or None), and a mask [T, m] with a full, an empty
    and a partial row.
    """

    model: Any
    ys: Any
    us: Any
    observed: Any


def _data(m: int, centre: Any = 0.0, spread: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Observations around a centre, and a mask."""
    rng = np.random.default_rng(m)
    observed = rng.random((STEPS, m)) < 0.6
    observed[1], observed[2], observed[-1] = True, False, True
    observed[0, 0], observed[0, 1:] = True, False
    return centre + spread * rng.normal(size=(STEPS, m)), observed


def linear() -> Problem:
    """Constant velocity in two dimensions, n = 4, m = 2, correlated noise."""
    F = np.eye(4) + 0.5 * np.eye(4, k=2)
    Q = 0.05 * np.eye(4) + 0.02 * (np.eye(4, k=2) + np.eye(4, k=-2))
    prior = kf.Gaussian(np.array([0.1, -0.2, 0.3, 0.1]), np.diag([1.0, 1.5, 0.5, 0.6]) + 0.1)
    ys, observed = _data(2)
    model = kf.linear_gaussian(F, np.eye(2, 4), Q, [[0.5, 0.2], [0.2, 0.4]], prior)
    return Problem(model, ys, None, observed)


def swing(theta: dict[str, Any], x: Any, u: Any) -> Any:
    """One Euler step of a pendulum; x = (angle, rate), without wrapping."""
    return jnp.stack([x[0] + theta["dt"] * x[1], x[1] - theta["dt"] * theta["g"] * jnp.sin(x[0])])


def look(theta: Any, x: Any, u: Any) -> Any:
    """The horizontal position of a pendulum, and its rate."""
    return jnp.stack([theta * jnp.sin(x[0]), x[1]])


def pendulum() -> Problem:
    """A pendulum, n = m = 2, correlated noise, learnable parameters in f and h."""
    ys, observed = _data(2, centre=np.array([0.4, -0.3]), spread=0.4)
    model = kf.StateSpaceModel(
        Partial(swing, {"dt": 0.2, "g": 3.0}),
        Partial(look, 1.2),
        Q=[[0.03, 0.01], [0.01, 0.05]],
        R=[[0.2, 0.05], [0.05, 0.3]],
        prior=kf.Gaussian(np.array([0.5, -0.1]), np.array([[0.3, 0.1], [0.1, 0.4]])),
    )
    return Problem(model, ys, None, observed)


def transition(rate: Any, u: Any) -> Any:
    """A damped velocity over a time step u[0]."""
    return jnp.stack(
        [jnp.stack([jnp.ones_like(u[0]), u[0]]), jnp.stack([jnp.zeros_like(u[0]), 1 - rate * u[0]])]
    )


def busy_noise(cov: Any, x: Any, u: Any) -> Any:
    """A covariance that grows with the time step and with the position."""
    return cov * (u[0] + 0.1 * x[0] ** 2)


def driven() -> Problem:
    """Linear, n = 2, m = 1, irregular time steps u[0], a force u[1], noise that
    depends on x and u."""
    rng = np.random.default_rng(5)
    ys, observed = _data(1)
    model = kf.StateSpaceModel(
        kf.Linear(Partial(transition, 0.3), B=[[0.0, 0.1], [0.0, 0.7]]),
        kf.Linear([[1.0, 0.2]], b=[0.1]),
        Q=Partial(busy_noise, jnp.asarray([[0.1, 0.02], [0.02, 0.2]])),
        R=Partial(busy_noise, jnp.asarray([[0.3]])),
        prior=kf.Gaussian(np.array([0.2, 0.4]), np.array([[0.5, 0.1], [0.1, 0.3]])),
    )
    us = np.stack([rng.uniform(0.2, 1.0, STEPS), rng.normal(size=STEPS)], axis=1)
    return Problem(model, ys, us, observed)


def drive(x: Any, u: Any) -> Any:
    """A unicycle; x = (px, py, heading), u = (distance, turn)."""
    return kf.angles(2).retract(x, jnp.stack([u[0] * jnp.cos(x[2]), u[0] * jnp.sin(x[2]), u[1]]))


def range_and_bearing(landmark: Any, x: Any, u: Any) -> Any:
    """Distance of a landmark, and its direction relative to the heading, wrapped."""
    d = landmark - x[:2]
    return jnp.stack([jnp.sqrt(jnp.sum(d**2)), kf.wrap_angle(jnp.arctan2(d[1], d[0]) - x[2])])


def heading() -> Problem:
    """A unicycle that looks at a landmark, n = 3, m = 2: angles in the state and in the
    observation, near the cut.
    """
    ys, observed = _data(2, centre=np.array([2.3, 3.1]), spread=0.1)
    model = kf.StateSpaceModel(
        drive,
        Partial(range_and_bearing, jnp.asarray([2.0, -0.16])),
        Q=0.02 * np.eye(3),
        R=np.diag([0.05, 0.02]),
        prior=kf.Gaussian(np.array([0.0, 0.0, 3.1]), 0.05 * np.eye(3) + 0.01),
        state_space=kf.angles(2),
        observation_space=kf.angles(1),
    )
    us = np.tile([0.1, 0.05], (STEPS, 1))
    return Problem(model, ys, us, observed)


def later() -> Any:
    """A hidden Markov model of Gaussian emissions, whose weights are about z_0."""
    case = gaussian()
    return case._replace(model=case.model.replace(first="predict"))


MODELS: dict[str, Callable[[], Any]] = {
    "linear": linear,
    "pendulum": pendulum,
    "driven": driven,
    "heading": heading,
    "regimes": later,
    "counts": counts,
}


def divided_differences(
    fn: Any, belief: kf.Gaussian, source: kf.Space, target: kf.Space
) -> kf.moments.Moments:
    """A rule that a user might write: central differences along the columns of the factor of P."""
    x, P = belief
    L = linalg.cholesky(P)
    spread = jax.vmap(
        lambda d: target.difference(fn(source.retract(x, d)), fn(source.retract(x, -d))) / 2
    )
    A = spread(L.T).T

    def residual(K: Any) -> Any:
        rest = L - linalg.matmul(K, A)
        return linalg.matmul(rest, rest.T)

    return kf.moments.Moments(fn(x), linalg.matmul(A, A.T), linalg.matmul(L, A.T), residual)


def itself(model: Any) -> Any:
    """The params of most filters."""
    return model


def two_members(model: kf.StateSpaceModel) -> Any:
    """Two members of an IMM that differ in their process noise."""
    return kf.IMMParams(
        (model.replace(Q=0.3 * model.Q), model), [[0.9, 0.1], [0.2, 0.8]], [0.6, 0.4]
    )


def walls(model: kf.StateSpaceModel) -> Any:
    """Two inequalities, both of which bind at times."""
    A = np.stack([np.linspace(1.0, 0.2, model.n), -np.ones(model.n)])
    return filters.ConstrainedParams(model, filters.Inequalities(A, A @ model.prior.mean + 0.05))


def steady(model: kf.StateSpaceModel) -> Any:
    """The steady gain of the Kalman filter."""
    return kf.ConstantGainParams(model, kf.steady_state(model).gain)


def drawn(filter: kf.Filter, model: kf.StateSpaceModel) -> learned.Learned:
    """The params of a learned filter away from their initial values, which are zero for some."""
    params, rng = learned.init_params(jax.random.key(3), filter, model), np.random.default_rng(3)
    return params._replace(
        network=jax.tree.map(lambda a: a + 0.1 * rng.normal(size=a.shape), params.network)
    )


class Row(NamedTuple):
    """One filter of the table.

    Attributes:
        filter: the filter.
        models: the names of the models it runs; the first is the one for laws that take long to
            compile, another one is for filters that may go wrong there only.
        params: function that makes its params from a model.
        draws: whether it draws random numbers, which differ between precisions, and resamples or
            not at a threshold.
        smoothed: whether gradients are taken through the smoother, too: one row for every moment
            rule is enough.
        starts: (step, channel) of the observations that determine what was diffuse, of which
            nothing was predicted.
    """

    filter: kf.Filter
    models: tuple[str, ...] = ("pendulum",)
    params: Callable[[Any], Any] = itself
    draws: bool = False
    smoothed: bool = False
    starts: tuple[tuple[int, int], ...] = ()


def untrained(filter: kf.Filter, *models: str) -> Row:
    """A row of a learned filter."""
    return Row(filter, models, functools.partial(drawn, filter))


ALL, CURVED = ("pendulum", "driven", "heading"), ("pendulum", "heading")

FILTERS = {
    "kalman": Row(kf.kalman(), ("linear", "driven"), smoothed=True),
    "extended": Row(kf.extended(), ALL, smoothed=True),
    "iterated_extended": Row(kf.extended(3), smoothed=True),
    "unscented": Row(kf.unscented(), ALL, smoothed=True),
    "cubature": Row(kf.cubature(), smoothed=True),
    "gauss_hermite": Row(kf.gauss_hermite(3), smoothed=True),
    "square_root_extended": Row(kf.square_root(kf.moments.Taylor()), CURVED, smoothed=True),
    "square_root_unscented": Row(kf.square_root(kf.moments.Unscented()), CURVED, smoothed=True),
    "own_rule": Row(kf.gaussian_filter(divided_differences), smoothed=True),
    "exact_diffuse": Row(kf.exact_diffuse(kf.kalman(), (2,)), ("linear",), starts=((0, 0),)),
    "square_root_exact_diffuse": Row(
        kf.exact_diffuse(kf.square_root(kf.moments.Taylor()), (0,)), ("driven",), starts=((0, 0),)
    ),
    "gated": Row(kf.gated(kf.extended(), 0.9999)),
    "fading": Row(kf.fading(kf.unscented(), 1.1)),
    "fallback": Row(kf.fallback(kf.extended()), ("driven",)),
    "student_t": Row(kf.student_t(kf.extended(), 4.0)),
    "huber": Row(kf.huber(kf.unscented(), 0.8)),
    "adaptive": Row(kf.adaptive(kf.extended(), forgetting_R=0.9, forgetting_Q=0.95)),
    "schmidt": Row(kf.schmidt(kf.extended(), (1,)), ("heading",)),
    "constrained": Row(kf.constrained(kf.extended()), ("linear",), walls),
    "truncated": Row(kf.constrained(kf.extended(), filters.truncated), ("linear",), walls),
    "constant_gain": Row(kf.constant_gain(), ("linear",), steady),
    "fixed_lag": Row(kf.fixed_lag(kf.extended(), 2), ("driven",)),
    "delayed": Row(kf.delayed(kf.extended(), 2, dt=0, inputs=2), ("driven",)),
    "particle": Row(kf.particle(64), ("heading",), draws=True),
    "guided_particle": Row(
        kf.particle(32, proposal=kf.moments.Unscented(), resampling=filters.Residual()), draws=True
    ),
    "auxiliary_particle": Row(
        kf.auxiliary_particle(32, proposal=kf.moments.Taylor()), ("heading",), draws=True
    ),
    "rao_blackwellised": Row(kf.rao_blackwellised((1,), 32), draws=True),
    "ensemble": Row(kf.ensemble(20), ("driven",), draws=True),
    "ensemble_transform": Row(
        kf.ensemble(20, form=filters.Transform(), inflation=1.1), ("heading",), draws=True
    ),
    "kalman_net_1": untrained(
        learned.kalman_net(
            learned.Architecture1(2, 1, layers=2, zero_gain=False),
            ("F1", "F3", "F4"),
            learned.Asinh(),
        ),
        "driven",
    ),
    "kalman_net_2": untrained(
        learned.kalman_net(learned.Architecture2(3, 2, 2, 2, zero_gain=False)), "heading"
    ),
    "corrected_gain": untrained(learned.corrected_gain(2, 2, hidden=4, context=True), "pendulum"),
    "split_kalman_net": untrained(learned.split_kalman_net(2, 2, hidden=4), "pendulum"),
    "recursive_kalman_net": untrained(
        learned.recursive_kalman_net(learned.Architecture2(3, 2, 3, 3), hidden=4), "heading"
    ),
    "recurrent": untrained(
        learned.recurrent(
            learned.RecurrentStack(3, (4,), "gru", encode=5, mix=3),
            2,
            ("F1", "F2", "F3", "F4"),
            "update",
        ),
        "heading",
    ),
    "sequence_regressor": untrained(
        learned.sequence_regressor(2, 1, (4, 3), layer_norm=True, inputs=2), "driven"
    ),
    "danse": untrained(learned.danse(3, 2, hidden=4), "heading"),
    "forward": Row(kf.forward(), ("regimes", "counts")),
    "imm": Row(kf.imm((kf.extended(), kf.gated(kf.unscented(), 0.9999))), CURVED, two_members),
}

# the moment rules, and two filters made of them: params are a model with constant noise, the state
# is a belief
BELIEFS = [name for name, row in FILTERS.items() if row.smoothed or name in {"gated", "student_t"}]

SMOOTHED = {row.filter for row in FILTERS.values() if row.smoothed}

CASES = [(name, model) for name, row in FILTERS.items() for model in row.models]


class Case(NamedTuple):
    """A filter with its params and data, in the current precision."""

    filter: kf.Filter
    params: Any
    ys: Any
    us: Any
    observed: Any


def case(name: str, model: str | None = None) -> Case:
    """Return a filter of the table with a model (default its first), built anew."""
    row = FILTERS[name]
    problem = MODELS[model or row.models[0]]()
    return Case(row.filter, row.params(problem.model), problem.ys, problem.us, problem.observed)


traces = [0]


def counted(state: Any, info: kf.Info) -> tuple[kf.Estimate, kf.Info]:
    """Keep everything, and count how often the loop is traced: an `emit` for `kfjax.run`."""
    traces[0] += 1
    return kf.estimate_and_info(state, info)


def whole_run(filter: kf.Filter, params: Any, ys: Any, us: Any, observed: Any, state: Any) -> Any:
    """A run that keeps everything, for `vmap` and `jit`."""
    return kf.run(filter, params, ys, us=us, observed=observed, state=state, emit=counted)


_run = quick_jit(whole_run, static_argnums=0)


def run(case: Case, **changes: Any) -> kf.Run[tuple[kf.Estimate, kf.Info]]:
    """Run a case with its mask from its first state; the laws call this one form, to share its
    compilation.
    """
    arguments = case._asdict() | {"state": first(case)} | changes
    return _run(*arguments.values())


def first(case: Case) -> Any:
    """The state before the first step."""
    return case.filter.init(case.params, jax.random.key(1))


@functools.cache
def outputs_of(name: str, model: str, precision: str) -> Any:
    return jax.tree.map(np.asarray, run(case(name, model)))


def outputs(name: str, model: str | None = None) -> kf.Run[tuple[kf.Estimate, kf.Info]]:
    """The results of a masked run in numpy, computed once for all tests."""
    return outputs_of(name, model or FILTERS[name].models[0], str(jnp.result_type(float)))


@functools.partial(quick_jit, static_argnums=0)
def predict(filter: kf.Filter, params: Any, state: Any, u: Any) -> Any:
    """The prediction of a filter, compiled once."""
    return filter.predict(params, state, u)


@functools.partial(quick_jit, static_argnums=0)
def update(filter: kf.Filter, params: Any, state: Any, y: Any, u: Any, observed: Any) -> Any:
    """The update of a filter, compiled once."""
    return filter.update(params, state, y, u, observed)


def score(filter: kf.Filter, params: Any, ys: Any, us: Any, observed: Any) -> Any:
    """A number that depends on all estimates, filtered and smoothed, and on the likelihood."""
    est = kf.run(filter, params, ys, us=us, observed=observed, key=jax.random.key(1)).outputs
    if filter in SMOOTHED:
        est = est, kf.smooth(filter, params, est, us=us)
    return sum(jnp.sum(jnp.cos(1.0 + leaf)) for leaf in jax.tree.leaves(est))


score_and_gradient = quick_jit(jax.value_and_grad(score, argnums=1), static_argnums=0)
