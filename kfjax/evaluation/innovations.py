"""Whiteness of innovations: their autocorrelation, and a test that there is none."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float, Real
from scipy import special

from kfjax import linalg
from kfjax._support.arguments import check_count, float_array, real_numbers
from kfjax._support.compiling import jit
from kfjax._support.precision import eps_of
from kfjax._support.types import Nested
from kfjax.evaluation.intervals import check_level
from kfjax.evaluation.metrics import Sums

__all__ = ["Whiteness", "innovation_products", "whiteness"]


class Whiteness(NamedTuple):
    """Autocorrelation of whitened innovations, and a test of the hypothesis that they are white.

    Attributes:
        autocorrelation: r_k for k = 1..K, [K].
        bound: [K]; |r_k| stays below it with the stated probability if the innovations are white.
        statistic: (1 + 2 / c_0) sum_k c_k r_k^2 (Ljung-Box), c_k the number of pairs at lag k;
            chi-square with K degrees of freedom.
        p_value: probability of a larger statistic if the innovations are white.
    """

    autocorrelation: Float[np.ndarray, " lags"]
    bound: Float[np.ndarray, " lags"]
    statistic: float
    p_value: float


def innovation_products(
    innovation: Real[ArrayLike, "*batch T m"], cov: Real[ArrayLike, "*batch T m m"], lags: int
) -> Sums:
    """Return the lagged products of whitened innovations, summed over time.

    sum_t w_t' w_{t-k} at lags k = 0..lags, with w = L^-1 innovation and L L' = S

    Args:
        innovation: [..., T, m], zero in unobserved channels (as in `Info`).
        cov: their covariances S [..., T, m, m], zero in unobserved rows and columns.
        lags: the largest lag, below T.

    Returns:
        `Sums` [..., lags + 1]; count is the number of channel pairs. `kfjax.evaluation.whiteness`
        tests them. The total is NaN if at some step S is not a covariance, or has no variance where
        there is an innovation.

    Raises:
        ValueError: if lags is not between 0 and T - 1, the shapes do not fit, or numbers are
            complex.

    Example:
        >>> innovation, cov = jnp.array([[1.0], [2.0], [3.0]]), jnp.ones((3, 1, 1))
        >>> total, count = kf.evaluation.innovation_products(
        ...     innovation, cov, lags=1
        ... )
        >>> total.round(4).tolist(), count.tolist()  # 1 + 4 + 9 and 1 x 2 + 2 x 3
        ([14.0, 8.0], [3, 2])
    """
    innovation = float_array("innovation_products: innovation", innovation)
    cov = float_array("innovation_products: cov", cov)
    if innovation.ndim < 2 or cov.shape != (*innovation.shape, innovation.shape[-1]):
        raise ValueError(
            f"innovation_products: innovation has shape {innovation.shape} and cov {cov.shape};"
            " expected [..., T, m] and [..., T, m, m]."
        )
    steps = innovation.shape[-2]
    check_count("innovation_products: lags", lags, least=0, most=steps - 1)
    return _products(innovation, cov, lags)


def whiteness(
    products: Real[ArrayLike, "*N lags"] | Nested,
    counts: Real[ArrayLike, "*N lags"] | Nested,
    *,
    level: float = 0.95,
) -> Whiteness:
    """Return the normalised autocorrelation of whitened innovations, and its test.

    r_k = (p_k / c_k) / (p_0 / c_0)

    Args:
        products: sums of products p_k at lags 0..K, [K + 1] or [N, K + 1], as from
            `innovation_products`.
        counts: numbers of pairs c_k, of the same shape.
        level: probability of the bound.

    Returns:
        `Whiteness`; NaN at lags without pairs, which the statistic leaves out.

    Raises:
        ValueError: if level is not between 0 and 1, or the shapes differ.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(500, 1))
        >>> products = kf.evaluation.innovation_products(
        ...     noise, np.ones((500, 1, 1)), lags=5
        ... )
        >>> kf.evaluation.whiteness(*products).p_value > 0.05
        True

    References:
        G. M. Ljung, G. E. P. Box, On a measure of lack of fit in time series models, Biometrika 65
        (1978).
    """
    check_level(level)
    p = _pooled("products", products)
    c = _pooled("counts", counts)
    if np.shape(products) != np.shape(counts):
        raise ValueError(
            f"whiteness: products has shape {np.shape(products)} and counts {np.shape(counts)};"
            " expected [K + 1] or [N, K + 1] for both."
        )
    pairs = c[1:] > 0
    # for white innovations, r_k has the variance 1 / c_k
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (p[1:] / c[1:]) / (p[0] / c[0])
        bound = special.ndtri((1 + level) / 2) / np.sqrt(c[1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = c[1:][pairs] * r[pairs] ** 2
        statistic = (1 + 2 / c[0]) * np.sum(squares)
    return Whiteness(
        autocorrelation=r,
        bound=np.where(pairs, bound, np.nan),
        statistic=float(statistic),
        p_value=float(special.chdtrc(pairs.sum(), statistic)),
    )


@functools.partial(jit, static_argnums=2)
def _products(innovation: Array, cov: Array, lags: int) -> Sums:
    """Return the lagged products from the spectrum, by the Wiener-Khinchin theorem.

    This is one operation, whereas one sum per lag would take seconds to compile.
    """
    each = jnp.vectorize(whitened, signature="(m),(m,m)->(m),(m)")
    w, seen = each(innovation, cov)
    padded = innovation.shape[-2] + lags  # so that the circular products do not wrap around

    def products(a: Array) -> Array:
        spectrum = jnp.fft.rfft(a, padded, axis=-2)
        circular = jnp.fft.irfft(jnp.abs(spectrum) ** 2, padded, axis=-2)
        return circular[..., : lags + 1, :].sum(-1)

    total = products(w)
    count = jnp.round(products(seen.astype(w.dtype)))
    return Sums(total, count.astype(jnp.int32))


def whitened(innovation: Array, S: Array) -> tuple[Array, Array]:
    """Return L^-1 innovation, and a mask of the entries that come from observed channels.

    Entries are NaN where the filter broke down: neither a covariance nor an unobserved channel.
    """
    L = linalg.cholesky(S)
    variance = jnp.diag(S)
    silent = (variance == 0) & (innovation == 0)
    std = jnp.sqrt(jnp.where(variance > 0, variance, 0))
    rounding = eps_of(S) ** 0.5 * std[:, None] * std[None, :]
    definite = (jnp.abs(linalg.matmul(L, L.T) - S) <= rounding).all()
    broken = ~(definite & ((variance > 0) | silent).all())
    seen = (jnp.diag(L) > 0) | (broken & ~silent)
    return jnp.where(broken, jnp.nan, linalg.solve_lower(L, innovation)), seen


def _pooled(name: str, values: Real[ArrayLike, "*N lags"] | Nested) -> np.ndarray:
    """Return the sums over all trajectories, [K + 1]."""
    array = real_numbers(f"whiteness: {name}", values)
    if array.ndim < 1 or array.shape[-1] < 2:
        raise ValueError(
            f"whiteness: {name} has shape {array.shape}; expected [..., K + 1], for at least one"
            " lag."
        )
    return array.reshape(-1, array.shape[-1]).sum(0)
