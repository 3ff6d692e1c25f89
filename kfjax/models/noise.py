"""Whether the noise of an observation may be singular."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kfjax._support.arguments import is_concrete

__all__: list[str] = []


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
    return bool(np.linalg.eigvalsh(correlations)[0] <= scale.size * np.finfo(dtype).eps)
