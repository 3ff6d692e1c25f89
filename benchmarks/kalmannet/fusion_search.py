"""Search of the numbers in the models of `fusion`, by the likelihood of the true positions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import kfjax as kf
from benchmarks.kalmannet.fusion import BOTH, model, sessions, two_moods
from benchmarks.kalmannet.judging import judged

POPULATION = 32
ELITE = 8
# Start of the search on both 2013 sessions, found by longer searches. Standard deviations and times
# are searched by their logarithms.
START = {
    "wander": 18.0,  # m, GPS error that persists
    "time": 16000.0,  # s, its time constant
    "slip": 0.16,  # m/s, relative to the speed
    "heading": 0.016,  # rad, remaining error of the compass
    "heading_time": 2.7,  # s, its time constant
    "scale": 4e-5,  # random walk of the wheels' relative error
    "first_scale": 3e-3,  # the same error at the start
    "fix": 7.0,  # m, white GPS error
    "multipath": 2.1,  # m, GPS error that persists for a while; only with eight states
    "multipath_time": 24.0,  # s, its time constant
    "after": 43.0,  # m, its growth where there was no fix for long
    "wrong": 300.0,  # m, GPS error near buildings; this and the next two only for the IMM
    "clear_time": 300.0,  # s, for which GPS is right
    "wrong_time": 100.0,  # s, for which GPS is wrong
    "wheel_scale": 0.932,
}
# the same for eight states
EIGHT = START | {
    "wander": 12.7,
    "time": 50000.0,
    "slip": 0.117,
    "heading": 0.13,
    "heading_time": 1.8,
    "scale": 2e-5,
    "first_scale": 6e-4,
    "fix": 3.0,
    "wheel_scale": 0.944,
}
# Start of the search on one session: guesses, since both sessions taught the numbers above
ROUND = START | {
    "wander": 10.0,
    "time": 1000.0,
    "slip": 0.1,
    "heading": 0.1,
    "heading_time": 10.0,
    "scale": 1e-4,
    "first_scale": 1e-2,
    "fix": 3.0,
    "multipath": 3.0,
    "multipath_time": 30.0,
    "after": 30.0,
    "wheel_scale": 1.0,
}
# spread of the search about the two starts
NEAR = dict.fromkeys(START, 0.3) | {"wheel_scale": 0.005}
FAR = dict.fromkeys(START, 1.0) | {"wheel_scale": 0.05}

WHITE = "EKF, white GPS error"
PLAIN = "EKF"
HEAVY = "EKF, Student-t noise"
DOUBT = "EKF, GPS doubted after gaps"
HEAVY_DOUBT = "EKF, Student-t noise, GPS doubted after gaps"
GATED = "EKF, gated"
MOODS = "IMM of two EKFs, GPS right or wrong"
# by name: the filter, the function that makes its params, and the number of states
CLASSICAL = {
    WHITE: (kf.extended(), model, 4),
    PLAIN: (kf.extended(), model, 6),
    HEAVY: (kf.student_t(kf.extended(), 2.0), model, 6),
    DOUBT: (kf.extended(), model, 8),
    HEAVY_DOUBT: (kf.student_t(kf.extended(), 2.0), model, 8),
    GATED: (kf.gated(kf.extended(), probability=0.999), model, 6),
    MOODS: (kf.imm((kf.extended(), kf.extended())), two_moods, 6),
}


def begin(states, tuned):
    """Return the start of the search on these sessions, and its spread there."""
    if tuned == BOTH:
        numbers, spread = EIGHT if states == 8 else START, NEAR
    else:
        numbers, spread = ROUND, FAR
    logarithms = {name: np.log(value) for name, value in numbers.items()}
    return logarithms | {"wheel_scale": numbers["wheel_scale"]}, spread


@functools.cache
def search(name, size, tuned=BOTH):
    """Search the numbers that make the true positions of these sessions likeliest.

    It is the cross-entropy method.

    Returns:
        The numbers by name, and minus their log-likelihood.
    """
    _, _, states = CLASSICAL[name]
    start, width = begin(states, tuned)
    start, unravel = ravel_pytree(jax.tree.map(jnp.asarray, start))
    width, _ = ravel_pytree(jax.tree.map(jnp.asarray, width))
    costs_of = _costs(name, unravel, tuned)
    mean, spread = np.asarray(start), np.asarray(width)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(size.choose(1, 10 if tuned == BOTH else 40, 40)):
        drawn = np.r_[np.zeros((1, mean.size)), rng.normal(size=(POPULATION - 1, mean.size))]
        thetas = mean + spread * drawn
        costs = np.nan_to_num(costs_of(thetas), nan=np.inf)
        best = np.argsort(costs)[:ELITE]
        found.append((float(costs[best[0]]), thetas[best[0]]))
        mean = thetas[best].mean(axis=0)
        spread = 0.9 * thetas[best].std(axis=0) + 0.1 * spread
    cost, theta = min(found, key=lambda item: item[0])
    return jax.tree.map(float, unravel(jnp.asarray(theta, jnp.float32))), cost


def _costs(name, unravel, tuned):
    """Return a function from numbers [P, K] to minus their log-likelihoods [P]."""
    method, build, states = CLASSICAL[name]
    loss = kf.training.nll(method)
    data = jax.tree.map(jnp.asarray, sessions(*tuned, states=states, tuned=tuned))

    @jax.jit
    def costs(thetas, data):
        def one(theta):
            return loss(build(unravel(theta), states), data, jax.random.key(0))

        return jax.vmap(one)(thetas)

    return lambda thetas: np.asarray(costs(jnp.asarray(thetas, jnp.float32), data))


def held_out(name, size):
    """Return, by 2013 session, the ANEES there of numbers found on the other session alone."""
    method, build, states = CLASSICAL[name]

    def at(here, other):
        theta, _ = search(name, size, (other,))
        data = sessions(here, states=states, tuned=(other,))
        return judged(method, build(theta, states), data).anees[0]

    first, second = BOTH
    return {first: at(first, second), second: at(second, first)}
