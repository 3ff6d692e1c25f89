"""Recorded points: their differences, their centre and their spread, flat or on a curved space."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from kfjax._support.compiling import jit
from kfjax.models.spaces import Space

__all__: list[str] = []

# The mean of points on a circle need not be unique: the iteration ends where offsets average to
# zero, which is also the far side of the circle.
STARTS = 5  # starting points of the search for a mean on a curved space
ITERATIONS = 10
TINY = np.finfo(np.float32).tiny


def differences(space: Space, a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return the tangent vectors [..., n] from points b to points a, each [..., N].

    a and b have the same number of axes.
    """
    if space.is_euclidean:
        return np.asarray(a, np.float64) - np.asarray(b, np.float64)
    tangents = _differences(space, jnp.asarray(a), jnp.asarray(b))
    return np.asarray(tangents, np.float64)


def moved(space: Space, points: ArrayLike, d: ArrayLike) -> np.ndarray:
    """Return the points [..., N] reached from points [..., N] along tangent vectors [..., n]."""
    if space.is_euclidean:
        return np.asarray(points, np.float64) + np.asarray(d, np.float64)
    reached = _moved(space, jnp.asarray(points), jnp.asarray(d))
    return np.asarray(reached)


def centre_and_spread(
    space: Space, points: ArrayLike, start: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean [N] of points [..., N], and the standard deviations [n] about it.

    On a curved space the mean is the point from which the mean difference is zero. Of several such
    points it is the one with the smallest spread.

    Args:
        space: the space of the points.
        points: [..., N], NaN where unknown.
        start: a point [N] to start from if no point is known in every component.

    Returns:
        The mean and the spread; the spread is exactly zero in components that do not vary, and NaN
        in components that are never known.

    Raises:
        ValueError: on a curved space, if there is no point to start from.
    """
    points = np.asarray(points)
    points = points.reshape(-1, points.shape[-1])
    known = ~np.isnan(points)
    if space.is_euclidean:
        values = np.where(known, points.astype(np.float64), 0)
        with np.errstate(invalid="ignore"):
            centre = values.sum(axis=0) / known.sum(axis=0)
    else:
        partly_known = points[known.any(axis=1)]
        centre = _curved_centre(space, partly_known, start)
    from_centre = differences(space, points, centre[None])
    return centre, _spread(from_centre)


def _curved_centre(space: Space, points: np.ndarray, start: ArrayLike | None) -> np.ndarray:
    """Return the mean [N] of points [K, N] on a curved space."""
    lacks_some = np.isnan(points).any(axis=1)
    complete = points[~lacks_some]
    if len(complete):
        places = np.linspace(0, len(complete) - 1, STARTS)
        starts = complete[places.astype(int)]
    elif start is not None:
        starts = np.asarray(start, points.dtype)[None]
    else:
        raise ValueError("no point is known in every component; expected at least one.")
    centres = _means(space, jnp.asarray(points), jnp.asarray(starts))
    spreads = [_spread(differences(space, points, centre[None])) for centre in centres]
    # compare logarithms, since components may have different units
    scores = [np.log(np.maximum(spread, TINY)).sum() for spread in spreads]
    best = int(np.argmin(scores))
    return np.asarray(centres[best])


def _spread(d: np.ndarray) -> np.ndarray:
    """Return the root mean square [n] of differences [K, n] from their mean."""
    # Equal numbers may differ from their mean by rounding: a spread of that size would scale a
    # constant component to noise of size one.
    varies = np.fmax.reduce(d, axis=0) > np.fmin.reduce(d, axis=0)
    known = ~np.isnan(d)
    squares = np.where(known, d, 0) ** 2
    with np.errstate(invalid="ignore"):
        variance = squares.sum(axis=0) / known.sum(axis=0)
    spread = np.sqrt(variance)
    return np.where(varies | np.isnan(spread), spread, 0)


@jit
def _differences(space: Space, a: Array, b: Array) -> Array:
    difference = jnp.vectorize(space.difference, signature="(k),(k)->(n)")
    return difference(a, b)


@jit
def _moved(space: Space, points: Array, d: Array) -> Array:
    retract = jnp.vectorize(space.retract, signature="(k),(n)->(k)")
    return retract(points, d)


@jit
def _means(space: Space, points: Array, starts: Array) -> Array:
    """Return the mean of points [K, N] found from each start [S, N]."""
    differences_from = jax.vmap(space.difference, in_axes=(0, None))

    def closer(_: int, centre: Array) -> Array:
        offset = jnp.nanmean(differences_from(points, centre), axis=0)
        moved_centre = space.retract(centre, offset)
        return moved_centre.astype(points.dtype)

    def mean(start: Array) -> Array:
        return jax.lax.fori_loop(0, ITERATIONS, closer, start)

    return jax.vmap(mean)(starts)
