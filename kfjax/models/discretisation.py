"""From continuous time to steps: timestamps, and linear stochastic differential equations."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_covariance, is_concrete
from kfjax._support.precision import eps_of
from kfjax._support.pytrees import select
from kfjax._support.types import Numbers, Scalar
from kfjax._support.values import real_array

__all__ = ["Discretised", "time_steps", "van_loan"]

HALVINGS = 64  # at most, of a step with fast modes: |A dt| up to 9e18
MOST_HALVINGS = 120  # of a known step; its last part is still a normal number in float32


def time_steps(times: Any, start: Any, *, ordered: bool = True) -> Float[Array, " T"]:
    """Return the steps dt_t = times_t - times_{t-1} between timestamps, with times_0 = start.

    In order of arrival (`ordered=False`) each step is the time since the newest timestamp so far,
    dt_t = times_t - max(times_0, ..., times_{t-1}), which is negative for what is late:
    `kfjax.delayed` takes such steps.

    Args:
        times: [T] timestamps of the observations, in seconds or any unit.
        start: the time of x_0, at or before times[0].
        ordered: whether the times must not decrease.

    Returns:
        dt [T], computed at the precision of `times` before any cast; each at least zero if ordered.

    Raises:
        ValueError: if times is not one-dimensional, is not numeric, has NaN or (if ordered)
            decreases, or if its precision does not resolve the steps, as float32 does not for
            seconds since 1970.

    Example:
        >>> kf.time_steps(jnp.array([0.5, 1.5, 1.75]), start=0.0).tolist()
        [0.5, 1.0, 0.25]
    """
    # in numpy where values are known: in float32, timestamps of 1e9 seconds do not resolve
    # milliseconds
    start = real_array("time_steps: start", start, ndim=0)
    _check_times(times)
    module = np if is_concrete(times) and is_concrete(start) else jnp
    times, start = (
        a.astype(int) if a.dtype.kind == "u" else a for a in map(module.asarray, (times, start))
    )
    if times.ndim != 1 or times.shape[0] == 0:
        raise ValueError(f"time_steps: times has shape {times.shape}; expected [T], T at least 1.")
    if module is np:
        _check_resolution(times if ordered else np.sort(times))
    dtype = times.dtype if times.dtype.kind == "f" else jnp.result_type(float)
    joined = module.concatenate([start.reshape(1), times])
    if ordered:
        steps = module.diff(joined).astype(dtype)
    else:
        newest = np.maximum.accumulate if module is np else jax.lax.cummax
        steps = (times - newest(joined)[:-1]).astype(dtype)
    fits = steps >= 0 if ordered else module.isfinite(steps)
    if module is np and not fits.all():
        index = int(np.argmax(~fits))
        raise ValueError(
            f"time_steps: got a step of {steps[index]:.4g} at index {index}; expected times that"
            " never decrease, beginning with start. Sort the data by time, or pass"
            " ordered=False for kf.delayed."
        )
    return jnp.asarray(steps)


class Discretised(NamedTuple):
    """A linear stochastic differential equation over one step.

    Attributes:
        F: transition matrix [n, n].
        Q: process noise covariance [n, n].
        B: input matrix [n, p] for a held input, or None.
    """

    F: Float[Array, "... n n"]
    Q: Float[Array, "... n n"]
    B: Float[Array, "... n p"] | None


def _check_times(times: Numbers) -> None:
    """Raise unless times are real numbers."""
    dtype = getattr(times, "dtype", None)
    if dtype is not None and dtype.kind in "mM":
        raise ValueError(
            f"time_steps: times has dtype {dtype}; expected numbers. Convert dates to seconds."
        )
    real_array("time_steps: times", times, finite=False)


def _check_resolution(times: np.ndarray) -> None:
    """Raise if the precision of the times is coarse compared with their steps."""
    largest = np.abs(times).max(initial=0.0)
    if times.dtype.itemsize >= 8 or not np.isfinite(largest):
        return
    resolution = float(np.spacing(largest))
    step = float(times[-1] - times[0]) / max(times.size - 1, 1)
    whole_numbers = 2.0 ** (np.finfo(times.dtype).nmant + 1)  # beyond, not all are representable
    if resolution > 0.01 * step and (step != 0 or largest > whole_numbers):
        raise ValueError(
            f"time_steps: times are {times.dtype}, whose resolution at {largest:.4g} is"
            f" {resolution:.2g}, and have steps of {step:.2g}; expected a finer resolution. Pass"
            " numpy float64, or subtract the first time beforehand."
        )


def van_loan(A: Any, diffusion: Any, dt: Scalar, B: Any = None) -> Discretised:
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
        ValueError: if the shapes do not fit, the diffusion is not a covariance, or a mode grows
            beyond the largest number within dt, or is too fast: |A| dt is above 6e35 (in a
            trace, where an error cannot be raised, all is NaN above 9e18).

    Example:
        >>> A, W = [[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]
        >>> kf.van_loan(A, W, 1.0).Q.round(3).tolist()
        [[0.3330000042915344, 0.5], [0.5, 1.0]]

    References:
        C. F. Van Loan, Computing integrals involving the matrix exponential, IEEE Trans. Automat.
        Contr. 23 (1978); P. Axelsson, F. Gustafsson, Discrete-time solutions to the continuous-time
        differential Lyapunov equation with applications to Kalman filtering, IEEE Trans. Automat.
        Contr. 60 (2015), for the doubling.
    """
    A = jnp.asarray(real_array("van_loan: A", A))
    diffusion = jnp.asarray(real_array("van_loan: diffusion", diffusion))
    dt = real_array("van_loan: dt", dt, ndim=0)
    A, diffusion = (M.astype(jnp.result_type(A, diffusion, float)) for M in (A, diffusion))
    n = A.shape[0] if A.ndim else 0
    if A.shape != (n, n) or diffusion.shape != (n, n):
        raise ValueError(
            f"van_loan: A is {A.shape} and diffusion {diffusion.shape}; expected [n, n] both."
        )
    check_covariance("van_loan: diffusion", diffusion)
    if is_concrete(dt) and not np.all(np.asarray(dt) >= 0):
        raise ValueError(f"van_loan: dt is {dt}; expected a step of at least 0.")
    B = None if B is None else jnp.asarray(real_array("van_loan: B", B), A.dtype)
    if B is not None and (B.ndim != 2 or B.shape[0] != n):
        raise ValueError(f"van_loan: B has shape {B.shape}; expected ({n}, p).")
    inputs = A if B is None else jnp.concatenate([A, B], axis=1)
    most = _halvings(A, dt)
    held, Q = _integrals(most, A, diffusion, inputs, jnp.asarray(dt, A.dtype))
    F = jnp.eye(n, dtype=A.dtype) + held[:, :n]
    if is_concrete(F) and not (np.isfinite(F).all() and np.isfinite(Q).all()):
        raise ValueError(
            f"van_loan: exp(A dt) overflows for dt = {dt}; expected a step in which no mode grows"
            " beyond the largest number. Check the units of A and dt."
        )
    return Discretised(F, Q, None if B is None else held[:, n:])


def _halvings(A: Array, dt: Any) -> int:
    """Return how often a step may have to be halved, or raise if that is too often."""
    if not (is_concrete(A) and is_concrete(dt)):
        return HALVINGS
    rows = np.abs(np.asarray(A, np.float64)).sum(axis=1)
    size = float(rows.max(initial=0.0) * dt)
    for most in (HALVINGS, MOST_HALVINGS):
        if size <= 2.0 ** (most - 1):
            return most
    raise ValueError(
        f"van_loan: |A| dt is {size:.2g}; expected at most {2.0 ** (MOST_HALVINGS - 1):.2g}. Check"
        " the units of A and dt, or replace a mode that is so fast by its stationary value."
    )


# Both integrals over a step h are power series in A h, which converge quickly while |A h| < 1/2:
#
#     int_0^h exp(A s) ds G   =  sum_k A^k G h^(k+1) / (k+1)!
#     int_0^h exp(A s) D exp(A s)' ds  =  sum_k L^k(D) h^(k+1) / (k+1)!,   L(X) = A X + X A'.
#
# A longer step is composed of halves: with E = exp(A h) - I, which is the first integral for G = A,
# that over 2 h is 2 X + E X and the second Q + (I + E) Q (I + E)'. Here E is carried instead of
# exp(A h): a slow mode beside a fast one, 1 - 1e-9 after a short step, would round to 1. And
# nothing is computed from exp(-A h), which overflows for fast modes.


@functools.partial(jax.jit, static_argnums=0)
def _integrals(most: int, A: Array, D: Array, G: Array, dt: Array) -> tuple[Array, Array]:
    """Return the integrals of exp(A s) G and exp(A s) D exp(A s)' over a step dt.

    They are NaN where that takes more than `most` halvings.
    """
    size = jnp.linalg.norm(A, ord=jnp.inf) * dt
    size = jnp.where(size <= 2.0 ** (most - 1), size, jnp.nan)
    halvings = jnp.ceil(jnp.log2(jnp.maximum(size, 0.5)) + 1)
    halvings = jax.lax.stop_gradient(halvings)
    short = _over_short_step(A, D, G, dt / 2**halvings)
    return jax.lax.scan(_doubled, short, jnp.arange(most) < halvings)[0]


def _over_short_step(A: Array, D: Array, G: Array, h: Array) -> tuple[Array, Array]:
    """Return the integrals of exp(A s) G and exp(A s) D exp(A s)' over a short step h."""
    # the norm of A h is at most 1/2 and that of L h at most 1
    eps = eps_of(A)
    terms = next(k for k in itertools.count() if math.factorial(k) * eps > 1)
    held = term = G * h
    Q = flow = D * h
    for k in range(2, terms + 1):
        term = linalg.matmul(A, term) * (h / k)
        moved = linalg.matmul(A, flow) * (h / k)
        flow = moved + moved.T
        held = held + term
        Q = Q + flow
    return held, linalg.symmetric(Q)


def _doubled(half: tuple[Array, Array], active: Array) -> tuple[tuple[Array, Array], None]:
    """Join two equal steps, where active."""
    held, Q = half
    n = Q.shape[0]
    E = held[:, :n]
    F = jnp.eye(n, dtype=Q.dtype) + E
    twice_held = 2 * held + linalg.matmul(E, held)
    twice_Q = linalg.symmetric(Q + linalg.quadratic(F, Q))
    return select(active, (twice_held, twice_Q), half), None
