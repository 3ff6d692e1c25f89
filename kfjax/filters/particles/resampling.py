"""Resampling: which particles survive, and with which weights.

A scheme draws indices `a_i` such that j is drawn N q_j times on average. It is a hashable value,
called as `scheme(key, log_weights [N]) -> indices [N]`; `scheme.log_probabilities(log_weights)` is
log q. A particle that survives has the weight w_a / (N q_a), which keeps every weighted sum
unbiased for any q; weights need not be normalised.
"""

from __future__ import annotations

import abc
import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kfjax._support.arguments import check_kind, check_number
from kfjax._support.types import Key

__all__ = [
    "Multinomial",
    "Resampling",
    "Residual",
    "Soft",
    "StopGradient",
    "Stratified",
    "Systematic",
]


def log_total(log_weights: Array) -> Array:
    """Return log sum_i exp(log_weights_i); -inf with a zero gradient if all weights are zero."""
    # `logsumexp` of -inf alone is -inf, but its gradient 0 / 0: a double `where`.
    nothing = jnp.max(log_weights) == -jnp.inf  # NaN compares false and propagates, as intended
    total = jax.scipy.special.logsumexp(jnp.where(nothing, 0, log_weights))
    return jnp.where(nothing, -jnp.inf, total)


def normalised(log_weights: Array) -> Array:
    """Return log weights whose exponentials sum to one; equal ones if no weight is above zero."""
    nothing = jnp.max(log_weights) == -jnp.inf
    log_weights = jnp.where(nothing, 0, log_weights)
    return log_weights - jax.scipy.special.logsumexp(log_weights)


def effective_sample_size(log_weights: Array) -> Array:
    """Return 1 / sum_i w_i^2 of normalised weights: N if they are equal, 1 for one survivor."""
    return jnp.exp(-jax.scipy.special.logsumexp(2 * normalised(log_weights)))


def inverse_cdf(log_weights: Array, uniforms: Array) -> Array:
    """Return the indices where cumulative weights [N] pass numbers in [0, 1), never of weight 0."""
    # Searched from the right, so that a number equal to a cumulative weight passes on to the next
    # particle, and one of weight zero is never drawn. Rounding can make a stratified number 1, and
    # the sum of weights less than 1: both would point behind the last particle.
    cumulated = jnp.cumsum(jnp.exp(normalised(log_weights)))
    below_one = 1 - jnp.finfo(cumulated.dtype).epsneg
    return jnp.searchsorted(
        cumulated / cumulated[-1], jnp.minimum(uniforms, below_one), side="right"
    )


class Resampling(abc.ABC):
    """A resampling scheme; to write your own, subclass it as a frozen dataclass."""

    @abc.abstractmethod
    def __call__(self, key: Key, log_weights: Float[Array, " N"]) -> Int[Array, " N"]:
        """Return indices [N] (int) of the particles that survive."""

    def log_probabilities(self, log_weights: Float[Array, " N"]) -> Float[Array, " N"]:
        """Return log q [N], where q is the probability of drawing a particle: its weight."""
        return normalised(log_weights)


@dataclasses.dataclass(frozen=True)
class Systematic(Resampling):
    """Systematic resampling: N equidistant points of the cumulative weights, one random offset.

    A particle of weight w is drawn floor(N w) or ceil(N w) times.

    Example:
        >>> log_weights = jnp.log(jnp.array([0.5, 0.0, 0.25, 0.25]))
        >>> kf.filters.Systematic()(jax.random.key(0), log_weights).tolist()
        [0, 0, 2, 3]

    References:
        J. Carpenter, P. Clifford, P. Fearnhead, Improved particle filter for nonlinear problems,
        IEE Proc. 146 (1999).
    """

    def __call__(self, key: Key, log_weights: Float[Array, " N"]) -> Int[Array, " N"]:
        """Return indices [N]."""
        N = log_weights.shape[0]
        dtype = log_weights.dtype
        return inverse_cdf(
            log_weights, (jnp.arange(N, dtype=dtype) + jax.random.uniform(key, (), dtype)) / N
        )


# The default: a particle of weight w gets floor(N w) or ceil(N w) copies, so that resampling adds
# little variance where weights are nearly equal, from one random number. No theorem makes it best
# in every case (Douc, Cappe and Moulines, 2005); in practice it is at least as good as the others.
SYSTEMATIC = Systematic()


@dataclasses.dataclass(frozen=True)
class Stratified(Resampling):
    """Stratified resampling: one uniform number in each of N equal strata of the weights.

    References:
        R. Douc, O. Cappe, E. Moulines, Comparison of resampling schemes for particle filtering,
        ISPA (2005), 2.4.
    """

    def __call__(self, key: Key, log_weights: Float[Array, " N"]) -> Int[Array, " N"]:
        """Return indices [N]."""
        N = log_weights.shape[0]
        dtype = log_weights.dtype
        return inverse_cdf(
            log_weights, (jnp.arange(N, dtype=dtype) + jax.random.uniform(key, (N,), dtype)) / N
        )


@dataclasses.dataclass(frozen=True)
class Multinomial(Resampling):
    """Multinomial resampling: N independent draws, the scheme of theory, with the largest variance.

    References:
        N. Gordon, D. Salmond, A. Smith, Novel approach to nonlinear/non-Gaussian Bayesian state
        estimation, IEE Proc. F 140 (1993).
    """

    def __call__(self, key: Key, log_weights: Float[Array, " N"]) -> Int[Array, " N"]:
        """Return indices [N]."""
        return inverse_cdf(
            log_weights, jax.random.uniform(key, log_weights.shape, log_weights.dtype)
        )


@dataclasses.dataclass(frozen=True)
class Residual(Resampling):
    """Residual resampling: floor(N w) copies of each particle, the rest drawn independently.

    References:
        J. S. Liu, R. Chen, Sequential Monte Carlo methods for dynamic systems, JASA 93 (1998),
        section 3.2.
    """

    def __call__(self, key: Key, log_weights: Float[Array, " N"]) -> Int[Array, " N"]:
        """Return indices [N]."""
        N = log_weights.shape[0]
        dtype = log_weights.dtype
        expected = N * jnp.exp(normalised(log_weights))
        # weights that are 1/N up to rounding must count as 1/N
        copies = jnp.floor(expected * (1 + 8 * jnp.finfo(dtype).eps))
        remaining = jnp.log(jnp.maximum(expected - copies, 0))
        drawn = inverse_cdf(remaining, jax.random.uniform(key, (N,), dtype))
        ends = jnp.cumsum(copies.astype(jnp.int32))
        position = jnp.arange(N, dtype=ends.dtype)
        copied = jnp.searchsorted(ends, position, side="right")
        return jnp.where(position < ends[-1], copied, drawn)


@dataclasses.dataclass(frozen=True)
class Soft(Resampling):
    """Soft resampling: draw from q = alpha w + (1 - alpha) / N, with gradients of the weights.

    The gradient through the weights w / (N q) has little variance but a bias, since the draws
    themselves are taken as given.

    Attributes:
        alpha: weight of w in the mixture, between 0 and 1.
        scheme: how indices are drawn from q.

    References:
        P. Karkus, D. Hsu, W. S. Lee, Particle filter networks with application to visual
        localization, CoRL (2018), eq. (4).
    """

    alpha: float = 0.5
    scheme: Resampling = Systematic()

    def __post_init__(self) -> None:
        check_number("Soft: alpha (for 1 use the scheme by itself)", self.alpha, above=0, below=1)
        check_kind("Soft: scheme", self.scheme, Resampling)

    def __call__(self, key: Key, log_weights: Float[Array, " N"]) -> Int[Array, " N"]:
        """Return indices [N]."""
        return self.scheme(key, self.log_probabilities(log_weights))

    def log_probabilities(self, log_weights: Float[Array, " N"]) -> Float[Array, " N"]:
        """Return log(alpha w + (1 - alpha) / N)."""
        w = jnp.exp(normalised(log_weights))
        uniform = (1 - self.alpha) / w.shape[0]
        return jnp.log(self.alpha * w + uniform)


@dataclasses.dataclass(frozen=True)
class StopGradient(Resampling):
    """Resample by another scheme, with the gradient of the weights w_a / (N stop_gradient(q_a)).

    Values do not change. The gradient of the likelihood estimate is then an unbiased estimate of
    the gradient of the likelihood, and the gradient of its logarithm is a consistent estimate of
    the score (Fisher's identity), at the price of variance.

    Attributes:
        scheme: how indices are drawn.

    References:
        A. Scibior, F. Wood, Differentiable particle filtering without modifying the forward pass
        (2021), section 4.
    """

    scheme: Resampling = Systematic()

    def __post_init__(self) -> None:
        check_kind("StopGradient: scheme", self.scheme, Resampling)

    def __call__(self, key: Key, log_weights: Float[Array, " N"]) -> Int[Array, " N"]:
        """Return indices [N]."""
        return self.scheme(key, log_weights)

    def log_probabilities(self, log_weights: Float[Array, " N"]) -> Float[Array, " N"]:
        """Return log q, as a constant."""
        return jax.lax.stop_gradient(self.scheme.log_probabilities(log_weights))


def resample(
    scheme: Resampling, ess: float, key: Array, log_weights: Array, priorities: Array | None = None
) -> tuple[Array, Array]:
    """Resample where the effective sample size of the priorities is below ess N.

    Args:
        scheme: the resampling scheme.
        ess: fraction of N, 0 (never) to 1 (always, unless all weights are equal).
        key: a random key.
        log_weights: [N], not necessarily normalised.
        priorities: log weights [N] to draw by, such as look-ahead weights; default log_weights.

    Returns:
        indices [N], and the log weights [N] of those particles, with the same total as log_weights.
    """
    priorities = log_weights if priorities is None else priorities
    N = log_weights.shape[0]
    indices = scheme(key, priorities)
    # A particle drawn with probability q_a instead of w_a keeps the weight w_a / (N q_a), which
    # makes the cloud an unbiased sample whatever q is; with q = w all weights are 1 / N.
    drawn = scheme.log_probabilities(priorities)[indices]
    after = log_weights[indices] - drawn - jnp.log(N).astype(log_weights.dtype)
    # Resampling replaces weights by copies, which adds variance of its own: it pays only where few
    # particles carry the weight (Liu and Chen, 1995). Both outcomes are computed and selected,
    # since under `vmap` a `cond` would do the same.
    needed = effective_sample_size(priorities) < ess * N
    kept = jnp.arange(N, dtype=indices.dtype)
    return jnp.where(needed, indices, kept), jnp.where(needed, after, log_weights)
