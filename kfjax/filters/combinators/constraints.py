"""Beliefs that respect inequalities A x <= b: known bounds, walls, signs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.pytrees import Pytree, as_array, promote
from kfjax.base import Filter, Gaussian, Info, constructor
from kfjax.filters.checks import check_filter
from kfjax.models.lens import model_of
from kfjax.models.observing import keep_unobserved
from kfjax.models.state_space import StateSpaceModel

__all__ = ["ConstrainedParams", "Inequalities", "box", "constrained", "nearest", "truncated"]


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
        A, b = promote((as_array(self.A), as_array(self.b)), "Inequalities")
        if A.ndim != 2 or b.shape != A.shape[:1]:
            raise ValueError(
                f"Inequalities: A has shape {A.shape} and b {b.shape}; expected [k, n] and [k]."
            )
        object.__setattr__(self, "A", A)
        object.__setattr__(self, "b", b)


def box(lower: Any, upper: Any) -> Inequalities:
    """Return lower <= x <= upper as `Inequalities`; infinite bounds are left out.

    Args:
        lower: [n], numbers (not traced), -inf for none.
        upper: [n], numbers (not traced), inf for none.

    Raises:
        ValueError: if the shapes differ or lower exceeds upper somewhere.

    Example:
        >>> kf.filters.box([0.0, -jnp.inf], [1.0, 2.0]).A.tolist()
        [[1.0, 0.0], [0.0, 1.0], [-1.0, -0.0]]
    """
    lower, upper = np.asarray(lower), np.asarray(upper)
    if lower.ndim != 1 or lower.shape != upper.shape or not (lower <= upper).all():
        raise ValueError(
            f"box: got lower={lower} and upper={upper}; expected two [n], lower nowhere above"
            " upper."
        )
    A, b = (
        np.concatenate([np.eye(len(lower)), -np.eye(len(lower))]),
        np.concatenate([upper, -lower]),
    )
    return Inequalities(A[np.isfinite(b)], b[np.isfinite(b)])


@dataclasses.dataclass(frozen=True, eq=False)
class ConstrainedParams(Pytree):
    """Params of `constrained`.

    Attributes:
        params: the params of the filter inside, such as a `StateSpaceModel`.
        constraints: `Inequalities`, or what the `project` of your own takes.
    """

    params: Any
    constraints: Any

    def __post_init__(self) -> None:
        for name, value in promote(vars(self), "ConstrainedParams").items():
            object.__setattr__(self, name, value)

    @property
    def model(self) -> StateSpaceModel | None:
        """The model inside."""
        return model_of(self.params)


def nearest(belief: Gaussian, constraints: Inequalities, *, sweeps: int = 100) -> Gaussian:
    """Move the mean to the most probable point of {A x <= b}; the covariance stays.

    x = argmin (x - m)' P^-1 (x - m)  =  m - P A' l,   with multipliers l >= 0 of the active
    constraints.

    Which constraints are active is found by Hildreth's sweeps over the dual problem; their
    multipliers by one exact solve, so that the mean is right to rounding, and differentiable, once
    the active set is.

    Args:
        belief: mean [n] and cov [n, n].
        constraints: `Inequalities` with k rows.
        sweeps: over all constraints, at most; the cost is k^2 for each, and k^3 at the end.

    Returns:
        The belief with the moved mean. Its covariance is that without constraints: too wide, never
        overconfident.

    References:
        D. Simon, Kalman filtering with state constraints: a survey, IET Control Theory Appl. 4
        (2010), section 2.4.
    """
    A, excess = constraints.A, linalg.matmul(constraints.A, belief.mean) - constraints.b
    spread = linalg.matmul(belief.cov, A.T)
    gram = linalg.matmul(A, spread)
    active = _active(*jax.lax.stop_gradient((gram, excess)), sweeps)
    masked = linalg.factorise(jnp.where(active[:, None] & active[None, :], gram, 0))
    multipliers = jnp.maximum(masked.solve(jnp.where(active, excess, 0)), 0)
    return Gaussian(belief.mean - linalg.matmul(spread, multipliers), belief.cov)


def _active(gram: Array, excess: Array, sweeps: int) -> Array:
    """Return which multipliers are positive: minimise l' G l / 2 - l' e over l >= 0, coordinate by coordinate."""
    scale = jnp.where(jnp.diag(gram) > 0, jnp.diag(gram), jnp.inf)
    rows, aims = gram / scale[:, None], excess / scale

    def sweep(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, before, _ = carry
        values = list(before)
        for i in range(len(values)):
            step = aims[i] - sum(rows[i, j] * value for j, value in enumerate(values))
            values[i] = jnp.maximum(values[i] + step, 0)
        after = jnp.stack(values)
        return (
            count + 1,
            after,
            jnp.max(jnp.abs(after - before)) > jnp.finfo(after.dtype).eps ** 0.5 * jnp.max(after),
        )

    start = jnp.zeros((), jnp.int32), jnp.zeros_like(excess), jnp.ones((), bool)
    return jax.lax.while_loop(lambda carry: carry[2] & (carry[0] < sweeps), sweep, start)[1] > 0


def truncated(belief: Gaussian, constraints: Inequalities) -> Gaussian:
    """Condition the belief on A x <= b, one row after the other, each time matching the moments of what is left.

    With s^2 = a' P a, beta = (b - a' m) / s and r = phi(beta) / Phi(beta) (smooth: no constraint is
    ever inactive):

        m <- m - (P a / s) r,   P <- P - (P a / s) (P a / s)' r (r + beta).

    For one row this is exact; for several it depends on their order, and an earlier row may be
    violated a little again.

    Args:
        belief: mean [n] and cov [n, n].
        constraints: `Inequalities` with k rows.

    Returns:
        The belief with the mean and covariance of the truncated density.

    References:
        D. Simon, D. L. Simon, Constrained Kalman filtering via density function truncation, Int. J.
        Syst. Sci. 41 (2010).
    """
    for a, b in zip(constraints.A, constraints.b, strict=True):
        mean, cov = belief
        cross = linalg.matmul(cov, a)
        var = jnp.sum(a * cross)
        s = jnp.sqrt(jnp.where(var > 0, var, 1))
        ratio, rest = _mills(jnp.where(var > 0, (b - jnp.sum(a * mean)) / s, 0))
        direction = jnp.where(var > 0, cross / s, 0)
        # (I - c d a' / s) P (I - c d a' / s)', a sum of squares, has P - d d' r (r + beta) for this
        # c
        c = 1 - jnp.sqrt(jnp.maximum(1 - ratio * rest, 0) + jnp.finfo(s.dtype).eps)
        shrink = jnp.eye(len(mean), dtype=cov.dtype) - c * jnp.outer(direction, a / s)
        belief = Gaussian(mean - direction * ratio, linalg.quadratic(shrink, cov))
    return belief


def _mills(beta: Array) -> tuple[Array, Array]:
    """Return r = phi(beta) / Phi(beta) and r + beta; below -3 by a continued fraction, since there they cancel."""
    far = beta < -3
    near, x = jnp.where(far, 0, beta), jnp.where(far, -beta, 3)
    ratio = jnp.exp(jax.scipy.stats.norm.logpdf(near) - jax.scipy.special.log_ndtr(near))
    tail = x
    for k in range(30, 1, -1):
        tail = x + k / tail
    return jnp.where(far, x + 1 / tail, ratio), jnp.where(far, 1 / tail, ratio + near)


@constructor
def constrained(filter: Filter, project: Callable[[Gaussian, Any], Gaussian] = nearest) -> Filter:
    """Project the belief onto constraints after every update, such as bounds of the state.

    The belief after the update becomes project(belief, constraints), written back through
    `recentre`; predictions are not projected. `nearest` moves the mean and leaves the covariance,
    `truncated` conditions both.

    Constraints hold for the coordinates of the state: not for curved spaces. Covariances depend on
    the data with `truncated`, not with `nearest`. `rule` is None, since smoothed beliefs would
    leave the constraints again.

    Args:
        filter: a filter with `recentre`.
        project: `(Gaussian, constraints) -> Gaussian`: `nearest`, `truncated`, or a module-level
            function of your own.

    Returns:
        A `Filter` with params `ConstrainedParams(params, constraints)` and the state of `filter`.

    Raises:
        ValueError: if the filter has no `recentre`; while tracing, if params are no `ConstrainedParams`.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> bounded = kf.filters.ConstrainedParams(model, kf.filters.box([0.0, 0.0], [10.0, jnp.inf]))
        >>> state, _ = kf.step(kf.constrained(kf.kalman()), bounded, model.prior, jnp.array([-5.0]))
        >>> bool((state.mean >= -1e-6).all())
        True

    References:
        D. Simon, Kalman filtering with state constraints: a survey, IET Control Theory Appl. 4
        (2010).
    """
    check_filter("constrained", filter, recentre=True)

    def init(params: ConstrainedParams, key: Array | None = None) -> Any:
        return filter.init(_checked(params).params, key)

    def predict(params: ConstrainedParams, state: Any, u: Any = None) -> Any:
        return filter.predict(_checked(params).params, state, u)

    def update(
        params: ConstrainedParams, state: Any, y: Any, u: Any = None, observed: Any = None
    ) -> tuple[Any, Info]:
        new, info = filter.update(params.params, state, y, u, observed)
        belief = project(Gaussian(new.mean, new.cov), params.constraints)
        return keep_unobserved(observed, filter.recentre(params.params, new, belief), state), info

    def recentre(params: ConstrainedParams, state: Any, gaussian: Gaussian) -> Any:
        return filter.recentre(params.params, state, gaussian)

    return Filter(init, predict, update, recentre)


def _checked(params: Any) -> ConstrainedParams:
    if not isinstance(params, ConstrainedParams):
        raise ValueError(
            f"constrained: params is {type(params).__name__}; expected"
            " kf.filters.ConstrainedParams(model, constraints)."
        )
    return params
