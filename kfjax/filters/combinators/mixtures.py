"""Moments, weights and Info of a mixture of Gaussian beliefs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from kfjax import linalg
from kfjax.base import Gaussian, Info
from kfjax.models.observing import innovation_info
from kfjax.models.spaces import EUCLIDEAN, Space

__all__: list[str] = []


def moment_match(weights: Array, beliefs: Sequence[Gaussian], space: Space) -> Gaussian:
    """Return the Gaussian with the moments of a mixture.

    On curved spaces means are averaged as offsets from the one with the largest weight.
    """
    away = jax.vmap(space.difference, in_axes=(0, None))
    means = jnp.stack([b.mean for b in beliefs])
    covs = jnp.stack([b.cov for b in beliefs])
    reference = means[jnp.argmax(weights)]
    mean = space.retract(reference, linalg.matmul(away(means, reference).T, weights))
    spread = away(means, mean)
    within = jnp.sum(weights[:, None, None] * covs, axis=0)
    return Gaussian(mean, within + linalg.weighted_gram(weights, spread, spread))


def mixing_weights(transition: Array, weights: Array) -> tuple[Array, Array]:
    """Return c_j = sum_i p_ij mu_i, and p_ij mu_i / c_j at [i, j].

    A member without weight follows the mixture.
    """
    joint = transition * weights[:, None]
    c = jnp.sum(joint, axis=0, keepdims=True)
    # below the root of the smallest normal number, 1 / c is finite but its derivative is not
    rare = c < float(jnp.finfo(c.dtype).tiny) ** 0.5
    known = jnp.where(rare, jax.lax.stop_gradient(joint), joint)
    total = jnp.sum(known, axis=0, keepdims=True)
    shares = known / jnp.where(total > 0, total, 1)
    return c[0], jnp.where(total > 0, shares, weights[:, None])


def reweighted(prior: Array, infos: tuple[Info, ...]) -> tuple[Array, Array]:
    """Return the weights after an update, and the log-likelihood of the mixture."""
    likelihoods = [info.log_likelihood for info in infos if info.log_likelihood is not None]
    if len(likelihoods) < len(infos):
        raise ValueError(
            "imm: a member reports no log-likelihood; expected one from each, to compute their"
            " weights."
        )
    values = jnp.stack(likelihoods)
    limit = 0.5 * math.log(jnp.finfo(prior.dtype).max)
    likely = prior > math.exp(-limit)
    scores = jnp.where(likely, values + jnp.log(jnp.where(likely, prior, 1)), -jnp.inf)
    best = jax.lax.stop_gradient(jnp.max(scores))
    best = jnp.where(jnp.isfinite(best), best, 0)
    # prior * exp(value) instead of exp(score), which has no derivative at a zero weight; the limit
    # keeps that derivative finite
    terms = prior * jnp.exp(jnp.minimum(values - best, limit))
    total = jnp.sum(terms)
    possible = total > 0
    total = jnp.where(possible, total, 1)
    posterior = jnp.where(possible, terms / total, prior)
    log_likelihood = jnp.where(possible, best + jnp.log(total), -jnp.inf)
    return posterior / jnp.sum(posterior), log_likelihood


def mixture_info(prior: Array, infos: tuple[Info, ...], log_likelihood: Array) -> Info:
    """Return the Info of a mixture, with its innovation if all members have one."""
    dofs = [i.dof for i in infos if i.dof is not None]
    dof = jnp.max(jnp.stack(dofs)) if len(dofs) == len(infos) else None
    innovations = [
        Gaussian(i.innovation, i.innovation_cov)
        for i in infos
        if i.innovation is not None and i.innovation_cov is not None
    ]
    if len(innovations) < len(infos):
        return Info(log_likelihood=log_likelihood, dof=dof)
    innovation, S = moment_match(prior, innovations, EUCLIDEAN)
    exact = jnp.zeros_like(innovation)  # members may have observations without noise
    info = innovation_info(innovation, linalg.factorise(S, exact))
    return info._replace(log_likelihood=log_likelihood, dof=dof)
