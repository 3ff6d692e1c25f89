"""Moment rule that linearises at the mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kfjax import linalg
from kfjax._support.types import AnyArray
from kfjax.base import Gaussian
from kfjax.linalg.sparse import Sparse, full, product
from kfjax.models.functions import Linear
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.moments.conditioning import sparse_quadratic
from kfjax.moments.results import Affine, Deviations, Function, LinearResidual, Moments
from kfjax.moments.rounding import without_rounding

__all__ = ["Taylor"]


def linearised(
    fn: Function, x: AnyArray, n: int, source: Space, target: Space
) -> tuple[Array, Any]:
    """Return fn(x) and its Jacobian [k, n], between tangent spaces if the spaces are curved.

    That of a `SparseLinear` is `Sparse`.
    """
    if not isinstance(fn, Linear) and source.is_euclidean and target.is_euclidean:
        return _value_and_jacobian(fn, x)
    mean = fn(x).astype(x.dtype)
    zero = jnp.zeros(n, x.dtype)
    if isinstance(fn, Linear):
        return mean, _linear_jacobian(fn, x, mean, zero, source, target)

    def local(d: Array) -> Array:
        return target.difference(fn(source.retract(x, d)), mean)

    return mean, jax.jacfwd(local)(zero).astype(x.dtype)


def _value_and_jacobian(fn: Function, x: AnyArray) -> tuple[Array, Array]:
    """Return fn(x) and its Jacobian, from one evaluation."""
    # `jax.jacfwd` would compute fn(x) a second time, and the compiler does not always see that both
    # are the same

    def moved(d: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda x: fn(x).astype(x.dtype), (x,), (d,))

    values, J = jax.vmap(moved, out_axes=-1)(jnp.eye(x.shape[0], dtype=x.dtype))
    return values[..., 0], J


def _linear_jacobian(
    fn: Linear, x: AnyArray, mean: Array, zero: Array, source: Space, target: Space
) -> Any:
    """Return the Jacobian [k, n] of a linear function by the chain rule."""
    # `jacfwd` of the whole composition would give every trajectory of a batch its own Jacobian.
    # With the chain rule, the matrix that they share stays shared, and with it the covariances of a
    # linear model.
    J = fn.matrix(x.dtype)
    if source.is_euclidean and target.is_euclidean:
        return J
    J = full(J)
    if not source.is_euclidean:
        moved = jax.jacfwd(lambda d: source.retract(x, d))
        J = linalg.matmul(J, moved(zero))
    if not target.is_euclidean:
        subtracted = jax.jacfwd(lambda d: target.difference(mean + d, mean))
        J = linalg.matmul(subtracted(jnp.zeros_like(mean)), J)
    return J


def affine_moments(mean: Array, A: Any, belief: Gaussian, noise: Array | None = None) -> Moments:
    """Return the moments of y = mean + A (x - E[x]) + e for x ~ belief and Cov[e] = noise.

    A may be `Sparse`.
    x and e are uncorrelated; a `noise` of None is zero.
    """
    if isinstance(A, Sparse):
        cross = product(A, belief.cov).T
        cov = sparse_quadratic(A, belief.cov)
    else:
        cross = linalg.matmul(belief.cov, A.T)
        cov = linalg.symmetric_product(A, cross.T)
    if noise is not None:
        cov = cov + noise
    return Moments(mean, cov, cross, LinearResidual(A, belief, noise))


@dataclasses.dataclass(frozen=True)
class Taylor:
    """First-order Taylor expansion at the mean, the rule of the extended Kalman filter.

    E[y] = fn(m), Cov[y] = J P J', Cov[x, y] = P J', residual(K) = (I - K J) P (I - K J)', J =
    fn'(m) by `jax.jacfwd`. It is exact for linear functions.

    Example:
        >>> belief = kf.Gaussian(jnp.array([3.0]), jnp.array([[0.5]]))
        >>> mean, cov, cross, residual = kf.moments.Taylor()(lambda x: x**2, belief)
        >>> mean.tolist(), cov.tolist()
        ([9.0], [[18.0]])
    """

    def __call__(
        self,
        fn: Function,
        belief: Gaussian,
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Moments:
        """Return the moments of fn(x), x ~ belief."""
        x, P = belief
        mean, J = linearised(fn, x, P.shape[-1], source, target)
        return affine_moments(mean, J, Gaussian(x, P))

    def deviations(
        self,
        fn: Function,
        x: Float[AnyArray, " d"],
        L: Float[AnyArray, "n n"],
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Deviations:
        """Return the moments of fn(x), x ~ N(x, L L'), as factors."""
        mean, J = linearised(fn, x, L.shape[-1], source, target)
        return Deviations(mean, L, without_rounding(full(J), L))

    def affine(
        self,
        fn: Function,
        x: Float[AnyArray, " d"],
        L: Float[AnyArray, "n n"],
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Affine:
        """Return the tangent at x; there is no residual."""
        mean, J = linearised(fn, x, L.shape[-1], source, target)
        return Affine(mean, full(J), jnp.zeros((J.shape[0], 0), x.dtype))
