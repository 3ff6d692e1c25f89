"""The problem of the question: seven nonlinear sensors, six states, a teacher, and its records."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kfjax as kf

BEACONS = np.array([[40.0, 35.0], [-45.0, 30.0], [-30.0, -40.0], [45.0, -35.0]])
STATES = ("p_x", "p_y", "v_x", "v_y", "bias", "drift")
SETTLE = 20  # first steps of a test that do not count: the memory fills


def f(keep, x, u):  # noqa: ARG001
    """Move a damped body, which is pulled back to the centre, and a clock.

    The bias of the clock is kept (keep = 1) or slowly pulled to zero.
    """
    p, v, bias, drift = x[:2], x[2:4], x[4], x[5]
    v = 0.92 * v - 0.03 * jnp.tanh(jnp.sum(p**2) / 400.0) * p
    clock = jnp.stack([keep * bias + drift, 0.9 * drift])
    return jnp.concatenate([p + v, v, clock])


def h(x, u):  # noqa: ARG001
    """Return four pseudo-ranges and three range rates."""
    offset = x[:2] - BEACONS
    distance = jnp.sqrt(jnp.sum(offset**2, axis=1))
    rate = jnp.sum(offset * x[2:4], axis=1) / distance
    return jnp.concatenate([distance + x[4], rate[:3] + x[5]])


def receiver(keep=0.98):
    """Return the model of a vehicle with a receiver; the clock runs freely if keep is 1."""
    spread = jnp.diag(jnp.array([25.0, 25.0, 1.0, 1.0, 4.0, 0.01]))
    Q = np.diag([0.01, 0.01, 0.25, 0.25, 0.01, 0.0025])
    R = np.diag([4.0] * 4 + [1.0] * 3)
    prior = kf.Gaussian(jnp.zeros(6), spread)
    return kf.StateSpaceModel(jax.tree_util.Partial(f, keep), h, Q, R, prior)


class Record(NamedTuple):
    """A recording, with a leading axis over steps, or over rows and steps.

    Attributes:
        truth: true states [..., 6].
        y: sensors [..., 7].
        filtered: the teacher's estimates [..., 6].
        std: the teacher's own standard deviations [..., 6].
    """

    truth: Any
    y: Any
    filtered: Any
    std: Any


def recorded(key, model, steps, filter=None, params=None):
    """Simulate the vehicle, and record the estimates of its filter."""
    xs, ys = kf.simulate(key, model, steps)
    est = kf.run(filter or kf.extended(), params or model, ys).outputs
    return Record(xs, ys, est.mean, jnp.sqrt(jnp.diagonal(est.cov, axis1=1, axis2=2)))


def streams(key, model, rows, steps, **options):
    """Return records of several vehicles, [rows, steps, ...]."""
    keys = jax.random.split(key, rows)
    return jax.vmap(lambda one: recorded(one, model, steps, **options))(keys)


class Scale(NamedTuple):
    """How sensors and estimates are scaled for a network: (a - centre) / spread."""

    y_centre: Any
    y_spread: Any
    x_centre: Any
    x_spread: Any


def scaled(record, kind):
    """Return the scaling of a record: "standard" or "unit" (to [0, 1], as in the question)."""
    found = []
    for series in (np.asarray(record.y), np.asarray(record.filtered)):
        if kind == "standard":
            found += [series.mean(0), series.std(0)]
        else:
            found += [series.min(0), series.max(0) - series.min(0)]
    return Scale(*(np.asarray(a, np.float32) for a in found))
