"""What the systems share: noise from standard deviations, known starts, and the checks at their doors."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax.base import Gaussian
from kfjax.models import StateSpaceModel, is_concrete
from kfjax.naming import suggest

__all__ = ["check_count", "check_positive", "choose", "diagonal", "known", "noise_free", "numeric", "standard_prior"]


def known(x0: Any) -> Gaussian:
    """Return the prior of a start x_0 [n] that is known exactly: mean x0, covariance zero.

    Example:
        >>> kf.systems.known(jnp.ones(2)).cov.tolist()
        [[0.0, 0.0], [0.0, 0.0]]
    """
    mean = jnp.asarray(x0)
    mean = mean.astype(jnp.result_type(mean, float))
    if mean.ndim != 1:
        raise ValueError(f"known: x0 has shape {mean.shape}; expected [n]. Batch the initial state with jax.vmap.")
    return Gaussian(mean, jnp.zeros((mean.shape[0], mean.shape[0]), mean.dtype))


def noise_free(model: StateSpaceModel, x0: Any = None) -> StateSpaceModel:
    """Return the model without process noise and with a known start: a deterministic truth to simulate from.

    Args:
        model: any model.
        x0: start [n]; default the mean of the model's prior.

    Example:
        >>> truth = kf.systems.noise_free(kf.systems.tutorial_line(), [0.0, 0.5])
        >>> kf.simulate(jax.random.key(0), truth, steps=50)[0][-1].tolist()
        [25.0, 0.5]
    """
    prior = known(model.prior.mean if x0 is None else x0)
    return model.replace(Q=np.zeros((model.n, model.n)), prior=prior)


def numeric(*values: Any) -> ModuleType:
    """Return numpy where all values are known, so that building a model compiles nothing; in a trace, jax.numpy."""
    return np if all(map(is_concrete, jax.tree.leaves(values))) else jnp


def standard_prior(mean: Any, std: Any = 1.0) -> Gaussian:
    """Return N(mean, std^2 I), std a scalar or one per component."""
    mean = np.asarray(mean, float)
    return Gaussian(mean, diagonal("prior_std", std, mean.shape[0]))


def diagonal(name: str, std: Any, size: int) -> Array:
    """Return the covariance [size, size] of independent noise with standard deviations std, a scalar or [size]."""
    if np.shape(std) not in ((), (size,)):
        raise ValueError(
            f"{name} has shape {np.shape(std)}; expected a number or {size} of them, standard deviations."
            " A full covariance goes in model.replace(Q=...) or (R=...)."
        )
    check_positive(name, std, shape=np.shape(std), zero=True)
    xp = numeric(std)
    return xp.diag(xp.broadcast_to(xp.asarray(std, float) ** 2, (size,)))


def check_positive(name: str, value: Any, *, shape: tuple[int, ...] = (), zero: bool = False) -> None:
    """Raise unless value is of that shape, finite and above zero (or zero, where that is meant)."""
    if np.shape(value) != shape:
        raise ValueError(f"{name} has shape {np.shape(value)}; expected {shape or 'a number'}.")
    if numeric(value) is jnp:
        return
    numbers = np.asarray(value, float)
    if not np.isfinite(numbers).all() or (numbers < 0).any() or (not zero and (numbers == 0).any()):
        raise ValueError(
            f"{name} is {value}; expected {'a number of at least' if zero else 'a finite number above'} 0."
        )


def check_count(name: str, value: Any) -> None:
    """Raise unless value is a whole number of at least one."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1.")


def choose(name: str, value: Any, options: Iterable[str]) -> None:
    """Raise unless value is among the options, naming the nearest."""
    options = list(options)
    if value not in options:
        raise ValueError(f"{name} is {value!r}; {suggest(str(value), options)}")
