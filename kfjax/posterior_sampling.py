"""Whole trajectories from the posterior of any filter: backwards from x_T, by kernels or by stored particles."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.backward_kernels import Belief, backward_kernel
from kfjax.backward_simulation import Trajectories, simulate_smoothed
from kfjax.base import Filter
from kfjax.filters.square_roots import SquareRoot
from kfjax.imputation import model_and_rule
from kfjax.models import model_of
from kfjax.smoothers import factors_or_belief, records

__all__ = ["sample_posterior"]


def sample_posterior(
    key: Array,
    filter: Filter,
    params: Any,
    estimate: Any,
    us: Any = None,
    *,
    trajectories: int = 100,
    initial: Any = None,
    length: Any = None,
) -> Trajectories:
    """Draw trajectories from p(x_0..T | y_1..T): filter forwards, sample backwards.

    x_T from the last filtered belief, then for t = T-1..0, with the moments of f at the filtered belief m, P and cross
    C = Cov[x_t, f(x_t)],

        x_t = m + G (x_t+1 - E[f]) + z,  G = C (Cov[f] + Q)^-1,  z ~ N(0, residual(G) + G Q G').

    Means, covariances and lag-one covariances over the trajectories are those of `kfjax.smooth`; so is anything else,
    such as the distribution of a maximum over time. A singular Q or prior is fine. The stored states of a particle
    filter go through `kfjax.simulate_smoothed` (backward simulation).

    Args:
        key: a random key.
        filter: the filter that made the estimate: one with a moment rule, or `kfjax.particle`.
        params: the `StateSpaceModel`, or params that hold one.
        estimate: filtered mean [T, n] and cov [T, n, n], as from `kfjax.run`; of a particle filter the stacked states,
            from `kfjax.run(..., emit=kfjax.whole_state)`.
        us: the inputs of that run.
        trajectories: M.
        initial: the belief about x_0 of that run, default the prior; of a particle filter its first state.
        length: the length of that run, if it had one; later entries are those of the end.

    Returns:
        `Trajectories(states [M, T, n], initial [M, n])`.

    Raises:
        ValueError: if the filter has neither a rule nor particles, the estimate no covariance, or trajectories is
            below 1.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> filtered = kf.run(kf.kalman(), model, ys)[1]
        >>> drawn = kf.sample_posterior(jax.random.key(1), kf.kalman(), model, filtered, trajectories=50)
        >>> drawn.states.shape, drawn.initial.shape
        ((50, 20, 2), (50, 2))

    References:
        C. K. Carter, R. Kohn, On Gibbs sampling for state space models, Biometrika 81 (1994); S. Fruhwirth-Schnatter,
        Data augmentation and dynamic linear models, J. Time Series Analysis 15 (1994).
    """
    if hasattr(estimate, "particles"):
        return simulate_smoothed(key, params, estimate, us, trajectories=trajectories, initial=initial, length=length)
    model = model_and_rule("sample_posterior", filter, params, estimate, us)
    if trajectories < 1:
        raise ValueError(f"sample_posterior: trajectories is {trajectories}; expected at least 1.")
    first = factors_or_belief(model.prior if initial is None else initial)
    return _sample(filter, trajectories, key, params, first, factors_or_belief(estimate), us, length)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample(
    filter: Filter, count: int, key: Array, params: Any, first: Belief, filtered: Belief, us: Any, length: Any
) -> Trajectories:
    model = model_of(params)
    space = model.state_space
    start, last, us, active = records(filter, params, first, filtered, us, length)
    noise = jax.random.normal(key, (filtered.mean.shape[0] + 1, count, model.n), filtered.mean.dtype)

    def spread(factor: Array, z: Array) -> Array:
        return linalg.matmul(z, factor.T)

    def back(later: Array, at: tuple[Belief, Any, Any, Array]) -> tuple[Array, Array]:
        belief, u, active_t, z = at
        kernel = backward_kernel(filter.rule, model, belief, u)
        rest = kernel.rest if isinstance(belief, SquareRoot) else linalg.cholesky(kernel.rest)
        moved = jax.vmap(space.difference, (0, None))(later, kernel.predicted)
        offsets = linalg.matmul(moved, kernel.gain.T) + spread(rest, z)
        drawn = jax.vmap(space.retract, (None, 0))(belief.mean, offsets)
        new = drawn if active_t is None else jnp.where(active_t, drawn, later)
        return new, new

    factor = last.cholesky if isinstance(last, SquareRoot) else linalg.cholesky(last.cov)
    ends = jax.vmap(space.retract, (None, 0))(last.mean, spread(factor, noise[-1]))
    path = jax.lax.scan(back, ends, (start, us, active, noise[:-1]), reverse=True)[1]
    return Trajectories(jnp.concatenate([path[1:], ends[None]]).swapaxes(0, 1), path[0])
