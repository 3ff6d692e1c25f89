"""Draws of whole trajectories from the posterior, by backward simulation through particles."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support import one_kernel
from kfjax._support.arguments import check_count, check_key
from kfjax._support.compiling import jit
from kfjax._support.naming import described
from kfjax._support.types import Key
from kfjax.base import Inputs, Params, State
from kfjax.filters.beliefs import check_input_steps
from kfjax.filters.particles.resampling import inverse_cdf
from kfjax.models.calling import call
from kfjax.models.lens import model_of
from kfjax.models.records import check_length, is_singular, until
from kfjax.models.runtime_checks import check_first_noise
from kfjax.models.state_space import StateSpaceModel

__all__ = ["Trajectories", "simulate_smoothed"]


class Trajectories(NamedTuple):
    """Trajectories drawn from p(x_1..T | y_1..T), all of equal weight.

    Attributes:
        states: [M, T, n], x_1..x_T.
        initial: x_0 of each [M, n]; None if the first particles were not given, or if there is no
            x_0, with first="update" in the model.
    """

    states: Float[Array, "... M T n"]
    initial: Float[Array, "... M n"] | None


def simulate_smoothed(
    key: Key,
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
    check_input_steps("simulate_smoothed", us, states.particles.shape[0])
    check_length("simulate_smoothed", states.particles, length)
    if (
        state is not None
        and jnp.shape(getattr(state, "particles", 0.0)) != states.particles.shape[1:]
    ):
        raise ValueError(
            f"simulate_smoothed: state is {described(state)}; expected the state before the first"
            f" step, with particles of shape {states.particles.shape[1:]}."
        )
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
