"""Minimisation of a smooth function of a few numbers, by L-BFGS with a line search."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kfjax._support.compiling import jit

__all__: list[str] = []

Evaluate: TypeAlias = Callable[[Any], tuple[Any, Any]]  # theta [p] -> (value, gradient [p])

# Between 3 and 20 pairs are usual (Nocedal and Wright, Numerical Optimization, section 7.2).
MEMORY = 10  # pairs of steps and gradients
LINE_SEARCH = 30  # evaluations in one line search, at most
DECREASE = 1e-4  # of the slope at the start: the least fall of a line search
CURVATURE = 0.9  # of the same, for the slope where it ends
ROUNDING = 1e-6  # of the value, below which values are equal
EXPANSION = 4.0  # of the step while the function falls
NEAREST = 0.1  # of the interval, to its ends
STALLS = 2  # line searches without a result: with a memory, and along the gradient
AGAIN = 5  # descents from other places, at most
SHARES = (-8.0, -4.0, -2.0, -1.0, 1.0, 2.0, 4.0, 8.0)  # of the spread, where these are


class Minimum(NamedTuple):
    """The result of a minimisation.

    Attributes:
        theta: [p].
        value: the function there.
        gradient: its gradient there [p].
        updates: number of updates made.
    """

    theta: Any
    value: Any
    gradient: Any
    updates: int


def minimise(evaluate: Evaluate, start: Any, *, updates: int, tolerance: float) -> Minimum:
    """Minimise a function by L-BFGS with a line search for the strong Wolfe conditions.

    It ends when no entry of the gradient exceeds the tolerance, when line searches find nothing
    lower, or after `updates` updates; the caller tells from the gradient whether it converged. The
    loop is Python's: the only large program is that of the function with its gradient, compiled
    once, where a search inside `jax.jit` would compile three copies of it.

    Args:
        evaluate: `theta [p] -> (value, gradient [p])`, compiled.
        start: [p], where both are finite.
        updates: the largest number of updates.
        tolerance: the largest entry of a gradient that counts as zero.

    References:
        J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed. (2006), algorithms 3.5, 3.6 and
        7.4.
    """
    now = _at(evaluate, np.asarray(start))
    state = _solver().init(jnp.asarray(now.theta))
    done = 0
    stalls = 0
    while np.abs(now.gradient).max() > tolerance and done < updates and stalls < STALLS:
        downwards, state = _direction(now.gradient, state, now.theta)
        found = _searched(evaluate, now, np.asarray(downwards))
        done += 1
        # The value must not be higher and the point must differ: at the precision of the dtype a
        # line search may return its start, and the loop would never end.
        if found.value <= now.value and (found.theta != now.theta).any():
            now = found
            stalls = 0
        else:  # the memory may describe a quite different place
            state = _solver().init(jnp.asarray(now.theta))
            stalls += 1
    return now._replace(theta=jnp.asarray(now.theta), updates=done)


def _at(evaluate: Evaluate, theta: np.ndarray) -> Minimum:
    """Return the function at a place; where it or its gradient is not finite, it is infinite."""
    value, gradient = (np.asarray(a) for a in evaluate(theta))
    sound = np.isfinite(value) and np.isfinite(gradient).all()
    return Minimum(theta, value if sound else np.inf, gradient if sound else 0 * theta, 0)


def _solver() -> optax.GradientTransformation:
    """Return L-BFGS without a line search."""
    return optax.lbfgs(1.0, memory_size=MEMORY, linesearch=None)


@jit
def _direction(gradient: Array, state: Any, theta: Array) -> tuple[Array, Any]:
    """Return where to search, and the memory with this gradient in it."""
    return _solver().update(gradient, state, theta)


class _Point(NamedTuple):
    """A point of a line search."""

    step: float
    value: float
    slope: float


def _searched(evaluate: Evaluate, now: Minimum, direction: np.ndarray) -> Minimum:
    """Return a place along a direction where the strong Wolfe conditions hold, or the lowest."""
    origin = _Point(0.0, float(now.value), float(now.gradient @ direction))
    if not origin.slope < 0:
        return now
    low, high = origin, None
    best = now
    step = 1.0
    for _ in range(LINE_SEARCH):
        theta = (now.theta + step * direction).astype(now.theta.dtype)
        if (theta == best.theta).all():  # the interval is one of rounding
            return best
        there = _at(evaluate, theta)
        point = _Point(step, float(there.value), float(there.gradient @ direction))
        level = abs(point.slope) <= CURVATURE * abs(origin.slope)
        # below the rounding of the values only slopes are informative
        equal = point.value <= origin.value + ROUNDING * abs(origin.value)
        falls = point.value <= origin.value + DECREASE * step * origin.slope
        if level and (falls or equal):
            return there
        if not falls or point.value >= low.value:
            high = point
        else:
            past = point.slope >= 0 if high is None else point.slope * (high.step - step) >= 0
            high = low if past else high
            low = point
            best = there
        step = EXPANSION * step if high is None else _between(low, high)
    return best


def _between(low: _Point, high: _Point) -> float:
    """Return the minimum of the cubic through two points, kept away from both."""
    width = high.step - low.step
    share = 0.5
    if math.isfinite(high.value):
        # Nocedal and Wright (3.59), from the lower point
        chord = (high.value - low.value) / width
        d1 = low.slope + high.slope - 3 * chord
        square = d1**2 - low.slope * high.slope
        if square > 0:
            d2 = math.copysign(math.sqrt(square), width)
            bottom = high.slope - low.slope + 2 * d2
            share = 1 - (high.slope + d2 - d1) / bottom if bottom else 0.5
    share = min(max(share, NEAREST), 1 - NEAREST) if math.isfinite(share) else 0.5
    return low.step + share * width


def leave_plateaus(
    value: Callable[[Array], Any],
    descend: Callable[[Array], Minimum],
    found: Minimum,
    spread: np.ndarray,
    least: float,
) -> Minimum:
    """Restart the descent from lower points along the axes, as long as there are any.

    Where a variance has all but vanished, the slope in its logarithm vanishes, too, and a descent
    ends there, whether or not a larger variance would be better.

    Args:
        value: `theta -> scalar`, the function.
        descend: `theta -> Minimum`.
        found: the result of the first descent.
        spread: how far to look along each axis [p].
        least: the smallest difference of values that counts.
    """
    for _ in range(AGAIN):
        theta = np.asarray(found.theta)
        places = [
            theta + share * reach
            for share in SHARES
            for reach in np.diag(spread).astype(theta.dtype)
        ]
        # Points are tried one by one, by the function that is already compiled: a `vmap` over them
        # would compile the whole filter again, for a handful of values.
        values = np.array([float(value(jnp.asarray(place, theta.dtype))) for place in places])
        values = np.where(np.isfinite(values), values, np.inf)
        lowest = int(values.argmin())
        if not values[lowest] < float(found.value) - least:
            return found
        again = descend(jnp.asarray(places[lowest], theta.dtype))
        if not float(again.value) < float(found.value):
            return found
        found = again
    return found
