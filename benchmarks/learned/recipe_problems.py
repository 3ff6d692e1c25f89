"""Four different problems on which filters are imitated, and records of them.

Inputs are feedback where the state would otherwise leave its range: a satellite is held
near its attitude, and a battery is charged when it is low. The robot drives freely.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import kfjax as kf
from benchmarks.choosing import models

BEACONS = np.array([[40.0, 35.0], [-45.0, 30.0], [-30.0, -40.0], [45.0, -35.0]])
POSTS = np.array([[15.0, 12.0], [-14.0, 10.0], [-2.0, -16.0]])
SUN = np.array([0.6, 0.0, 0.8])
FIELD = np.array([0.0, 0.8, -0.6])
DT = 0.5  # s, of robot and satellite
KEPT = 0.95  # of a disturbance of the inputs in a step


class Problem(NamedTuple):
    """A model, and how its inputs are made.

    Attributes:
        title: what it is, for the page.
        model: the model that draws the states, and that the teacher knows.
        drive: `(x, d) -> u` from the state and a disturbance [p], or None without inputs.
        spread: standard deviations [p] of the disturbances, which are correlated in time.
        angles: which component of the state is an angle, and which channel sees it, or None.
    """

    title: str
    model: Any
    drive: Any = None
    spread: Any = ()
    angles: tuple[int, int] | None = None


def records(problem, key, count, steps):
    """Return `count` records of a problem, a `Dataset`."""
    xs, ys, us = _simulated(problem, jax.random.split(key, count), steps)
    us = None if problem.drive is None else np.asarray(us)
    return kf.Dataset(np.asarray(ys), np.asarray(xs), us)


def _simulated(problem, keys, steps):
    """Return states, observations and inputs of a record for every key."""
    model = problem.model
    space = model.state_space
    roots = {name: jnp.linalg.cholesky(_definite(getattr(model, name))) for name in ("Q", "R")}
    of_start = jnp.linalg.cholesky(model.prior.cov)
    spread = jnp.asarray(problem.spread)

    def step(carry, key):
        x, d = carry
        of_d, of_x, of_y = jax.random.split(key, 3)
        fresh = jax.random.normal(of_d, d.shape)
        d = KEPT * d + np.sqrt(1 - KEPT**2) * spread * fresh
        u = None if problem.drive is None else problem.drive(x, d)
        noise = roots["Q"] @ jax.random.normal(of_x, (model.n,))
        x = space.retract(model.f(x, u), noise)
        y = model.h(x, u)
        y = y + roots["R"] @ jax.random.normal(of_y, y.shape)
        return (x, d), (x, y, u)

    def one(key):
        first, second, rest = jax.random.split(key, 3)
        start = of_start @ jax.random.normal(first, (model.n,))
        x = space.retract(model.prior.mean, start)
        d = spread * jax.random.normal(second, spread.shape)
        _, (xs, ys, us) = jax.lax.scan(step, (x, d), jax.random.split(rest, steps))
        return xs, ys, us

    return jax.jit(jax.vmap(one))(keys)


def _definite(cov):
    return cov + 1e-12 * jnp.eye(len(cov))


def receiver():
    """Return the receiver of notebook 05, with a free clock."""
    prior = kf.Gaussian(jnp.zeros(6), jnp.diag(jnp.array([25.0, 25, 1, 1, 4, 0.01])))
    Q = jnp.diag(jnp.array([0.01, 0.01, 0.25, 0.25, 0.01, 0.0025]))
    R = jnp.diag(jnp.array([4.0] * 4 + [1.0] * 3))
    model = kf.StateSpaceModel(Partial(_move), Partial(_receive), Q, R, prior)
    return Problem("the receiver of notebook 05, whose clock drifts freely", model)


def _move(x, u):
    del u
    p, v, bias, drift = x[:2], x[2:4], x[4], x[5]
    v = 0.92 * v - 0.03 * jnp.tanh(jnp.sum(p**2) / 400.0) * p
    return jnp.concatenate([p + v, v, jnp.stack([bias + drift, 0.9 * drift])])


def _receive(x, u):
    del u
    offset = x[:2] - BEACONS
    distance = jnp.sqrt(jnp.sum(offset**2, axis=1))
    rate = jnp.sum(offset * x[2:4], axis=1) / distance
    return jnp.concatenate([distance + x[4], rate[:3] + x[5]])


def robot():
    """Return a robot in the plane: position, heading, speed, biases of gyro and accelerometer.

    Its inputs are the readings of these two; it sees three ranges, a wheel and a compass.
    """
    prior = kf.Gaussian(
        jnp.array([0.0, 0, 0, 1, 0, 0]), jnp.diag(jnp.array([1.0, 1, 0.04, 0.04, 4e-4, 4e-4]))
    )
    Q = jnp.diag(jnp.array([1e-4, 1e-4, 1e-4, 1e-3, 1e-6, 1e-6]))
    R = jnp.diag(jnp.array([0.25, 0.25, 0.25, 0.01, 0.01]))
    model = kf.StateSpaceModel(
        Partial(_ride),
        Partial(_range),
        Q,
        R,
        prior,
        state_space=kf.angles(2),
        observation_space=kf.angles(4),
    )
    title = "a robot with gyro and accelerometer as inputs, three ranges, wheel and compass"
    return Problem(title, model, Partial(_throttle), np.array([0.15, 0.05]), (2, 4))


def _throttle(x, d):
    """Hold the speed near 1 m/s; the readings hold the biases."""
    return jnp.stack([d[0] + x[4], d[1] + 0.2 * (1.0 - x[3]) + x[5]])


def _ride(x, u):
    heading, v = x[2], x[3]
    turned = heading + DT * (u[0] - x[4])
    faster = v + DT * (u[1] - x[5])
    along = DT * v * jnp.stack([jnp.cos(heading), jnp.sin(heading)])
    return jnp.concatenate([x[:2] + along, jnp.stack([turned, faster]), 0.999 * x[4:]])


def _range(x, u):
    del u
    offset = x[:2] - POSTS
    distance = jnp.sqrt(jnp.sum(offset**2, axis=1) + 1e-6)
    return jnp.concatenate([distance, x[3:4], x[2:3]])


def satellite():
    """Return an attitude, as modified Rodrigues parameters, and the bias of three gyros.

    The gyros are inputs; the directions of the sun and of the magnetic field are seen.
    """
    prior = kf.Gaussian(jnp.zeros(6), jnp.diag(jnp.array([0.01] * 3 + [1e-4] * 3)))
    Q = jnp.diag(jnp.array([1e-6] * 3 + [1e-7] * 3))
    R = jnp.diag(jnp.array([1e-3] * 3 + [4e-3] * 3))
    model = kf.StateSpaceModel(Partial(_tumble), Partial(_sight), Q, R, prior)
    title = "an attitude with the biases of three gyros, from the sun and the magnetic field"
    return Problem(title, model, Partial(_hold), np.full(3, 0.08))


def _hold(x, d):
    """Turn back towards the wanted attitude; the readings hold the biases."""
    return d - 0.4 * x[:3] + x[3:]


def _tumble(x, u):
    s, w = x[:3], u - x[3:]
    squared = jnp.sum(s**2)
    rate = ((1 - squared) * w + 2 * jnp.cross(s, w) + 2 * s * jnp.dot(s, w)) / 4
    return jnp.concatenate([s + DT * rate, 0.998 * x[3:]])


def _sight(x, u):
    del u
    C = _attitude(x[:3])
    return jnp.concatenate([C @ SUN, C @ FIELD])


def _attitude(s):
    """Return the matrix from the reference to the body of modified Rodrigues parameters."""
    across = jnp.array([[0.0, -s[2], s[1]], [s[2], 0.0, -s[0]], [-s[1], s[0], 0.0]])
    squared = jnp.sum(s**2)
    turned = 8 * across @ across - 4 * (1 - squared) * across
    return jnp.eye(3) + turned / (1 + squared) ** 2


def battery():
    """Return the battery of the study of choices, charged and discharged."""
    prior = kf.Gaussian(jnp.array([0.6, 0.0]), jnp.diag(jnp.array([0.08, 0.005]) ** 2))
    return Problem(
        "the charge of a cell from current and voltage",
        models.battery().replace(prior=prior),
        Partial(_charge),
        np.array([1.0]),
    )


def _charge(x, d):
    """Return a current in A that keeps the charge near 60 %."""
    return d[0] + 4.0 * (x[0] - 0.6)


PROBLEMS = {
    "receiver": receiver,
    "robot": robot,
    "satellite": satellite,
    "battery": battery,
}
