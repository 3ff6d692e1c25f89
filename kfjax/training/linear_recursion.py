"""A linear recursion fitted to recorded estimates by least squares: a filter of constant gain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kfjax._support.arguments import check_kind
from kfjax.data import Dataset
from kfjax.data.counting import counted_steps
from kfjax.training.finite_memory import filled, input_series

__all__ = ["LinearRecursion", "fit_recursion"]

LONGEST = 1000  # steps that the memory of a recursion is followed
LEFT = 0.01  # part of an error that counts as forgotten


class LinearRecursion(NamedTuple):
    """The recursion x_t = A x_{t-1} + B v_t, a filter of constant gain.

    v_t holds y_t (the one before if missing), which channels of it were observed if any were
    missing in the data it was fitted to, u_t and 1.

    Attributes:
        A: [n, n].
        B: [n, p].
        start: x_0 [n].
        masked: whether v_t holds the mask of y_t.
    """

    A: Float[np.ndarray, "n n"]
    B: Float[np.ndarray, "n p"]
    start: Float[np.ndarray, " n"]
    masked: bool

    def run(self, data: Dataset) -> Float[np.ndarray, "N T n"]:
        """Return the estimates [N, T, n] of trajectories, from their inputs alone."""
        v = _inputs(data, self.masked) @ self.B.T
        start = self.start if data.prior_mean is None else np.asarray(data.prior_mean)
        x = np.broadcast_to(start, v[:, 0].shape)
        estimates = np.empty_like(v)
        with np.errstate(over="ignore", invalid="ignore"):  # it may be unstable
            for t in range(data.steps):
                x = x @ self.A.T + v[:, t]
                estimates[:, t] = x
        return estimates

    def memory(self, scale: Float[np.ndarray, " n"]) -> int | None:
        """Return the number of steps after which 1 % of an error is left, or None if more remains.

        Args:
            scale: units [n] of errors.
        """
        step = self.A * scale / scale[:, None]
        left = np.eye(len(step))
        for k in range(1, LONGEST + 1):
            left = left @ step
            size = np.linalg.norm(left, ord=2)
            if size < LEFT:
                return k
            if not size < 1 / LEFT:
                return None
        return None


def fit_recursion(data: Dataset) -> LinearRecursion | None:
    """Fit a linear recursion to recorded estimates by least squares.

    min_{A, B} sum_t |x_t - A x_{t-1} - B v_t|^2

    It is the simplest student with a memory; the steady-state Kalman filter of a linear system has
    this form.

    Args:
        data: trajectories whose xs are the recorded estimates, NaN where unknown.

    Returns:
        `LinearRecursion`, or None where there are too few rows for it.

    Raises:
        ValueError: if there are no estimates.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> _, ys = kf.simulate(jax.random.key(0), model, 300)
        >>> final, est = kf.run(kf.kalman(), model, ys)
        >>> found = kf.training.fit_recursion(kf.Dataset(ys[None], est.mean[None]))
        >>> gain = kf.steady_state(model).gain
        >>> bool(abs(found.B[:, :1] - gain).max() < 0.05)
        True
        >>> found.memory(np.ones(2)) > 10
        True
    """
    check_kind("fit_recursion: data", data, Dataset)
    if data.xs is None:
        raise ValueError(
            "fit_recursion: the data have no xs; expected the recorded estimates. Build them with"
            " kf.Dataset(inputs, xs=estimates)."
        )
    masked = data.observed is not None
    xs = np.asarray(data.xs, np.float64)
    v = _inputs(data, masked)
    known = counted_steps(data) & ~np.isnan(xs).any(axis=-1)
    pairs = known[:, 1:] & known[:, :-1]
    rows = np.concatenate([xs[:, :-1], v[:, 1:]], axis=-1)[pairs]
    if len(rows) <= rows.shape[-1]:
        return None
    units = np.abs(rows).max(axis=0)
    units = np.where(units > 0, units, 1)
    later = xs[:, 1:][pairs]
    scaled = np.linalg.lstsq(rows / units, later, rcond=None)[0]
    found = scaled / units[:, None]
    n = xs.shape[-1]
    first = xs[:, 0][known[:, 0]]
    start = first.mean(axis=0) if len(first) else xs[known].mean(axis=0)
    return LinearRecursion(found[:n].T, found[n:].T, start, masked)


def _inputs(data: Dataset, masked: bool) -> np.ndarray:
    """Return y_t (the one before if missing), its mask, u_t and 1 of every step, [N, T, p]."""
    ys, *others = input_series(data, masked)
    if data.observed is not None:
        seen = np.asarray(data.observed).swapaxes(1, 2)
        ys = filled(ys.swapaxes(1, 2), seen).swapaxes(1, 2)
    ones = np.ones((data.size, data.steps, 1))
    return np.concatenate([ys, *others, ones], axis=-1)
