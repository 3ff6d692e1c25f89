"""Helpers of combinators: the model inside params, selection of states, reports in Info."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from kfjax.base import Info, Observations, Params, PyTree
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


def select(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """Return the leaves of `new` where the condition holds, and those of `old` elsewhere."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def reported(info: Info, **extra: Any) -> Info:
    """Return the Info with entries added to its `extra`."""
    return info._replace(extra=(info.extra or {}) | extra)


def silenced(used: Array, info: Info) -> Info:
    """Return the Info with its numbers set to zero where the observation was not used."""
    numbers = info._replace(extra=None)
    zeros = jax.tree.map(jnp.zeros_like, numbers)
    return select(used, numbers, zeros)._replace(extra=info.extra)


def chi_square_bounds(probability: float, y: Observations, dtype: DTypeLike) -> Array:
    """Return the chi-square quantiles for 0, 1, ... degrees of freedom, up to the channels of y."""
    from scipy.special import gammaincinv  # slow to import

    channels = sum(jnp.size(leaf) for leaf in jax.tree.leaves(y))
    quantiles = 2 * gammaincinv(0.5 * np.arange(1, channels + 1), probability)
    return jnp.asarray(np.concatenate([[0.0], quantiles]), dtype)
