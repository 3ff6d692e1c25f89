"""The posterior of a whole trajectory of a linear model, from one dense joint Gaussian in numpy."""

from typing import Any, NamedTuple

import numpy as np


class Step(NamedTuple):
    """x_t = F x_{t-1} + c + e, y_t = H x_t + d + v."""

    F: Any
    c: Any
    Q: Any
    H: Any
    d: Any
    R: Any


class Posterior(NamedTuple):
    """Means [T + 1, n] and covariances [T + 1, n, T + 1, n] of x_0..x_T given what was observed,
    and log p(y).
    """

    mean: Any
    cov: Any
    log_likelihood: float

    @property
    def marginal(self) -> Any:
        """Cov[x_t], t = 0..T."""
        return np.stack([self.cov[t, :, t] for t in range(len(self.mean))])

    @property
    def cross(self) -> Any:
        """Cov[x_t, x_{t-1}], t = 1..T."""
        return np.stack([self.cov[t, :, t - 1] for t in range(1, len(self.mean))])


def posterior(steps: list[Step], m0: Any, P0: Any, ys: Any, observed: Any) -> Posterior:
    """Condition the joint Gaussian of x_0..x_T on the observed entries of y_1..y_T."""
    n, T = len(m0), len(steps)
    mean, cov = np.zeros((T + 1) * n), np.zeros(((T + 1) * n, (T + 1) * n))
    mean[:n], cov[:n, :n] = m0, P0
    for t, step in enumerate(steps, 1):
        old, at, before = slice(0, t * n), slice(t * n, (t + 1) * n), slice((t - 1) * n, t * n)
        mean[at] = step.F @ mean[before] + step.c
        cov[at, old] = step.F @ cov[before, old]
        cov[old, at] = cov[at, old].T
        cov[at, at] = step.F @ cov[before, before] @ step.F.T + step.Q
    blocks = [(np.kron(np.eye(T + 1)[t], step.H), step) for t, step in enumerate(steps, 1)]
    H, d = (
        np.concatenate([block for block, _ in blocks]),
        np.concatenate([step.d for _, step in blocks]),
    )
    m = len(steps[0].H)
    R = np.zeros((T * m, T * m))
    for t, step in enumerate(steps):
        R[t * m : (t + 1) * m, t * m : (t + 1) * m] = step.R
    seen = np.asarray(observed).reshape(-1)
    H, d, R, y = H[seen], d[seen], R[np.ix_(seen, seen)], np.asarray(ys).reshape(-1)[seen]
    S = H @ cov @ H.T + R
    K = np.linalg.solve(S, H @ cov).T
    r = y - H @ mean - d
    log_likelihood = -0.5 * (r @ np.linalg.solve(S, r) + np.linalg.slogdet(2 * np.pi * S)[1])
    after = cov - K @ S @ K.T
    return Posterior(
        (mean + K @ r).reshape(T + 1, n), after.reshape(T + 1, n, T + 1, n), log_likelihood
    )


def constant(model: Any, steps: int) -> list[Step]:
    """The steps of a time-invariant kfjax model without inputs."""
    n, m = model.n, model.R.shape[0]
    c, d = (
        np.zeros(k) if fn.b is None else np.asarray(fn.b) for fn, k in ((model.f, n), (model.h, m))
    )
    return steps * [Step(*map(np.asarray, (model.f.A, c, model.Q, model.h.A, d, model.R)))]
