"""Results of moment rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.memory_layout import batch_innermost
from kfjax._support.precision import eps_of
from kfjax.base import Gaussian
from kfjax.linalg import sizes
from kfjax.linalg.sparse import Sparse, full
from kfjax.models.observing import noise_pivots
from kfjax.moments.conditioning import optimal_cov, residual_cov
from kfjax.moments.rounding import (
    hidden_variances,
    settled,
    summed_sizes,
    summed_variances,
    without_negative_variances,
)

__all__ = ["Affine", "Deviations", "MomentRule", "Moments"]

Function: TypeAlias = Callable[[Float[Array, " n"]], Float[Array, " k"]]
"""A function of x alone, such as f or h of a model with the input filled in."""


class Moments(NamedTuple):
    """Moments of y = fn(x) for Gaussian x.

    Attributes:
        mean: E[y], [k].
        cov: Cov[y], [k, k].
        cross: Cov[x, y], [n, k].
        residual: `K [n, k] -> [n, n]`, the covariance of x - K y *computed as a sum of squares*. An
            update with gain K has the covariance residual(K) + K R K', which stays definite to
            rounding in any precision, whereas P - K C' and P - K S K' do not.
    """

    mean: Float[Array, " k"]
    cov: Float[Array, "k k"]
    cross: Float[Array, "n k"]
    residual: Callable[[Float[Array, "n k"]], Float[Array, "n n"]]

    def noisy_cov(self, noise: Float[Array, "k k"], *, noise_free: bool) -> Float[Array, "k k"]:
        """Return the covariance [k, k] of y plus independent noise.

        With `noise_free`, a variance that is rounding is zero.
        """
        cov = self.cov + noise
        hidden = self._hidden(linalg.diagonal(noise)) if noise_free else None
        return cov if hidden is None else settled(cov, hidden)

    def factorised(self, noise: Float[Array, "k k"], *, noise_free: bool) -> linalg.Factored:
        """Return the covariance [k, k] of y plus independent noise, with its factor.

        With `noise_free`, the result also has the variances that rounding may hide.
        """
        cov = self.cov + noise
        if not noise_free:
            return linalg.factorise(cov)
        # noise that earlier channels share does not keep a channel from being determined by them
        hidden = self._hidden(noise_pivots(noise), linalg.diagonal(noise))
        return linalg.factorise(cov, jnp.zeros_like(noise[0]) if hidden is None else hidden)

    def posterior_cov(
        self,
        P: Float[Array, "n n"],
        K: Float[Array, "n k"],
        noise: Float[Array, "k k"],
        *,
        noise_free: bool,
        given: Float[Array, "n k"] | None = None,
    ) -> Float[Array, "n n"]:
        """Return the covariance residual(K) + K noise K' [n, n] after an update.

        Args:
            P: the covariance [n, n] before it.
            K: gain [n, k].
            noise: its covariance [k, k].
            noise_free: whether a variance that is rounding is zero.
            given: a part of K [n, k] for which the rest is optimal, which makes derivatives
                cheaper; None if K may be any gain.
        """
        # The Joseph form. An error dK of the gain enters it squared, and P - K S K' in the first
        # order, where it can make a small variance negative; and it is right for gains that are not
        # optimal, such as those of gates, limits and networks.
        used = linalg.quadratic(K, noise)
        residual = self.residual
        if given is not None and isinstance(residual, LinearResidual) and residual.by_columns(K):
            cov = optimal_cov(P, K, residual.A, noise, given)
        else:
            cov = self.residual(K) + used
        cov = without_negative_variances(cov)
        if P.shape[-1] <= sizes.UNROLL or self._is_sparse():
            # A loop over time carries it in the order in which the step leaves it. By default that
            # is the order of the results, so that every step of a batch transposes it twice.
            cov = batch_innermost(cov)
        terms = self._terms() if noise_free else None
        if terms is None:
            return cov
        of_noise = summed_variances(K, linalg.diagonal(noise))
        terms = linalg.diagonal(P) + summed_variances(K, terms) + of_noise
        # noise that channels share may cancel: to the square of rounding in a sum of squares
        entering = jax.lax.stop_gradient(linalg.matmul(K, linalg.cholesky(noise)))
        entering = jnp.sum(entering**2, axis=-1)
        return settled(cov, hidden_variances(terms, entering, P.shape[-1]))

    def size(self) -> Float[Array, " k"]:
        """Return the size [k] of the terms of E[y], sum_j |A_ij x_j| + |E[y_i]| where known."""
        size = jnp.abs(self.mean)
        if isinstance(self.residual, LinearResidual):
            size = size + self.residual.size()
        return jax.lax.stop_gradient(size)

    def _is_sparse(self) -> bool:
        """Return whether products with A are sums of a few rows."""
        return isinstance(self.residual, LinearResidual) and isinstance(self.residual.A, Sparse)

    def _terms(self) -> Array | None:
        """Return the variances [k] that y would have if its terms were independent, if known."""
        return self.residual.terms() if isinstance(self.residual, LinearResidual) else None

    def _hidden(self, noise: Array, shared: Array | None = None) -> Array | None:
        """Return the variances [k] that rounding may hide in Cov[y] and noise, if known.

        `noise` [k] is that of each component alone, `shared` [k] with what others share of it.
        """
        if not isinstance(self.residual, LinearResidual):
            return None
        terms = self.residual.terms()
        terms = terms if shared is None else terms + jax.lax.stop_gradient(shared)
        hidden = hidden_variances(terms, noise, self.cross.shape[0])
        if self.residual.noise is None:
            return hidden
        # sigma points cannot resolve differences below the rounding of the function values
        of_values = (16 * eps_of(terms) * self.size()) ** 2
        return jnp.where(noise <= of_values, jnp.maximum(hidden, of_values), hidden)


@dataclasses.dataclass(frozen=True)
class LinearResidual:
    """The residual covariance of y = A x + e, (I - K A) P (I - K A)' + K Cov[e] K'.

    Attributes:
        A: [k, n], possibly `Sparse`.
        belief: the belief about x, with the covariance P.
        noise: Cov[e] [k, k], or None for zero.
    """

    A: Any
    belief: Gaussian
    noise: Array | None = None

    def __call__(self, K: Array) -> Array:
        """Return the covariance [n, n] of x - K y."""
        P = self.belief.cov
        if self.by_columns(K):
            return residual_cov(P, K, self.A)
        left = jnp.eye(P.shape[-1], dtype=P.dtype) - linalg.matmul(K, full(self.A))
        of_x = linalg.quadratic(left, P)
        return of_x if self.noise is None else of_x + linalg.quadratic(K, self.noise)

    def by_columns(self, K: Array) -> bool:
        """Return whether products of vectors, or sums of a few rows, replace those of matrices."""
        n, k = K.shape
        # with dense A and several channels, a few large products are quicker than many small ones
        few = k == 1 or (isinstance(self.A, Sparse) and k < n)
        return self.noise is None and n > sizes.UNROLL and few

    def terms(self) -> Array:
        """Return sum_j A_ij^2 P_jj [k]."""
        return summed_variances(self.A, linalg.diagonal(self.belief.cov))

    def size(self) -> Array:
        """Return sum_j |A_ij x_j| [k], or 0 on a space of more coordinates than dimensions."""
        return summed_sizes(self.A, self.belief.mean)


MomentRule: TypeAlias = Callable[..., Moments]
"""`rule(fn, belief, source, target) -> Moments`: a hashable callable, such as `Taylor()`."""


class Deviations(NamedTuple):
    """Moments of y = fn(x) as factors, for the square-root form.

    Cov[y] = dy dy', Cov[x, y] = dx dy', Cov[x] = dx dx'.

    Attributes:
        mean: E[y], [k].
        dx: [n, p].
        dy: [k, p].
    """

    mean: Float[Array, " k"]
    dx: Float[Array, "n p"]
    dy: Float[Array, "k p"]


class Affine(NamedTuple):
    """The best affine approximation of y = fn(x) under a belief: y = mean + matrix (x - E[x]) + e.

    Attributes:
        mean: E[y], [k].
        matrix: Cov[y, x] Cov[x]^-1, [k, n].
        residual: a factor [k, p] of the covariance of the residual e; p is 0 where there is none.
    """

    mean: Float[Array, " k"]
    matrix: Float[Array, "k n"]
    residual: Float[Array, "k p"]
