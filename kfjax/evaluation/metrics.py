"""How far and how surprising: errors, normalised errors, coverage and innovations of one filter's output.

Everything here works on arrays with any leading batch axes, and returns `Sums`: totals and counts
of every step, so that steps, trajectories and batches can be pooled by adding.
`kfjax.evaluation.intervals` turns per-trajectory values into numbers with intervals. NaN in the
truth means "not known" and does not count; steps from `length` on do not count, whatever stands
there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from scipy import special

from kfjax import linalg

__all__ = ["Sums", "coverage", "innovation_products", "mse", "nees", "rmse", "squared_error"]


ROUNDING = 100  # a covariance carries the rounding of the filter that made it; pivots within so many n eps are none


class Sums(NamedTuple):
    """A total and how many things it is a total of; sums of different steps or trajectories are added by field.

    Attributes:
        total: [...].
        count: [...], an integer count, or degrees of freedom.
    """

    total: Any
    count: Any

    def over_time(self) -> Sums:
        """Return the sums over the last axis."""
        return Sums(self.total.sum(-1), self.count.sum(-1))

    @property
    def mean(self) -> Any:
        """Total / count; NaN where nothing was counted."""
        return self.total / self.count


def squared_error(
    truth: ArrayLike,
    mean: ArrayLike,
    *,
    length: Any = None,
    difference: Callable[[Array, Array], Array] | None = None,
) -> Sums:
    """Squared error of every step, |x_t - m_t|^2 over the known components.

    Args:
        truth: x_1..x_T [..., T, n], NaN where not known.
        mean: estimates [..., T, n].
        length: number of steps that count [...], or None for all.
        difference: `(x, m) -> [n]` for states on curved spaces, as
            `model.state_space.difference`.

    Returns:
        `Sums` [..., T]; count is the number of known components.

    Raises:
        ValueError: if the shapes differ.
    """
    error, known = _errors(truth, mean, length, difference)
    return Sums(jnp.sum(error**2, -1), jnp.sum(known, -1))


def mse(
    truth: ArrayLike, mean: ArrayLike, *, length: Any = None, difference: Callable | None = None
) -> Array:
    """Mean squared error of every trajectory: the mean over its steps *and* state dimensions.

    MSE_i = 1 / (T_i n) sum_t |x_t - m_t|^2

    Args:
        truth: [..., T, n], NaN where not known.
        mean: [..., T, n].
        length: [...], or None.
        difference: for curved spaces, or None.

    Returns:
        [...], in squared units of the state.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> kf.evaluation.mse(jnp.zeros((5, 3, 2)), jnp.full((5, 3, 2), 2.0)).tolist()
        [4.0, 4.0, 4.0, 4.0, 4.0]
    """
    return squared_error(truth, mean, length=length, difference=difference).over_time().mean


def rmse(
    truth: ArrayLike, mean: ArrayLike, *, length: Any = None, difference: Callable | None = None
) -> Array:
    """Root of the mean squared error of every trajectory; the arguments of `mse`."""
    return jnp.sqrt(mse(truth, mean, length=length, difference=difference))


def nees(
    truth: ArrayLike,
    mean: ArrayLike,
    cov: ArrayLike,
    *,
    length: Any = None,
    difference: Callable | None = None,
) -> Sums:
    """Normalised estimation error squared of every step, e' P^-1 e with e = x - m.

    For a consistent filter it is chi-square with as many degrees of freedom as P has rank. P may be
    singular: the error is then measured in the range of P, and the dimension is counted by rank:
    what remains of a variance, given the components before it, must exceed 100 n eps of it. Where
    components of the truth are not known, P is that of the others.

    Args:
        truth: [..., T, n], NaN where not known.
        mean: [..., T, n].
        cov: [..., T, n, n].
        length: [...], or None.
        difference: for curved spaces, or None.

    Returns:
        `Sums` [..., T]; count is the degrees of freedom. ANEES is total / count: 1 for a consistent
        filter, above 1 for an overconfident one.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> cov = jnp.array([[[4.0, 0.0], [0.0, 0.0]]])  # the second component is known exactly
        >>> value, dof = kf.evaluation.nees(jnp.array([[2.0, 1.0]]), jnp.array([[0.0, 1.0]]), cov)
        >>> value.tolist(), dof.tolist()
        ([1.0], [1])

    References:
        Y. Bar-Shalom, X. R. Li, T. Kirubarajan, Estimation with Applications to Tracking (2001),
        eq. (5.4.2-3).
    """
    error, known = _errors(truth, mean, length, difference)
    return Sums(*_normalised(error, known, jnp.asarray(cov)))


def coverage(
    truth: ArrayLike,
    mean: ArrayLike,
    cov: ArrayLike,
    *,
    probability: float = 0.95,
    length: Any = None,
    difference: Callable | None = None,
) -> Sums:
    """Which states lie within the central interval of their marginal, |x_j - m_j| <= z sqrt(P_jj).

    Args:
        truth: [..., T, n], NaN where not known.
        mean: [..., T, n].
        cov: [..., T, n, n].
        probability: of the interval, between 0 and 1; z = 1.96 for 0.95.
        length: [...], or None.
        difference: for curved spaces, or None.

    Returns:
        `Sums` [..., T, n]; components with P_jj = 0 have no interval and do not count.

    Raises:
        ValueError: if the shapes differ, or probability is not between 0 and 1.
    """
    if not 0 < probability < 1:
        raise ValueError(
            f"coverage: probability is {probability}; expected a number between 0 and 1, such as"
            " 0.95."
        )
    error, known = _errors(truth, mean, length, difference)
    variance = jnp.diagonal(jnp.asarray(cov), axis1=-2, axis2=-1)
    counted = known & (variance > 0)
    z = float(special.ndtri((1 + probability) / 2))
    inside = counted & (jnp.abs(error) <= z * jnp.sqrt(jnp.where(counted, variance, 0)))
    return Sums(inside.astype(jnp.int32), counted.astype(jnp.int32))


def innovation_products(innovation: ArrayLike, cov: ArrayLike, lags: int) -> Sums:
    """Products of whitened innovations at lags 0..lags, sum_t w_t' w_{t-k} with w = L^-1 innovation, L L' = S.

    Args:
        innovation: [..., T, m], zero in unobserved channels (as in `Info`).
        cov: their covariances S [..., T, m, m], zero in unobserved rows and columns.
        lags: the largest lag, below T.

    Returns:
        `Sums` [..., lags + 1]; count is the number of channel pairs. `kfjax.evaluation.whiteness`
        tests them.

    Raises:
        ValueError: if lags is not between 0 and T - 1.
    """
    steps = np.shape(innovation)[-2]
    if not 0 <= lags < steps:
        raise ValueError(
            f"innovation_products: lags is {lags}; expected 0 to {steps - 1}, below the number of"
            " steps."
        )
    return _products(innovation, cov, lags)


@functools.partial(jax.jit, static_argnums=2)
def _products(innovation: Array, cov: Array, lags: int) -> Sums:
    """Lagged products through the spectrum: one operation, where a sum per lag would take seconds to compile."""
    w, seen = jnp.vectorize(_whitened, signature="(m),(m,m)->(m),(m)")(innovation, cov)
    padded = innovation.shape[-2] + lags

    def products(a: Array) -> Array:
        spectrum = jnp.fft.rfft(a, padded, axis=-2)
        return jnp.fft.irfft(jnp.abs(spectrum) ** 2, padded, axis=-2)[..., : lags + 1, :].sum(-1)

    return Sums(products(w), jnp.round(products(seen.astype(w.dtype))).astype(jnp.int32))


def _errors(truth: Any, mean: Any, length: Any, difference: Callable | None) -> tuple[Array, Array]:
    """Errors [..., T, n], zero where they do not count, and where they do."""
    truth, mean = jnp.asarray(truth), jnp.asarray(mean)
    if truth.shape != mean.shape or truth.ndim < 2:
        raise ValueError(
            f"metrics: truth has shape {truth.shape} and the estimates {mean.shape}; expected [...,"
            " T, n] both."
            " Give components of the estimate that the truth lacks as NaN in the truth."
        )
    subtract = (
        jnp.subtract if difference is None else jnp.vectorize(difference, signature="(k),(k)->(n)")
    )
    known = ~jnp.isnan(
        subtract(truth, truth)
    )  # in the tangent space, whose dimension can differ from that of x
    if length is not None:
        length = jnp.expand_dims(jnp.asarray(length), (-1, -2))
        known &= jax.lax.broadcasted_iota(jnp.int32, known.shape, known.ndim - 2) < length
    return jnp.where(known, subtract(truth, mean), 0), known


@jax.jit
@functools.partial(jnp.vectorize, signature="(n),(n),(n,n)->(),()")
def _normalised(error: Array, known: Array, P: Array) -> tuple[Array, Array]:
    """e' P^-1 e on the range of the known part of P, and its rank: elimination, largest remaining variance first."""
    variance = jnp.diag(P)
    counted = known & (variance > 0)
    scale = jnp.where(counted, jax.lax.rsqrt(jnp.where(counted, variance, 1)), 0)
    tiny = ROUNDING * error.shape[0] * jnp.finfo(P.dtype).eps

    def eliminate(
        carry: tuple[Array, Array], _: None
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        S, r = carry
        j = jnp.argmax(jnp.diag(S))
        regular = S[j, j] > tiny
        column = jnp.where(regular, S[:, j] / jnp.sqrt(jnp.where(regular, S[j, j], 1)), 0)
        z = jnp.where(regular, r[j] / jnp.where(regular, column[j], 1), 0)
        return (S - column[:, None] * column[None, :], r - column * z), (z, regular)

    start = P * scale[:, None] * scale[None, :], error * scale
    z, regular = jax.lax.scan(eliminate, start, length=error.shape[0])[1]
    return jnp.sum(z**2), jnp.sum(regular)


def _whitened(innovation: Array, S: Array) -> tuple[Array, Array]:
    """L^-1 innovation, and which of its entries carry something."""
    L = linalg.cholesky(S)
    return linalg.solve_lower(L, innovation), jnp.diag(L) > 0
