"""The covariance of a stationary process: the discrete Lyapunov equation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float, Real

from kfjax import linalg
from kfjax._support.arguments import check_covariance, is_concrete
from kfjax._support.types import Nested
from kfjax._support.values import real_array

__all__ = ["stationary_covariance"]

DOUBLINGS = 40  # covers 1e12 steps, in which a mode of 1 - 1e-10 decays to nothing


def stationary_covariance(
    F: Real[ArrayLike, "n n"] | Nested, Q: Real[ArrayLike, "n n"] | Nested
) -> Float[Array, "n n"]:
    """Return the stationary covariance P = F P F' + Q of x_t = F x_{t-1} + e_t, e_t ~ N(0, Q).

    P = sum_k F^k Q F^k' is summed by doubling, P <- P + F P F' and F <- F F. The derivative is
    implicit, another Lyapunov equation: dP = F dP F' + dQ + dF P F' + F P dF'.

    Args:
        F: [n, n], with all eigenvalues inside the unit circle.
        Q: covariance [n, n].

    Returns:
        P [n, n]. In a trace, where an error cannot be raised, it is not finite or very large if F
        is not stable.

    Raises:
        ValueError: if shapes do not fit, Q is not a covariance, or F is not stable.

    Example:
        >>> kf.stationary_covariance([[0.5]], [[3.0]]).tolist()
        [[4.0]]

    References:
        B. D. O. Anderson, J. B. Moore, Optimal Filtering (1979), sections 4.2 and 6.7.
    """
    F = jnp.asarray(real_array("stationary_covariance: F", F, ndim=2))
    Q = jnp.asarray(real_array("stationary_covariance: Q", Q, ndim=2))
    F, Q = (M.astype(jnp.result_type(F, Q, float)) for M in (F, Q))
    if F.shape[0] != F.shape[1] or F.shape != Q.shape:
        raise ValueError(
            f"stationary_covariance: F is {F.shape} and Q {Q.shape}; expected [n, n] both."
        )
    check_covariance("stationary_covariance: Q", Q)
    if is_concrete(F) and not (radius := spectral_radius(F)) < 1:
        raise ValueError(
            f"stationary_covariance: an eigenvalue of F has modulus {radius:.6g}; expected all"
            " below 1. A process that is not stationary needs a prior, as by kf.diffuse."
        )
    return _stationary(F, linalg.symmetric(Q))


def spectral_radius(F: Any) -> float:
    """Return the largest modulus of the eigenvalues of a known matrix."""
    eigenvalues = np.linalg.eigvals(np.asarray(F, np.float64))
    return float(np.abs(eigenvalues).max(initial=0.0))


@jax.custom_jvp
def _stationary(F: Array, Q: Array) -> Array:
    """Return sum_k F^k Q F^k'; Q need not be definite."""

    # Doubling: with P_j = sum_{k < 2^j} F^k Q F^k', P_j+1 = P_j + F^(2^j) P_j F^(2^j)'. It takes
    # three products a round, is a sum of squares throughout, and needs no solve with the n^2 x n^2
    # matrix I - F (x) F.
    def double(sums: tuple[Array, Array], _: Any) -> tuple[tuple[Array, Array], None]:
        P, power = sums
        return (P + linalg.quadratic(power, P), linalg.matmul(power, power)), None

    return jax.lax.scan(double, (Q, F), length=DOUBLINGS)[0][0]


@_stationary.defjvp
def _stationary_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return P and its derivative, from the equation that defines P."""
    F, Q = primals
    dF, dQ = tangents
    P = _stationary(F, Q)
    # From P = F P F' + Q, dP = F dP F' + (dQ + dF P F' + F P dF'): the same equation for dP with
    # another Q, which is symmetric but need not be definite. The reverse mode then transposes
    # linear rounds and need not store the path of P.
    moved = linalg.matmul(linalg.matmul(dF, P), F.T)
    return P, _stationary(F, linalg.symmetric(dQ) + moved + moved.T)
