"""What the regimes of a hidden Markov model emit: densities of an observation for each regime."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Real

from kfjax import linalg
from kfjax._support.arguments import check_covariance, is_concrete
from kfjax._support.pytrees import Pytree, as_array, promote
from kfjax._support.types import Key
from kfjax._support.values import real_array
from kfjax.base import Gaussian, Inputs
from kfjax.models.chains import check_probabilities, log_of
from kfjax.models.observing import innovation_info

__all__ = ["CategoricalEmission", "GaussianEmission", "PoissonEmission"]


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianEmission(Pytree):
    """Gaussian observations, with a mean and a covariance for each of K regimes.

    p(y | k) = N(y; mean_k, cov_k); a missing channel is integrated out.

    Attributes:
        mean: [K, m].
        cov: covariances [K, m, m].

    Raises:
        ValueError: if the shapes do not fit, or a cov_k is not a positive definite covariance.

    Example:
        >>> calm_or_wild = kf.GaussianEmission(
        ...     mean=[[0.0], [0.0]], cov=[[[1.0]], [[25.0]]]
        ... )
        >>> calm_or_wild(jnp.array([7.0])).argmax().item()
        1
    """

    mean: Any
    cov: Any

    def __post_init__(self) -> None:
        _convert(self, "GaussianEmission", mean=2, cov=3)
        K, m = self.mean.shape
        if self.cov.shape != (K, m, m):
            raise ValueError(
                f"GaussianEmission: cov has shape {self.cov.shape}; expected {(K, m, m)}, a"
                f" covariance for each of {K} means."
            )
        for k in range(K):
            check_covariance(f"GaussianEmission: cov[{k}]", self.cov[k])
        if is_concrete(self.cov):
            roots = np.linalg.eigvalsh(np.asarray(self.cov, np.float64)).min(axis=1)
            if not (roots > 0).all():
                raise ValueError(
                    f"GaussianEmission: cov[{roots.argmin()}] is singular; expected a positive"
                    " definite one, since a density is needed."
                )

    @property
    def regimes(self) -> int:
        """The number K of regimes."""
        return self.mean.shape[0]

    @property
    def channels(self) -> int:
        """The size m of an observation."""
        return self.mean.shape[1]

    def __call__(
        self, y: Real[Array, " m"], u: Inputs = None, observed: Bool[Array, " ..."] | None = None
    ) -> Float[Array, " K"]:
        """Return log p(y | k) [K] of the observed channels."""
        del u
        mask = jnp.ones(y.shape, bool) if observed is None else observed
        unit = jnp.diag((~mask).astype(self.cov.dtype))

        def one(mean: Array, cov: Array) -> Array:
            R = jnp.where(mask[:, None] & mask[None, :], linalg.symmetric(cov), unit)
            innovation = jnp.where(mask, y - mean, 0)
            info = innovation_info(innovation, linalg.factorise(R), mask)
            return jnp.asarray(info.log_likelihood)

        return jax.vmap(one)(self.mean, self.cov)

    def moments(self, u: Inputs = None) -> Gaussian:
        """Return mean [K, m] and covariance [K, m, m] of an observation in each regime."""
        del u
        return Gaussian(self.mean, jax.vmap(linalg.symmetric)(self.cov))

    def draw(self, key: Key, regime: Int[Array, ""], u: Inputs = None) -> Real[Array, " m"]:
        """Draw an observation [m] of a regime."""
        del u
        L = linalg.cholesky(self.cov[regime])
        noise = jax.random.normal(key, self.mean.shape[1:], self.mean.dtype)
        return self.mean[regime] + linalg.matmul(L, noise)


@dataclasses.dataclass(frozen=True, eq=False)
class PoissonEmission(Pytree):
    """Counts, independent in each channel, with a rate for each of K regimes.

    p(y | k) = prod_i rate_ki^y_i exp(-rate_ki) / y_i!; numbers that are not counts are impossible.

    Attributes:
        rate: expected counts [K, m], above zero.

    Raises:
        ValueError: if the shape is not [K, m], or a rate is not above zero.

    Example:
        >>> quiet_or_busy = kf.PoissonEmission(rate=[[2.0], [20.0]])
        >>> quiet_or_busy(jnp.array([15.0])).argmax().item()
        1
    """

    rate: Any

    def __post_init__(self) -> None:
        _convert(self, "PoissonEmission", rate=2)
        if is_concrete(self.rate) and not (np.asarray(self.rate) > 0).all():
            raise ValueError(
                f"PoissonEmission: rate is {np.asarray(self.rate).tolist()}; expected rates above"
                " zero."
            )

    @property
    def regimes(self) -> int:
        """The number K of regimes."""
        return self.rate.shape[0]

    @property
    def channels(self) -> int:
        """The size m of an observation."""
        return self.rate.shape[1]

    def __call__(
        self, y: Real[Array, " m"], u: Inputs = None, observed: Bool[Array, " ..."] | None = None
    ) -> Float[Array, " K"]:
        """Return log p(y | k) [K] of the observed channels."""
        del u
        mask = jnp.ones(y.shape, bool) if observed is None else observed
        count = (y >= 0) & (y == jnp.round(y))
        at = jnp.where(count, y, 0)

        def one(rate: Array) -> Array:
            terms = at * jnp.log(rate) - rate - jax.lax.lgamma(at + 1)
            return jnp.sum(jnp.where(mask, jnp.where(count, terms, -jnp.inf), 0))

        return jax.vmap(one)(self.rate)

    def moments(self, u: Inputs = None) -> Gaussian:
        """Return mean [K, m] and covariance [K, m, m] of an observation in each regime."""
        del u
        return Gaussian(self.rate, jax.vmap(jnp.diag)(self.rate))

    def draw(self, key: Key, regime: Int[Array, ""], u: Inputs = None) -> Real[Array, " m"]:
        """Draw an observation [m] of a regime."""
        del u
        rate = self.rate[regime]
        return jax.random.poisson(key, rate).astype(rate.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class CategoricalEmission(Pytree):
    """Categories 0..C-1, independent in each channel, with probabilities for each of K regimes.

    p(y | k) = prod_i probabilities_k,i,y_i; numbers that are not categories are impossible.

    Attributes:
        probabilities: [K, m, C], or [K, C] for one channel, which becomes [K, 1, C]; they sum to
            one over the last axis.

    Raises:
        ValueError: if the shape is another, or rows are not probabilities that sum to one.

    Example:
        >>> fair_or_loaded = kf.CategoricalEmission(
        ...     [[0.25] * 4, [0.1, 0.1, 0.1, 0.7]]
        ... )
        >>> fair_or_loaded(jnp.array([3])).argmax().item()
        1
    """

    probabilities: Any

    def __post_init__(self) -> None:
        p = real_array("CategoricalEmission: probabilities", self.probabilities)
        if np.ndim(p) == 2:
            object.__setattr__(self, "probabilities", jnp.asarray(p)[:, None, :])
        _convert(self, "CategoricalEmission", probabilities=3)
        p = self.probabilities
        check_probabilities("CategoricalEmission: probabilities", p, p.shape)

    @property
    def regimes(self) -> int:
        """The number K of regimes."""
        return self.probabilities.shape[0]

    @property
    def channels(self) -> int:
        """The size m of an observation."""
        return self.probabilities.shape[1]

    def __call__(
        self, y: Real[Array, " m"], u: Inputs = None, observed: Bool[Array, " ..."] | None = None
    ) -> Float[Array, " K"]:
        """Return log p(y | k) [K] of the observed channels."""
        del u
        mask = jnp.ones(y.shape, bool) if observed is None else observed
        categories = jnp.arange(self.probabilities.shape[2], dtype=y.dtype)
        chosen = y[:, None] == categories[None, :]

        def one(probabilities: Array) -> Array:
            p = jnp.sum(jnp.where(chosen, probabilities, 0), axis=1)
            return jnp.sum(log_of(jnp.where(mask, p, 1)))

        return jax.vmap(one)(self.probabilities)

    def draw(self, key: Key, regime: Int[Array, ""], u: Inputs = None) -> Real[Array, " m"]:
        """Draw an observation [m] of a regime."""
        del u
        p = self.probabilities[regime]
        return jax.random.categorical(key, log_of(p), axis=-1).astype(p.dtype)


def _convert(emission: Any, who: str, **axes: int) -> None:
    """Turn the fields of an emission into arrays of one float dtype with these numbers of axes."""
    values = {}
    for name, count in axes.items():
        value = getattr(emission, name)
        values[name] = as_array(real_array(f"{who}: {name}", value, ndim=count))
        if 0 in np.shape(value):
            raise ValueError(
                f"{who}: {name} has shape {np.shape(value)}; expected at least one regime, with one"
                " channel."
            )
    for name, value in promote(values, who).items():
        object.__setattr__(emission, name, value)
