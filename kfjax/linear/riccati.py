"""The steady state of the Kalman filter of a time-invariant linear model."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.arguments import check_flag, check_kind, is_concrete
from kfjax._support.compiling import jit
from kfjax._support.precision import eps_of
from kfjax._support.pytrees import select
from kfjax.filters.square_root_form import SquareRootGaussian
from kfjax.models.functions import Linear
from kfjax.models.runtime_checks import refuse_at_runtime
from kfjax.models.state_space import StateSpaceModel
from kfjax.smoothers.filter_elements import FilterElement, combine_filters, known, steady_element

__all__ = ["SteadyState", "steady_state"]

STRETCHES = 100  # stretches of time, each as long as all before it, up to a limit
ROUNDING = 10  # changes up to this multiple of n eps per step count as rounding


class SteadyState(NamedTuple):
    """The limit of the Kalman filter's covariance recursion.

    Attributes:
        predicted_cov: P_{t|t-1} [n, n], which solves the discrete algebraic Riccati equation.
        cov: P_{t|t} [n, n].
        innovation_cov: S = H P_{t|t-1} H' + R, [m, m].
        gain: K = P_{t|t-1} H' S^-1, [n, m].
    """

    predicted_cov: Float[Array, "... n n"]
    cov: Float[Array, "... n n"]
    innovation_cov: Float[Array, "... m m"]
    gain: Float[Array, "... n m"]


UNSETTLED = (
    "steady_state: the covariance does not settle; expected every mode that does not decay to be"
    " observed if noise drives it (its variance grows) or if it oscillates (its covariance turns)."
    " Find what is not observed with kf.observability."
)


def time_invariant(who: str, model: StateSpaceModel) -> tuple[Array, Array]:
    """Return F and H; raise unless they, Q and R are constant and there is no offset."""
    check_kind("steady_state: model", model, StateSpaceModel)
    f = model.f
    h = model.h
    if not all(
        isinstance(fn, Linear) and not callable(fn.A) and fn.b is None for fn in (f, h)
    ) or any(callable(noise) for noise in (model.Q, model.R)):
        raise ValueError(
            f"{who}: the model is not linear and time-invariant; expected kf.Linear f and h with"
            " constant matrices and no offset b, and constant Q and R. Linearise it about a point"
            " first, as in kf.linear_gaussian(jax.jacfwd(model.f)(x, None), ...)."
        )
    return f.A, h.A


def steady_state(model: StateSpaceModel, *, checked: bool = False) -> SteadyState:
    """Return the limit of the covariance recursion of a time-invariant linear model.

    P = F (P - P H' (H P H' + R)^-1 H P) F' + Q, from the model's own prior, by doubling the horizon
    of the filter in square-root form.

    If this equation has several solutions, the limit is the one that the filter reaches: the
    variance of an observed constant tends to 0, an unobserved constant keeps the variance of its
    prior, and an unstable mode without noise tends to the stabilising solution, unless its prior
    variance is zero.

    Args:
        model: a linear, time-invariant `StateSpaceModel`; inputs do not matter.
        checked: raise inside a trace, too, when the compiled function runs; otherwise all results
            are NaN there if there is no limit.

    Returns:
        `SteadyState(predicted_cov, cov, innovation_cov, gain)`.

    Raises:
        ValueError: if the model is not linear and time-invariant, or there is no limit: a mode that
            does not decay and is not observed is driven by noise, so that its covariance grows, or
            oscillates, so that its covariance turns with it.

    Example:
        >>> limit = kf.steady_state(kf.systems.constant_velocity())
        >>> limit.gain.shape
        (2, 1)

    References:
        B. D. O. Anderson, J. B. Moore, Optimal Filtering (1979), section 6.7 (doubling); C. E. de
        Souza, M. R. Gevers, G. C. Goodwin, Riccati equations in optimal filtering of
        nonstabilizable systems, IEEE Trans. Automat. Contr. 31 (1986).
    """
    time_invariant("steady_state", model)
    check_flag("steady_state: checked", checked)
    eps = eps_of(model)
    if not all(map(is_concrete, jax.tree.leaves(model))):
        result, settled = _steady_state(model, eps)
        if checked:
            refuse_at_runtime(UNSETTLED, ~settled)
        return result
    # in double precision: long horizons amplify rounding
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        double = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), model)
        result, settled = _steady_state(double, eps)
        if not settled:
            raise ValueError(UNSETTLED)
        return jax.tree.map(lambda a: a.astype(model.dtype), result)


@functools.partial(jit, static_argnums=1)
def _steady_state(model: StateSpaceModel, eps: float) -> tuple[SteadyState, Array]:
    """Return the limit, or NaN, and whether there is one; eps is the precision of the model."""
    F = model.f.A
    H = model.h.A
    P = model.prior.cov
    if model.first == "update":
        P = _update(H, model, P).cov
    cov, settled = _filtered_limit(F, H, model.Q, model.R, P, eps)
    result = _update(H, model, linalg.symmetric(linalg.quadratic(F, cov) + model.Q))
    return jax.tree.map(lambda a: jnp.where(settled, a, jnp.nan), result), settled


def _after_steps(F: Array, Q: Array, P: Array) -> Array:
    """Return the covariance after n steps without data."""
    for _ in range(F.shape[0]):
        P = linalg.symmetric(linalg.quadratic(F, P) + Q)
    return P


def _scale(variances: Array) -> Array:
    """Return the standard deviations, with 1 in place of zero."""
    return jnp.sqrt(jnp.where(variances > 0, variances, 1))


def _filtered_limit(
    F: Array, H: Array, Q: Array, R: Array, P: Array, eps: float
) -> tuple[Array, Array]:
    """Return P_{t|t} for large t from P_{0|0}, and whether it settled."""
    # Every state has its own unit, the spread it reaches in n steps, and so has every channel, but
    # without the prior, which may be far larger than what follows.
    driven = _after_steps(F, Q, jnp.zeros_like(Q))
    spread = _after_steps(F, Q, P)
    noise, signal = (linalg.diagonal(linalg.quadratic(H, C) + R) for C in (driven, spread))
    x = _scale(linalg.diagonal(spread))
    y = _scale(jnp.where(noise > 0, noise, signal))
    F = F * jnp.outer(1 / x, x)
    H = H * jnp.outer(1 / y, x)
    Q = Q / jnp.outer(x, x)
    R = R / jnp.outer(y, y)
    P = P / jnp.outer(x, x)
    # Without noise in a channel, information is infinite, and the recursion from P = 0 has unstable
    # modes that no noise reaches. With noise of the size of rounding, the limit is the same.
    root = linalg.cholesky(R)
    floor = eps_of(R) ** 0.5
    root = root + jnp.diag(jnp.where(linalg.diagonal(root) < floor, floor, 0))
    one = steady_element(F, H, linalg.cholesky(Q), root)
    steps = jnp.ones((), F.dtype)
    infinite = jnp.full((), jnp.inf, F.dtype)
    start = _Search(one, steps, linalg.cholesky(P), jnp.zeros_like(x), P, infinite)
    found = jax.lax.scan(functools.partial(_search, eps), start, length=STRETCHES)[0]
    # a covariance with a period of 2^k steps looks settled after 2^k steps
    again = combine_filters(_known(linalg.cholesky(found.limit)), one).U
    turned = _change(found.limit, linalg.matmul(again, again.T), found.largest)
    settled = jnp.maximum(found.change, turned) < jnp.sqrt(eps)
    return found.limit * jnp.outer(x, x), settled


def _known(factor: Array) -> FilterElement:
    """Return the element that ends in a covariance, whatever came before, from its factor."""
    return known(SquareRootGaussian(jnp.zeros_like(factor[0]), factor))


def _change(before: Array, after: Array, variances: Array) -> Array:
    """Return the largest change of a covariance, relative to these variances."""
    scale = _scale(variances)
    return jnp.abs((after - before) / jnp.outer(scale, scale)).max()


class _Search(NamedTuple):
    """What is known about the limit after a stretch of time.

    Attributes:
        element: the next stretch.
        steps: its number of steps.
        factor: the factor [n, n] of the covariance so far.
        largest: the largest variances [n] so far.
        limit: the covariance that changed least, among those that settled.
        change: the change of `limit`.
    """

    element: FilterElement
    steps: Array
    factor: Array
    largest: Array
    limit: Array
    change: Array


def _search(eps: float, now: _Search, _: None) -> tuple[_Search, None]:
    """Advance by a stretch, and double it."""
    element, steps, factor, largest, limit, least = now
    later = combine_filters(_known(factor), element).U
    before, after = (linalg.matmul(U, U.T) for U in (factor, later))
    largest = jnp.maximum(largest, linalg.diagonal(after))
    change = _change(before, after, largest)
    # F^steps has the rounding error of that many products; a larger change per step is real
    rounding = ROUNDING * factor.shape[0] * eps
    # an unobserved unstable mode overflows, and zero pivots follow
    largest_finite = float(jnp.finfo(factor.dtype).max)
    representable = largest.max() < largest_finite**0.25
    settled = representable & (change <= rounding * steps) & (change <= least)
    # stop doubling when rounding adds up, or when the element of an unstable mode without noise has
    # grown so far that its eighth power would overflow
    sizes = [jnp.abs(leaf).max() for leaf in (element.A, element.U, element.Z)]
    is_small = jnp.stack(sizes).max() < largest_finite**0.125
    short = is_small & (steps < eps**-0.75)
    doubled = combine_filters(element, element)
    return _Search(
        select(short, doubled, element),
        jnp.where(short, 2 * steps, steps),
        later,
        largest,
        jnp.where(settled, after, limit),
        jnp.where(settled, change, least),
    ), None


def _update(H: Array, model: StateSpaceModel, P: Array) -> SteadyState:
    """Return the steady state that belongs to a predicted covariance."""
    S = linalg.factorise(linalg.symmetric(linalg.quadratic(H, P) + model.R))
    K = S.solve(linalg.matmul(H, P)).T
    rest = jnp.eye(P.shape[0], dtype=P.dtype) - linalg.matmul(K, H)
    cov = linalg.quadratic(rest, P) + linalg.quadratic(K, model.R)
    return SteadyState(P, linalg.symmetric(cov), S.matrix, K)
