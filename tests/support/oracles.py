"""Textbook filters in numpy, independent of kfjax: loops, inverses, and deleted missing entries."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Model(NamedTuple):
    """A state-space model; every function takes the state and the input."""

    f: Callable[..., Any]
    h: Callable[..., Any]
    Q: Callable[..., Any]
    R: Callable[..., Any]
    mean: Any
    cov: Any


class Result(NamedTuple):
    """Filtered beliefs [T, ...] with the log-likelihood of each y_t, and smoothed ones from x_0 on
    [T + 1, ...].
    """

    mean: Any
    cov: Any
    log_likelihood: Any
    smoothed_mean: Any
    smoothed_cov: Any


def linearised(fn: Any, m: Any, P: Any) -> tuple[Any, Any, Any]:
    """Mean, covariance and cross-covariance by the Jacobian, exact to rounding by complex steps."""
    J = np.stack([fn(m + 1e-30j * e).imag / 1e-30 for e in np.eye(len(m))], axis=1)
    return fn(m), J @ P @ J.T, P @ J.T


def unscented(
    fn: Any, m: Any, P: Any, alpha: float = 1.0, beta: float = 2.0, kappa: float = 0.0
) -> tuple[Any, Any, Any]:
    """The same by the scaled unscented transform of Wan and van der Merwe."""
    n = len(m)
    lam = alpha**2 * (n + kappa) - n
    root = np.linalg.cholesky((n + lam) * P)
    points = [m, *(m + root[:, i] for i in range(n)), *(m - root[:, i] for i in range(n))]
    weights_mean = np.array([lam / (n + lam)] + 2 * n * [0.5 / (n + lam)])
    weights_cov = weights_mean + np.array([1 - alpha**2 + beta] + 2 * n * [0.0])
    outputs = [fn(x) for x in points]
    mean = sum(w * y for w, y in zip(weights_mean, outputs, strict=True))
    cov = sum(w * np.outer(y - mean, y - mean) for w, y in zip(weights_cov, outputs, strict=True))
    cross = sum(
        w * np.outer(x - m, y - mean) for w, x, y in zip(weights_cov, points, outputs, strict=True)
    )
    return mean, cov, cross


def estimate(transform: Any, model: Model, ys: Any, us: Any, observed: Any) -> Result:
    """Filter and smooth with a transform of Gaussians, with unobserved entries deleted."""
    m, P = model.mean, model.cov
    beliefs, predictions, log_likelihoods = [(m, P)], [], []
    for y, u, seen in zip(ys, us, observed, strict=True):
        m_pred, P_pred, C = transform(lambda x, u=u: model.f(x, u), m, P)
        P_pred = P_pred + model.Q(m, u)
        predictions.append((m_pred, P_pred, C))
        m, P, log_likelihood = m_pred, P_pred, 0.0
        if seen.any():
            mu, S, C = transform(lambda x, u=u, seen=seen: model.h(x, u)[seen], m, P)
            S = S + model.R(m, u)[np.ix_(seen, seen)]
            d, K = y[seen] - mu, C @ np.linalg.inv(S)
            m, P = m + K @ d, P - K @ S @ K.T
            log_likelihood = -0.5 * (
                d @ np.linalg.solve(S, d) + np.linalg.slogdet(2 * np.pi * S)[1]
            )
        beliefs.append((m, P))
        log_likelihoods.append(log_likelihood)
    smoothed = [beliefs[-1]]
    for (m, P), (m_pred, P_pred, C) in zip(beliefs[-2::-1], predictions[::-1], strict=True):
        G = C @ np.linalg.inv(P_pred)
        later_m, later_P = smoothed[0]
        smoothed.insert(0, (m + G @ (later_m - m_pred), P + G @ (later_P - P_pred) @ G.T))
    means, covs = map(np.stack, zip(*beliefs[1:], strict=True))
    return Result(
        means, covs, np.array(log_likelihoods), *map(np.stack, zip(*smoothed, strict=True))
    )


class Joint(NamedTuple):
    """The joint Gaussian of x_0..x_T and y_1..y_T of a linear model, as one vector z ~ N(mean,
    cov).
    """

    mean: Any
    cov: Any
    n: int
    m: int
    steps: int

    def x(self, t: int) -> Any:
        """Indices of x_t."""
        return np.arange(self.n) + t * self.n

    def y(self, t: int) -> Any:
        """Indices of y_t, t = 1..T."""
        return (self.steps + 1) * self.n + np.arange(self.m) + (t - 1) * self.m

    def given(self, indices: Any, at: Any, values: Any) -> tuple[Any, Any]:
        """Mean and covariance of z[indices] given z[at] = values."""
        gain = self.cov[np.ix_(indices, at)] @ np.linalg.inv(self.cov[np.ix_(at, at)])
        mean = self.mean[indices] + gain @ (values - self.mean[at])
        return mean, self.cov[np.ix_(indices, indices)] - gain @ self.cov[np.ix_(at, indices)]

    def log_density(self, at: Any, values: Any) -> float:
        """Log density of z[at] at values."""
        d, S = values - self.mean[at], self.cov[np.ix_(at, at)]
        return -0.5 * (d @ np.linalg.solve(S, d) + np.linalg.slogdet(2 * np.pi * S)[1])


def joint(F: Any, H: Any, Q: Any, R: Any, m0: Any, P0: Any, steps: int) -> Joint:
    """Write z as a linear map of the independent x_0, e_1..e_T, v_1..v_T."""
    n, m = len(F), len(H)
    size = (steps + 1) * n + steps * m
    to_x = [np.eye(n, size)]
    for t in range(1, steps + 1):
        to_x.append(F @ to_x[-1] + np.eye(n, size, k=t * n))
    to_y = [
        H @ to_x[t] + np.eye(m, size, k=(steps + 1) * n + (t - 1) * m) for t in range(1, steps + 1)
    ]
    A = np.concatenate(to_x + to_y)
    noise = np.zeros((size, size))
    for i, block in enumerate([P0] + steps * [Q]):
        noise[i * n : (i + 1) * n, i * n : (i + 1) * n] = block
    for i in range(steps):
        at = (steps + 1) * n + i * m
        noise[at : at + m, at : at + m] = R
    return Joint(A @ np.concatenate([m0, np.zeros(size - n)]), A @ noise @ A.T, n, m, steps)
