"""Helpers of combinators: the model inside params, selection of states, reports in Info."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from kfjax._support.pytrees import select
from kfjax.base import Filter, Gaussian, Info, Observations, Params, State
from kfjax.models.augmented_state import with_own_noise
from kfjax.models.lens import count_models, model_of
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def single_model(who: str, params: Params) -> StateSpaceModel:
    """Return the one model inside params, or raise a ValueError."""
    count = count_models(params)
    model = model_of(params)
    if model is None or count != 1:
        raise ValueError(
            f"{who}: params ({type(params).__name__}) hold {count} state-space models; expected"
            f" exactly one. Put {who} inside, on each member or sensor."
        )
    return model


def state_space_of(params: Params) -> Space:
    """Return the space in which the states of params are subtracted and moved."""
    model = model_of(params)
    if model is None:
        return EUCLIDEAN
    return model.state_space


def rewritten(filter: Filter, params: Params, state: State, belief: Gaussian) -> State:
    """Return the state with another belief about x; noise in the state stays as it is."""
    return filter.recentre(params, state, with_own_noise(model_of(params), belief))


def reported(info: Info, **extra: Any) -> Info:
    """Return the Info with entries added to its `extra`."""
    return info._replace(extra=(info.extra or {}) | extra)


def scored(info: Info) -> Info:
    """Return the Info with an observation that has no score (NaN) counted as impossible."""
    nis = info.nis
    log_likelihood = info.log_likelihood
    if nis is not None:
        nis = jnp.where(jnp.isnan(nis), jnp.inf, nis)
    if log_likelihood is not None:
        log_likelihood = jnp.where(jnp.isnan(log_likelihood), -jnp.inf, log_likelihood)
    return info._replace(nis=nis, log_likelihood=log_likelihood)


def may_reject(info: Info) -> bool:
    """Return whether the filter that gave the Info reports which observations it used."""
    return "accepted" in (info.extra or {})


def acceptance(info: Info) -> Array:
    """Return the share of the observed channels that was used, 0 where nothing was observed."""
    if info.extra is not None and may_reject(info):
        return info.extra["accepted"]
    if info.dof is None:
        return jnp.ones((), jnp.int32)
    return (info.dof > 0).astype(jnp.int32)


def used_share(info: Info, seen: Array) -> Array:
    """Return the share of the observed channels that was used, 0 where nothing was observed.

    Channels that earlier ones determine have no degree of freedom; they are used if they agree.
    """
    share = acceptance(info) if may_reject(info) else jnp.ones((), jnp.int32)
    return jnp.where(seen, share, 0)


def counted_channels(info: Info) -> Array | None:
    """Return how many channels counted: `dof`, and at least 1 if the observation was impossible."""
    if info.dof is None or info.nis is None:
        return info.dof
    impossible = jnp.isinf(info.nis).astype(info.dof.dtype)
    return jnp.maximum(info.dof, impossible)


def joint_acceptance(infos: Sequence[Info], shares: Array) -> dict[str, Array]:
    """Return `accepted` of several updates with these shares; empty if none of them may reject."""
    if not any(map(may_reject, infos)):
        return {}
    parts = [acceptance(info).astype(shares.dtype) for info in infos]
    return {"accepted": jnp.sum(shares * jnp.stack(parts))}


def used_innovation(info: Info) -> Gaussian | None:
    """Return the innovation with the covariance that the gain came from; zero if not used.

    None for a filter without them.
    """
    cov = (info.extra or {}).get("used_cov", info.innovation_cov)
    if info.innovation is None or cov is None:
        return None
    innovation = Gaussian(info.innovation, cov)
    return select(acceptance(info) > 0, innovation, jax.tree.map(jnp.zeros_like, innovation))


def chi_square_bounds(probability: float, y: Observations, dtype: DTypeLike) -> Array:
    """Return the chi-square quantiles for 0, 1, ... degrees of freedom, up to the channels of y."""
    from scipy.special import gammaincinv  # slow to import

    channels = sum(jnp.size(leaf) for leaf in jax.tree.leaves(y))
    quantiles = 2 * gammaincinv(0.5 * np.arange(1, channels + 1), probability)
    return jnp.asarray(np.concatenate([[0.0], quantiles]), dtype)
