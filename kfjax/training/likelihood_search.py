"""The search for the maximum of a likelihood, and what it is like there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax.training.free_parameters import FreeStart
from kfjax.training.information import Curvature
from kfjax.training.likelihood_objective import (
    WHO,
    Objective,
    On,
    derivatives,
    value_and_gradient,
    value_at,
    values_at,
)
from kfjax.training.minimising import Minimum, leave_plateaus, minimise

__all__: list[str] = []

TRIED = 16  # places that are looked at for each start
FURTHER = 3.0  # times the spread
FAR = 20.0  # logarithms from a value to an end that is as good as reached
AWAY = 2.0  # logarithms from the start to a value that is another one
CONVERGED = 1e-3  # of the log-likelihood that may still be gained


def places_to_start(
    objective: Objective, free: FreeStart, starts: int, key: Array, on: On
) -> Array:
    """Return where to start [K, p]: at the given place, and at the best ones around it."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    if starts == 1:
        return jnp.asarray(free.theta[None], dtype)
    # A value costs one pass of the filter, a descent dozens of passes with gradients: many points
    # are tried, and descents start only from the best.
    drawn = np.asarray(jax.random.normal(key, (TRIED * starts, free.theta.size)))
    # every other one far away, for starts that are wrong by orders of magnitude
    reach = np.where(np.arange(len(drawn)) % 2, FURTHER, 1.0)
    drawn = drawn * reach[:, None]
    around = free.theta + free.spread * drawn
    tried = jnp.asarray(np.vstack([free.theta, around]), dtype)
    values = values_at(objective, tried, on)
    values = np.where(np.isfinite(values), values, np.inf)
    if np.isinf(values).all():
        raise ValueError(
            f"{WHO}: the log-likelihood is not finite at any of {len(values)} starts; expected a"
            " number. Check the params, the units of the data, and whether the filter diverges."
        )
    best = 1 + np.argsort(values[1:], kind="stable")[: starts - 1]
    chosen = [*([0] if np.isfinite(values[0]) else []), *best[np.isfinite(values[best])]]
    return tried[np.array(chosen)]


def lowest(
    objective: Objective,
    places: Array,
    spread: np.ndarray,
    updates: int,
    enough: float,
    on: On,
) -> list[Minimum]:
    """Return where the starts lead to; the best of them has left its plateau."""

    def from_one(theta: Array) -> Minimum:
        return descend(objective, updates, theta, enough, on)

    found = [from_one(theta) for theta in places]
    at = min(range(len(found)), key=lambda index: float(found[index].value))
    found[at] = leave_plateaus(
        lambda theta: value_at(objective, theta, on),
        from_one,
        found[at],
        spread,
        CONVERGED / float(on.count),
    )
    return found


def descend(objective: Objective, updates: int, theta: Array, enough: float, on: On) -> Minimum:
    """Return where the objective is lowest, from one start [p]."""

    def evaluate(free: Array) -> tuple[Array, Array]:
        return value_and_gradient(objective, free, on)

    return minimise(evaluate, theta, updates=updates, tolerance=enough)


def curvature_at(objective: Objective, best: Minimum, given: np.ndarray, on: On) -> Curvature:
    """Return what the likelihood is like around its maximum."""
    theta = np.asarray(best.theta)
    p = theta.size
    step = np.eye(p)
    # a variance that has nearly vanished may grow a lot without making a difference
    away = given - theta + AWAY
    moved = np.vstack([theta, theta - FAR * step, theta + FAR * step, theta + away * step])
    # theta is evaluated together with them, since rounding differs between programs
    values = values_at(objective, jnp.asarray(moved, theta.dtype), on)
    change = -float(on.count) * (values[1:] - values[0]).reshape(3, p)
    hessian, jacobian = derivatives(objective, best.theta, on)
    has_end = np.isfinite(np.asarray(objective.layout.bounds)).T
    return Curvature(
        gradient=-float(on.count) * np.asarray(best.gradient, np.float64),
        information=float(on.count) * np.asarray(hessian, np.float64),
        jacobian=np.asarray(jacobian, np.float64),
        at_ends=np.where(has_end, change[:2], np.nan),
        elsewhere=change[2],
    )
