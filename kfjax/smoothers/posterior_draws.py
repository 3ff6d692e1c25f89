"""Draws of whole trajectories from the posterior, from Gaussian beliefs."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.arguments import check_count, check_key
from kfjax._support.compiling import jit
from kfjax._support.types import Key
from kfjax._support.values import check_belief
from kfjax.base import Filter, Inputs, Params
from kfjax.filters.backward_kernels import Belief, backward_kernel
from kfjax.filters.beliefs import model_and_rule
from kfjax.filters.diffuse_beliefs import proper
from kfjax.filters.square_root_form import SquareRootGaussian
from kfjax.models.lens import model_of
from kfjax.models.records import check_length
from kfjax.models.runtime_checks import check_first_noise
from kfjax.smoothers.backward_simulation import Trajectories, simulate_smoothed
from kfjax.smoothers.records import backward_series, belief_before, factors_or_belief

__all__ = ["sample_posterior"]


def sample_posterior(
    key: Key,
    filter: Filter,
    params: Params,
    estimate: Any,
    *,
    us: Inputs = None,
    trajectories: int = 100,
    prior: Any = None,
    length: Any = None,
) -> Trajectories:
    """Draw trajectories from p(x_0..T | y_1..T): filter forwards, sample backwards.

    x_T is drawn from the last filtered belief, then for t = T-1..0, with the moments of f at the
    filtered belief m, P and C = Cov[x_t, f(x_t)],

        x_t = m + G (x_t+1 - E[f]) + z,  G = C (Cov[f] + Q)^-1,  z ~ N(0, residual(G) + G Q G').

    Means, covariances and lag-one covariances over the trajectories are those of `kfjax.smooth`;
    other statistics, such as the distribution of a maximum over time, are also those of the
    smoothing distribution. A singular Q or prior is fine. The stored states of a particle filter go
    through `kfjax.simulate_smoothed` (backward simulation).

    Args:
        key: a random key.
        filter: the filter that made the estimate: one with a moment rule, or `kfjax.particle`.
        params: the `StateSpaceModel`, or params that hold one.
        estimate: filtered mean [T, n] and cov [T, n, n], as from `kfjax.run`; for a particle
            filter, the stacked states, from `kfjax.run(..., emit=kfjax.whole_state)`.
        us: the inputs of that run.
        trajectories: M.
        prior: the belief about x_0 of that run, if it was started from a `state`; default the prior
            of the model. For a particle filter, its state before the first step, like `state` in
            `kfjax.simulate_smoothed`.
        length: the length of that run, if it had one; later entries repeat the last one.

    Returns:
        `Trajectories(states [M, T, n], initial [M, n] or None)`.

    Raises:
        ValueError: if the filter has neither a rule nor particles, the estimate has no covariance,
            or trajectories is below 1.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> filtered = kf.run(kf.kalman(), model, ys).outputs
        >>> key = jax.random.key(1)
        >>> drawn = kf.sample_posterior(
        ...     key, kf.kalman(), model, filtered, trajectories=50
        ... )
        >>> drawn.states.shape, drawn.initial.shape
        ((50, 20, 2), (50, 2))

    References:
        C. K. Carter, R. Kohn, On Gibbs sampling for state space models, Biometrika 81 (1994); S.
        Fruhwirth-Schnatter, Data augmentation and dynamic linear models, J. Time Series Analysis 15
        (1994).
    """
    if hasattr(estimate, "particles"):
        return simulate_smoothed(
            key, params, estimate, us=us, trajectories=trajectories, state=prior, length=length
        )
    model = model_and_rule("sample_posterior", filter, params, estimate, us)
    check_key("sample_posterior: key", key)
    check_count("sample_posterior: trajectories", trajectories)
    if prior is not None:
        check_belief("sample_posterior: prior", prior)
    check_length("sample_posterior", estimate.mean, length)
    check_first_noise("sample_posterior", model, us, before=prior, length=length, names="Q")
    first = belief_before(model, prior)
    return _sample(
        filter, trajectories, key, params, first, factors_or_belief(estimate), us, length
    )


@functools.partial(jit, static_argnums=(0, 1))
def _sample(
    filter: Filter,
    count: int,
    key: Array,
    params: Params,
    first: Belief | None,
    filtered: Belief,
    us: Inputs,
    length: Any,
) -> Trajectories:
    model = model_of(params)
    space = model.state_space
    start, last, us, active = backward_series(filter, params, first, filtered, us, length)
    steps = start.mean.shape[0]
    # All normals are drawn before the loop, by one call for the record instead of one in every
    # step.
    noise = jax.random.normal(key, (steps + 1, count, model.n), filtered.mean.dtype)

    def spread(factor: Array, z: Array) -> Array:
        return linalg.matmul(z, factor.T)

    def back(later: Array, at: tuple[Belief, Any, Any, Array]) -> tuple[Array, Array]:
        belief, u, active_t, z = at
        kernel = backward_kernel(filter.rule, model, belief, u)
        belief = proper(belief)
        rest = (
            kernel.residual
            if isinstance(belief, SquareRootGaussian)
            else linalg.cholesky(kernel.residual)
        )
        # p(x_t | x_t+1, y_1..t) = N(m + G (x_t+1 - F m), residual) is all that a step back needs:
        # later data act through x_t+1 alone (Carter and Kohn, 1994; Fruhwirth-Schnatter, 1994). The
        # kernel does not depend on the draw, and all trajectories share it.
        moved = jax.vmap(space.difference, (0, None))(later, kernel.predicted)
        offsets = linalg.matmul(moved, kernel.gain.T) + spread(rest, z)
        drawn = jax.vmap(space.retract, (None, 0))(belief.mean, offsets)
        new = drawn if active_t is None else jnp.where(active_t, drawn, later)
        return new, new

    factor = last.cholesky if isinstance(last, SquareRootGaussian) else linalg.cholesky(last.cov)
    ends = jax.vmap(space.retract, (None, 0))(last.mean, spread(factor, noise[-1]))
    path = one_kernel.scan(back, ends, (start, us, active, noise[:-1]), reverse=True)[1]
    path = jnp.concatenate([path, ends[None]]).swapaxes(0, 1)
    return Trajectories(path, None) if first is None else Trajectories(path[:, 1:], path[:, 0])
