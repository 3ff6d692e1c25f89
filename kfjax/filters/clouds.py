"""Clouds of points: weighted means and covariances, draws, and moves to given moments.

Particles and ensembles are such clouds; so are the observations that they predict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.base import Gaussian, Inputs, State
from kfjax.filters.noise_factors import coloured
from kfjax.models.calling import call
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def key_data(who: str, key: Array | None) -> Array:
    """Return the words of a random key, which numpy can store, unlike the key itself.

    Raises:
        ValueError: if there is no key.
    """
    if key is None:
        raise ValueError(
            f"{who}: got no key; expected a random key, since the filter draws. Pass"
            " key=jax.random.key(0)."
        )
    words = jax.random.key_data(jax.random.key(0)).shape
    return jax.random.bits(key, words, jnp.uint32)


def split(data: Array, count: int) -> tuple[Array, Array]:
    """Return new key data, and `count` keys to use."""
    keys = jax.random.split(jax.random.wrap_key_data(data), count + 1)
    return jax.random.key_data(keys[0]), keys[1:]


def space_of(model: StateSpaceModel) -> Space | None:
    """Return the curved space in which the points of a state are averaged, or None."""
    space = model.state_space
    return None if space.is_euclidean else jax.tree.map(jnp.copy, space)


def lifted(fn: Callable[[Any], Array], state: State, weights: Array) -> Array:
    """Map a function of one state over a stacked one with weights [..., N]."""
    for _ in range(weights.ndim - 1):
        fn = jax.vmap(fn)
    return fn(state)


def offsets(space: Space | None, points: Array, centre: Array) -> Array:
    """Return the tangent vectors [N, n] from a centre to points [N, n]."""
    return jax.vmap((space or EUCLIDEAN).difference, in_axes=(0, None))(points, centre)


def weighted_mean(space: Space | None, points: Array, weights: Array) -> Array:
    """Return the mean of points [N, n] with weights [N] that sum to one.

    On a curved space it is a reference plus the mean offset from it, computed twice, first with the
    heaviest point as reference.
    """
    if space is None or space.is_euclidean:
        return linalg.matmul(points.T, weights)
    mean = points[jnp.argmax(weights)]
    for _ in range(2):
        mean = space.retract(mean, linalg.matmul(offsets(space, points, mean).T, weights))
    return mean


def weighted_cov(space: Space | None, points: Array, weights: Array, mean: Array) -> Array:
    """Return the covariance of weighted points about their mean, in its tangent space."""
    d = offsets(space, points, mean)
    return linalg.weighted_gram(weights, d, d)


def mixed(weights: Array, matrices: Array) -> Array:
    """Return sum_i w_i A_i for matrices A_i, [N, k, l]."""
    rows = matrices.reshape(weights.shape[0], -1)
    return linalg.matmul(rows.T, weights).reshape(matrices.shape[1:])


def draw_prior(key: Array, model: StateSpaceModel, count: int) -> Array:
    """Draw [count, n] from the prior."""
    mean, cov = model.prior
    noise = coloured(cov, jax.random.normal(key, (count, model.n), model.dtype))
    return jax.vmap(model.state_space.retract, in_axes=(None, 0))(mean, noise)


def propagate(model: StateSpaceModel, x: Array, u: Inputs, z: Array) -> Array:
    """Return f(x, u) moved by the noise Q^1/2 z."""
    L = linalg.cholesky(model.process_noise(x, u))
    mean = call("f", model.f, x, u)
    noise = linalg.matmul(L, z)
    return model.state_space.retract(mean, noise).astype(x.dtype)


def affine_move(
    key: Array, space: Space | None, points: Array, weights: Array, target: Gaussian
) -> Array:
    """Move points [N, n] affinely so that their moments become those of a Gaussian.

    Directions in which the cloud has no spread are drawn anew, as is a cloud that is not finite.
    """
    # relative to a point first: in a collapsed cloud, offsets are then zero and not the rounding
    # errors of its mean
    d = offsets(space, points, points[jnp.argmax(weights)])
    d = d - linalg.matmul(d.T, weights)[None, :]
    L = linalg.cholesky(linalg.weighted_gram(weights, d, d))
    z = linalg.solve_lower(L, d.T).T
    keep = (jnp.diag(L) > 0)[None, :] & jnp.isfinite(d).all()
    z = jnp.where(keep, z, jax.random.normal(key, z.shape, z.dtype))
    moved = linalg.matmul(z, linalg.cholesky(target.cov).T)
    return jax.vmap((space or EUCLIDEAN).retract, in_axes=(None, 0))(target.mean, moved)
