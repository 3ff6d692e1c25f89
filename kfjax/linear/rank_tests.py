"""Observability and controllability."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Real

from kfjax._support.arguments import check_kind
from kfjax._support.precision import eps_of
from kfjax._support.types import AnyArray
from kfjax._support.values import real_array
from kfjax.base import Inputs
from kfjax.models.observing import bind
from kfjax.models.state_space import StateSpaceModel

ROUNDING = 10  # the new part of a row counts as rounding below this multiple of n eps of its size

__all__ = ["Rank", "controllability", "observability"]


class Rank(NamedTuple):
    """The part of the state that an input or output reaches.

    Attributes:
        rank: number of state directions reached.
        singular_values: [n], largest first, of what each power of F adds to the powers before it,
            relative to its own size, with every component of the state in its own unit; the rank
            counts those above rounding, and the gap shows how sharp it is.
        missing: an orthonormal basis [n, n - rank] of the directions that are not reached.
    """

    rank: int
    singular_values: Float[np.ndarray, " n"]
    missing: Float[np.ndarray, "n k"]


def observability(
    model: StateSpaceModel, x: Real[AnyArray, " n"] | None = None, u: Inputs = None
) -> Rank:
    """Return which state directions y can see: the rank of (H, H F, ..., H F^{n-1}).

    The rank does not depend on units, and hence not on the length of a step.

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

    References:
        C. C. Paige, Properties of numerical algorithms related to computing controllability, IEEE
        Trans. Automat. Contr. 26 (1981), section III (the staircase).
    """
    F, H = _jacobians("observability", model, x, u)
    return _reached(F, H, eps_of(model))


def controllability(
    model: StateSpaceModel, x: Real[AnyArray, " n"] | None = None, u: Inputs = None
) -> Rank:
    """Return which state directions the process noise drives.

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
    mean = model.proper_prior.mean if x is None else x
    # the columns of Q span the same space as those of G, without the rounding of a root
    Q = np.asarray(model.process_noise(mean, u), np.float64)
    return _reached(F.T, Q, eps_of(model))


def _jacobians(
    who: str, model: StateSpaceModel, x: Array | None, u: Inputs
) -> tuple[np.ndarray, np.ndarray]:
    """Return F and H at a point, in double precision."""
    check_kind(f"{who}: model", model, StateSpaceModel)
    if x is not None and np.shape(real_array(f"{who}: x", x)) != model.proper_prior.mean.shape:
        raise ValueError(
            f"{who}: x has shape {np.shape(x)}; expected {model.proper_prior.mean.shape}, a state."
        )
    if not model.state_space.is_euclidean:
        raise ValueError(f"{who}: the model has a curved state space; expected a Euclidean one.")
    at = model.proper_prior.mean if x is None else jnp.asarray(x, model.dtype)

    def jacobian(fn: Any) -> np.ndarray:
        J = jax.jacfwd(bind(fn, u))(at)
        return np.asarray(J, np.float64)

    return jacobian(model.f), jacobian(model.h)


def _reached(F: np.ndarray, H: np.ndarray, eps: float) -> Rank:
    """Return the span of the rows of H, H F, H F^2, ... [k, n], known to the precision eps."""
    # Powers of F grow, decay or hardly differ from each other, so their joint rank is unreliable.
    # The staircase algorithm counts directions block by block: the next block is what the last one
    # added, times F, without the directions already known.
    n = F.shape[0]
    rounding = ROUNDING * n * eps
    units = _units(F, H)
    rows = _relative(H, np.diag(1 / units))
    basis = np.zeros((0, n))
    values = np.zeros(0)
    while rows.size and len(basis) < n:
        for _ in range(2):  # orthogonalising twice is enough
            rows = rows - (rows @ basis.T) @ basis
        _, added, directions = np.linalg.svd(rows, full_matrices=False)
        values = np.concatenate([values, added])
        reached = added > rounding
        new = directions[reached][: n - len(basis)]
        basis = np.concatenate([basis, new])
        # a direction left over from a difference has the rounding error of the numbers subtracted
        rounding = ROUNDING * n * eps / added[reached].min(initial=1.0)
        rows = _relative(new, units[:, None] * F / units)
    values = np.sort(np.pad(values, (0, n)))[::-1][:n]
    in_units = basis * units
    lengths = np.linalg.norm(in_units, axis=1, keepdims=True)
    missing = np.linalg.qr((in_units / lengths).T, mode="complete")[0][:, len(basis) :]
    return Rank(len(basis), values, missing)


def _units(F: np.ndarray, H: np.ndarray) -> np.ndarray:
    """Return the size [n] of each component of the state in H, H F, ..., by magnitudes."""
    # magnitudes do not cancel: an entry that is only rounding error stays small in its unit
    rows = np.abs(H)
    largest = np.zeros(F.shape[0])
    for _ in range(F.shape[0]):
        size = rows.max(initial=0.0)
        rows = rows / size if size > 0 else rows
        largest = np.maximum(largest, rows.max(axis=0, initial=0.0))
        rows = rows @ np.abs(F)
    return np.where(largest > 0, largest, 1.0)


def _relative(rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return rows @ factor, each row relative to the size of the terms of its sums."""
    product = rows @ factor
    summed = np.abs(rows) @ np.abs(factor)
    sizes = np.linalg.norm(summed, axis=1)
    return product[sizes > 0] / sizes[sizes > 0, None]
