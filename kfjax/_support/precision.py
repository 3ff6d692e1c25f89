"""The resolution of floating-point numbers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

__all__: list[str] = []


def eps_of(a: Any) -> float:
    """Return the machine epsilon of the dtype of an array or a model.

    It is a Python number, which does not change the dtype of what it is multiplied with.
    """
    return float(jnp.finfo(a.dtype).eps)
