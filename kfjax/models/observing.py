"""A single observation with its input and mask applied, and the Info of its innovation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax.base import Info
from kfjax.models.calling import call
from kfjax.models.functions import Linear
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


class Observation(NamedTuple):
    """One observation as an update form sees it: u is put in, and the mask has acted.

    An unobserved channel reads zero whatever the state, and has unit noise: it is decoupled from
    everything, so that values and gradients are those of a model without it.

    Attributes:
        fn: function of x alone, [n] -> [m], or a `Linear`; zero in unobserved channels.
        R: noise covariance [m, m].
        innovation: `y_hat [m] -> [m]`, y - y_hat, zero in unobserved channels.
        space: how observations are subtracted.
        mask: [m] booleans, or None if all was observed.
    """

    fn: Any
    R: Array
    innovation: Callable[[Array], Array]
    space: Space
    mask: Array | None


def bind(fn: Any, u: Any, mask: Array | None = None, *, name: str = "f") -> Any:
    """Return the function of x alone, zero in unobserved channels; a `Linear` stays one.

    Its name in the model is for error texts.
    """
    if isinstance(fn, Linear):
        fixed = call(name, fn.at, u)
        if mask is None:
            return fixed
        offset = None if fixed.b is None else jnp.where(mask, fixed.b, 0)
        return Linear.unchecked(jnp.where(mask[:, None], fixed.A, 0), None, offset)
    if mask is None:
        return lambda x: call(name, fn, x, u)
    return lambda x: jnp.where(mask, call(name, fn, _cut(mask, x), u), 0)


def _cut(mask: Array, tree: Any) -> Any:
    """Stop gradients where nothing is observed, since h may have none and 0 * inf is NaN."""
    return jax.tree.map(lambda a: jnp.where(mask.any(), a, jax.lax.stop_gradient(a)), tree)


def observe(
    model: StateSpaceModel, x: Array, y: Array, u: Any = None, observed: Any = None
) -> Observation:
    """Return the observation y [m] of the model at the predicted mean x, with the mask applied."""
    y, space = jnp.asarray(y, x.dtype), model.observation_space
    if observed is None:
        R = _fitting(model.observation_noise(x, u), y)
        return Observation(
            bind(model.h, u, name="h"), R, lambda y_hat: space.difference(y, y_hat), space, None
        )
    mask = jnp.broadcast_to(jnp.asarray(observed, bool), y.shape)
    model, x, u = _cut(mask, (model, x, u))
    R = _fitting(model.observation_noise(x, u), y)
    y = jnp.where(
        mask, y, 0
    )  # fill first, mask after: a NaN behind a `where` still has a NaN gradient
    R = jnp.where(mask[:, None] & mask[None, :], R, 0) + jnp.diag((~mask).astype(R.dtype))
    space = space if space.is_euclidean else _masked(space, mask)
    return Observation(
        bind(model.h, u, mask, name="h"),
        R,
        lambda y_hat: jnp.where(mask, space.difference(y, y_hat), 0),
        space,
        mask,
    )


def _fitting(R: Array, y: Array) -> Array:
    """Return R; raise unless it fits y, since users call the functions of a filter by hand, too."""
    if y.shape != R.shape[:1]:
        raise ValueError(
            f"update: y has shape {y.shape}; expected {R.shape[:1]}, one observation without axes"
            " of time or batch."
        )
    return R


def _masked(space: Space, mask: Array) -> Space:
    """Return the space with differences and gradients of zero in unobserved channels."""

    def difference(a: Array, b: Array) -> Array:
        return jnp.where(mask, space.difference(jnp.where(mask, a, 1), jnp.where(mask, b, 1)), 0)

    return Space(difference, space.retract)


def innovation_info(innovation: Array, S: Any, mask: Array | None) -> Info:
    """Return the Info of an innovation with covariance S."""
    nis = jnp.sum(innovation * S.solve(innovation))
    dof = jnp.asarray(innovation.shape[0] if mask is None else jnp.sum(mask), jnp.int32)
    log_likelihood = -0.5 * (nis + S.logdet() + dof.astype(nis.dtype) * math.log(2 * math.pi))
    cov = S.matrix if mask is None else jnp.where(mask[:, None] & mask[None, :], S.matrix, 0)
    return Info(innovation, cov, log_likelihood, nis, dof)


def any_observed(observed: Any) -> Array:
    """Tell whether anything was observed, of one sensor or of several."""
    leaves = jax.tree.leaves(True if observed is None else observed)
    return functools.reduce(jnp.logical_or, map(jnp.any, leaves))


def keep_unobserved(observed: Any, new: Any, old: Any) -> Any:
    """Return the old state where nothing was observed, to the bit: a law of every filter."""
    if observed is None:
        return new
    seen = any_observed(observed)
    return jax.tree.map(lambda a, b: jnp.where(seen, a, b), new, old)
