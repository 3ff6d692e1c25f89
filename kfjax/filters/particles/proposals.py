"""Observation densities and proposal distributions of a single particle."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax._support.precision import eps_of
from kfjax.base import Gaussian, Inputs, Mask
from kfjax.filters.gaussian import Standard
from kfjax.models.calling import call
from kfjax.models.observing import innovation_info, observe
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.models.state_space import StateSpaceModel
from kfjax.moments import MomentRule

__all__: list[str] = []


def log_density(model: StateSpaceModel, x: Array, y: Array, u: Inputs, observed: Mask) -> Array:
    """Return log p(y | x) of the observed channels."""
    if model.observation_log_density is None:
        seen = observe(model, x, y, u, observed)
        R = linalg.factorise(seen.R)
        density = innovation_info(seen.innovation(seen.fn(x)), R, seen.mask).log_likelihood
        return where_definite(R.lower, density)
    given = functools.partial(call, "observation_log_density", model.observation_log_density)
    if observed is None:
        return given(x, y, u, None).astype(x.dtype)
    mask = jnp.broadcast_to(jnp.asarray(observed, bool), y.shape)
    density = given(x, jnp.where(mask, y, 0), u, mask)
    return jnp.where(mask.any(), density, 0).astype(x.dtype)


def where_definite(L: Array, log_density: Any) -> Array:
    """Return a Gaussian log density, -inf where the factor L of the covariance is singular."""
    return jnp.where((jnp.diag(L) > 0).all(), log_density, -jnp.inf)


class Proposal(NamedTuple):
    """A distribution of x_t given x_{t-1} and y_t, through the noise: centre moved by Q^1/2 z.

    In these coordinates the transition is N(0, I), whatever the rank of Q and the shape of the
    space.

    Attributes:
        centre: f(x_{t-1}, u_t), [n].
        noise: Q^1/2, [n, n].
        mean: E[z], [n].
        factor: a factor [n, n] of Cov[z].
        log_evidence: an approximation of log p(y_t | x_{t-1}): how well y_t is predicted.
    """

    centre: Array
    noise: Array
    mean: Array
    factor: Array
    log_evidence: Any


def proposal(
    rule: MomentRule | None, model: StateSpaceModel, x: Array, y: Array, u: Inputs, observed: Mask
) -> Proposal:
    """Return the transition from x, updated with y by a moment rule if there is one."""
    centre = call("f", model.f, x, u).astype(x.dtype)
    noise = linalg.cholesky(model.process_noise(x, u))
    zero = jnp.zeros_like(noise[0])
    prior = Gaussian(zero, jnp.eye(noise.shape[0], dtype=noise.dtype))
    if rule is None:
        return Proposal(centre, noise, *prior, log_density(model, centre, y, u, observed))
    seen = observe(model, centre, y, u, observed)
    local = seen._replace(fn=lambda z: seen.fn(_place(model.state_space, centre, noise, z)))
    (mean, cov), info = Standard()(rule, prior, local, EUCLIDEAN)
    # a direction that a precise sensor determines to less than rounding would have no density
    floor = 4 * prior.cov.shape[0] * eps_of(cov)
    return Proposal(
        centre, noise, mean, linalg.cholesky(cov + floor * prior.cov), info.log_likelihood
    )


def draw(proposal: Proposal, space: Space, standard: Array) -> tuple[Array, Array]:
    """Return x_t [n] for a standard normal [n], and log transition minus log proposal there."""
    z = proposal.mean + linalg.matmul(proposal.factor, standard)
    # Both densities are taken in the coordinates z of the noise, where the transition is N(0, I)
    # and the proposal N(mean, F F') of z = mean + F s:
    #
    #     log N(z; 0, I) - log N(z; mean, F F') = (s's - z'z + log det F F') / 2.
    #
    # The map from z to x is the same in both and cancels, also where Q is singular and x has no
    # density.
    squares = jnp.sum(standard**2) - jnp.sum(z**2)
    log_ratio = 0.5 * (squares + linalg.logdet(proposal.factor))
    return _place(space, proposal.centre, proposal.noise, z), log_ratio


def _place(space: Space, centre: Array, noise: Array, z: Array) -> Array:
    """Return the state that the noise z leads to."""
    return space.retract(centre, linalg.matmul(noise, z)).astype(centre.dtype)
