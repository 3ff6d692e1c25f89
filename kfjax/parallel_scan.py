"""Filtering and smoothing in logarithmic depth: associative scans over time, for accelerators and long records.

The square-root form throughout: elements carry factors, and every covariance is a sum of squares, so that float32 is
safe. The likelihood is taken from per-step innovations after the scan; accumulated inside, it breaks in float32.
A nonlinear model is smoothed by iterating: linearise about the last trajectory, smooth in parallel, search the line.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.base import Estimate, Gaussian
from kfjax.checks import check_mask_dtype, check_nan, check_series
from kfjax.filters.square_roots import conditional_factors, square_root
from kfjax.models import StateSpaceModel, is_linear
from kfjax.moments import Affine, MomentRule, Taylor
from kfjax.observing import bind, innovation_info, observe
from kfjax.smoothers import Smoothed
from kfjax.spaces import EUCLIDEAN

__all__ = [
    "check_record",
    "combine_filters",
    "parallel_filter",
    "parallel_iterated_smooth",
    "parallel_smooth",
    "steady_element",
]

BLOCK = 16  # steps that are scanned one after the other


class _Factors(NamedTuple):
    """A Gaussian by a factor of its covariance."""

    mean: Array
    cholesky: Array


class _Step(NamedTuple):
    """An affine model of one step: x = F x_tm1 + c + e, innovation = y - (H x + d) ~ N(0, R), with factors of Q and R.

    `y_d` is y - d, zero in unobserved channels.
    """

    F: Array
    c: Array
    Q: Array
    H: Array
    y_d: Array
    R: Array
    mask: Array | None


class _FilterElement(NamedTuple):
    """p(x_t | y_s..t, x_s-1) = N(A x + b, U U'), and p(y_s..t | x_s-1) with information eta, Z Z'."""

    A: Array
    b: Array
    U: Array
    eta: Array
    Z: Array


class _SmootherElement(NamedTuple):
    """p(x_t | x_s, y_1..t) = N(E x_s + g, D D')."""

    E: Array
    g: Array
    D: Array


def parallel_filter(model: StateSpaceModel, ys: Array, us: Any = None, *, observed: Any = None) -> Estimate:
    """Filter a linear Gaussian model with an associative scan: the results of `run(kalman(), ...)`, in O(log T) depth.

    It does several times the work of the sequential filter, and pays on an accelerator, for one long record.

    Args:
        model: a `StateSpaceModel` with `Linear` f and h; Q and R may depend on u, not on x.
        ys: observations [T, m].
        us: inputs [T, ...], or None.
        observed: booleans [T] or [T, m], or None.

    Returns:
        `Estimate(mean [T, n], cov [T, n, n], log_likelihood [T])`.

    Raises:
        ValueError: if the model is not linear, lives on a curved space, or shapes do not fit.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> parallel, serial = kf.parallel_filter(model, ys), kf.run(kf.kalman(), model, ys)[1]
        >>> bool(jnp.allclose(parallel.mean, serial.mean, atol=1e-3))
        True

    References:
        F. Yaghoobi, A. Corenflos, S. Hassan, S. Sarkka, Parallel square-root statistical linear regression for
        inference in nonlinear state space models (2022), section 3; S. Sarkka, A. F. Garcia-Fernandez, Temporal
        parallelization of Bayesian smoothers, IEEE TAC 66 (2021).
    """
    check_record("parallel_filter", model, ys, us, observed, linear=True)
    return _parallel_filter(model, ys, us, observed)


def parallel_smooth(model: StateSpaceModel, ys: Array, us: Any = None, *, observed: Any = None) -> Smoothed:
    """Smooth a linear Gaussian model with two associative scans: the results of `smooth(kalman(), ...)`.

    Args:
        model: as `parallel_filter`.
        ys: observations [T, m].
        us: inputs [T, ...], or None.
        observed: booleans [T] or [T, m], or None.

    Returns:
        `Smoothed(mean [T, n], cov [T, n, n], initial, cross [T, n, n])`.

    Raises:
        ValueError: as `parallel_filter`.
    """
    check_record("parallel_smooth", model, ys, us, observed, linear=True)
    return _parallel_smooth(model, ys, us, observed)


def parallel_iterated_smooth(
    model: StateSpaceModel,
    ys: Array,
    us: Any = None,
    *,
    observed: Any = None,
    rule: MomentRule | None = None,
    iterations: int = 10,
) -> Smoothed:
    """Smooth a nonlinear model by iterated linearisation, each iteration in parallel over time.

    With `moments.Taylor()` (the default) this is Gauss-Newton on the negative log posterior of x_0..x_T, and converges
    to the most probable trajectory; with a sigma-point rule, posterior linearisation. Each iteration moves along the
    line to the new trajectory by the step among 0, 1/64, ..., 1/2, 1 of least cost, so that the cost never grows.

    Args:
        model: any `StateSpaceModel` on a Euclidean state space.
        ys: observations [T, m].
        us: inputs [T, ...], or None.
        observed: booleans [T] or [T, m], or None.
        rule: a moment rule with `affine`.
        iterations: number of linearisations, at least 1.

    Returns:
        `Smoothed(mean [T, n], cov [T, n, n], initial, cross [T, n, n])`.

    Raises:
        ValueError: if iterations is below 1, the rule has no `affine`, or shapes do not fit.

    References:
        A. F. Garcia-Fernandez, L. Svensson, S. Sarkka, Iterated posterior linearization smoother, IEEE TAC 62 (2017);
        J. Lindqvist et al., Posterior linearisation smoothing with robust iterations (2021).
    """
    rule = Taylor() if rule is None else rule
    if iterations < 1:
        raise ValueError(f"parallel_iterated_smooth: iterations is {iterations}; expected at least 1.")
    if not hasattr(rule, "affine"):
        raise ValueError(
            f"parallel_iterated_smooth: {rule} has no affine; expected a rule such as kf.moments.Taylor()."
        )
    check_record("parallel_iterated_smooth", model, ys, us, observed, linear=False)
    return _parallel_iterated_smooth(rule, iterations, model, ys, us, observed)


def check_record(who: str, model: StateSpaceModel, ys: Array, us: Any, observed: Any, *, linear: bool) -> None:
    """The door of functions of a model and its whole record."""
    if not isinstance(model, StateSpaceModel) or (linear and not is_linear(model)):
        raise ValueError(f"{who}: got a model that is not linear; expected kf.Linear f and h.")
    if model.state_space is not EUCLIDEAN:
        raise ValueError(f"{who}: the model has a curved state space; expected a Euclidean one. Use kf.smooth.")
    check_mask_dtype(who, observed)
    check_nan(who, ys, observed, None)
    check_series(who, model, ys, us, observed)


@jax.jit
def _parallel_filter(model: StateSpaceModel, ys: Array, us: Any, observed: Any) -> Estimate:
    steps = _linearise(Taylor(), model, _constant(model.prior, ys.shape[0]), ys, us, observed)
    prior = _prior(model)
    filtered = _filter(prior, steps)
    return Estimate(filtered.mean, _cov(filtered.cholesky), _log_likelihood(prior, filtered, steps))


@jax.jit
def _parallel_smooth(model: StateSpaceModel, ys: Array, us: Any, observed: Any) -> Smoothed:
    steps = _linearise(Taylor(), model, _constant(model.prior, ys.shape[0]), ys, us, observed)
    return _smoothed(*_smooth(_prior(model), steps))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _parallel_iterated_smooth(
    rule: MomentRule, iterations: int, model: StateSpaceModel, ys: Array, us: Any, observed: Any
) -> Smoothed:
    grid = jnp.asarray([0.0] + [0.5**k for k in range(6, -1, -1)], model.dtype)

    def improve(carry: tuple[_Factors, Array], _: None) -> tuple[tuple[_Factors, Array], None]:
        path, _ = carry
        steps = _linearise(rule, model, path, ys, us, observed)
        new, gains = _smooth(_prior(model), steps)

        def moved(step: Array) -> Array:
            return path.mean + step * (new.mean - path.mean)

        costs = jax.vmap(lambda s: _cost(rule, model, path._replace(mean=moved(s)), steps, ys, us, observed))(grid)
        best = grid[jnp.argmin(jnp.where(jnp.isnan(costs), jnp.inf, costs))]
        return (_Factors(moved(best), new.cholesky), gains), None

    # the start is the filter's own path, linearised as it goes: the prior mean held for T steps would be far off
    path = _sequential_start(rule, model, ys, us, observed)
    (path, gains), _ = jax.lax.scan(improve, (path, jnp.zeros_like(path.cholesky[1:])), length=iterations)
    return _smoothed(path, gains)


def _sequential_start(rule: MomentRule, model: StateSpaceModel, ys: Array, us: Any, observed: Any) -> _Factors:
    """The filtered path of the rule's own square-root filter, x_0 in front."""
    forward = square_root(rule)
    first = forward.init(model)

    def body(state: Any, at: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        y, u, seen = at
        state, _ = forward.update(model, forward.predict(model, state, u), y, u, seen)
        return state, state

    states = jax.lax.scan(body, first, (ys, us, observed))[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), _Factors(*first), _Factors(*states))


def _constant(prior: Gaussian, steps: int) -> _Factors:
    """The prior held over t = 0..T: where to linearise what is linear."""
    hold = functools.partial(jnp.broadcast_to, shape=(steps + 1, *prior.mean.shape))
    return _Factors(hold(prior.mean), jnp.zeros((steps + 1, *prior.cov.shape), prior.mean.dtype))


def _prior(model: StateSpaceModel) -> _Factors:
    return _Factors(model.prior.mean, linalg.cholesky(model.prior.cov))


def _cov(cholesky: Array) -> Array:
    return jax.vmap(lambda L: linalg.matmul(L, L.T))(cholesky)


def _smoothed(path: _Factors, gains: Array) -> Smoothed:
    """Split x_0 off the path; the gains are those of x_t-1 on x_t."""
    cov = _cov(path.cholesky)
    cross = jax.vmap(lambda P, G: linalg.matmul(P, G.T))(cov[1:], gains)
    return Smoothed(path.mean[1:], cov[1:], Gaussian(path.mean[0], cov[0]), cross)


def _linearise(rule: Any, model: StateSpaceModel, path: _Factors, ys: Array, us: Any, observed: Any) -> _Step:
    """Affine models of every step, about the path x_0..x_T."""

    def one(before: _Factors, at: _Factors, y: Array, u: Any, seen_t: Any) -> _Step:
        f: Affine = rule.affine(bind(model.f, u), *before)
        seen = observe(model, at.mean, y, u, seen_t)
        h: Affine = rule.affine(seen.fn, *at, EUCLIDEAN, seen.space)
        Q = linalg.cholesky(model.process_noise(before.mean, u))
        # h.offset is E[h] - H m: differences are taken before anything is subtracted, since y may be an angle
        y_d = seen.innovation(h.mean) + linalg.matmul(h.matrix, at.mean)
        return _Step(
            f.matrix,
            f.mean - linalg.matmul(f.matrix, before.mean),
            linalg.triangularise(jnp.concatenate([Q, f.residual], axis=1)),
            h.matrix,
            y_d,
            linalg.triangularise(jnp.concatenate([linalg.cholesky(seen.R), h.residual], axis=1)),
            seen.mask,
        )

    before = jax.tree.map(lambda a: a[:-1], path)
    at = jax.tree.map(lambda a: a[1:], path)
    return jax.vmap(one)(before, at, ys, us, observed)


def _filter_element(step: _Step) -> _FilterElement:
    """The element of one step, not knowing the state before it."""
    S, G, U = conditional_factors(step.Q, linalg.matmul(step.H, step.Q), step.R)
    whitened = linalg.solve_lower(S, step.y_d - linalg.matmul(step.H, step.c))
    Z = linalg.solve_lower(S, linalg.matmul(step.H, step.F)).T
    A = step.F - linalg.matmul(G, Z.T)
    return _FilterElement(
        A, step.c + linalg.matmul(G, whitened), U, linalg.matmul(Z, whitened), linalg.triangularise(Z)
    )


def steady_element(F: Array, H: Array, Q: Array, R: Array) -> _FilterElement:
    """The element of one step of a time-invariant model without data; Q and R are factors."""
    zero = jnp.zeros(F.shape[0], F.dtype)
    return _filter_element(_Step(F, zero, Q, H, jnp.zeros(H.shape[0], F.dtype), R, None))


def _first_element(prior: _Factors, step: _Step) -> _FilterElement:
    """The element of the first step, which knows the prior."""
    mean = linalg.matmul(step.F, prior.mean) + step.c
    L = linalg.triangularise(jnp.concatenate([linalg.matmul(step.F, prior.cholesky), step.Q], axis=1))
    S, G, U = conditional_factors(L, linalg.matmul(step.H, L), step.R)
    whitened = linalg.solve_lower(S, step.y_d - linalg.matmul(step.H, mean))
    zero = jnp.zeros_like(step.F)
    return _FilterElement(zero, mean + linalg.matmul(G, whitened), U, jnp.zeros_like(mean), zero)


def combine_filters(early: _FilterElement, late: _FilterElement) -> _FilterElement:
    """Join two stretches of time, one trajectory at a time."""
    identity = jnp.eye(early.U.shape[-1], dtype=early.U.dtype)
    # T([[U' Z, I], [Z, 0]]): factors of I + U' J U, of their product, and of J (I + C J)^-1
    X, Y, V = conditional_factors(late.Z, linalg.matmul(early.U.T, late.Z), identity)
    W = linalg.solve_lower(X, early.U.T).T  # U X^-T
    innovation = late.eta - linalg.matmul(late.Z, linalg.matmul(late.Z.T, early.b))
    A1 = early.A - linalg.matmul(W, linalg.matmul(Y.T, early.A))
    b = early.b + linalg.matmul(W, linalg.matmul(W.T, innovation))
    eta = innovation - linalg.matmul(Y, linalg.matmul(W.T, innovation))
    return _FilterElement(
        linalg.matmul(late.A, A1),
        linalg.matmul(late.A, b) + late.b,
        linalg.triangularise(jnp.concatenate([linalg.matmul(late.A, W), late.U], axis=1)),
        linalg.matmul(early.A.T, eta) + early.eta,
        linalg.triangularise(jnp.concatenate([linalg.matmul(early.A.T, V), early.Z], axis=1)),
    )


def _combine_smoothers(late: _SmootherElement, early: _SmootherElement) -> _SmootherElement:
    """Join two stretches of time."""
    return _SmootherElement(
        linalg.matmul(early.E, late.E),
        linalg.matmul(early.E, late.g) + early.g,
        linalg.triangularise(jnp.concatenate([linalg.matmul(early.E, late.D), early.D], axis=1)),
    )


def _prefixes(combine: Any, elements: Any) -> Any:
    """All prefixes of an associative operation: blocks side by side, then the blocks' totals likewise.

    The depth is BLOCK log_BLOCK(T) and the work 2 T. `jax.lax.associative_scan` does the same work but writes the
    operation out 2 log2(T) times; this, 2 log_BLOCK(T) times, and compiles in seconds instead of minutes.
    """
    steps = jax.tree.leaves(elements)[0].shape[0]

    def block(first: Any, rest: Any) -> Any:
        later = jax.lax.scan(lambda total, e: (combine(total, e),) * 2, first, rest)[1]
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)

    if steps <= BLOCK:
        return block(jax.tree.map(lambda a: a[0], elements), jax.tree.map(lambda a: a[1:], elements))
    blocks = -(-steps // BLOCK)
    index = jnp.minimum(jnp.arange(blocks * BLOCK), steps - 1).reshape(blocks, BLOCK)  # what is padded comes last
    within = jax.vmap(block)(*(jax.tree.map(lambda a, i=i: a[index[:, i]], elements) for i in (0, slice(1, None))))
    before = _prefixes(combine, jax.tree.map(lambda a: a[:-1, -1], within))
    rest = jax.vmap(jax.vmap(combine, (None, 0)))(before, jax.tree.map(lambda a: a[1:], within))
    return jax.tree.map(lambda a, b: jnp.concatenate([a[0], b.reshape(-1, *b.shape[2:])])[:steps], within, rest)


def _filter(prior: _Factors, steps: _Step) -> _Factors:
    """Filtered beliefs at t = 1..T."""
    first = _first_element(prior, jax.tree.map(lambda a: a[0], steps))
    elements = jax.vmap(_filter_element)(steps)
    elements = jax.tree.map(lambda a, b: a.at[0].set(b), elements, first)
    done = _prefixes(combine_filters, elements)
    return _Factors(done.b, done.U)


def _smooth(prior: _Factors, steps: _Step) -> tuple[_Factors, Array]:
    """Smoothed beliefs at t = 0..T, and the gains of each on the next."""
    filtered = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), prior, _filter(prior, steps))

    def element(belief: _Factors, step: _Step) -> _SmootherElement:
        N = belief.cholesky
        P, G, D = conditional_factors(N, linalg.matmul(step.F, N), step.Q)
        E = linalg.solve_lower(P, G.T, transpose=True).T
        g = belief.mean - linalg.matmul(E, linalg.matmul(step.F, belief.mean) + step.c)
        return _SmootherElement(E, g, D)

    elements = jax.vmap(element)(jax.tree.map(lambda a: a[:-1], filtered), steps)
    last = _SmootherElement(jnp.zeros_like(steps.F[0]), filtered.mean[-1], filtered.cholesky[-1])
    backwards = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]])[::-1], elements, last)
    done = jax.tree.map(lambda a: a[::-1], _prefixes(_combine_smoothers, backwards))
    return _Factors(done.g, done.D), elements.E


def _log_likelihood(prior: _Factors, filtered: _Factors, steps: _Step) -> Array:
    """The likelihood of every step from its innovation, with the predictions of the filtered beliefs before it."""
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), prior, filtered)

    def one(belief: _Factors, step: _Step) -> Array:
        mean = linalg.matmul(step.F, belief.mean) + step.c
        dx = jnp.concatenate([linalg.matmul(step.F, belief.cholesky), step.Q], axis=1)
        S = linalg.triangularise(jnp.concatenate([linalg.matmul(step.H, dx), step.R], axis=1))
        innovation = step.y_d - linalg.matmul(step.H, mean)
        return innovation_info(innovation, linalg.Factored(linalg.matmul(S, S.T), S), step.mask).log_likelihood

    return jax.vmap(one)(before, steps)


def _cost(
    rule: MomentRule, model: StateSpaceModel, path: _Factors, steps: _Step, ys: Array, us: Any, observed: Any
) -> Array:
    """Negative log posterior of the path, with the noise covariances of the last linearisation."""

    def one(before: _Factors, at: _Factors, step: _Step, y: Array, u: Any, seen_t: Any) -> Array:
        moved = at.mean - rule.affine(bind(model.f, u), *before).mean
        seen = observe(model, at.mean, y, u, seen_t)
        missed = seen.innovation(rule.affine(seen.fn, *at, EUCLIDEAN, seen.space).mean)
        return _squared(step.Q, moved) + _squared(step.R, missed)

    before = jax.tree.map(lambda a: a[:-1], path)
    at = jax.tree.map(lambda a: a[1:], path)
    start = _squared(linalg.cholesky(model.prior.cov), path.mean[0] - model.prior.mean)
    return start + jnp.sum(jax.vmap(one)(before, at, steps, ys, us, observed))


def _squared(factor: Array, error: Array) -> Array:
    return jnp.sum(linalg.solve_lower(factor, error) ** 2)
