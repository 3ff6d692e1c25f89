"""Moment rules: how the mean and covariance of a Gaussian pass through a function.

A moment rule is a hashable value, called as `rule(fn, belief, source, target) -> Moments`, where
`fn` is a function of x alone and the two `Space`s say how its inputs and outputs are subtracted and
moved. The Kalman, extended, unscented, cubature and Gauss-Hermite filters and their smoothers are
one prediction, one update and one smoothing recursion over this table. A rule of your own is any
hashable callable with this signature.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax import linalg
from kfjax._support.memory_layout import batch_innermost
from kfjax.base import Gaussian
from kfjax.models.functions import Linear
from kfjax.models.spaces import EUCLIDEAN, Space

__all__ = [
    "Affine",
    "Cubature",
    "Deviations",
    "GaussHermite",
    "MomentRule",
    "Moments",
    "SigmaPoints",
    "Taylor",
    "Unscented",
]


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

    mean: Array
    cov: Array
    cross: Array
    residual: Callable[[Array], Array]


MomentRule = Callable[..., Moments]


class Deviations(NamedTuple):
    """Moments of y = fn(x) as factors: Cov[y] = dy dy', Cov[x, y] = dx dy', Cov[x] = dx dx'; for the square-root form.

    Attributes:
        mean: E[y], [k].
        dx: [n, p].
        dy: [k, p].
    """

    mean: Array
    dx: Array
    dy: Array


class Affine(NamedTuple):
    """The best affine approximation of y = fn(x) under a belief: y = mean + matrix (x - E[x]) + rest.

    Attributes:
        mean: E[y], [k].
        matrix: Cov[y, x] Cov[x]^-1, [k, n].
        residual: a factor [k, p] of the covariance of the rest.
    """

    mean: Array
    matrix: Array
    residual: Array


def _linearise(
    fn: Callable[[Array], Array], x: Array, n: int, source: Space, target: Space
) -> tuple[Array, Array]:
    """Return fn(x) and its Jacobian [k, n], between tangent spaces where the spaces are curved."""
    mean, zero = fn(x).astype(x.dtype), jnp.zeros(n, x.dtype)
    if isinstance(fn, Linear):  # by the chain rule: a matrix that a batch shares stays shared
        J = fn.A.astype(x.dtype)
        if not source.is_euclidean:
            J = linalg.matmul(J, jax.jacfwd(lambda d: source.retract(x, d))(zero))
        if not target.is_euclidean:
            J = linalg.matmul(
                jax.jacfwd(lambda d: target.difference(mean + d, mean))(jnp.zeros_like(mean)), J
            )
        return mean, J
    if source.is_euclidean and target.is_euclidean:
        return mean, jax.jacfwd(fn)(x).astype(x.dtype)
    local = jax.jacfwd(lambda d: target.difference(fn(source.retract(x, d)), mean))
    return mean, local(zero).astype(x.dtype)


def _affine_moments(mean: Array, A: Array, P: Array, rest: Array | None = None) -> Moments:
    """Return the moments of y = mean + A (x - E[x]) + e, Cov[x] = P, Cov[e] = rest, which x does not correlate with."""

    def add(cov: Array, K: Array | None = None) -> Array:
        return cov if rest is None else cov + (rest if K is None else linalg.quadratic(K, rest))

    def residual(K: Array) -> Array:
        return add(
            linalg.quadratic(jnp.eye(P.shape[-1], dtype=P.dtype) - linalg.matmul(K, A), P), K
        )

    cross = linalg.matmul(P, A.T)
    return Moments(mean, add(linalg.matmul(A, cross)), cross, residual)


@dataclasses.dataclass(frozen=True)
class Taylor:
    """First-order Taylor expansion at the mean: exact for linear functions, and the rule of the extended Kalman filter.

    E[y] = fn(m), Cov[y] = J P J', Cov[x, y] = P J', residual(K) = (I - K J) P (I - K J)', J =
    fn'(m) by `jax.jacfwd`.
    """

    def __call__(
        self,
        fn: Callable[[Array], Array],
        belief: Gaussian,
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Moments:
        """Return the moments of fn(x), x ~ belief."""
        x, P = belief
        return _affine_moments(*_linearise(fn, x, P.shape[-1], source, target), P)

    def deviations(
        self,
        fn: Callable[[Array], Array],
        x: Array,
        L: Array,
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Deviations:
        """Return the moments of fn(x), x ~ N(x, L L'), as factors."""
        mean, J = _linearise(fn, x, L.shape[-1], source, target)
        return Deviations(mean, L, linalg.matmul(J, L))

    def affine(
        self,
        fn: Callable[[Array], Array],
        x: Array,
        L: Array,
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Affine:
        """Return the tangent at x; nothing rests."""
        mean, J = _linearise(fn, x, L.shape[-1], source, target)
        return Affine(mean, J, jnp.zeros((J.shape[0], 1), x.dtype))


def _times_points(A: np.ndarray, B: Array) -> Array:
    """Return A B for constant points A [p, n], most of whose entries are zero: a small one is written out without."""
    if A.size > linalg.UNROLL**2:
        return linalg.matmul(jnp.asarray(A, B.dtype), B)
    rows = [
        sum((float(row[j]) * B[j] for j in np.flatnonzero(row)), jnp.zeros_like(B[0])) for row in A
    ]
    return batch_innermost(jnp.stack(rows))


class SigmaPoints(abc.ABC):
    """Rules that evaluate fn at weighted points x_i = m + L s_i, L L' = P; a subclass gives `points(n)`.

    E[y] = sum_i w_i y_i, and all covariances are sums of c_i-weighted products of deviations, taken
    apart into the regression y = E[y] + A (x - m) + e with A L = sum_i c_i dy_i s_i' and Cov[e] =
    sum_i c_i e_i e_i': Cov[y] = A P A' + Cov[e], Cov[x, y] = P A', residual(K) = (I - K A) P (I - K
    A)' + K Cov[e] K'. So P itself stands in them, and not L L', which differs from it by rounding:
    in float32 that acts as process noise. On curved spaces points are retracted from the mean, and
    outputs are averaged as offsets from the reference fn(m), which is right for angles with weights
    of any sign. A linear fn takes the exact path.
    """

    @abc.abstractmethod
    def points(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points s [p, n], weights w [p] of the mean and c [p] of covariances: those of s are 0 and I."""

    def __call__(
        self,
        fn: Callable[[Array], Array],
        belief: Gaussian,
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Moments:
        """Return the moments of fn(x), x ~ belief."""
        x, P = belief
        if isinstance(fn, Linear) and source.is_euclidean and target.is_euclidean:
            return Taylor()(fn, belief)
        L = linalg.cholesky(P)
        mean, _, dy, c = self._evaluate(fn, x, L, source, target)
        unit, _, weights = self.points(L.shape[-1])
        slope = _times_points((weights[:, None] * unit).T, dy)  # E[s y'] = (A L)'
        rest = dy - _times_points(unit, slope)
        A = linalg.solve_lower(L, slope, transpose=True).T
        return _affine_moments(mean, A, P, linalg.weighted_gram(c, rest, rest))

    def deviations(
        self,
        fn: Callable[[Array], Array],
        x: Array,
        L: Array,
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Deviations:
        """Return the moments of fn(x), x ~ N(x, L L'), as factors; weights must not be negative."""
        if isinstance(fn, Linear) and source.is_euclidean and target.is_euclidean:
            return Taylor().deviations(fn, x, L)
        if (lowest := self.points(L.shape[-1])[2].min()) < 0:
            raise ValueError(
                f"{self}: a covariance weight is {lowest:.3g}; expected none below zero, since the"
                " square-root form has"
                " no factor for it. Use alpha = 1, or the covariance form."
            )
        mean, dx, dy, c = self._evaluate(fn, x, L, source, target)
        return Deviations(mean, (jnp.sqrt(c)[:, None] * dx).T, (jnp.sqrt(c)[:, None] * dy).T)

    def affine(
        self,
        fn: Callable[[Array], Array],
        x: Array,
        L: Array,
        source: Space = EUCLIDEAN,
        target: Space = EUCLIDEAN,
    ) -> Affine:
        """Return the statistical linear regression of fn under N(x, L L'); weights must not be negative."""
        mean, dx, dy = self.deviations(fn, x, L, source, target)
        matrix = linalg.solve_factored(L, linalg.matmul(dx, dy.T)).T
        return Affine(mean, matrix, dy - linalg.matmul(matrix, dx))

    def _evaluate(
        self, fn: Callable[[Array], Array], x: Array, L: Array, source: Space, target: Space
    ) -> tuple[Array, Array, Array, Array]:
        """Return E[y], the deviations dx [p, n] and dy [p, k], and the weights c [p] of the covariances."""
        unit, *weights = self.points(L.shape[-1])
        w, c = (jnp.asarray(part, x.dtype) for part in weights)
        dx = _times_points(unit, L.T)
        ys = jax.vmap(lambda d: fn(source.retract(x, d)))(dx).astype(x.dtype)
        reference = fn(x).astype(x.dtype)
        offsets = jax.vmap(target.difference, in_axes=(0, None))
        mean = target.retract(reference, linalg.matmul(offsets(ys, reference).T, w))
        return mean, dx, offsets(ys, mean), c


@dataclasses.dataclass(frozen=True)
class Unscented(SigmaPoints):
    """The scaled unscented transform: 2 n + 1 points, with lambda = alpha^2 (n + kappa) - n.

    The default alpha = 1 keeps all weights positive and is safe in float32; the often quoted alpha
    = 1e-3 cancels numbers of size 1e6 and is unusable there. With a negative central weight (alpha
    < 1) the covariance is no sum of squares and can lose definiteness.

    Attributes:
        alpha: spread of the points, above 0.
        beta: weight of the centre in the covariance; 2 is best for Gaussians.
        kappa: second spread parameter, above -n.

    References:
        E. A. Wan, R. van der Merwe, The unscented Kalman filter for nonlinear estimation, AS-SPCC
        2000, eq. (15).
    """

    alpha: float = 1.0
    beta: float = 2.0
    kappa: float = 0.0

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"Unscented: alpha is {self.alpha}; expected a number above 0.")

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the centre and +- sqrt(n + lambda) along every axis."""
        scale = self.alpha**2 * (n + self.kappa)
        if scale <= 0:
            raise ValueError(
                f"Unscented: kappa is {self.kappa} for n = {n}; expected more than -n."
            )
        axes = np.sqrt(scale) * np.eye(n)
        w = np.full(2 * n + 1, 0.5 / scale)
        w[0] = 1 - n / scale
        c = w.copy()
        c[0] += 1 - self.alpha**2 + self.beta
        return np.concatenate([np.zeros((1, n)), axes, -axes]), w, c


@dataclasses.dataclass(frozen=True)
class Cubature(SigmaPoints):
    """The third-degree spherical-radial cubature rule: 2 n points of equal weight; all weights positive.

    References:
        I. Arasaratnam, S. Haykin, Cubature Kalman filters, IEEE Trans. Automat. Contr. 54 (2009),
        eq. (34).
    """

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return +- sqrt(n) along every axis."""
        axes = np.sqrt(n) * np.eye(n)
        w = np.full(2 * n, 0.5 / n)
        return np.concatenate([axes, -axes]), w, w


@functools.lru_cache(maxsize=64)
def _product_rule(order: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The tensor product of one-dimensional Gauss-Hermite rules for N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    weights = weights / weights.sum()
    points = np.stack(np.meshgrid(*[nodes] * n, indexing="ij"), axis=-1).reshape(-1, n)
    return points, np.stack(np.meshgrid(*[weights] * n, indexing="ij"), axis=-1).reshape(
        -1, n
    ).prod(axis=1)


@dataclasses.dataclass(frozen=True)
class GaussHermite(SigmaPoints):
    """Gauss-Hermite quadrature: order^n points, exact for polynomials of degree 2 order - 1 in each variable.

    Attributes:
        order: points per dimension, at least 2.

    References:
        K. Ito, K. Xiong, Gaussian filters for nonlinear filtering problems, IEEE Trans. Automat.
        Contr. 45 (2000).
    """

    order: int = 3
    largest = 100_000  # points; beyond this a product rule is the wrong tool

    def __post_init__(self) -> None:
        if not isinstance(self.order, int) or self.order < 2:
            raise ValueError(
                f"GaussHermite: order is {self.order}; expected an integer, at least 2."
            )

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the product grid."""
        if self.order**n > self.largest:
            raise ValueError(
                f"GaussHermite: order {self.order} in {n} dimensions needs {self.order**n} points;"
                " expected at most"
                f" {self.largest}. Use kf.cubature() or a lower order."
            )
        unit, w = _product_rule(self.order, n)
        return unit, w, w
