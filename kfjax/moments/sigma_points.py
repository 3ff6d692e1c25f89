"""Moment rules that evaluate functions at weighted points."""

from __future__ import annotations

import abc
import dataclasses
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Num

from kfjax import linalg
from kfjax._support.arguments import check_count, check_number
from kfjax._support.memory_layout import batch_innermost
from kfjax._support.types import AnyArray
from kfjax.base import Gaussian
from kfjax.linalg import sizes
from kfjax.models.functions import Linear
from kfjax.models.spaces import EUCLIDEAN, Space
from kfjax.moments import quadrature
from kfjax.moments.linearisation import Taylor, affine_moments
from kfjax.moments.results import Affine, Deviations, Function, Moments

__all__ = ["Cubature", "GaussHermite", "SigmaPoints", "Unscented"]

WeightedPoints: TypeAlias = tuple[
    Num[np.ndarray, "p n"], Num[np.ndarray, " p"], Num[np.ndarray, " p"]
]


def _times_points(points: np.ndarray, B: Array) -> Array:
    """Return the product of constant points [p, n] with B [n, m]."""
    # Most coordinates of sigma points are zero. A small product is written out without them: 2 n
    # terms instead of (2 n + 1) n for the unscented transform.
    if points.size > sizes.UNROLL**2:
        return linalg.matmul(jnp.asarray(points, B.dtype), B)
    rows = [_combined_rows(point, B) for point in points]
    return batch_innermost(jnp.stack(rows))


def _combined_rows(weights: np.ndarray, B: Array) -> Array:
    """Return the sum of the rows of B with these weights, leaving out those of weight zero."""
    terms = (float(weights[j]) * B[j] for j in np.flatnonzero(weights))
    return sum(terms, jnp.zeros_like(B[0]))


class SigmaPoints(abc.ABC):
    """Rules that evaluate fn at weighted points; a subclass gives `points(n)`.

    The points are x_i = m + L s_i with L L' = P, and y_i = fn(x_i). E[y] = sum_i w_i y_i, and all
    covariances are sums of c_i-weighted products of deviations, split into the regression y = E[y]
    + A (x - m) + e with A L = sum_i c_i dy_i s_i' and Cov[e] = sum_i c_i e_i e_i':

        Cov[y] = A P A' + Cov[e]
        Cov[x, y] = P A'
        residual(K) = (I - K A) P (I - K A)' + K Cov[e] K'

    These expressions contain P itself and not L L', which differs from it by rounding: in float32
    the difference would act as process noise. On curved spaces points are retracted from the mean,
    and outputs are averaged as offsets from the reference fn(m), which is right for angles with
    weights of any sign. A linear fn takes the exact path.
    """

    @abc.abstractmethod
    def points(self, n: int) -> WeightedPoints:
        """Return points s [p, n], weights w [p] of the mean and c [p] of covariances.

        The points have mean 0 and covariance I.
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
        if _is_exact(fn, source, target):
            return Taylor()(fn, belief)
        L = linalg.cholesky(P)
        mean, _, dy, c = self._evaluate(fn, x, L, source, target)
        unit, _, weights = self.points(L.shape[-1])
        slope = _times_points((weights[:, None] * unit).T, dy)  # E[s y'] = (A L)'
        residuals = dy - _times_points(unit, slope)
        A = linalg.solve_lower(L, slope, transpose=True).T  # A L = slope'
        return affine_moments(mean, A, belief, linalg.weighted_gram(c, residuals, residuals))

    def deviations(
        self,
        fn: Function,
        x: Float[AnyArray, " d"],
        L: Float[AnyArray, "n n"],
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Deviations:
        """Return the moments of fn(x), x ~ N(x, L L'), as factors.

        Raises:
            ValueError: if a weight of the covariances is negative.
        """
        if _is_exact(fn, source, target):
            return Taylor().deviations(fn, x, L)
        _, _, weights = self.points(L.shape[-1])
        lowest = weights.min()
        if lowest < 0:
            raise ValueError(
                f"{self}: a covariance weight is {lowest:.3g}; expected none below zero, since the"
                " square-root form has no factor for it. Use alpha = 1, or the covariance form."
            )
        mean, dx, dy, c = self._evaluate(fn, x, L, source, target)
        root = jnp.sqrt(c)[:, None]
        return Deviations(mean, (root * dx).T, (root * dy).T)

    def affine(
        self,
        fn: Function,
        x: Float[AnyArray, " d"],
        L: Float[AnyArray, "n n"],
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Affine:
        """Return the statistical linear regression of fn under N(x, L L').

        Raises:
            ValueError: if a weight of the covariances is negative.
        """
        mean, dx, dy = self.deviations(fn, x, L, source, target)
        matrix = linalg.solve_factored(L, linalg.matmul(dx, dy.T)).T
        return Affine(mean, matrix, dy - linalg.matmul(matrix, dx))

    def _evaluate(
        self, fn: Function, x: AnyArray, L: AnyArray, source: Space, target: Space
    ) -> tuple[Array, Array, Array, Array]:
        """Return E[y], the deviations dx [p, n] and dy [p, k], and their weights c [p]."""
        unit, mean_weights, cov_weights = self.points(L.shape[-1])
        w = jnp.asarray(mean_weights, x.dtype)
        c = jnp.asarray(cov_weights, x.dtype)
        dx = _times_points(unit, L.T)

        def moved(d: Array) -> Array:
            return fn(source.retract(x, d))

        ys = jax.vmap(moved)(dx).astype(x.dtype)
        # offsets from fn(x) are small, so that angles do not wrap while they are averaged
        reference = fn(x).astype(x.dtype)
        offsets = jax.vmap(target.difference, in_axes=(0, None))
        mean = target.retract(reference, linalg.matmul(offsets(ys, reference).T, w))
        return mean, dx, offsets(ys, mean), c


def _is_exact(fn: Function, source: Space, target: Space) -> bool:
    """Return whether `Taylor` is exact: for a linear function between Euclidean spaces."""
    return isinstance(fn, Linear) and source.is_euclidean and target.is_euclidean


@dataclasses.dataclass(frozen=True)
class Unscented(SigmaPoints):
    """The scaled unscented transform: 2 n + 1 points, with lambda = alpha^2 (n + kappa) - n.

    The default alpha = 1 keeps all weights positive and is safe in float32; the often quoted alpha
    = 1e-3 cancels numbers of size 1e6 and is unusable there. With a negative central weight (alpha
    < 1) the covariance is not a sum of squares and can lose definiteness.

    Attributes:
        alpha: spread of the points, above 0.
        beta: weight of the centre in the covariance; 2 is best for Gaussians.
        kappa: second spread parameter, above -n.

    Raises:
        ValueError: if alpha is not above 0; when called, if kappa is not above -n.

    Example:
        >>> belief = kf.Gaussian(jnp.array([3.0]), jnp.array([[0.5]]))
        >>> kf.moments.Unscented()(lambda x: x**2, belief).mean.round(4).tolist()
        [9.5]

    References:
        E. A. Wan, R. van der Merwe, The unscented Kalman filter for nonlinear estimation, AS-SPCC
        2000, eq. (15).
    """

    alpha: float = 1.0
    beta: float = 2.0
    kappa: float = 0.0

    def __post_init__(self) -> None:
        check_number("Unscented: alpha", self.alpha, above=0)
        check_number("Unscented: beta", self.beta)
        check_number("Unscented: kappa", self.kappa)

    def points(self, n: int) -> WeightedPoints:
        """Return the centre and +- sqrt(n + lambda) along every axis."""
        if self.alpha**2 * (n + self.kappa) <= 0:
            raise ValueError(
                f"Unscented: kappa is {self.kappa} for n = {n}; expected more than -n."
            )
        return quadrature.unscented(n, self.alpha, self.beta, self.kappa)


@dataclasses.dataclass(frozen=True)
class Cubature(SigmaPoints):
    """The third-degree spherical-radial cubature rule: 2 n points, all of the same positive weight.

    Example:
        >>> belief = kf.Gaussian(jnp.array([3.0]), jnp.array([[0.5]]))
        >>> kf.moments.Cubature()(lambda x: x**2, belief).mean.round(4).tolist()
        [9.5]

    References:
        I. Arasaratnam, S. Haykin, Cubature Kalman filters, IEEE Trans. Automat. Contr. 54 (2009),
        eq. (34).
    """

    def points(self, n: int) -> WeightedPoints:
        """Return +- sqrt(n) along every axis."""
        return quadrature.cubature(n)


@dataclasses.dataclass(frozen=True)
class GaussHermite(SigmaPoints):
    """Gauss-Hermite quadrature with order^n points.

    It is exact for polynomials of degree 2 order - 1 in each variable.

    Attributes:
        order: points per dimension, at least 2.

    Raises:
        ValueError: if order is below 2; when called, if there are more than 100,000 points.

    Example:
        >>> belief = kf.Gaussian(jnp.array([0.0]), jnp.array([[1.0]]))
        >>> moments = kf.moments.GaussHermite(3)(lambda x: x**4, belief)
        >>> moments.mean.round(4).tolist()
        [3.0]

    References:
        K. Ito, K. Xiong, Gaussian filters for nonlinear filtering problems, IEEE Trans. Automat.
        Contr. 45 (2000).
    """

    order: int = 3
    largest = 100_000  # points; beyond this a product rule is the wrong tool

    def __post_init__(self) -> None:
        check_count("GaussHermite: order", self.order, least=2)

    def points(self, n: int) -> WeightedPoints:
        """Return the product grid."""
        count = self.order**n
        if count > self.largest:
            raise ValueError(
                f"GaussHermite: order {self.order} in {n} dimensions needs {count} points; expected"
                f" at most {self.largest}. Use kf.cubature() or a lower order."
            )
        return quadrature.gauss_hermite(n, self.order)
