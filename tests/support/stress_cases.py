"""The stress cases: linear models and records in numpy with their log-likelihoods, without kfjax.

Every number is rounded to float32 first, so that both precisions are given the same problem and
differ by their arithmetic alone. The reference is a Kalman filter in extended precision
(`numpy.longdouble`) that deletes what is missing. To share compilations, small cases have one
shape: n = 3, m = 2, 5000 steps, and a mask.
"""

import functools
from typing import NamedTuple

import numpy as np

STEPS = 5000
LONG = 1_000_000
GAP = 10_000


class Case(NamedTuple):
    """A linear Gaussian model x = F x + e, y = H x + v with x_0 ~ N(0, P0), and a record."""

    F: np.ndarray
    H: np.ndarray
    Q: np.ndarray
    R: np.ndarray
    P0: np.ndarray
    ys: np.ndarray
    observed: np.ndarray


def rounded(array):
    """Numbers rounded to float32."""
    return np.asarray(array, np.float32).astype(np.float64)


def factor(cov):
    """Any square root of a covariance."""
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(np.maximum(values, 0))


def record(F, H, Q, R, x, steps, seed=0):
    """Observations of a path that starts at x."""
    rng = np.random.default_rng(seed)
    e = rng.normal(size=(steps, len(F))) @ factor(Q).T
    v = rng.normal(size=(steps, len(H))) @ factor(R).T
    path = np.empty((steps, len(F)))
    for t in range(steps):
        path[t] = x = F @ x + e[t]
    return path @ H.T + v


def make(F, H, Q, R, P0, *, x=None, steps=STEPS, observed=None, seed=0):
    """Round a model to float32, and draw a record; from N(0, I), unless x_0 is given."""
    F, H, Q, R, P0 = map(rounded, (F, H, Q, R, P0))
    x = np.random.default_rng(1).normal(size=len(F)) if x is None else x
    observed = np.ones((steps, len(H)), bool) if observed is None else observed
    return Case(F, H, Q, R, P0, rounded(record(F, H, Q, R, x, steps, seed)), observed)


def integrators(dt, q):
    """Position, velocity and acceleration, driven by white jerk of spectral density q."""
    F = np.array([[1, dt, dt**2 / 2], [0, 1, dt], [0, 0, 1]])
    Q = [
        [dt**5 / 20, dt**4 / 8, dt**3 / 6],
        [dt**4 / 8, dt**3 / 3, dt**2 / 2],
        [dt**3 / 6, dt**2 / 2, dt],
    ]
    return F, q * np.array(Q)


def constant_acceleration(P0, R, reference, seed=0):
    """White jerk of density 1e-4, dt = 0.01, a sensor of the position (a second one is never seen),
    a start at rest.

    The noise is scaled, by less than one per cent, so that the record has the log-likelihood of the
    reference: that is quadratic in the data, and the noise from which the reference was computed is
    not known.
    """
    F, Q = integrators(0.01, 1e-4)
    never = np.tile([True, False], (STEPS, 1))
    R = np.diag([R, 1.0])
    case = make(F, np.eye(2, 3), Q, R, P0 * np.eye(3), x=np.zeros(3), observed=never, seed=seed)
    at_zero, at_one = log_likelihoods([case._replace(ys=0 * case.ys), case])
    return case._replace(ys=rounded(np.sqrt((reference - at_zero) / (at_one - at_zero)) * case.ys))


def damped():
    """Three states that stay of order one: an oscillation, and a drift that it feeds."""
    F = np.array([[0.97, 0.2, 0.0], [-0.2, 0.97, 0.0], [0.05, 0.0, 0.95]])
    return F, np.array([[1.0, 0.0, 0.0], [0.3, 0.0, 1.0]])


def nearly_perfect_sensors(seed=0):
    F, H = damped()
    return make(F, H, 1e-2 * np.eye(3), 1e-12 * np.eye(2), np.eye(3), seed=seed)


def broad_prior(seed=0):
    F, Q = integrators(0.1, 1e-2)
    return make(0.99 * F, np.eye(2, 3), Q, np.eye(2), 1e8 * np.eye(3), seed=seed)


def zero_process_noise(seed=0):
    """An acceleration that never changes: positions grow to hundreds, and nothing of the past is
    forgotten.
    """
    return parabola(1, seed)


def parabola(start, seed=0):
    """Such a path from another x_0."""
    F, _ = integrators(0.01, 0.0)
    x = np.random.default_rng(start).normal(size=3)
    return make(F, np.eye(2, 3), np.zeros((3, 3)), 0.1 * np.eye(2), np.eye(3), x=x, seed=seed)


def constants(seed=0):
    """Three numbers that never change, one of them seen through the others only."""
    H = [[1.0, 0.0, 0.5], [0.0, 1.0, 0.2]]
    return make(np.eye(3), H, np.zeros((3, 3)), 0.1 * np.eye(2), np.eye(3), seed=seed)


def unobservable(seed=0):
    """Only the sum of two states is seen; their difference is an unobserved random walk."""
    F = np.diag([1.0, 1.0, 0.9])
    H = np.array([[1.0, 1.0, 0.0], [0.5, 0.5, 1.0]])
    return make(F, H, 1e-2 * np.eye(3), 0.1 * np.eye(2), 1e2 * np.eye(3), seed=seed)


def noise_over_twelve_orders(seed=0):
    F, H = damped()
    return make(F, H, 1e-2 * np.eye(3), np.diag([1e-6, 1e6]), np.eye(3), seed=seed)


def single_channel_gaps(seed=0):
    F, H = damped()
    observed = np.random.default_rng(2).random((STEPS, 2)) < 0.7
    observed[1000:3000, 0], observed[3500:, 1] = False, False
    R = np.diag([1e-4, 1e-2])
    return make(F, H, 1e-2 * np.eye(3), R, np.eye(3), observed=observed, seed=seed)


def missing_rows(seed=0):
    """A random walk that is not seen for 10,000 steps."""
    F, H = damped()
    F[2, 2] = 1.0
    observed = np.ones((GAP + 1000, 2), bool)
    observed[500 : GAP + 500] = False
    Q, R = 1e-2 * np.eye(3), 1e-4 * np.eye(2)
    return make(F, H, Q, R, np.eye(3), steps=len(observed), observed=observed, seed=seed)


def many_states(seed=0):
    """n = 64 states, m = 32 sensors of very different precision, noise in half of
    the directions."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    Q = np.diag(np.r_[np.ones(32), np.zeros(32)])
    H = rng.normal(size=(32, 64)) / 8
    R = np.diag(np.logspace(-4, 2, 32))
    return make(0.98 * basis, H, Q, R, np.eye(64), steps=100, seed=seed)


def a_million_steps():
    F, H = damped()
    return make(F, H, 1e-2 * np.eye(3), 0.1 * np.eye(2), np.eye(3), steps=LONG)


CONSTANT_ACCELERATION = {  # P0, R, and the log-likelihood that is expected
    "constant acceleration, P0 = 1e2": (1e2, 1e-4, 15820.8),
    "constant acceleration, P0 = 1e4": (1e4, 1e-6, 27216.8),
}
SMALL = {
    name: functools.partial(constant_acceleration, *numbers)
    for name, numbers in CONSTANT_ACCELERATION.items()
}
SMALL |= {
    "nearly perfect sensors, R = 1e-12": nearly_perfect_sensors,
    "broad prior, P0 = 1e8": broad_prior,
    "zero Q, a parabola": zero_process_noise,
    "zero Q, constants": constants,
    "unobservable direction": unobservable,
    "R over 12 orders of magnitude": noise_over_twelve_orders,
    "gaps in single channels": single_channel_gaps,
}
LARGE = {"10,000 missing rows": missing_rows, "n = 64, m = 32": many_states}
CASES = {name: functools.cache(build) for name, build in (SMALL | LARGE).items()}


@functools.cache
def reference(name):
    """The log-likelihood of a case in extended precision."""
    return log_likelihood(CASES[name]())


def log_likelihood(case):
    """The log-likelihood of a record, by a Kalman filter in extended precision that deletes missing
    channels.
    """
    return log_likelihoods([case])[0]


def log_likelihoods(cases):
    """The log-likelihoods of records of one model with one mask, which share the covariances."""
    F, H, Q, R, P = (np.asarray(a, np.longdouble) for a in cases[0][:5])
    ys = np.stack([case.ys for case in cases], axis=-1).astype(np.longdouble)
    x = np.zeros((len(F), len(cases)), np.longdouble)
    total = np.zeros(len(cases), np.longdouble)
    for y, seen in zip(ys, cases[0].observed, strict=True):
        x, P = F @ x, F @ P @ F.T + Q
        if not seen.any():
            continue
        J = H[seen]
        L = lower(J @ P @ J.T + R[np.ix_(seen, seen)])
        whitened = solve(L, np.column_stack([y[seen] - J @ x, J @ P]))
        z, G = whitened[:, : len(cases)], whitened[:, len(cases) :]
        of_noise = len(z) * np.log(2 * np.longdouble(np.pi)) / 2 + np.log(np.diag(L)).sum()
        total -= 0.5 * (z**2).sum(axis=0) + of_noise
        x, P = x + G.T @ z, P - G.T @ G
        P = (P + P.T) / 2
    return total.astype(float)


def lower(S):
    """The Cholesky factor; numpy's own is for double precision."""
    L = np.zeros_like(S)
    for j in range(len(S)):
        L[j:, j] = S[j:, j] - L[j:, :j] @ L[j, :j]
        L[j:, j] /= np.sqrt(L[j, j])
    return L


def solve(L, B):
    """L^-1 B by forward substitution."""
    X = np.zeros_like(B)
    for j in range(len(L)):
        X[j] = (B[j] - L[j, :j] @ X[:j]) / L[j, j]
    return X
