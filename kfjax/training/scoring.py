"""Fisher scoring: a maximum of a likelihood from its gradient and its expected information.

For Gaussian innovations v_t with covariance S_t, the expected information of parameters i and j is

    I_ij = sum_t  d_i v_t' S_t^-1 d_j v_t + trace(S_t^-1 d_i S_t S_t^-1 d_j S_t) / 2,

of first derivatives only, which run forward in time beside the filter: with a few parameters they
take no longer than a backward pass, and a step by I^-1 needs fewer evaluations than one that has to
learn the curvature. Where a filter has no innovations, the sum of outer products of the gradients
of log p(y_t | y_1..t-1) takes the place of I.

One `advance` is one evaluation, whether or not its step is then taken, so that many climbs run side
by side under `jax.vmap`, and one that has ended can make room for another.

References: A. C. Harvey, Forecasting, Structural Time Series Models and the Kalman Filter (1989),
section 3.4; J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed. (2006), section 10.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.precision import eps_of
from kfjax._support.pytrees import select

__all__: list[str] = []

CLIMBING, CONVERGED, STALLED = 0, 1, 2
ENOUGH = 1e-5  # of the log-likelihood that may still be gained
REACH = 2.0  # of a step in each free number, which is often a logarithm
FLAT = 1e-2  # information about a free number that is all but undetermined
FIRST, LEAST, MOST = 1e-3, 1e-4, 1e6  # damping: at first, and between these

Terms = tuple[Array, Array | None, Array | None]


class Climb(NamedTuple):
    """A climb between two evaluations.

    Attributes:
        trial: where to evaluate next [p].
        theta: the best place so far [p].
        value: minus the log-likelihood there; infinite before the first evaluation.
        gradient: of the value [p].
        information: expected information [p, p].
        damping: of the step.
        expected: by how much the value should fall at the trial.
        gain: about how much of the log-likelihood is still to be gained.
        updates: number of evaluations.
        ended: CLIMBING, CONVERGED or STALLED.
    """

    trial: Array
    theta: Array
    value: Array
    gradient: Array
    information: Array
    damping: Array
    expected: Array
    gain: Array
    updates: Array
    ended: Array


def begin(theta: Array) -> Climb:
    """Return a climb from a place [p], before its first evaluation."""
    p = theta.shape[0]
    number = jnp.asarray(jnp.inf, theta.dtype)
    none = jnp.zeros((), jnp.int32)
    return Climb(
        trial=theta,
        theta=theta,
        value=number,
        gradient=jnp.zeros(p, theta.dtype),
        information=jnp.zeros((p, p), theta.dtype),
        damping=jnp.asarray(FIRST, theta.dtype),
        expected=number,
        gain=number,
        updates=none,
        ended=none,
    )


def advance(terms: Callable[[Array], Terms], climb: Climb) -> Climb:
    """Evaluate the trial of a climb, take it if it is better, and propose the next one.

    Args:
        terms: `theta [p] -> (log-likelihoods [T], innovations [T, m], their covariances [T, m,
            m])`, the latter two None where there are none.
        climb: the climb.
    """
    value, gradient, information = score(terms, climb.trial)
    finite = [jnp.isfinite(part).all() for part in (value, gradient, information)]
    sound = finite[0] & finite[1] & finite[2]
    taken = sound & (value < climb.value)
    first = jnp.isinf(climb.value)
    quality = jnp.where(first, 0.5, (climb.value - value) / climb.expected)
    here = climb._replace(
        theta=climb.trial, value=value, gradient=gradient, information=information
    )
    here = select(taken, here, climb)
    damping = jnp.clip(climb.damping * _change(taken, quality), LEAST, None)
    step, expected = _step(here, damping)
    _, gain = _step(here, jnp.asarray(LEAST, damping.dtype))
    enough = jnp.maximum(ENOUGH, 10 * eps_of(value) * jnp.abs(here.value))
    ended = jnp.where(gain < enough, CONVERGED, jnp.where(damping > MOST, STALLED, CLIMBING))
    return here._replace(
        trial=here.theta + step,
        damping=damping,
        expected=expected,
        gain=gain,
        updates=climb.updates + 1,
        ended=ended.astype(jnp.int32),
    )


def score(terms: Callable[[Array], Terms], theta: Array) -> tuple[Array, Array, Array]:
    """Return minus the log-likelihood, its gradient [p] and the information [p, p]."""

    def along(direction: Array) -> tuple[Terms, Terms]:
        return jax.jvp(terms, (theta,), (direction,))

    identity = jnp.eye(theta.shape[0], dtype=theta.dtype)
    (each, _, cov), (slopes, moved, widened) = jax.vmap(along, out_axes=(None, 0))(identity)
    if cov is None or moved is None or widened is None:
        information = linalg.matmul(slopes, slopes.T)
    else:
        information = jax.vmap(_information, (0, 1, 1))(cov, moved, widened).sum(0)
    return -each.sum(), -slopes.sum(1), information


def _information(S: Array, moved: Array, widened: Array) -> Array:
    """Return what one observation adds, from S [m, m] and derivatives [p, m] and [p, m, m]."""
    p, m = moved.shape
    # nothing was observed where the variance is zero, and the derivatives are zero, too
    unseen = linalg.diagonal(S) == 0
    factored = linalg.factorise(S + jnp.diag(unseen.astype(S.dtype)))
    scaled = factored.solve(moved.T).T
    relative = jax.vmap(factored.solve)(widened)
    rows = relative.reshape(p, m * m)
    transposed = relative.swapaxes(1, 2).reshape(p, m * m)
    products = linalg.matmul(rows, transposed.T)
    return linalg.matmul(moved, scaled.T) + 0.5 * products


def _change(taken: Array, quality: Array) -> Array:
    """Return the factor by which the damping changes after an evaluation."""
    after_success = jnp.where(quality > 0.75, 0.1, jnp.where(quality < 0.25, 4.0, 1.0))
    return jnp.where(taken, after_success, 10.0)


def _step(climb: Climb, damping: Array) -> tuple[Array, Array]:
    """Return a damped step [p], not longer than REACH, and by how much the value should fall."""
    B = climb.information
    size = jnp.maximum(jnp.diagonal(B), FLAT)
    direction = jnp.linalg.solve(B + jnp.diag(damping * size), climb.gradient)
    step = -jnp.clip(direction, -REACH, REACH)
    bends = 0.5 * step @ B @ step
    slope = climb.gradient @ step
    return step, jnp.maximum(-slope - bends, jnp.abs(slope) / 2)
