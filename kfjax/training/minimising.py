"""Minimisation of a smooth function of a few numbers, by L-BFGS with a line search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kfjax._support.pytrees import select

__all__: list[str] = []

# Between 3 and 20 pairs are usual (Nocedal and Wright, Numerical Optimization, section 7.2).
MEMORY = 10  # pairs of steps and gradients
LINE_SEARCH = 30  # evaluations in one line search, at most
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

    theta: Array
    value: Array
    gradient: Array
    updates: Array


def minimise(
    function: Callable[[Array], Array], start: Array, *, updates: Any, tolerance: Any
) -> Minimum:
    """Minimise a function by L-BFGS with the zoom line search of optax.

    It ends when no entry of the gradient exceeds the tolerance, when a line search along the
    gradient finds nothing lower, or after `updates` updates; the caller tells from the gradient
    whether it converged. It can be jitted. For several starts use `jax.lax.map`, under which each
    stops by itself.

    Args:
        function: `theta [p] -> scalar`. Where it or its gradient is not finite, it counts as very
            large.
        start: [p], where it is finite.
        updates: the largest number of updates.
        tolerance: the largest entry of a gradient that counts as zero.

    References:
        J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed. (2006), algorithms 3.5 and 7.4.
    """
    finite = _finite(function)
    search = optax.scale_by_zoom_linesearch(LINE_SEARCH, initial_guess_strategy="one")
    solver = optax.lbfgs(memory_size=MEMORY, linesearch=search)

    def goes_on(carry: tuple) -> Array:
        now, _, stalls = carry
        steep = jnp.abs(now.gradient).max() > tolerance
        return steep & (now.updates < updates) & (stalls < STALLS)

    def update(carry: tuple) -> tuple:
        now, state, stalls = carry
        step, state = solver.update(
            now.gradient, state, now.theta, value=now.value, grad=now.gradient, value_fn=finite
        )
        theta = optax.apply_updates(now.theta, step)
        # the line search ended with the value and the gradient at this place
        value = optax.tree.get(state, "value")
        gradient = optax.tree.get(state, "grad")
        lower = value <= now.value
        new = Minimum(theta, value, gradient, now.updates + 1)
        # "Not higher" and "elsewhere": at the precision of the dtype a line search may return its
        # start, with which the loop would go on without end.
        moved = lower & jnp.any(theta != now.theta)
        kept = select(moved, new, now._replace(updates=new.updates))
        # where nothing lower was found, the memory may be of a place that was quite different
        state = select(moved, state, solver.init(now.theta))
        return kept, state, jnp.where(moved, 0, stalls + 1)

    value, gradient = jax.value_and_grad(finite)(start)
    begin = Minimum(start, value, gradient, jnp.zeros((), jnp.int32))
    carry = (begin, solver.init(start), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(goes_on, update, carry)[0]


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
        # Places are tried one by one, by the function that is compiled already: a `vmap` over them
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


def _finite(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a function with a large value and a zero gradient where it is not finite."""

    # `jax.grad` of a `where` around a value that is not finite multiplies its zero cotangent by
    # infinite derivatives, which is NaN. So the gradient is computed in the forward pass, mended
    # there, and the backward pass only scales it.
    @jax.custom_vjp
    def finite(theta: Array) -> Array:
        return forward(theta)[0]

    def forward(theta: Array) -> tuple[Array, Array]:
        value, gradient = jax.value_and_grad(function)(theta)
        sound = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        # Large, but far enough below the largest number for the arithmetic of the line search,
        # whose interpolation would make NaN of an infinity. With a gradient of zero the place looks
        # like a plateau above everything else, from which the search steps back.
        large = jnp.sqrt(jnp.finfo(value.dtype).max)
        return jnp.where(sound, value, large), jnp.where(sound, gradient, 0)

    finite.defvjp(forward, lambda gradient, cotangent: (cotangent * gradient,))
    return finite
