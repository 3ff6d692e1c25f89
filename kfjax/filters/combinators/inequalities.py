"""Sets {x: A x <= b}, and the projection of Gaussian beliefs onto them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Real

from kfjax import linalg
from kfjax._support.arguments import LARGEST_LOOP, check_count, check_kind
from kfjax._support.precision import eps_of
from kfjax._support.pytrees import Pytree, promote
from kfjax._support.types import Scalar
from kfjax._support.values import check_belief, check_not_nan, real_array
from kfjax.base import Gaussian

__all__ = ["Inequalities", "box", "nearest", "truncated"]

Bounds: TypeAlias = Real[ArrayLike, " n"] | Sequence[Scalar]


@dataclasses.dataclass(frozen=True, eq=False)
class Inequalities(Pytree):
    """The set {x: A x <= b}.

    Attributes:
        A: [k, n].
        b: [k].

    Raises:
        ValueError: if the shapes do not fit.
    """

    A: Any
    b: Any

    def __post_init__(self) -> None:
        given = (
            real_array("Inequalities: A", self.A),
            real_array("Inequalities: b", self.b, finite=False),
        )
        A, b = promote(given, "Inequalities")
        if A.ndim != 2 or b.shape != A.shape[:1]:
            raise ValueError(
                f"Inequalities: A has shape {A.shape} and b {b.shape}; expected [k, n] and [k]."
            )
        check_not_nan("Inequalities: b", b)
        object.__setattr__(self, "A", A)
        object.__setattr__(self, "b", b)


def box(lower: Bounds, upper: Bounds) -> Inequalities:
    """Return lower <= x <= upper as `Inequalities`; infinite bounds are left out.

    Args:
        lower: lower bounds [n], concrete numbers (not traced); -inf for no bound.
        upper: upper bounds [n], likewise; inf for no bound.

    Raises:
        ValueError: if the shapes differ or lower exceeds upper somewhere.

    Example:
        >>> kf.filters.box([0.0, -jnp.inf], [1.0, 2.0]).A.tolist()
        [[1.0, 0.0], [0.0, 1.0], [-1.0, -0.0]]
    """
    lowest = np.asarray(real_array("box: lower", lower, finite=False))
    highest = np.asarray(real_array("box: upper", upper, finite=False))
    if lowest.ndim != 1 or lowest.shape != highest.shape or not (lowest <= highest).all():
        raise ValueError(
            f"box: got lower={lowest} and upper={highest}; expected two vectors [n] with lower <="
            " upper."
        )
    identity = np.eye(len(lowest))
    A = np.concatenate([identity, -identity])
    b = np.concatenate([highest, -lowest])
    bounded = np.isfinite(b)
    return Inequalities(A[bounded], b[bounded])


def _check(who: str, belief: Gaussian, constraints: Inequalities) -> None:
    """Raise unless a belief and inequalities fit."""
    check_belief(f"{who}: belief", belief)
    check_kind(f"{who}: constraints", constraints, Inequalities)
    if constraints.A.shape[1:] != belief.mean.shape:
        raise ValueError(
            f"{who}: constraints have A of shape {constraints.A.shape} for a mean of shape"
            f" {belief.mean.shape}; expected [k, n] and [n]."
        )


def nearest(belief: Gaussian, constraints: Inequalities, *, sweeps: int = 100) -> Gaussian:
    """Move the mean to the most probable point of {A x <= b}, and keep the covariance.

    x = argmin (x - m)' P^-1 (x - m)  =  m - P A' l,

    with multipliers l >= 0 for the active constraints. Hildreth's sweeps over the dual problem find
    the active constraints, and one exact solve finds their multipliers, so that the mean is exact
    to rounding, and differentiable, once the active set is.

    Args:
        belief: mean [n] and cov [n, n].
        constraints: `Inequalities` with k rows.
        sweeps: largest number of sweeps over all constraints; each costs k^2 operations, and the
            final solve k^3.

    Returns:
        The belief with the moved mean. Its covariance is that without constraints, hence too wide
        but never overconfident.

    References:
        D. Simon, Kalman filtering with state constraints: a survey, IET Control Theory Appl. 4
        (2010), section 2.4.
    """
    _check("nearest", belief, constraints)
    check_count("nearest: sweeps", sweeps, most=LARGEST_LOOP)
    A = constraints.A
    # The nearest point in the metric of P^-1 is m - P A' l with multipliers l >= 0 that are zero
    # where A x < b. On the active rows (A P A') l = A m - b, which needs P but not its inverse.
    excess = linalg.matmul(A, belief.mean) - constraints.b
    spread = linalg.matmul(belief.cov, A.T)
    gram = linalg.matmul(A, spread)
    # The set of active rows does not change for small changes of the belief, so that the derivative
    # is that of the solve with this set, and the search needs none.
    active = _active(*jax.lax.stop_gradient((gram, excess)), sweeps)
    masked = linalg.factorise(jnp.where(active[:, None] & active[None, :], gram, 0))
    multipliers = jnp.maximum(masked.solve(jnp.where(active, excess, 0)), 0)
    return Gaussian(belief.mean - linalg.matmul(spread, multipliers), belief.cov)


def _active(gram: Array, excess: Array, sweeps: int) -> Array:
    """Return which multipliers are positive.

    Minimises l' G l / 2 - l' e over l >= 0, one coordinate at a time. Every constraint is divided
    by the standard deviation of its side, so that multipliers of different units can be compared.
    """
    std = jnp.sqrt(jnp.where(jnp.diag(gram) > 0, jnp.diag(gram), jnp.inf))
    rows = gram / std[:, None] / std[None, :]
    aims = excess / std
    tolerance = eps_of(excess) ** 0.5

    def sweep(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, before, _ = carry
        values = list(before)
        for i in range(len(values)):
            step = aims[i] - sum(rows[i, j] * value for j, value in enumerate(values))
            values[i] = jnp.maximum(values[i] + step, 0)
        after = jnp.stack(values)
        moving = jnp.max(jnp.abs(after - before)) > tolerance * jnp.max(after)
        return count + 1, after, moving

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        count, _, moving = carry
        return moving & (count < sweeps)

    start = jnp.zeros((), jnp.int32), jnp.zeros_like(excess), jnp.ones((), bool)
    _, multipliers, _ = jax.lax.while_loop(unfinished, sweep, start)
    return multipliers > 0


def truncated(belief: Gaussian, constraints: Inequalities) -> Gaussian:
    """Condition the belief on A x <= b, row by row, matching the moments of the truncated density.

    With s^2 = a' P a, beta = (b - a' m) / s and r = phi(beta) / Phi(beta) (a smooth function, so
    that no constraint is ever inactive):

        m <- m - (P a / s) r,   P <- P - (P a / s) (P a / s)' r (r + beta).

    The result is exact for one row. For several rows it depends on their order, and an earlier row
    may be slightly violated again.

    Args:
        belief: mean [n] and cov [n, n].
        constraints: `Inequalities` with k rows.

    Returns:
        The belief with the mean and covariance of the truncated density.

    References:
        D. Simon, D. L. Simon, Constrained Kalman filtering via density function truncation, Int. J.
        Syst. Sci. 41 (2010).
    """
    _check("truncated", belief, constraints)
    for a, b in zip(constraints.A, constraints.b, strict=True):
        mean, cov = belief
        cross = linalg.matmul(cov, a)
        var = jnp.sum(a * cross)
        s = jnp.sqrt(jnp.where(var > 0, var, 1))
        beta = jnp.where(var > 0, (b - jnp.sum(a * mean)) / s, 0)
        # Along a the belief is a normal truncated at beta standard deviations: with r = phi(beta) /
        # Phi(beta) its mean falls by r s, and its variance becomes s^2 (1 - r (r + beta)). The
        # other components follow by regression on a' x.
        ratio, excess = _mills(beta)
        direction = jnp.where(var > 0, cross / s, 0)
        # with this c, the sum of squares (I - c d a' / s) P (I - c d a' / s)' equals
        # P - d d' r (r + beta) and stays definite to rounding
        share = jnp.maximum(1 - ratio * excess, 0)
        c = 1 - jnp.sqrt(share + eps_of(s))
        identity = jnp.eye(len(mean), dtype=cov.dtype)
        shrink = identity - c * jnp.outer(direction, a / s)
        belief = Gaussian(mean - direction * ratio, linalg.quadratic(shrink, cov))
    return belief


def _mills(beta: Array) -> tuple[Array, Array]:
    """Return r = phi(beta) / Phi(beta) and r + beta."""
    # below -3 the two terms of r + beta cancel: use the continued fraction of Mills' ratio there
    far = beta < -3
    near = jnp.where(far, 0, beta)
    x = jnp.where(far, -beta, 3)
    log_density = jax.scipy.stats.norm.logpdf(near)
    ratio = jnp.exp(log_density - jax.scipy.special.log_ndtr(near))
    tail = x
    for k in range(30, 1, -1):
        tail = x + k / tail
    return jnp.where(far, x + 1 / tail, ratio), jnp.where(far, 1 / tail, ratio + near)
