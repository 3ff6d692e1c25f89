"""From continuous time to steps: timestamps, and linear stochastic differential equations."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import check_covariance, is_concrete

__all__ = ["Discretised", "time_steps", "van_loan"]

HALVINGS = 16  # at most, of a step with fast modes


def time_steps(times: Any, start: Any) -> Array:
    """Return the steps dt_t = times_t - times_{t-1} between timestamps, with times_0 = start.

    Args:
        times: [T] timestamps of the observations, not decreasing, in seconds or any unit.
        start: the time of x_0, at or before times[0].

    Returns:
        dt [T], each at least zero, computed at the precision of `times` before any cast.

    Raises:
        ValueError: if times is not one-dimensional, no numbers, has NaN or goes backwards.

    Example:
        >>> kf.time_steps(jnp.array([0.5, 1.5, 1.75]), start=0.0).tolist()
        [0.5, 1.0, 0.25]
    """
    # in numpy where values are known: timestamps of 1e9 seconds have no milliseconds left in
    # float32
    module = np if is_concrete(times) and is_concrete(start) else jnp
    times, start = (
        a.astype(int) if a.dtype.kind == "u" else a for a in map(module.asarray, (times, start))
    )
    if times.ndim != 1 or times.shape[0] == 0:
        raise ValueError(f"time_steps: times has shape {times.shape}; expected [T], T at least 1.")
    if times.dtype.kind not in "fi":
        raise ValueError(
            f"time_steps: times has dtype {times.dtype}; expected numbers. Convert dates to"
            " seconds."
        )
    dtype = times.dtype if times.dtype.kind == "f" else jnp.result_type(float)
    steps = module.diff(times, prepend=start.reshape(1)).astype(dtype)
    if module is np and not (steps >= 0).all():
        index = int(np.argmax(~(steps >= 0)))
        raise ValueError(
            f"time_steps: got a step of {steps[index]:.4g} at index {index};"
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
    """Discretise dx = (A x + B u) dt + dw exactly over a step dt with held u.

    The process noise has E[dw dw'] = diffusion dt.

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
        C. F. Van Loan, Computing integrals involving the matrix exponential, IEEE Trans. Automat.
        Contr. 23 (1978).
    """
    A, diffusion = (jnp.asarray(M) for M in (A, diffusion))
    A, diffusion = (M.astype(jnp.result_type(A, diffusion, float)) for M in (A, diffusion))
    n = A.shape[0] if A.ndim else 0
    if A.shape != (n, n) or diffusion.shape != (n, n):
        raise ValueError(
            f"van_loan: A is {A.shape} and diffusion {diffusion.shape}; expected [n, n] both."
        )
    check_covariance("van_loan: diffusion", diffusion)
    if is_concrete(dt) and not np.all(np.asarray(dt) >= 0):
        raise ValueError(f"van_loan: dt is {dt}; expected a step of at least 0.")
    B = None if B is None else jnp.asarray(B, A.dtype)
    if B is not None and (B.ndim != 2 or B.shape[0] != n):
        raise ValueError(f"van_loan: B has shape {B.shape}; expected ({n}, p).")
    # exp(-A dt) overflows for fast modes: halve the step until |A dt| < 1, then double the result
    norm = jnp.linalg.norm(A, ord=jnp.inf) * dt
    halvings = jax.lax.stop_gradient(
        jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(norm, 1))), 0, HALVINGS)
    )
    whole = _over_short_step(A, diffusion, B, dt / 2**halvings)
    return jax.lax.scan(_doubled, whole, jnp.arange(HALVINGS) < halvings)[0]


def _over_short_step(A: Array, diffusion: Array, B: Array | None, dt: Array) -> Discretised:
    """Discretise by exponentials of block matrices."""
    n = A.shape[0]
    exponential = jax.scipy.linalg.expm(jnp.block([[-A, diffusion], [jnp.zeros_like(A), A.T]]) * dt)
    F = exponential[n:, n:].T
    Q = linalg.symmetric(linalg.matmul(F, exponential[:n, n:]))
    if B is None:
        return Discretised(F, Q, None)
    p = B.shape[1]
    held = jnp.block([[A, B], [jnp.zeros((p, n + p), A.dtype)]])
    return Discretised(F, Q, jax.scipy.linalg.expm(held * dt)[:n, n:])


def _doubled(half: Discretised, active: Array) -> tuple[Discretised, None]:
    """Join two equal steps, where active."""
    F, Q, B = half
    held = None if B is None else B + linalg.matmul(F, B)
    whole = Discretised(linalg.matmul(F, F), linalg.symmetric(Q + linalg.quadratic(F, Q)), held)
    return jax.tree.map(lambda a, b: jnp.where(active, a, b), whole, half), None
