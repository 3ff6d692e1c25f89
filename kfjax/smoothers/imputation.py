"""Imputation of missing observations, with their covariances."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.compiling import jit
from kfjax.base import Filter, Gaussian, Inputs, Mask, Observations, Params
from kfjax.filters.beliefs import belief_of, check_noise_at, model_and_rule
from kfjax.models.observing import bind
from kfjax.models.records import checked_record
from kfjax.models.spaces import Space
from kfjax.models.state_space import StateSpaceModel

__all__ = ["impute"]


def impute(
    filter: Filter,
    params: Params,
    estimate: Any,
    ys: Observations,
    *,
    observed: Mask,
    us: Inputs = None,
) -> Gaussian:
    """Fill the gaps in ys.

    Missing entries become E[y_t | data]; observed ones are kept, with zero covariance.

    A missing channel whose noise is correlated with that of an observed one is conditioned on it: y
    = h(x) + G (y_seen - h(x)) + w with G = R_ms R_ss^-1 and Cov[w] = R_mm - G R_sm.

    Args:
        filter: a filter with a moment rule.
        params: the `StateSpaceModel`, or params that hold one.
        estimate: mean [T, n] and cov [T, n, n]: filtered, or (usually) smoothed.
        ys: observations [T, m]; unobserved entries may hold anything.
        observed: booleans [T] or [T, m].
        us: inputs [T, ...], or None.

    Returns:
        `Gaussian` with mean [T, m] and cov [T, m, m].

    Raises:
        ValueError: if the filter has no rule, the estimate has no covariance, the shapes differ, or
            ys has NaN where it is observed.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> ys = jnp.array([[0.0], [jnp.nan], [2.0]])
        >>> seen = ~jnp.isnan(ys)
        >>> filtered = kf.run(kf.kalman(), model, ys, observed=seen).outputs
        >>> smoothed = kf.smooth(kf.kalman(), model, filtered)
        >>> filled = kf.impute(kf.kalman(), model, smoothed, ys, observed=seen)
        >>> filled.cov[:, 0, 0].round(1).tolist()
        [0.0, 1.399999976158142, 0.0]
    """
    model = model_and_rule("impute", filter, params, estimate, us, observes=True)
    if observed is None:
        raise ValueError("impute: observed is None; expected booleans [T] or [T, m].")
    record = checked_record("impute", ys, us, observed)
    ys = jnp.asarray(record.ys)
    observed = jnp.asarray(record.observed, bool)
    steps = estimate.mean.shape[0]
    if ys.ndim != 2 or ys.shape[0] != steps or observed.shape not in (ys.shape, ys.shape[:1]):
        raise ValueError(
            f"impute: ys is {ys.shape} and observed {observed.shape} for {steps} estimates;"
            " expected [T, m], and [T] or [T, m]."
        )
    check_noise_at("impute", model, estimate, record.us)
    mask = jnp.broadcast_to(observed.reshape(steps, -1), ys.shape)
    return _impute(filter, model, belief_of(estimate), jnp.where(mask, ys, 0), mask, us)


@functools.partial(jit, static_argnums=0)
def _impute(
    filter: Filter, model: StateSpaceModel, beliefs: Gaussian, ys: Array, masks: Array, us: Inputs
) -> Gaussian:
    space: Space = model.observation_space

    def one(belief: Gaussian, y: Array, mask: Array, u: Inputs) -> Gaussian:
        h = bind(model.h, u, name="h")
        G, rest = noise_given_seen(model.observation_noise(belief.mean, u), mask)

        def given_seen(x: Array) -> Array:
            y_hat = h(x)
            # A function of x, so that the rule sees how much of the error of h(x) the seen channels
            # share.
            return y_hat + linalg.matmul(G, jnp.where(mask, space.difference(y, y_hat), 0))

        moments = filter.rule(given_seen, belief, model.state_space, space)
        hidden = ~mask[None, :] & ~mask[:, None]
        return Gaussian(jnp.where(mask, y, moments.mean), jnp.where(hidden, moments.cov + rest, 0))

    return jax.vmap(one)(beliefs, ys, masks, us)


def noise_given_seen(R: Array, mask: Array) -> tuple[Array, Array]:
    """Return G [m, m] and the residual covariance in v = G v_seen + residual.

    The residual is zero in observed channels.
    """
    # G = R_us R_ss^-1 for the unseen rows, without indexing: shapes may not depend on the mask. A
    # unit block in place of the unseen one leaves the seen block to itself, and G v = v for what is
    # seen.
    R_seen = jnp.where(mask[None, :], R, 0)  # the columns of observed channels
    unit = jnp.diag((~mask).astype(R.dtype))
    block = jnp.where(mask[:, None], R_seen, 0) + unit
    G = linalg.factorise(block).solve(R_seen.T).T
    hidden = ~mask[None, :] & ~mask[:, None]
    rest = linalg.symmetric(R - linalg.matmul(G, R_seen.T))
    return G, jnp.where(hidden, rest, 0)
