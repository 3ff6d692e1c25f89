"""The log-Cholesky parametrisation of covariances: any free numbers give a covariance."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float, Real

from kfjax import linalg
from kfjax._support.arguments import check_covariance
from kfjax._support.types import Nested, OneOrEach
from kfjax._support.values import real_array

__all__ = ["constrain", "unconstrain"]

# A singular covariance has no logarithm: eigenvalues are raised to this, with every component in
# units of its own standard deviation.
LIFT = 1e-6


def unconstrain(cov: Real[ArrayLike, "n n"] | Nested, floor: OneOrEach = 0.0) -> Float[Array, " k"]:
    """Return the free numbers [n (n + 1) / 2] of a covariance, row by row of its factor.

    cov = L L' + diag(floor),   L_ii = exp(theta_ii),   L_ij = L_ii theta_ij

    A step of the same size changes every variance by the same factor, whatever its units.

    Args:
        cov: [n, n], positive semidefinite. With every component in units of its own standard
            deviation, eigenvalues of cov - diag(floor) below 1e-6 are raised to that.
        floor: smallest variance of each component, a number or [n].

    Raises:
        ValueError: if cov is not a covariance, or is zero without a floor.

    Example:
        >>> theta = kf.training.unconstrain([[4.0, 2.0], [2.0, 3.0]])
        >>> kf.training.constrain(theta).round(4).tolist()
        [[4.0, 2.0], [2.0, 3.0]]
    """
    cov = jnp.asarray(real_array("unconstrain: cov", cov, ndim=2))
    if cov.shape[0] != cov.shape[1] or cov.size == 0:
        raise ValueError(f"unconstrain: cov has shape {cov.shape}; expected [n, n].")
    check_covariance("unconstrain: cov", cov)
    floor = real_array("unconstrain: floor", floor)
    if np.shape(floor) not in ((), cov.shape[:1]):
        raise ValueError(
            f"unconstrain: floor has shape {np.shape(floor)}; expected a number, or"
            f" {cov.shape[:1]} as in cov."
        )
    floor = np.broadcast_to(floor, cov.shape[:1])
    scale = _own_units(np.asarray(cov, np.float64), np.asarray(floor, np.float64))
    above_floor = np.asarray(cov, np.float64) - np.diag(floor)
    left = above_floor / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(left)
    raised = np.maximum(values, LIFT)
    factor = scale[:, None] * np.linalg.cholesky((vectors * raised) @ vectors.T)
    scale = np.diag(factor)
    below = np.tril(factor / scale[:, None], -1)
    theta = below + np.diag(np.log(scale))
    return jnp.asarray(theta[np.tril_indices(len(scale))], cov.dtype)


def _own_units(cov: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return a standard deviation above zero for every component [n]."""
    variances = np.maximum(np.diag(cov), floor)
    largest = variances.max()
    if largest <= 0:
        raise ValueError(
            "unconstrain: cov is zero; expected a positive variance somewhere, or a floor. Pass"
            " floor=."
        )
    # a component without any variance has no unit of its own
    return np.sqrt(np.where(variances > 0, variances, LIFT * largest))


def constrain(
    theta: Float[Array, " k"], floor: float | Float[Array, " ..."] = 0.0
) -> Float[Array, "n n"]:
    """Return the covariance [n, n] of free numbers [n (n + 1) / 2]; the inverse of `unconstrain`.

    Args:
        theta: logarithms of the diagonal of the factor, and its other entries relative to the
            diagonal of their row.
        floor: a number or [n] added to the diagonal.

    Raises:
        ValueError: if theta has another number of entries, or floor another shape.
    """
    theta = jnp.asarray(real_array("constrain: theta", theta, ndim=1))
    n = (int(np.sqrt(8 * theta.shape[-1] + 1)) - 1) // 2
    if theta.shape != (n * (n + 1) // 2,) or n == 0:
        raise ValueError(
            f"constrain: theta has shape {theta.shape}; expected [n (n + 1) / 2], as"
            " kfjax.training.unconstrain returns."
        )
    floor = real_array("constrain: floor", floor)
    if np.shape(floor) not in ((), (n,)):
        raise ValueError(
            f"constrain: floor has shape {np.shape(floor)}; expected a number or ({n},)."
        )
    zero = jnp.zeros((n, n), theta.dtype)
    free = zero.at[np.tril_indices(n)].set(theta)
    scale = jnp.exp(jnp.diag(free))
    unit = jnp.tril(free, -1) + jnp.eye(n, dtype=theta.dtype)
    # A factor D T with D = diag(exp) and a unit triangle T: row i is in units of its own standard
    # deviation, so that one learning rate suits components of any scale, and changing units adds
    # constants to the diagonal of theta alone.
    factor = scale[:, None] * unit
    added = jnp.broadcast_to(jnp.asarray(floor, theta.dtype), (n,))
    return linalg.symmetric_product(factor, factor) + jnp.diag(added)
