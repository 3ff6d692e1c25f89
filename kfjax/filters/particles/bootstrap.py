"""Particle filters: weighted samples, for any noise and any functions.

predict:  resample where the effective sample size is low, then x_t^i ~ p(x_t | x_{t-1}^i)
update:   w^i  <-  w^i p(y_t | x_t^i),   log p(y_t | y_1..t-1) = log of the sum of the new weights

The guided filter replaces the draw by one from N(x_t | m^i, P^i), the Gaussian update of the
transition with y_t by a moment rule, and the auxiliary filter resamples once y_t is known; both
correct the weights. Sums of weights are unbiased, and so is exp(sum_t log p(y_t | y_1..t-1)), the
estimate of the likelihood.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kfjax._support.arguments import check_kind
from kfjax.base import Filter, Gaussian, Info, Inputs, Mask, constructor
from kfjax.filters import clouds
from kfjax.filters.particles import proposals
from kfjax.filters.particles.resampling import SYSTEMATIC, Resampling, normalised
from kfjax.filters.particles.states import (
    ParticleState,
    check_particles,
    mixture_info,
    selected,
    weighed,
)
from kfjax.models.augmented_state import check_added_noise
from kfjax.models.observing import observe
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import MomentRule

__all__ = ["auxiliary_particle", "particle"]


@constructor
def particle(
    particles: int = 1000,
    *,
    resampling: Resampling = SYSTEMATIC,
    ess: float = 0.5,
    proposal: MomentRule | None = None,
) -> Filter:
    """Filter with weighted samples (bootstrap particle filter; guided if a proposal is given).

    Observations are weighed with `model.observation_log_density(x, y, u, observed)` if the model
    has one (heavy tails, counts, ...; `observed` is a boolean [m], or None), otherwise with N(y |
    h(x, u), R) of the observed channels. Unlike other filters, this one needs an invertible R: an
    observation without noise has no density. An observation that is impossible for every particle
    has the log-likelihood -inf and leaves the state as predicted. The likelihood is an unbiased
    estimate; the other fields of Info come from the mean and covariance of y that the particles
    predict.

    Args:
        particles: N. The error falls with 1 / sqrt(N); the cost per step is N evaluations of f and
            h.
        resampling: a scheme of `kfjax.filters`: `Systematic()`, `Stratified()`, `Multinomial()`,
            `Residual()`, or, for gradients through the weights, `Soft(alpha)` or `StopGradient()`.
        ess: resample where the effective sample size is below this fraction of N: 0 means never, 1
            always.
        proposal: None to propose from the transition, or a moment rule: `kfjax.moments.Taylor()`
            proposes from an extended, `Unscented()` from an unscented Kalman update of every
            particle. Precise sensors need one. It uses R, which must be wide enough for the tails
            of an `observation_log_density`.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `ParticleState`. `init` needs a key. No
        `recentre` with a proposal.

    Raises:
        ValueError: if particles is below 1, or ess is not from 0 to 1; from `init`, if there is no
            key, or the model has its observation noise in the state.

    Example:
        >>> model = kf.systems.constant_velocity()
        >>> xs, ys = kf.simulate(jax.random.key(0), model, steps=50)
        >>> exact = kf.run(kf.kalman(), model, ys).outputs
        >>> est = kf.run(
        ...     kf.filters.particle(4000), model, ys, key=jax.random.key(1)
        ... ).outputs
        >>> bool(abs(est.log_likelihood.sum() - exact.log_likelihood.sum()) < 1)
        True

    References:
        N. Gordon, D. Salmond, A. Smith, Novel approach to nonlinear/non-Gaussian Bayesian state
        estimation, IEE Proc. F 140 (1993); A. Doucet, S. Godsill, C. Andrieu, On sequential Monte
        Carlo sampling methods for Bayesian filtering, Stat. Comput. 10 (2000), section II-D.
    """
    check_particles("particle", particles, ess, resampling)
    guided = proposal is not None

    def predict(params: StateSpaceModel, state: ParticleState, u: Inputs = None) -> ParticleState:
        key, (select, move) = clouds.split(state.key, 2)
        state, _ = selected(resampling, ess, select, state)
        return _move(move, params, state._replace(key=key), u)

    def update(
        params: StateSpaceModel,
        state: ParticleState,
        y: Array,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[ParticleState, Info]:
        if not guided:
            return _weigh(params, state, state, y, u, observed)
        key, (draw,) = clouds.split(state.key, 1)
        each = _proposals(proposal, params, state, y, u, observed)
        return _weigh(
            params, state, _propose(draw, params, state._replace(key=key), each), y, u, observed
        )

    init = _initial("particle", particles, keeps_previous=guided)
    return Filter(init, predict, update, None if guided else _recentre)


@constructor
def auxiliary_particle(
    particles: int = 1000,
    *,
    resampling: Resampling = SYSTEMATIC,
    ess: float = 1.0,
    proposal: MomentRule | None = None,
) -> Filter:
    """Filter with ancestors resampled by how well they predict y_t (auxiliary particle filter).

    Ancestors are drawn with priority w^i p(y_t | f(x_{t-1}^i)), or with a proposal w^i times the
    likelihood of y_t in the Gaussian update of each; for Gaussian noise and linear h that is p(y_t
    | x_{t-1}^i), and new weights are equal.

    Args:
        particles: N.
        resampling: as in `particle`.
        ess: resample where the effective sample size of the priorities is below this fraction of N;
            1 means always.
        proposal: as in `particle`.

    Returns:
        A `Filter`; params `StateSpaceModel`, state `ParticleState`. `init` needs a key. No
        `recentre`.

    Raises:
        ValueError: as `particle`.

    References:
        M. K. Pitt, N. Shephard, Filtering via simulation: auxiliary particle filters, JASA 94
        (1999), section 3.
    """
    check_particles("auxiliary_particle", particles, ess, resampling)

    def predict(params: StateSpaceModel, state: ParticleState, u: Inputs = None) -> ParticleState:
        key, (move,) = clouds.split(state.key, 1)
        return _move(move, params, state._replace(key=key), u)

    def update(
        params: StateSpaceModel,
        state: ParticleState,
        y: Array,
        u: Inputs = None,
        observed: Mask = None,
    ) -> tuple[ParticleState, Info]:
        key, (select, draw) = clouds.split(state.key, 2)
        each = _proposals(proposal, params, state, y, u, observed)
        # First-stage weights w_t-1 p(y_t | x_t-1), exact or by the rule (Pitt and Shephard, 1999).
        # Where no particle explains y_t, the plain weights stand in, and the filter goes on.
        priorities = state.log_weights + jnp.where(state.moved, each.log_evidence, 0)
        priorities = jnp.where(jnp.max(priorities) == -jnp.inf, state.log_weights, priorities)
        ancestors, indices = selected(resampling, ess, select, state._replace(key=key), priorities)
        each = jax.tree.map(lambda a: a[indices], each)
        return _weigh(params, state, _propose(draw, params, ancestors, each), y, u, observed)

    return Filter(_initial("auxiliary_particle", particles, keeps_previous=True), predict, update)


def _initial(who: str, particles: int, keeps_previous: bool) -> Any:
    """Return an `init` that draws from the prior."""

    def init(params: StateSpaceModel, key: Array | None = None) -> ParticleState:
        check_kind(f"{who}: params", params, StateSpaceModel)
        if params.observation_log_density is None:
            check_added_noise(who, params, "R")
        data, (draw,) = clouds.split(clouds.key_data(who, key), 1)
        x = clouds.draw_prior(draw, params, particles)
        equal = normalised(jnp.zeros_like(x[:, 0]))
        previous, moved = (jnp.copy(x), jnp.asarray(False)) if keeps_previous else (None, None)
        return ParticleState(x, equal, data, None, previous, moved, clouds.space_of(params))

    return init


def _noise(key: Array, model: StateSpaceModel, state: ParticleState) -> Array:
    """Draw standard normals, [N, n]."""
    shape = (state.particles.shape[0], model.n)
    return jax.random.normal(key, shape, state.particles.dtype)


def _move(key: Array, model: StateSpaceModel, state: ParticleState, u: Inputs) -> ParticleState:
    """Draw x_t^i from the transition."""
    noise = _noise(key, model, state)
    moved = jax.vmap(lambda x, z: clouds.propagate(model, x, u, z))(state.particles, noise)
    if state.previous is None:
        return state._replace(particles=moved)
    return state._replace(particles=moved, previous=state.particles, moved=jnp.asarray(True))


def _proposals(
    rule: MomentRule | None,
    model: StateSpaceModel,
    state: ParticleState,
    y: Array,
    u: Inputs,
    observed: Mask,
) -> proposals.Proposal:
    """Return the proposal of every particle, from where it was before the predict."""
    return jax.vmap(lambda x: proposals.proposal(rule, model, x, y, u, observed))(state.previous)


def _propose(
    key: Array, model: StateSpaceModel, state: ParticleState, each: proposals.Proposal
) -> ParticleState:
    """Draw x_t^i anew given y_t; particles that were not just moved stay."""
    x, log_ratio = jax.vmap(lambda p, z: proposals.draw(p, model.state_space, z))(
        each, _noise(key, model, state)
    )
    return state._replace(
        particles=jnp.where(state.moved, x, state.particles),
        log_weights=state.log_weights + jnp.where(state.moved, log_ratio, 0),
    )


def _weigh(
    model: StateSpaceModel,
    predicted: ParticleState,
    proposed: ParticleState,
    y: Array,
    u: Inputs,
    observed: Mask,
) -> tuple[ParticleState, Info]:
    """Weigh the proposed particles; Info is about y as predicted."""
    # With a proposal the weight is p(y | x) p(x | x_t-1) / q(x); the ratio of the last two is in
    # the weights of `proposed` already.
    density = jax.vmap(lambda x: proposals.log_density(model, x, y, u, observed))(
        proposed.particles
    )
    new, log_likelihood = weighed(predicted, proposed, density, observed)
    seen = observe(model, predicted.mean, y, u, observed)
    ys = jax.vmap(seen.fn)(predicted.particles).astype(density.dtype)
    return new, mixture_info(seen, ys, predicted.weights, seen.R, log_likelihood)


def _recentre(params: StateSpaceModel, state: ParticleState, gaussian: Gaussian) -> ParticleState:
    """Move the particles affinely to the moments of a Gaussian; weights stay, if all are finite."""
    del params
    key, (draw,) = clouds.split(state.key, 1)
    log_weights = normalised(state.log_weights)
    sound = jnp.isfinite(state.mean).all()
    log_weights = jnp.where(
        sound, log_weights, -jnp.log(log_weights.shape[0]).astype(log_weights.dtype)
    )
    particles = clouds.affine_move(
        draw, state.space, state.particles, jnp.exp(log_weights), gaussian
    )
    return state._replace(particles=particles, log_weights=log_weights, key=key)
