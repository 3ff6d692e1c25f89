"""Covariances as users pass them: made symmetric to the bit, and whether R may be singular."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfjax import linalg
from kfjax._support.arguments import is_concrete

__all__: list[str] = []

LARGE = 100  # rows; with larger states, no matrix of that size may be formed


def symmetric_part(cov: Any) -> Any:
    """Make a covariance that is symmetric up to rounding symmetric to the bit; keep a function.

    A product such as G q G' is symmetric only up to rounding: factorisations would read one of its
    triangles, and products the other.
    """
    if cov is None or callable(cov) or jnp.ndim(cov) != 2:
        return cov
    if not is_concrete(cov):
        return linalg.symmetric(cov) if cov.shape[-1] <= LARGE else cov
    values = np.asarray(cov)
    if np.array_equal(values, values.T):
        return cov
    return jnp.asarray(0.5 * (values + values.T), values.dtype)


def may_be_noise_free(R: Any) -> bool:
    """Tell whether R may be singular, which is not known where it is callable or traced."""
    if R is None:
        return False
    if callable(R) or not all(map(is_concrete, jax.tree.leaves(R))):
        return True
    values = np.atleast_2d(np.asarray(R))
    scale = np.sqrt(np.maximum(np.diag(values), 0))
    if (scale == 0).any():
        return True
    dtype = values.dtype if np.issubdtype(values.dtype, np.floating) else np.dtype(np.float64)
    correlations = values.astype(np.float64) / np.outer(scale, scale)
    lowest = np.linalg.eigvalsh(correlations)[0]
    return bool(lowest <= scale.size * np.finfo(dtype).eps)
