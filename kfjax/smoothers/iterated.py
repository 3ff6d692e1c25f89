"""Iterated smoothing of nonlinear models, in parallel over time."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Real

from kfjax import linalg
from kfjax._support.arguments import LARGEST_LOOP, check_count
from kfjax._support.compiling import jit
from kfjax._support.precision import eps_of
from kfjax._support.pytrees import at, prepended
from kfjax.base import Inputs, Mask, whole_state
from kfjax.filters.square_root_form import SquareRootGaussian, square_root
from kfjax.models.observing import bind, observe
from kfjax.models.records import Record
from kfjax.models.shapes import check_shapes
from kfjax.models.spaces import EUCLIDEAN
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import MomentRule, Taylor
from kfjax.runner import run
from kfjax.smoothers.filter_elements import Step
from kfjax.smoothers.parallel import as_smoothed, first_belief, linearise
from kfjax.smoothers.rauch_tung_striebel import Smoothed
from kfjax.smoothers.records import whole_record
from kfjax.smoothers.smoother_elements import smooth_steps

__all__ = ["parallel_iterated_smooth"]


def parallel_iterated_smooth(
    model: StateSpaceModel,
    ys: Real[ArrayLike, "T m"],
    *,
    us: Inputs = None,
    observed: Mask = None,
    rule: MomentRule | None = None,
    iterations: int = 10,
) -> Smoothed:
    """Smooth a nonlinear model by iterated linearisation, each iteration in parallel over time.

    With `moments.Taylor()` (the default) this is Gauss-Newton on the negative log posterior of
    x_0..x_T, and converges to the most probable trajectory; with a sigma-point rule, posterior
    linearisation. Each iteration moves along the line to the new trajectory by the step of least
    cost among 0, 1/64, ..., 1/2, 1, so that the cost never grows. Noise may be singular: an
    impossible trajectory, such as one whose position does not follow from its velocity, has a high
    cost.

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
        A. F. Garcia-Fernandez, L. Svensson, S. Sarkka, Iterated posterior linearization smoother,
        IEEE TAC 62 (2017); J. Lindqvist et al., Posterior linearisation smoothing with robust
        iterations (2021).
    """
    rule = Taylor() if rule is None else rule
    check_count("parallel_iterated_smooth: iterations", iterations, most=LARGEST_LOOP)
    if not hasattr(rule, "affine"):
        raise ValueError(
            f"parallel_iterated_smooth: {rule} has no affine; expected a rule such as"
            " kf.moments.Taylor()."
        )
    record = whole_record("parallel_iterated_smooth", model, ys, us, observed, linear=False)
    return _parallel_iterated_smooth(rule, iterations, model, record)


@functools.partial(jit, static_argnums=(0, 1))
def _parallel_iterated_smooth(
    rule: Any, iterations: int, model: StateSpaceModel, record: Record
) -> Smoothed:
    check_shapes("parallel_iterated_smooth", model, record)
    grid = jnp.asarray([0.0] + [0.5**k for k in range(6, -1, -1)], model.dtype)

    def improve(
        carry: tuple[SquareRootGaussian, Array], _: Any
    ) -> tuple[tuple[SquareRootGaussian, Array], None]:
        path, _ = carry
        steps = linearise(rule, model, path, record)
        new, gains = smooth_steps(first_belief(model), steps, noise_free=bool(model.noise_free))

        def moved(step: Array) -> Array:
            return path.mean + step * (new.mean - path.mean)

        costs = jax.vmap(lambda s: _cost(rule, model, path._replace(mean=moved(s)), steps, record))(
            grid
        )
        best = grid[jnp.argmin(jnp.where(jnp.isnan(costs), jnp.inf, costs))]
        return (SquareRootGaussian(moved(best), new.cholesky), gains), None

    # start from the filter's own path, linearised along the way: the prior mean held for T steps
    # would be far off
    path = _sequential_start(rule, model, record)
    (path, gains), _ = jax.lax.scan(
        improve, (path, jnp.zeros_like(path.cholesky[1:])), length=iterations
    )
    return as_smoothed(model, path, gains)


def _sequential_start(
    rule: MomentRule, model: StateSpaceModel, record: Record
) -> SquareRootGaussian:
    """Return the path filtered by the rule's own square-root filter, with x_0 in front."""
    forward = square_root(rule)
    ys, us, observed, _ = record
    states = run(forward, model, ys, us=us, observed=observed, emit=whole_state).outputs
    # if there is no x_0, this entry stands for x_1
    first = forward.init(model) if model.first == "predict" else at(states, 0)
    return prepended(SquareRootGaussian(*first), SquareRootGaussian(*states))


def _cost(
    rule: Any, model: StateSpaceModel, path: SquareRootGaussian, steps: Step, record: Record
) -> Array:
    """Return the negative log posterior of the path, with the noise of the last linearisation."""

    def one(
        before: SquareRootGaussian,
        at: SquareRootGaussian,
        step: Step,
        y: Array,
        u: Inputs,
        seen_t: Mask,
    ) -> tuple[Array, Array]:
        expected = rule.affine(bind(model.f, u), *before).mean
        seen = observe(model, at.mean, y, u, seen_t)
        y_hat = rule.affine(seen.fn, *at, EUCLIDEAN, seen.space).mean
        missed = seen.innovation(y_hat)
        move = at.mean - expected
        moves = _squared(step.Q, move, jnp.abs(at.mean) + jnp.abs(expected))
        return moves, _squared(step.R, missed, jnp.abs(missed) + jnp.abs(y_hat))

    before = jax.tree.map(lambda a: a[:-1], path)
    at = jax.tree.map(lambda a: a[1:], path)
    first = path.mean[0]
    prior = model.prior.mean
    start = linalg.cholesky(model.prior.cov)
    moves, misses = jax.vmap(one)(before, at, steps, record.ys, record.us, record.observed)
    if model.first == "update":  # y_1 comes before any prediction
        moves = moves[1:]
    unlikely = _squared(start, first - prior, jnp.abs(first) + jnp.abs(prior))
    return unlikely + jnp.sum(moves) + jnp.sum(misses)


def _squared(factor: Array, error: Array, size: Array) -> Array:
    """Return the squared whitened error; `size` is the size of the numbers that were subtracted."""
    whitened = linalg.solve_lower(factor, error)
    # Without noise any error is impossible. It is weighted as if the noise were the root of
    # rounding, so that only errors of the order of rounding cost nothing.
    left = error - linalg.matmul(factor, whitened)
    floor = eps_of(error) ** 0.5 * size
    impossible = (linalg.diagonal(factor) == 0) & (floor > 0)
    violation = jnp.where(impossible, left / jnp.where(impossible, floor, 1), 0)
    return jnp.sum(whitened**2) + jnp.sum(violation**2)
