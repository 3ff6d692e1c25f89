"""From continuous time to steps: timestamps, and linear stochastic differential equations."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax.models import check_covariance, is_concrete

__all__ = ["Discretised", "time_steps", "van_loan"]


def time_steps(times: Array, start: float | Array) -> Array:
    """Return the steps dt_t = times_t - times_{t-1} between timestamps, with times_0 = start: inputs for `run`.

    Args:
        times: [T] timestamps of the observations, not decreasing, in seconds or any unit.
        start: the time of x_0, at or before times[0].

    Returns:
        dt [T], each at least zero, computed at the precision of `times` before any cast.

    Raises:
        ValueError: if times is not one-dimensional or goes backwards.

    Example:
        >>> kf.time_steps(jnp.array([0.5, 1.5, 1.75]), start=0.0).tolist()
        [0.5, 1.0, 0.25]
    """
    times = times if isinstance(times, jax.Array) else np.asarray(times)
    if times.ndim != 1 or times.shape[0] == 0:
        raise ValueError(f"time_steps: times has shape {times.shape}; expected [T], T at least 1.")
    # numpy subtracts in double precision: timestamps of 1e9 seconds have no milliseconds left in float32
    module = np if isinstance(times, np.ndarray) and not isinstance(start, jax.Array) else jnp
    steps = module.diff(times, prepend=module.asarray(start).reshape(1))
    if is_concrete(steps) and (np.asarray(steps) < 0).any():
        raise ValueError(
            f"time_steps: got a step of {np.asarray(steps).min():.4g} at index {int(np.asarray(steps).argmin())};"
            " expected times that do not decrease, from start on. Sort the data by time."
        )
    return jnp.asarray(steps)


class Discretised(NamedTuple):
    """A linear stochastic differential equation over one step.

    Attributes:
        F: transition matrix [n, n].
        Q: process noise covariance [n, n].
        B: input matrix [n, p] for a held input, or None.
    """

    F: Array
    Q: Array
    B: Array | None


def van_loan(A: Any, diffusion: Any, dt: float | Array, B: Any = None) -> Discretised:
    """Discretise dx = (A x + B u) dt + dw, E[dw dw'] = diffusion dt, exactly over a step dt with held u.

    F = exp(A dt), Q = int_0^dt exp(A s) diffusion exp(A s)' ds, B_d = int_0^dt exp(A s) ds B.

    Args:
        A: drift matrix [n, n].
        diffusion: [n, n], symmetric positive semidefinite, per unit of time.
        dt: step length, in the unit of time of A; may be a tracer.
        B: [n, p] or None.

    Returns:
        `Discretised(F, Q, B)`.

    Raises:
        ValueError: if the shapes do not fit or the diffusion is no covariance.

    Example:
        >>> kf.van_loan([[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]], 1.0).Q.round(3).tolist()
        [[0.3330000042915344, 0.5], [0.5, 1.0]]

    References:
        C. F. Van Loan, Computing integrals involving the matrix exponential, IEEE Trans. Automat. Contr. 23 (1978).
    """
    A, diffusion = (jnp.asarray(M, jnp.result_type(M, float)) for M in (A, diffusion))
    n = A.shape[0]
    if A.shape != (n, n) or diffusion.shape != (n, n):
        raise ValueError(f"van_loan: A is {A.shape} and diffusion {diffusion.shape}; expected [n, n] both.")
    check_covariance("van_loan: diffusion", diffusion)
    block = jnp.block([[-A, diffusion], [jnp.zeros_like(A), A.T]])
    exponential = jax.scipy.linalg.expm(block * dt)
    F = exponential[n:, n:].T
    Q = linalg.symmetric(F @ exponential[:n, n:])
    if B is None:
        return Discretised(F, Q, None)
    B = jnp.asarray(B, A.dtype)
    if B.ndim != 2 or B.shape[0] != n:
        raise ValueError(f"van_loan: B has shape {B.shape}; expected ({n}, p).")
    p = B.shape[1]
    held = jnp.block([[A, B], [jnp.zeros((p, n + p), A.dtype)]])
    return Discretised(F, Q, jax.scipy.linalg.expm(held * dt)[:n, n:])
