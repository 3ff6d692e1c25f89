"""What filters made of filters share: checks at their doors, selecting states, and reporting in Info."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax.base import Info
from kfjax.models.lens import count_models, model_of
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.models.state_space import StateSpaceModel

__all__: list[str] = []


def single_model(who: str, params: Any) -> StateSpaceModel:
    """Return the one model inside params, or raise: noise can be changed only if it is clear whose."""
    count = count_models(params)
    model = model_of(params)
    if model is None or count != 1:
        raise ValueError(
            f"{who}: params ({type(params).__name__}) hold {count} state-space models; expected"
            " exactly one."
            f" Put {who} inside, on each member or sensor."
        )
    return model


def state_space_of(params: Any) -> Space:
    """Return how the states of params are subtracted and moved."""
    model = model_of(params)
    return EUCLIDEAN if model is None else model.state_space


def select(condition: Array, new: Any, old: Any) -> Any:
    """Return the leaves of new where the condition holds, else those of old."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def reported(info: Info, **extra: Any) -> Info:
    """Add to what an Info reports."""
    return info._replace(extra=(info.extra or {}) | extra)


def silenced(used: Array, info: Info) -> Info:
    """Return an Info of zeros where the observation was not used; what was reported stays."""
    numbers = info._replace(extra=None)
    return select(used, numbers, jax.tree.map(jnp.zeros_like, numbers))._replace(extra=info.extra)


def chi_square_bounds(probability: float, y: Any, dtype: Any) -> Array:
    """Return the quantiles of chi-square with 0, 1, ... degrees of freedom, up to the number of channels of y."""
    channels = sum(jnp.size(leaf) for leaf in jax.tree.leaves(y))
    from scipy.special import gammaincinv  # slow to import

    quantiles = 2 * gammaincinv(0.5 * np.arange(1, channels + 1), probability)
    return jnp.asarray(np.concatenate([[0.0], quantiles]), dtype)
