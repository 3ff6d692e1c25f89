"""Shared parts of the systems: noise from standard deviations, and priors."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from kfjax._support.arguments import check_kind, check_positive, numeric
from kfjax._support.types import AnyArray, Numbers
from kfjax._support.values import real_array
from kfjax.base import Gaussian
from kfjax.models.state_space import StateSpaceModel

__all__ = ["diagonal", "known", "noise_free"]


def known(x0: Any) -> Gaussian:
    """Return the prior of a start x_0 [n] that is known exactly: mean x0, covariance zero.

    Example:
        >>> kf.systems.known(jnp.ones(2)).cov.tolist()
        [[0.0, 0.0], [0.0, 0.0]]
    """
    mean = jnp.asarray(real_array("known: x0", x0))
    mean = mean.astype(jnp.result_type(mean, float))
    if mean.ndim != 1:
        raise ValueError(
            f"known: x0 has shape {mean.shape}; expected [n]. Batch the initial state with"
            " jax.vmap."
        )
    return Gaussian(mean, jnp.zeros((mean.shape[0], mean.shape[0]), mean.dtype))


def noise_free(model: StateSpaceModel, x0: Any = None) -> StateSpaceModel:
    """Return the model without process noise and with a known start: a deterministic truth.

    Args:
        model: any model.
        x0: start [n]; default the mean of the model's prior.

    Example:
        >>> truth = kf.systems.noise_free(kf.systems.tutorial_line(), [0.0, 0.5])
        >>> kf.simulate(jax.random.key(0), truth, steps=50)[0][-1].tolist()
        [25.0, 0.5]
    """
    check_kind("noise_free: model", model, StateSpaceModel)
    prior = known(model.prior.mean if x0 is None else x0)
    return model.replace(Q=np.zeros((model.n, model.n)), prior=prior)


def standard_prior(mean: Any, std: Numbers = 1.0) -> Gaussian:
    """Return N(mean, std^2 I), std a scalar or one per component."""
    mean = np.asarray(mean, float)
    return Gaussian(mean, diagonal("prior_std", std, mean.shape[0]))


def prior_or(prior: object, default: Gaussian) -> Any:
    """Return a prior, or the default for None; `StateSpaceModel` checks it."""
    return default if prior is None else prior


def diagonal(name: str, std: Numbers, size: int) -> AnyArray:
    """Return the covariance [size, size] of independent noise; std is a scalar or [size]."""
    std = real_array(name, std)
    if np.shape(std) not in ((), (size,)):
        raise ValueError(
            f"{name} has shape {np.shape(std)}; expected one standard deviation, or {size} of"
            " them. A full covariance goes into model.replace(Q=...) or (R=...)."
        )
    check_positive(name, std, shape=np.shape(std), zero=True)
    xp = numeric(std)
    return xp.diag(xp.broadcast_to(xp.asarray(std, float) ** 2, (size,)))
