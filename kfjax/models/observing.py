"""A single observation with its input and mask applied, and the Info of its innovation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.naming import described
from kfjax._support.precision import eps_of
from kfjax._support.pytrees import select
from kfjax.base import Info
from kfjax.models.calling import call
from kfjax.models.functions import Linear
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


class Observation(NamedTuple):
    """One observation as an update form sees it: u is filled in, and the mask is applied.

    An unobserved channel reads zero whatever the state, and has unit noise: it is decoupled from
    everything, so that values and gradients are those of a model without it.

    Attributes:
        fn: function of x alone, [n] -> [m], or a `Linear`; zero in unobserved channels.
        R: noise covariance [m, m].
        innovation: `y_hat [m] -> [m]`, y - y_hat, zero in unobserved channels.
        space: how observations are subtracted.
        mask: [m] booleans, or None if all was observed.
        noise_free: whether R may be singular.
    """

    fn: Any
    R: Array
    innovation: Callable[[Array], Array]
    space: Space
    mask: Array | None
    noise_free: bool


def bind(fn: Any, u: Any, mask: Array | None = None, *, name: str = "f") -> Any:
    """Return the function of x alone, zero in unobserved channels; a `Linear` stays one.

    `name` is the name of fn in the model, for error texts.
    """
    if isinstance(fn, Linear):
        fixed = call(name, fn.at, u)
        return fixed if mask is None else fixed.masked(mask)
    if mask is None:
        return lambda x: call(name, fn, x, u)

    def masked(x: Array) -> Array:
        y = call(name, fn, _cut(mask, x), u)
        return jnp.where(mask, y, 0)

    return masked


def _cut(mask: Array, tree: Any) -> Any:
    """Stop gradients where nothing is observed: h may have none there, and 0 * inf is NaN."""
    seen = mask.any()
    return jax.tree.map(lambda a: jnp.where(seen, a, jax.lax.stop_gradient(a)), tree)


def observe(
    model: StateSpaceModel, x: Array, y: Array, u: Any = None, observed: Any = None
) -> Observation:
    """Return the observation y [m] of the model at the predicted mean x, with the mask applied."""
    check_single(y, observed)
    y, space = jnp.asarray(y, x.dtype), model.observation_space
    if observed is None:
        R = _fitting(model.observation_noise(x, u), y)
        return Observation(
            bind(model.h, u, name="h"),
            R,
            lambda y_hat: space.difference(y, y_hat),
            space,
            None,
            bool(model.noise_free),
        )
    mask = jnp.broadcast_to(jnp.asarray(observed, bool), y.shape)
    model, x, u = _cut(mask, (model, x, u))
    R = _fitting(model.observation_noise(x, u), y)
    # fill first, mask after: a NaN behind a `where` still has a NaN gradient
    y = jnp.where(mask, y, 0)
    both = mask[:, None] & mask[None, :]
    unit = jnp.diag((~mask).astype(R.dtype))
    R = jnp.where(both, R, 0) + unit
    space = space if space.is_euclidean else _masked(space, mask)
    return Observation(
        bind(model.h, u, mask, name="h"),
        R,
        lambda y_hat: jnp.where(mask, space.difference(y, y_hat), 0),
        space,
        mask,
        bool(model.noise_free),
    )


def check_single(y: Any, observed: Any) -> None:
    """Raise unless y is one array, and the mask a boolean or one for each of its channels."""
    if y is None or isinstance(y, (dict, tuple)):
        raise ValueError(
            f"update: y is {described(y)}; expected an array [m], since the model has one h."
            " Observations of several sensors go through kf.sequential, with kf.Sensors."
        )
    if observed is None:
        return
    if isinstance(observed, (dict, tuple)) or jnp.shape(observed) not in ((), jnp.shape(y)):
        raise ValueError(
            f"update: observed is {described(observed)}; expected a boolean, or booleans of shape"
            f" {jnp.shape(y)}, as y."
        )


def _fitting(R: Array, y: Array) -> Array:
    """Return R; raise unless it fits y, since users may call a filter's functions directly."""
    if y.shape != R.shape[:1]:
        raise ValueError(
            f"update: y has shape {y.shape}; expected {R.shape[:1]}, one observation without a"
            " time or batch axis."
        )
    return R


def _masked(space: Space, mask: Array) -> Space:
    """Return the space with differences and gradients of zero in unobserved channels."""

    def difference(a: Array, b: Array) -> Array:
        return jnp.where(mask, space.difference(jnp.where(mask, a, 1), jnp.where(mask, b, 1)), 0)

    return Space(difference, space.retract)


def innovation_info(
    innovation: Array,
    S: Any,
    mask: Array | None = None,
    *,
    size: Array | None = None,
    R: Array | None = None,
) -> Info:
    """Return the Info of an innovation with covariance S.

    Args:
        innovation: [m].
        S: its covariance [m, m], factored; with `hidden` if it may be singular.
        mask: [m] booleans, or None if all was observed.
        size: the size [m] of the terms of the predicted observation; None for zero.
        R: the noise covariance [m, m] in S; None for zero.
    """
    solved = S.solve(innovation)
    nis = jnp.sum(innovation * solved)
    counted = jnp.ones_like(innovation, bool) if mask is None else mask
    logdet = S.logdet()
    if getattr(S, "hidden", None) is not None:
        # solves leave out singular channels: what the others do not explain of them remains
        rest = innovation - linalg.matmul(S.matrix, solved)
        size = _total_size(innovation, rest, size)
        determined = linalg.diagonal(S.lower) == 0
        rest_nis, rest_logdet, free = _determined(determined, rest, size, S.hidden, R)
        nis, logdet, counted = nis + rest_nis, logdet + rest_logdet, counted & ~free
    dof = jnp.sum(counted, dtype=jnp.int32)
    constant = dof.astype(nis.dtype) * math.log(2 * math.pi)
    log_likelihood = 0 - 0.5 * (nis + logdet + constant)
    cov = S.matrix if mask is None else jnp.where(mask[:, None] & mask[None, :], S.matrix, 0)
    return Info(innovation, cov, log_likelihood, nis, dof)


def _total_size(innovation: Array, rest: Array, size: Array | None) -> Array:
    """Return the size [m] of the numbers whose difference earlier channels leave."""
    total = jnp.abs(innovation) + jnp.abs(innovation - rest)
    return total if size is None else total + size


def _determined(
    determined: Array, rest: Array, size: Array, hidden: Array, R: Array | None
) -> tuple[Array, Array, Array]:
    """Return the contribution to NIS and log det S of channels that earlier ones determine.

    By the chain rule such a channel has the variance of its own noise. If that is zero, the channel
    adds nothing if it agrees with the earlier ones up to rounding, and is impossible if it does
    not.

    Args:
        determined: which channels earlier ones determine, [m] booleans.
        rest: what the earlier channels leave of the innovation [m].
        size: the size [m] of the numbers whose difference `rest` is.
        hidden: the variances [m] that rounding may hide.
        R: the noise covariance [m, m], or None for zero.

    Returns:
        The sum for NIS, infinite if a channel is impossible; the sum for log det S; and which
        channels are free of noise [m].
    """
    noise = jnp.zeros_like(rest) if R is None else noise_pivots(R)
    noise = jnp.where(determined, noise, 0)
    noisy = noise > 0
    free = determined & ~noisy
    variance = jnp.where(noisy, noise, 1)
    nis = jnp.sum(jnp.where(noisy, rest**2 / variance, 0))
    # A difference counts as rounding if its square is at most a few times the variance that
    # rounding may hide, or if it is below what the rounding errors of many steps add up to, in this
    # channel or in one whose numbers are much larger.
    root = eps_of(rest) ** 0.5
    tolerance = root * (size + 64 * root * jnp.max(size))
    impossible = free & (rest**2 > tolerance**2 + 4 * hidden)
    nis = jnp.where(impossible.any(), jnp.inf, nis)
    return nis, jnp.sum(jnp.log(variance)), free


def noise_pivots(R: Array) -> Array:
    """Return the variances [m] of the noise of each channel given that of the earlier ones."""
    return linalg.diagonal(linalg.cholesky(R)) ** 2


def any_observed(observed: Any) -> Array:
    """Return whether anything was observed, by one sensor or by several."""
    leaves = jax.tree.leaves(True if observed is None else observed)
    return functools.reduce(jnp.logical_or, map(jnp.any, leaves))


def keep_unobserved(observed: Any, new: Any, old: Any) -> Any:
    """Return the old state where nothing was observed, to the bit: a law of every filter."""
    if observed is None:
        return new
    seen = any_observed(observed)
    return select(seen, new, old)
