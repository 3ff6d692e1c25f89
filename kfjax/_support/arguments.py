"""Checks of arguments that more than one package makes."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kfjax._support.naming import suggest

__all__: list[str] = []


def is_concrete(x: Any) -> bool:
    """Tell whether the values of x can be looked at (they cannot, inside a trace)."""
    return not isinstance(x, jax.core.Tracer)


def check_covariance(name: str, cov: Array) -> None:
    """Raise a ValueError unless cov [n, n] is finite, symmetric and positive semidefinite to rounding."""
    if not is_concrete(cov):
        return
    C = np.asarray(cov, dtype=np.float64)
    if not np.isfinite(C).all():
        raise ValueError(f"{name} has NaN or infinite entries; expected finite numbers.")
    variances, eps = np.diag(C), float(jnp.finfo(cov.dtype).eps)
    rounding, largest = 100 * C.shape[0] * eps, np.abs(C).max(initial=0.0)
    # asymmetry is measured by the variances it stands between: units may differ by many orders of
    # magnitude
    scale = np.sqrt(np.maximum(variances, eps**2 * largest))
    if (np.abs(C - C.T) > rounding * np.outer(scale, scale)).any():
        raise ValueError(
            f"{name} is not symmetric (largest difference {np.abs(C - C.T).max():.2g}); expected a"
            " covariance."
            " Use (C + C.T) / 2 if that is what you mean."
        )
    lowest = np.linalg.eigvalsh(C).min(initial=0.0)
    if lowest < -rounding * largest or variances.min(initial=0.0) < -rounding / 100 * largest:
        raise ValueError(
            f"{name} is indefinite (smallest eigenvalue {lowest:.2g}); expected a covariance. Check"
            " signs and units."
        )


def numeric(*values: Any) -> ModuleType:
    """Return numpy where all values are known, so that building a model compiles nothing; in a trace, jax.numpy."""
    return np if all(map(is_concrete, jax.tree.leaves(values))) else jnp


def check_positive(
    name: str, value: Any, *, shape: tuple[int, ...] = (), zero: bool = False
) -> None:
    """Raise unless value is of that shape, finite and above zero (or zero, where that is meant)."""
    if np.shape(value) != shape:
        raise ValueError(f"{name} has shape {np.shape(value)}; expected {shape or 'a number'}.")
    if numeric(value) is jnp:
        return
    numbers = np.asarray(value, float)
    if not np.isfinite(numbers).all() or (numbers < 0).any() or (not zero and (numbers == 0).any()):
        raise ValueError(
            f"{name} is {value}; expected"
            f" {'a number of at least' if zero else 'a finite number above'} 0."
        )


def check_count(name: str, value: Any) -> None:
    """Raise unless value is a whole number of at least one."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1.")


def choose(name: str, value: Any, options: Iterable[str]) -> None:
    """Raise unless value is among the options, naming the nearest."""
    options = list(options)
    if value not in options:
        raise ValueError(f"{name} is {value!r}; {suggest(str(value), options)}")
