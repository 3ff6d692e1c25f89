"""The state of every particle filter, and its two operations: select and weigh."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, UInt32

from kfjax import linalg
from kfjax._support.arguments import check_count, check_kind, check_number
from kfjax._support.precision import eps_of
from kfjax.base import Info, Mask
from kfjax.filters import clouds
from kfjax.filters.particles.resampling import Resampling, log_total, normalised, resample
from kfjax.models.observing import Observation, innovation_info, keep_unobserved
from kfjax.models.spaces import Space

__all__ = ["ParticleState"]


class ParticleState(NamedTuple):
    """A belief as N weighted particles.

    Attributes:
        particles: [..., N, n].
        log_weights: [..., N]. Their exponentials sum to one on average; `mean` and `cov` normalise
            them.
        key: words of the random key of the next step (uint32).
        covs: [..., N, n, n], if each particle is the mean of a Gaussian.
        previous: the particles [..., N, n] before the move, kept by filters that move them again
            once y is known.
        moved: whether `previous` is valid, that is, between a predict and an update.
        space: how states are averaged, on a curved space.
    """

    particles: Float[Array, "... N n"]
    log_weights: Float[Array, "... N"]
    key: UInt32[Array, "... words"]
    covs: Any = None
    previous: Any = None
    moved: Any = None
    space: Space | None = None

    @property
    def mean(self) -> Float[Array, "... n"]:
        """The weighted mean [..., n]; on a curved space, of offsets from a reference point."""
        return clouds.lifted(_mean, self, self.log_weights)

    @property
    def cov(self) -> Float[Array, "... d d"]:
        """Weighted covariance [..., n, n], between and within the particles."""
        return clouds.lifted(_cov, self, self.log_weights)

    @property
    def weights(self) -> Float[Array, "... N"]:
        """The normalised weights [..., N]."""
        return clouds.lifted(
            lambda state: jnp.exp(normalised(state.log_weights)), self, self.log_weights
        )


def _mean(state: ParticleState) -> Array:
    return clouds.weighted_mean(state.space, state.particles, state.weights)


def _cov(state: ParticleState) -> Array:
    between = clouds.weighted_cov(state.space, state.particles, state.weights, _mean(state))
    return between if state.covs is None else between + clouds.mixed(state.weights, state.covs)


def check_particles(who: str, particles: int, ess: float, resampling: Resampling) -> None:
    """Validate the arguments that the constructors share."""
    check_count(f"{who}: particles", particles)
    check_kind(f"{who}: resampling", resampling, Resampling)
    check_number(f"{who}: ess (a fraction of the particles)", ess, least=0, most=1)


def selected(
    scheme: Resampling,
    ess: float,
    key: Array,
    state: ParticleState,
    priorities: Array | None = None,
) -> tuple[ParticleState, Array]:
    """Resample where it pays; return the surviving particles and their indices [N]."""
    indices, log_weights = resample(scheme, ess, key, state.log_weights, priorities)
    covs = None if state.covs is None else state.covs[indices]
    return state._replace(
        particles=state.particles[indices], log_weights=log_weights, covs=covs
    ), indices


def weighed(
    predicted: ParticleState, proposed: ParticleState, density: Array, observed: Mask
) -> tuple[ParticleState, Array]:
    """Multiply the weights by the density of y, given as logarithms [N].

    Returns:
        The new state, and the log-likelihood of y. If nothing was observed, or y is impossible for
        every particle (then its log-likelihood is -inf), the state is the predicted one.
    """
    log_weights = proposed.log_weights + density
    total = log_total(log_weights)
    used = total != -jnp.inf
    if observed is not None:
        used &= jnp.any(observed)
        total = jnp.where(jnp.any(observed), total, 0)
    moved = None if proposed.moved is None else jnp.asarray(False)
    return keep_unobserved(
        used, proposed._replace(log_weights=normalised(log_weights), moved=moved), predicted
    ), total


def mixture_info(
    seen: Observation, ys: Array, weights: Array, noise: Array, log_likelihood: Array
) -> Info:
    """Return the Info of y from predicted ys [N, m] and the mean noise [m, m] about them."""
    y_hat = clouds.weighted_mean(seen.space, ys, weights)
    hidden = (16 * eps_of(y_hat) * y_hat) ** 2 if seen.noise_free else None
    S = linalg.factorise(clouds.weighted_cov(seen.space, ys, weights, y_hat) + noise, hidden)
    info = innovation_info(seen.innovation(y_hat), S, seen.mask, size=jnp.abs(y_hat), R=seen.R)
    return info._replace(log_likelihood=log_likelihood)
