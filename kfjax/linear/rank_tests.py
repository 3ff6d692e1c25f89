"""Observability and controllability."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.arguments import check_kind
from kfjax._support.values import real_array
from kfjax.models.observing import bind
from kfjax.models.state_space import StateSpaceModel

__all__ = ["Rank", "controllability", "observability"]


class Rank(NamedTuple):
    """How much of the state an input or output reaches.

    Attributes:
        rank: number of state directions reached.
        singular_values: [n] of the Gramian matrix, largest first; the gap tells how sharp the rank
            is.
        missing: an orthonormal basis [n, n - rank] of the directions that are not reached.
    """

    rank: int
    singular_values: np.ndarray
    missing: np.ndarray


def observability(model: StateSpaceModel, x: Array | None = None, u: Any = None) -> Rank:
    """Tell which state directions y can see: the rank of (H, H F, ..., H F^{n-1}).

    Args:
        model: any `StateSpaceModel`; a nonlinear one is linearised.
        x: where to linearise [n]; default the prior mean.
        u: the input there, or None.

    Returns:
        `Rank(rank, singular_values, missing)`; rank = n if the model is observable.

    Raises:
        ValueError: if the state space is curved.

    Example:
        >>> kf.observability(kf.systems.constant_velocity()).rank
        2
    """
    F, H = _jacobians("observability", model, x, u)
    return _rank(np.concatenate([H @ np.linalg.matrix_power(F, k) for k in range(F.shape[0])]))


def controllability(model: StateSpaceModel, x: Array | None = None, u: Any = None) -> Rank:
    """Tell which state directions the process noise drives.

    This is the rank of (G, F G, ..., F^{n-1} G) with G G' = Q.

    Args:
        model: any `StateSpaceModel`; a nonlinear one is linearised.
        x: where to linearise [n]; default the prior mean.
        u: the input there, or None.

    Returns:
        `Rank(rank, singular_values, missing)`; rank = n if noise reaches every direction.

    Raises:
        ValueError: if the state space is curved.
    """
    F, _ = _jacobians("controllability", model, x, u)
    mean = model.prior.mean if x is None else x
    G = np.asarray(linalg.cholesky(model.process_noise(mean, u)), np.float64)
    return _rank(
        np.concatenate([np.linalg.matrix_power(F, k) @ G for k in range(F.shape[0])], axis=1).T
    )


def _jacobians(
    who: str, model: StateSpaceModel, x: Array | None, u: Any
) -> tuple[np.ndarray, np.ndarray]:
    """F and H at a point, in double precision."""
    check_kind(f"{who}: model", model, StateSpaceModel)
    if x is not None and np.shape(real_array(f"{who}: x", x)) != model.prior.mean.shape:
        raise ValueError(
            f"{who}: x has shape {np.shape(x)}; expected {model.prior.mean.shape}, a state."
        )
    if not model.state_space.is_euclidean:
        raise ValueError(f"{who}: the model has a curved state space; expected a Euclidean one.")
    at = model.prior.mean if x is None else jnp.asarray(x, model.dtype)
    jacobian = functools.partial(lambda fn: np.asarray(jax.jacfwd(bind(fn, u))(at), np.float64))
    return jacobian(model.f), jacobian(model.h)


def _rank(matrix: np.ndarray) -> Rank:
    """Rank, singular values and null space of a matrix [k, n]."""
    _, values, directions = np.linalg.svd(matrix)
    n = matrix.shape[1]
    values = np.pad(values, (0, max(0, n - values.size)))[:n]
    rank = int((values > n * np.finfo(np.float32).eps * values.max(initial=0.0)).sum())
    return Rank(rank, values, directions[rank:].T)
