"""Points and weights for expectations under N(0, I) in n dimensions.

Each rule gives points s [p, n], weights w [p] for means and weights c [p] for covariances, so that
E[g(s)] is approximately sum_i w_i g(s_i). The points have mean 0 and covariance I.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

import numpy as np

__all__: list[str] = []

Points: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


def unscented(n: int, alpha: float, beta: float, kappa: float) -> Points:
    """Return the centre and +- sqrt(n + lambda) along every axis."""
    scale = alpha**2 * (n + kappa)  # n + lambda
    axes = np.sqrt(scale) * np.eye(n)
    mean_weights = np.full(2 * n + 1, 0.5 / scale)
    mean_weights[0] = 1 - n / scale
    cov_weights = mean_weights.copy()
    cov_weights[0] += 1 - alpha**2 + beta
    unit = np.concatenate([np.zeros((1, n)), axes, -axes])
    return unit, mean_weights, cov_weights


def cubature(n: int) -> Points:
    """Return +- sqrt(n) along every axis."""
    axes = np.sqrt(n) * np.eye(n)
    weights = np.full(2 * n, 0.5 / n)
    return np.concatenate([axes, -axes]), weights, weights


@functools.lru_cache(maxsize=64)
def gauss_hermite(n: int, order: int) -> Points:
    """Return the tensor product of one-dimensional Gauss-Hermite rules."""
    # The weight function of `hermegauss` is exp(-x^2 / 2): nodes need no scaling, and weights add
    # up to sqrt(2 pi) instead of 1.
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    weights = weights / weights.sum()
    unit = _grid(nodes, n)
    products = _grid(weights, n).prod(axis=1)
    return unit, products, products


def _grid(values: np.ndarray, n: int) -> np.ndarray:
    """Return the n-tuples of values, [p^n, n]."""
    return np.stack(np.meshgrid(*[values] * n, indexing="ij"), axis=-1).reshape(-1, n)
