"""Functions Q and R that give no covariance are refused by whatever takes a model and its data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import kfjax as kf

T = 6
KEY = jax.random.key(0)
YS = np.zeros((T, 1))
US = np.ones((T, 1))
DATA = kf.Dataset(YS[None], np.zeros((1, T, 2)), us=US[None])
EKF = kf.extended()
BELIEFS = kf.Gaussian(np.zeros((T, 2)), np.broadcast_to(np.eye(2), (T, 2, 2)))
CLOUDS = kf.particle(4).init(kf.systems.constant_velocity(), KEY)
CLOUDS = jax.tree.map(lambda a: jnp.broadcast_to(a, (T, *a.shape)), CLOUDS)


def depends_on_input(cov, x, u):
    """A covariance while the input is below one half."""
    return cov * (0.5 - u[0])


def model(name, *, first="predict"):
    """A model whose Q or R is a covariance by the input."""
    known = kf.linear_gaussian(
        [[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]], np.eye(2), [[1.0]], (np.zeros(2), np.eye(2))
    )
    cov = Partial(depends_on_input, getattr(known, name))
    return known.replace(**{name: cov, "first": first})


def sensors(name):
    wrong = model(name)
    return kf.Sensors(wrong.f, wrong.Q, wrong.prior, {"a": kf.Sensor(wrong.h, wrong.R)})


def members(name):
    """Two models, of which the second is wrong."""
    good = model(name).replace(Q=np.eye(2), R=[[1.0]])
    return kf.IMMParams((good, model(name)), 0.5 * np.ones((2, 2)), 0.5 * np.ones(2))


def with_doubled_prior(m):
    return m.replace(prior=m.prior._replace(mean=2 * m.prior.mean))


def fit(loss, m):
    return kf.training.fit(loss, m, DATA, key=KEY, updates=1, progress=False)


def learned(name):
    network = kf.learned.Architecture2(n=2, m=1, in_mult=1, out_mult=1)
    net = kf.learned.kalman_net(network)
    params = kf.learned.init_params(KEY, net, kf.systems.constant_velocity())
    return net, params._replace(model=model(name))


IMM = kf.imm((EKF, EKF))
ERROR = kf.training.state_mse(EKF)
LOSSES = {
    "error": ERROR,
    "likelihood": kf.training.innovation_nll(EKF),
    "a sum": kf.training.weighted_sum((0.1, kf.training.l2()), (1.0, ERROR)),
    "other params": kf.training.through(ERROR, with_doubled_prior),
    "random starts": kf.training.random_start(ERROR, 0.1),
}
FIRST = {"us": US[0]}

TAKES_BOTH = {
    "run": lambda m: kf.run(EKF, m, YS, us=US),
    "run with a length": lambda m: kf.run(EKF, m, YS, us=US, length=3),
    "run from a state": lambda m: kf.run(EKF, m, YS, us=US, state=m.prior),
    "run fixed_lag": lambda m: kf.run(kf.fixed_lag(EKF, 2), m, YS, us=US),
    "run by log_likelihood": lambda m: kf.log_likelihood(EKF, m, YS, us=US),
    "step": lambda m: kf.step(EKF, m, None, YS[0], u=US[0]),
    "step from a state": lambda m: kf.step(EKF, m, m.prior, YS[0], u=US[0]),
    "stepper": lambda m: kf.stepper(EKF, m)(None, YS[0], u=US[0]),
    "forecast": lambda m: kf.forecast(EKF, m, m.prior, us=US),
    "simulate": lambda m: kf.simulate(KEY, m, us=US),
    "simulate from x0": lambda m: kf.simulate(KEY, m, us=US, x0=np.zeros(2)),
    "two_filter_smooth": lambda m: kf.two_filter_smooth(m, YS, us=US),
    "parallel_filter": lambda m: kf.parallel_filter(m, YS, us=US),
    "parallel_smooth": lambda m: kf.parallel_smooth(m, YS, us=US),
    "parallel_iterated_smooth": lambda m: kf.parallel_iterated_smooth(m, YS, us=US),
    "monte_carlo: params": lambda m: kf.monte_carlo(
        KEY, m.replace(Q=np.eye(2), R=[[1.0]]), EKF, m, trials=2, us=US
    ),
    "monte_carlo: truth": lambda m: kf.monte_carlo(KEY, m, EKF, m, trials=2, us=US),
    "compare: filters": lambda m: kf.compare({"a": (EKF, m)}, DATA),
    "residual_checks": lambda m: kf.evaluation.residual_checks(EKF, m, DATA),
    "forecast_series": lambda m: kf.evaluation.forecast_series(EKF, m, DATA, steps=2),
    "run by gains": lambda m: kf.evaluation.gains(EKF, m, YS, us=US),
    "em": lambda m: kf.training.em(m, DATA, learn=("prior_cov",), iterations=2),
    "tune": lambda m: kf.training.tune(EKF, m, DATA, validation=DATA, key=KEY, updates=1),
    **{f"fit by {name}": functools.partial(fit, loss) for name, loss in LOSSES.items()},
    "fit several runs": lambda m: kf.training.fit(
        kf.training.state_mse(EKF),
        kf.training.replicate(m, 2),
        DATA,
        key=jax.random.split(KEY, 2),
        updates=1,
        progress=False,
    ),
    "maximum_likelihood": lambda m: kf.training.maximum_likelihood(
        EKF, m, YS, us=US, learn=("P0",)
    ),
    "maximum_likelihood of numbers": lambda m: kf.training.maximum_likelihood(
        EKF, {"std": 1.0}, YS, us=US, transform=lambda theta: m
    ),
    "fit_many": lambda m: kf.training.fit_many(EKF, m, DATA, learn=("P0",)),
    "backtest": lambda m: kf.evaluation.backtest(EKF, m, YS, us=US, horizon=1),
    "measure_scales": lambda m: kf.learned.measure_scales(m, YS, us=US),
    "imitation_targets of distil": lambda m: kf.training.distil(
        (EKF, m), (EKF, m), DATA, validation=DATA, key=KEY, updates=1
    ),
    "forgetting": lambda m: kf.training.forgetting(EKF, m, DATA),
    "imitation_targets": lambda m: kf.training.imitation_targets((EKF, m), DATA),
    "diagnose": lambda m: kf.training.diagnose(
        teacher=(EKF, m), validation=DATA, predictions=np.zeros((1, T, 2))
    ),
}

TAKES_Q = {
    "smooth": lambda m: kf.smooth(EKF, m, BELIEFS, us=US),
    "smooth after a state": lambda m: kf.smooth(EKF, m, BELIEFS, us=US, prior=m.prior),
    "predicted": lambda m: kf.predicted(EKF, m, BELIEFS, us=US),
    "sample_posterior": lambda m: kf.sample_posterior(KEY, EKF, m, BELIEFS, us=US),
    "simulate_smoothed": lambda m: kf.simulate_smoothed(KEY, m, CLOUDS, us=US),
    "fit_noise": lambda m: kf.training.fit_noise(EKF, m, DATA, key=KEY, learn=("R",), updates=1),
}

TAKES_R = {
    "impute": lambda m: kf.impute(EKF, m, BELIEFS, YS, observed=np.ones(T, bool), us=US),
    "observation_estimate": lambda m: kf.observation_estimate(EKF, m, BELIEFS, us=US),
}

OTHER_PARAMS = {
    "run: several sensors": lambda name: kf.run(
        kf.sequential(EKF), sensors(name), {"a": YS}, us=US
    ),
    "step: several sensors": lambda name: kf.step(
        kf.sequential(EKF), sensors(name), None, {"a": YS[0]}, u=US[0]
    ),
    "run: several models": lambda name: kf.run(IMM, members(name), YS, us=US),
    "step: several models": lambda name: kf.step(IMM, members(name), None, YS[0], u=US[0]),
    "adapt: learned": lambda name: kf.learned.adapt(
        learned(name)[0], kf.learned.start_adapting(*learned(name)), YS, us=US
    ),
}

CALLS = TAKES_BOTH | TAKES_Q | TAKES_R
READ = [
    *((door, name) for door in TAKES_BOTH for name in "QR"),
    *((door, "Q") for door in TAKES_Q),
    *((door, "R") for door in TAKES_R),
]


def refused(door, name):
    return pytest.raises(
        ValueError,
        match=rf"^{door.split()[0].rstrip(':')}.*: {name}\(x, u\) of the first step is indefinite"
        r" \(smallest eigenvalue -0\.5\); expected a covariance",
    )


@pytest.mark.parametrize(("door", "name"), READ)
def test_a_function_that_gives_no_covariance_is_refused(door, name):
    with refused(door, name):
        CALLS[door](model(name))


@pytest.mark.parametrize("name", "QR")
@pytest.mark.parametrize("door", OTHER_PARAMS)
def test_so_is_one_inside_of_other_params(door, name):
    with refused(door, name):
        OTHER_PARAMS[door](name)


def test_the_values_of_the_step_decide():
    """The same functions are run where the input makes covariances of them."""
    known, us = model("R", first="update"), np.zeros((T, 1))
    est = kf.run(EKF, known, YS, us=us).outputs
    state, _ = kf.step(EKF, known, None, YS[0], u=us[0])
    np.testing.assert_allclose(state.mean, est.mean[0], atol=1e-6)


def test_a_step_looks_at_a_model_once():
    """The state is not waited for in the steps after the first one."""
    known = model("R")
    state, _ = kf.step(EKF, known, None, YS[0], u=0 * US[0])
    kf.step(EKF, known, state, YS[0], u=US[0])


def by_state(cov, x, u):
    """A covariance where the first component is positive."""
    return cov * x[0]


@pytest.mark.parametrize(("x", "valid"), [([1.0, -3.0], True), ([-1.0, 3.0], False)])
def test_noise_is_looked_at_where_the_belief_is(x, valid):
    """Neither at the prior nor one step later, where it is the other way round."""
    known = model("R").replace(
        R=Partial(by_state, jnp.eye(1)), prior=(np.array([-x[0], 0.0]), np.eye(2))
    )
    there = BELIEFS._replace(mean=np.tile(x, (T, 1)))
    if valid:
        assert kf.observation_estimate(EKF, known, there).cov.min() > 0
        return
    with pytest.raises(ValueError, match=r"R\(x, u\) of the first step is indefinite"):
        kf.observation_estimate(EKF, known, there)


def test_inputs_without_a_step_are_refused_by_their_shape():
    with pytest.raises(ValueError, match=r"^run: us has shape \(0, 1\)"):
        kf.run(EKF, model("R"), YS, us=US[:0])


def test_nothing_is_looked_at_where_no_step_counts_and_inside_of_a_trace():
    kf.run(EKF, model("R"), YS, us=US, length=0)
    jax.jit(lambda us: kf.run(EKF, model("R"), YS, us=us).final)(US)
    jax.eval_shape(lambda u: kf.step(EKF, model("R"), None, YS[0], u=u), US[0])
