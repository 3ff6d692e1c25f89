"""NCLT sessions with odometry alone: windows, and models of the odometry's turned frame."""

import functools

import jax.numpy as jnp
import numpy as np

import kfjax as kf
from benchmarks.kalmannet.judging import judged
from benchmarks.trajectories import official_file

FOLDER = official_file("").parents[1] / "nclt"
ORDER = [0, 2, 1, 3]  # from the data's x, y, v_x, v_y to p_x, v_x, p_y, v_y
TRAINING, OTHER = "2012-01-22", "2012-04-29"
LAST = "last 277 steps"
AFTER = "8 overlapping windows after validation"
ALL = "all 18 windows of the session"
SESSION = "9 windows of 2012-04-29"
LONG = 277  # steps of a test window
SHORT = 200  # steps of a training window
TRAINED = 21  # training windows
END = 1 + SHORT * TRAINED  # of the training steps
RECENT = (200, 400, 1000, 2000, 4200)  # training steps for a map; validation data choose
MODEL = kf.systems.wiener_velocity(q_density=1.0, r_std=0.1, prior=kf.systems.known(np.zeros(4)))


@functools.cache
def session(name):
    """Return states (p_x, v_x, p_y, v_y) and the velocities that the odometry reports."""
    with np.load(FOLDER / f"nclt_{name}_contiguous.npz") as arrays:
        return arrays["state64"][:, ORDER], arrays["obs64"]


def windows(name, starts, steps, *, velocities=False):
    """Return windows of a session, with positions relative to the start of each window.

    Only positions are known in the truth, unless `velocities` is set.
    """
    states, obs = session(name)
    rows = np.asarray(starts)[:, None] + np.arange(steps)
    before = states[np.asarray(starts) - 1]
    origin = before * [1, 0, 1, 0]
    known = np.where([True, velocities] * 2, states[rows] - origin[:, None], np.nan)
    return kf.Dataset(obs[rows], known, prior_mean=before - origin)


def parts():
    """Return the paper's split as far as the rows allow: 21 training and 2 validation windows."""
    limit = END + 2 * SHORT
    train = windows(TRAINING, range(1, END, SHORT), SHORT)
    validation = windows(TRAINING, range(END, limit, SHORT), SHORT)
    return kf.data.Parts(train, validation, None)


def tests():
    """Return test data by condition; the windows of the whole session hold the training data."""
    end = len(session(TRAINING)[0])
    whole, other = (range(1, len(session(name)[0]) - LONG + 1, LONG) for name in (TRAINING, OTHER))
    after = np.linspace(END + 2 * SHORT, end - LONG, 8).astype(int)
    return {
        LAST: windows(TRAINING, [end - LONG], LONG),
        AFTER: windows(TRAINING, after, LONG),
        ALL: windows(TRAINING, whole, LONG),
        SESSION: windows(OTHER, other, LONG),
    }


def velocity_map(recent=SHORT * TRAINED):
    """Return the matrix from odometry to velocities, fitted to the last `recent` training steps."""
    states, obs = (a[END - recent : END] for a in session(TRAINING))
    return np.linalg.lstsq(obs, states[:, [1, 3]], rcond=None)[0].T


def turned_model(turned):
    """Return the model of an odometry whose velocities have to be multiplied by a matrix."""
    return MODEL.replace(h=kf.Linear(np.linalg.inv(turned) @ np.asarray(MODEL.h.A)))


def mapped(turned, correct=None):
    """Return the model of a turned odometry, or of a corrected one, with Q and R of the labels."""
    labels = windows(TRAINING, [1], SHORT * TRAINED, velocities=True)
    if correct is not None:
        labels = correct(labels)
    return kf.learned.fit_labelled(turned_model(turned), labels, learn=("Q", "R"))


@functools.cache
def heading():
    """Return the coefficients of `by_heading`, fitted to the training steps."""
    states, obs = (a[1:END] for a in session(TRAINING))
    return np.linalg.lstsq(by_heading(obs), states[:, 1] + 1j * states[:, 3], rcond=None)[0]


def by_heading(obs):
    """Return z, z*, |z| and z² / |z| of velocities z = v_x + i v_y.

    The first two make a linear map, the others errors such as those of a compass.
    """
    z = obs[..., 0] + 1j * obs[..., 1]
    size = np.abs(z)
    unit = np.divide(z, size, out=np.zeros_like(z), where=size > 0)
    return np.stack([z, z.conj(), size, z * unit], axis=-1)


def corrected(data):
    """Return data whose velocities are corrected by their heading."""
    z = by_heading(np.asarray(data.ys, np.float64)) @ heading()
    return kf.Dataset(np.stack([z.real, z.imag], axis=-1), data.xs, prior_mean=data.prior_mean)


def integrated(turned):
    """Return params of a constant gain that integrates the turned odometry: p + A y and A y."""
    gain = jnp.asarray(np.repeat(turned, 2, axis=0), MODEL.dtype)
    return kf.ConstantGainParams(turned_model(turned), gain)


@functools.cache
def recent():
    """Return the number of training steps whose map is best in the validation windows."""
    validation = parts().validation

    def error(steps):
        return judged(kf.constant_gain(), integrated(velocity_map(steps)), validation).value[0]

    return min(RECENT, key=error)
