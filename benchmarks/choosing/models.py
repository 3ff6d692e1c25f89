"""Models of the study that kf.systems does not have."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import kfjax as kf

EARTH = 6374.0  # km
LANDMARKS = np.array([[6.0, 6.0], [-6.0, 5.0], [-5.0, -6.0], [6.0, -5.0], [0.0, 9.0]])
CAPACITY = 2.0 * 3600  # A s
RESISTANCES = (0.02, 0.03)  # ohm, of the cell and of the slow part
DECAY = 0.7  # of the slow part in a step of a minute
SEEN = 10.0  # counts for one unit of the population
# The mean and the variance of log chi-square with one degree of freedom.
LOG_CHI_SQUARE = -(np.euler_gamma + np.log(2)), np.pi**2 / 2
SCALE = 0.5992  # of the returns


def range_and_bearing(sensor, x, u):
    """Return the distance and direction of a body at (x_0, x_2), as of coordinated_turn."""
    del u
    d = x[jnp.array([0, 2])] - sensor
    return jnp.stack([kf.systems.norm(d), kf.systems.bearing(d[0], d[1])])


def reentry(dt=1.0, *, euler=False, drag_var=1.0, drag_mean=0.0, q_drag=1e-5):
    """Return a falling vehicle: state (p_x, p_y, v_x, v_y, log of the drag), in km and s."""
    density = 2.4064e-4  # of the accelerations
    if euler:
        Q = jnp.diag(jnp.array([0.0, 0.0, density * dt, density * dt, q_drag]))
    else:
        block = np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        planar = density * np.kron(block, np.eye(2))
        Q = jnp.asarray(np.block([[planar, np.zeros((4, 1))], [np.zeros((1, 4)), q_drag]]))
    mean = jnp.array([6500.4, 349.14, -1.8093, -6.7967, drag_mean])
    cov = jnp.diag(jnp.array([1e-6, 1e-6, 1e-6, 1e-6, drag_var]))
    return kf.StateSpaceModel(
        Partial(_fall_by_euler if euler else _fall, dt),
        Partial(_radar),
        Q,
        jnp.diag(jnp.array([1e-6, 0.17e-3**2])),
        kf.Gaussian(mean, cov),
        observation_space=kf.angles(1),
    )


def _drift(x):
    distance = kf.systems.norm(x[:2])
    speed = kf.systems.norm(x[2:4])
    drag = -0.59783 * jnp.exp(x[4] + (EARTH - distance) / 13.406) * speed
    gravity = -3.986e5 / distance**3
    return jnp.concatenate([x[2:4], drag * x[2:4] + gravity * x[:2], jnp.zeros(1)])


def _fall(dt, x, u):
    del u
    return kf.systems.rk4(_drift, x, dt)


def _fall_by_euler(dt, x, u):
    del u
    return x + dt * _drift(x)


def _radar(x, u):
    del u
    d = x[:2] - jnp.array([EARTH, 0.0])
    return jnp.stack([kf.systems.norm(d), kf.systems.bearing(d[0], d[1])])


def growth(*, q_var, prior_mean=0.0, prior_var=10.0, first="predict"):
    """Return x' = x / 2 + 25 x / (1 + x^2) + u + e, y = x^2 / 20 + v, with Var v = 1."""
    prior = kf.Gaussian(jnp.array([prior_mean]), jnp.array([[prior_var]]))
    return kf.StateSpaceModel(
        Partial(_grow),
        Partial(_square),
        jnp.array([[q_var]]),
        jnp.eye(1),
        prior,
        first=first,
    )


def growth_inputs(steps):
    """Return u_t = 8 cos(1.2 (t - 1)), t = 1..T."""
    return 8 * np.cos(1.2 * np.arange(steps))


def _grow(x, u):
    return x / 2 + 25 * x / (1 + x**2) + u


def _square(x, u):
    del u
    return x**2 / 20


def volatility():
    """Return log-volatility: y = log of a squared return = x + log scale^2 + log chi-square."""
    persistence, std = 0.9702, 0.178
    mean, variance = LOG_CHI_SQUARE
    stationary = std**2 / (1 - persistence**2)
    return kf.StateSpaceModel(
        kf.Linear([[persistence]]),
        kf.Linear([[1.0]], b=[2 * np.log(SCALE) + mean]),
        jnp.array([[std**2]]),
        jnp.array([[variance]]),
        kf.Gaussian(jnp.zeros(1), jnp.array([[stationary]])),
    )


def log_squared_returns(key, xs):
    """Draw observations [N, T, 1]."""
    normal = jax.random.normal(key, xs.shape)
    return xs + jnp.log((SCALE * normal) ** 2)


def log_chi_square(x, y, u, observed):
    """Return log p(y | x) of the logarithm of a squared return."""
    del u, observed
    e = y[0] - x[0] - 2 * jnp.log(SCALE)
    return 0.5 * (e - jnp.exp(e)) - 0.5 * jnp.log(2 * jnp.pi)


def robot():
    """Return a robot (x, y, heading), driven by (speed, turn), that measures range and bearing."""
    prior = kf.Gaussian(jnp.zeros(3), jnp.diag(jnp.array([4.0, 4.0, 1.0])))
    return kf.StateSpaceModel(
        Partial(_drive),
        Partial(_see),
        jnp.diag(jnp.array([0.05, 0.05, 0.03]) ** 2),
        jnp.diag(jnp.array([0.1, 0.05]) ** 2),
        prior,
        state_space=kf.angles(2),
        observation_space=kf.angles(1),
    )


def robot_inputs(steps):
    """Return speed, turn and the landmark that is seen, [T, 4]."""
    t = np.arange(steps)
    speed = 0.3 + 0.1 * np.sin(0.2 * t)
    turn = 0.1 * np.cos(0.15 * t)
    return np.column_stack([speed, turn, LANDMARKS[t % len(LANDMARKS)]])


def _drive(x, u):
    heading = x[2] + u[1]
    return jnp.stack([x[0] + u[0] * jnp.cos(heading), x[1] + u[0] * jnp.sin(heading), heading])


def _see(x, u):
    d = u[2:] - x[:2]
    return jnp.stack([kf.systems.norm(d), kf.systems.bearing(d[0], d[1]) - x[2]])


def battery():
    """Return a cell (state of charge, voltage of the slow part), with the current as input."""
    prior = kf.Gaussian(jnp.array([0.75, 0.0]), jnp.diag(jnp.array([0.15, 0.005]) ** 2))
    return kf.StateSpaceModel(
        Partial(_discharge),
        Partial(_voltage),
        jnp.diag(jnp.array([1e-3, 1e-3]) ** 2),
        jnp.array([[0.01**2]]),
        prior,
    )


def battery_inputs(steps):
    """Return currents in A, positive while discharging, of a drive in minutes."""
    rng = np.random.default_rng(0)
    return np.repeat(rng.uniform(-0.5, 2.0, size=-(-steps // 5)), 5)[:steps]


def _discharge(x, u):
    charge = x[0] - u * 60 / CAPACITY
    return jnp.stack([charge, DECAY * x[1] + (1 - DECAY) * RESISTANCES[1] * u])


def _voltage(x, u):
    s = x[0]
    opened = 3.25 + 0.1 * s - 0.3 * jnp.exp(-15 * s) + 0.1 * jnp.exp(15 * (s - 1))
    return (opened - x[1] - RESISTANCES[0] * u)[None]


def population():
    """Return x' = x + 3.8 - exp(x) + e, and y = 2 sqrt(count + 3/8) of a Poisson count."""
    return kf.StateSpaceModel(
        Partial(_breed),
        Partial(_root),
        jnp.array([[0.3**2]]),
        jnp.eye(1),
        kf.Gaussian(jnp.ones(1), jnp.eye(1)),
    )


def _breed(x, u):
    del u
    return x + 3.8 - jnp.exp(x)


def _root(x, u):
    del u
    return 2 * jnp.sqrt(SEEN * jnp.exp(x) + 3 / 8)


def rooted_counts(key, xs):
    """Draw observations [N, T, 1]."""
    counts = jax.random.poisson(key, SEEN * jnp.exp(xs))
    return 2 * jnp.sqrt(counts + 3 / 8)


def poisson(x, y, u, observed):
    """Return log p(y | x) of the root of a count."""
    del u, observed
    count = jnp.round((y[0] / 2) ** 2 - 3 / 8)
    rate = SEEN * jnp.exp(x[0])
    return count * jnp.log(rate) - rate - jax.scipy.special.gammaln(count + 1)
