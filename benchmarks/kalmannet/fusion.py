"""NCLT sessions with GPS, wheels and heading: data, the compass, and models of GPS errors."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import kfjax as kf
from benchmarks.kalmannet.odometry import FOLDER

SESSIONS = {
    "2012-11-04 (test)": "2012-11-04",
    "2013-01-10": "2013-01-10",
    "2013-02-23": "2013-02-23",
}
TEST, SMALL, LARGE = SESSIONS
BOTH = SMALL, LARGE
WINDOW = 200  # steps of the windows that networks are trained on
MEMORY = 60.0  # s; missing fixes count for this long
MOVING = 0.3  # m/s; slower steps do not teach the compass
SOUND = 0.5  # rad; a heading that is off by more is wrong, as happens indoors


@functools.cache
def session(name, tuned=BOTH):
    """Return GPS positions (NaN without a fix), true positions, and inputs.

    The inputs are speed, heading, the number of steps without a fix, and their recent share.
    """
    with np.load(FOLDER / f"{name}.npz") as arrays:
        gps = arrays["filtered_gps"]
        wheel = arrays["wheel"]
        truth = arrays["ground_truth"]
    lost = np.isnan(gps[:, 0])
    steps = np.arange(len(lost))
    since = steps - np.maximum.accumulate(np.where(lost, 0, steps))
    heading = wheel[:, 2] + harmonics(wheel[:, 2]) @ compass(tuned)
    inputs = wheel[:, :2].mean(1), heading, since, recently(lost)
    return gps, truth, np.column_stack(inputs)


def recently(lost):
    """Return the share of steps without a fix, where the last steps have the largest weight."""

    def smooth(share, now):
        return share + (now - share) / MEMORY

    return np.array(list(itertools.accumulate(lost, smooth, initial=0.0))[1:])


def harmonics(heading):
    """Return the components of a compass error, [T, 5].

    They are a constant, and the effects of iron that turns with the compass or does not.
    """
    waves = [f(k * heading) for k in (1, 2) for f in (np.cos, np.sin)]
    return np.stack([np.ones_like(heading), *waves], axis=1)


@functools.cache
def compass(tuned=BOTH):
    """Return the coefficients of `harmonics`, fitted to these sessions by least squares."""
    reported, error = [], []
    for name in tuned:
        with np.load(FOLDER / f"{SESSIONS[name]}.npz") as arrays:
            wheel = arrays["wheel"]
            truth = arrays["theta_gt"][:, 0]
        late = jnp.asarray(truth[:-1] - wheel[1:, 2])  # the heading comes one step late
        off = np.asarray(kf.wrap_angle(late))
        used = (wheel[1:, :2].mean(1) > MOVING) & (np.abs(off) < SOUND)
        reported.append(wheel[1:, 2][used])
        error.append(off[used])
    waves = harmonics(np.concatenate(reported))
    return np.linalg.lstsq(waves, np.concatenate(error), rcond=None)[0]


def sessions(*names, states=6, tuned=BOTH):
    """Return whole sessions from the true start on, of which only positions are known.

    All have one padded length, so that filters are compiled once.
    """
    raw = [session(SESSIONS[name], tuned) for name in names]
    steps = max(len(session(name)[0]) for name in SESSIONS.values()) - 1

    def padded(a):
        return np.pad(a[1:], [(0, steps + 1 - len(a)), (0, 0)])

    gps, truth, inputs = (np.stack([padded(one[part]) for one in raw]) for part in range(3))
    starts = np.stack([np.pad(positions[0], (0, states - 2)) for _, positions, _ in raw])
    length = [len(one) - 1 for one, _, _ in raw]
    truth = only_positions(truth, states)
    return kf.Dataset(gps, truth, inputs, length=length, prior_mean=starts)


def windows(name, states):
    """Return a session in windows, each of which starts at its true position."""
    gps, truth, inputs = session(SESSIONS[name])
    starts = np.arange(1, len(gps) - WINDOW + 1, WINDOW)
    rows = starts[:, None] + np.arange(WINDOW)
    first = np.pad(truth[starts - 1], [(0, 0), (0, states - 2)])
    known = only_positions(truth[rows], states)
    return kf.Dataset(gps[rows], known, inputs[rows], prior_mean=first)


def only_positions(truth, states):
    """Return states of which only the positions are known."""
    return np.concatenate([truth, np.full((*truth.shape[:2], states - 2), np.nan)], axis=2)


def drive(theta, x, u):
    """Move the state by wheels and heading.

    The state is (p_x, p_y, error of the heading, relative error of the wheels), followed by the
    slow and the fast part of the GPS error, if the model has them.
    """
    heading = u[1] + x[2]
    direction = jnp.stack([jnp.cos(heading), jnp.sin(heading)])
    shift = theta["wheel_scale"] * (1 + x[3]) * u[0] * direction
    kept = _decay(theta["heading_time"]) * x[2]
    slow = _decay(theta["time"]) * x[4:6]
    fast = _decay(theta["multipath_time"]) * x[6:]
    return jnp.concatenate([x[:2] + shift, jnp.stack([kept, x[3]]), slow, fast])


def noise(theta, x, u):
    """Return the process noise covariance: slip while moving, a random walk, stationary errors."""
    slip = _variance(theta, "slip") * u[0] ** 2 + 1e-4
    scale = _variance(theta, "scale")
    heading = _variance(theta, "heading") * _renewed(theta["heading_time"])
    wander = _variance(theta, "wander") * _renewed(theta["time"])
    multipath = _variance(theta, "multipath") + _variance(theta, "after") * u[3] ** 2
    multipath = multipath * _renewed(theta["multipath_time"])
    variances = [slip, slip, heading, scale, wander, wander, multipath, multipath]
    return jnp.diag(jnp.stack(variances)[: x.shape[0]])


def _variance(theta, name):
    """Return the variance whose standard deviation is stored as a logarithm."""
    return jnp.exp(2 * theta[name])


def _decay(log_time):
    """Return the factor of a step by which an error decays, from the logarithm of its time."""
    return jnp.exp(-jnp.exp(-log_time))


def _renewed(log_time):
    """Return the share of its variance that an error needs in a step to remain as large."""
    return 1 - _decay(log_time) ** 2


def fix(x, u):
    """Return the observation of GPS: the position and the GPS errors."""
    del u
    return x[:2] + jnp.sum(x[4:].reshape(-1, 2), axis=0)


def model(theta, states=6):
    """Return the model with these numbers; with four states the GPS error is white."""
    theta = {name: jnp.asarray(value, jnp.float32) for name, value in theta.items()}
    names = ("heading", "first_scale", "wander", "wander", "multipath", "multipath")
    of_position = [jnp.full((), 0.01)] * 2
    variances = jnp.stack([*of_position, *(_variance(theta, name) for name in names)])[:states]
    return kf.StateSpaceModel(
        f=Partial(drive, theta),
        h=fix,
        Q=Partial(noise, theta),
        R=_variance(theta, "fix") * jnp.eye(2),
        prior=kf.Gaussian(jnp.zeros(states), jnp.diag(variances)),
    )


def two_moods(theta, states=6):
    """Return an IMM of two models: GPS is right, or wrong for long, as near buildings."""
    clear = model(theta, states)
    leave, back = jnp.exp(-theta["clear_time"]), jnp.exp(-theta["wrong_time"])
    transition = jnp.stack([jnp.stack([1 - leave, leave]), jnp.stack([back, 1 - back])])
    wrong = clear.replace(R=_variance(theta, "wrong") * jnp.eye(2))
    return kf.IMMParams((clear, wrong), transition.astype(clear.dtype), jnp.array([1.0, 0.0]))
