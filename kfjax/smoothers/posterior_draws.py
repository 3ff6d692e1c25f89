"""Draws of whole trajectories from the posterior."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.arguments import check_count, check_key
from kfjax._support.compiling import jit
from kfjax._support.values import check_belief
from kfjax.base import Filter, Inputs, Params, State
from kfjax.filters.backward_kernels import Belief, backward_kernel
from kfjax.filters.beliefs import model_and_rule
from kfjax.filters.diffuse_beliefs import proper
from kfjax.filters.particles.resampling import inverse_cdf
from kfjax.filters.square_root_form import SquareRootGaussian
from kfjax.models.calling import call
from kfjax.models.lens import model_of
from kfjax.models.records import is_singular, until
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.state_space import StateSpaceModel
from kfjax.smoothers.records import backward_series, belief_before, factors_or_belief

__all__ = ["Trajectories", "sample_posterior", "simulate_smoothed"]


class Trajectories(NamedTuple):
    """Trajectories drawn from p(x_1..T | y_1..T), all of equal weight.

    Attributes:
        states: [M, T, n], x_1..x_T.
        initial: x_0 of each [M, n]; None if the first particles were not given, or if there is no
            x_0, with first="update" in the model.
    """

    states: Array
    initial: Array | None


def simulate_smoothed(
    key: Array,
    params: Params,
    states: State,
    *,
    us: Inputs = None,
    trajectories: int = 100,
    state: State = None,
    length: Any = None,
) -> Trajectories:
    """Draw trajectories from the smoothing distribution.

    The draws go backwards through the stored particles of a filter.

    x_T is drawn from the last particles, then for t = T-1..0 one of the particles x_t^i with
    weights

        w_t^i p(x_{t+1} | x_t^i),   p(x' | x) = N(x' - f(x, u); 0, Q(x, u)).

    The cost is T M N. Statistics over the trajectories are those of the smoothing distribution:
    means and covariances, but also others, such as the distribution of a maximum over time.

    Args:
        key: a random key.
        params: the `StateSpaceModel`, or params that hold one. Q must be invertible: otherwise no
            particle but its own ancestor leads to x_{t+1}. A singular Q whose values are not known
            (traced, or a callable) gives NaN.
        states: the stacked states [T, ...] of a run of `kfjax.particle` (or `auxiliary_particle`),
            which `kfjax.run(..., emit=kfjax.whole_state)` returns.
        us: the inputs of that run.
        trajectories: M.
        state: the state before the first step, to draw x_0 too: `filter.init(params, key)` with
            the key of that run, or the `state` that it was started from. Leave it out if there is
            no x_0.
        length: the length of that run, if it had one; later entries repeat the last one.

    Returns:
        `Trajectories(states [M, T, n], initial [M, n] or None)`.

    Raises:
        ValueError: if states has no particles, trajectories is below 1, or Q is singular.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=20)
        >>> key = jax.random.key(1)
        >>> final, states = kf.run(
        ...     kf.particle(500), model, ys, key=key, emit=kf.whole_state
        ... )
        >>> kf.simulate_smoothed(
        ...     jax.random.key(2), model, states, trajectories=50
        ... ).states.shape
        (50, 20, 2)

    References:
        S. J. Godsill, A. Doucet, M. West, Monte Carlo smoothing for nonlinear time series, JASA 99
        (2004), algorithm 1.
    """
    check_key("simulate_smoothed: key", key)
    model = _check(params, states, trajectories)
    check_first_noise("simulate_smoothed", model, us, before=state, length=length, names="Q")
    first = None if state is None else (state.particles, state.log_weights)
    return _simulate(
        key, model, (states.particles, states.log_weights), first, us, length, trajectories
    )


def _check(params: Params, states: State, trajectories: int) -> StateSpaceModel:
    """Validate the arguments of `simulate_smoothed`; return the model."""
    model = model_of(params)
    if (
        model is None
        or not hasattr(states, "particles")
        or states.covs is not None
        or states.particles.ndim != 3
    ):
        raise ValueError(
            f"simulate_smoothed: got states {type(states).__name__}; expected the stacked states of"
            " kf.particle on a StateSpaceModel, from run(..., emit=kf.whole_state)."
        )
    check_count("simulate_smoothed: trajectories", trajectories)
    if is_singular(model.Q):
        raise ValueError(
            "simulate_smoothed: Q is singular; expected an invertible one, since backward weights"
            " are transition densities. Add a little noise to Q, or use kf.smooth with a Gaussian"
            " filter."
        )
    return model


Cloud = tuple[Array, Array]  # particles [N, n] and log weights [N]


@functools.partial(jit, static_argnums=6)
def _simulate(
    key: Array,
    model: StateSpaceModel,
    clouds: Cloud,
    first: Cloud | None,
    us: Inputs,
    length: Any,
    count: int,
) -> Trajectories:
    steps = clouds[0].shape[0]
    us, active = until(length, us, steps)
    earlier = jax.tree.map(lambda a: a[:-1], clouds)
    if first is not None:
        earlier = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, earlier)
    us, active = jax.tree.map(lambda a: a[steps - earlier[0].shape[0] :], (us, active))
    keys = jax.random.split(key, earlier[0].shape[0] + 1)

    def back(later: Array, at: tuple[Cloud, Any, Any, Array]) -> tuple[Array, Array]:
        cloud, u, active_t, key_t = at
        drawn = _step_back(key_t, model, cloud, u, later)
        new = drawn if active_t is None else jnp.where(active_t, drawn, later)
        return new, new

    particles, log_weights = jax.tree.map(lambda a: a[-1], clouds)
    last = particles[
        inverse_cdf(log_weights, jax.random.uniform(keys[-1], (count,), particles.dtype))
    ]
    drawn = one_kernel.scan(back, last, (earlier, us, active, keys[:-1]), reverse=True)[1]
    drawn = jnp.concatenate([drawn, last[None]]).swapaxes(0, 1)
    return Trajectories(drawn, None) if first is None else Trajectories(drawn[:, 1:], drawn[:, 0])


def _step_back(key: Array, model: StateSpaceModel, cloud: Cloud, u: Inputs, later: Array) -> Array:
    """Draw x_t [M, n] given x_{t+1} [M, n]."""
    particles, log_weights = cloud

    def one(x: Array, uniform: Array) -> Array:
        # Backward simulation (Godsill, Doucet and West, 2004): given x_t+1, particle i was before
        # it with probability proportional to w_i p(x_t+1 | x_i), which costs N transition densities
        # for each trajectory and step.
        weights = log_weights + jax.vmap(lambda before: _log_transition(model, before, u, x))(
            particles
        )
        chosen = particles[inverse_cdf(weights, uniform)]
        # No particle can lead here, so that any choice would be wrong: NaN shows it.
        return jnp.where(jnp.max(weights) == -jnp.inf, jnp.nan, chosen)

    uniform = jax.random.uniform(key, later.shape[:1], later.dtype)
    return jax.vmap(one)(later, uniform)


def _log_transition(model: StateSpaceModel, before: Array, u: Inputs, after: Array) -> Array:
    """Return log p(after | before) up to a constant; -inf if the noise has no density."""
    L = linalg.cholesky(model.process_noise(before, u))
    z = linalg.solve_lower(
        L, model.state_space.difference(after, call("f", model.f, before, u).astype(after.dtype))
    )
    density = -0.5 * (jnp.sum(z**2) + linalg.logdet(L))
    return jnp.where((jnp.diag(L) > 0).all(), density, -jnp.inf)


def sample_posterior(
    key: Array,
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
