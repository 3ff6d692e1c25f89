"""Checks of arguments that several packages share."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support.naming import suggest
from kfjax._support.types import AnyArray, PyTree

__all__: list[str] = []

ROUNDING = 100  # entries of a covariance may be off by so many times n eps, relative to its size


def is_concrete(x: object) -> bool:
    """Return whether the values of x are known, which they are not inside a trace."""
    return not isinstance(x, jax.core.Tracer)


def numeric(*values: PyTree) -> ModuleType:
    """Return the numpy module if all values are known, or jax.numpy inside a trace.

    So building a model out of known numbers compiles nothing.
    """
    return np if all(map(is_concrete, jax.tree.leaves(values))) else jnp


def check_covariance(name: str, cov: AnyArray) -> None:
    """Raise unless cov [n, n] is finite, symmetric and positive semidefinite, to rounding."""
    if not is_concrete(cov):
        return
    C = np.asarray(cov, dtype=np.float64)
    if not np.isfinite(C).all():
        raise ValueError(f"{name} has NaN or infinite entries; expected finite numbers.")
    eps = float(jnp.finfo(cov.dtype).eps)
    _check_symmetric(name, C, eps)
    _check_semidefinite(name, C, eps)


def _check_symmetric(name: str, C: np.ndarray, eps: float) -> None:
    """Raise if C_ij and C_ji differ by more than rounding."""
    # relative to the standard deviations of i and j, since units may differ by many orders of
    # magnitude; the floor is for variances of zero
    largest = np.abs(C).max(initial=0.0)
    scale = np.sqrt(np.maximum(np.diag(C), eps**2 * largest))
    difference = np.abs(C - C.T)
    if (difference > ROUNDING * C.shape[0] * eps * np.outer(scale, scale)).any():
        raise ValueError(
            f"{name} is not symmetric (largest difference {difference.max():.2g}); expected a"
            " covariance. Use (C + C.T) / 2 if that is what you mean."
        )


def _check_semidefinite(name: str, C: np.ndarray, eps: float) -> None:
    """Raise if an eigenvalue or a variance is negative beyond rounding."""
    rounding = ROUNDING * C.shape[0] * eps
    largest = np.abs(C).max(initial=0.0)
    lowest = np.linalg.eigvalsh(C).min(initial=0.0)
    lowest_variance = np.diag(C).min(initial=0.0)
    # a variance is an entry, which has less rounding than an eigenvalue
    if lowest < -rounding * largest or lowest_variance < -rounding / ROUNDING * largest:
        raise ValueError(
            f"{name} is indefinite (smallest eigenvalue {lowest:.2g}); expected a covariance. Check"
            " signs and units."
        )


def check_positive(
    name: str, value: PyTree, *, shape: tuple[int, ...] = (), zero: bool = False
) -> None:
    """Raise unless value has this shape and is finite and above zero, or zero if `zero` is true."""
    if np.shape(value) != shape:
        raise ValueError(f"{name} has shape {np.shape(value)}; expected {shape or 'a number'}.")
    if numeric(value) is jnp:
        return
    numbers = np.asarray(value, float)
    finite = np.isfinite(numbers).all()
    if zero and not (finite and (numbers >= 0).all()):
        raise ValueError(f"{name} is {value}; expected a number of at least 0.")
    if not zero and not (finite and (numbers > 0).all()):
        raise ValueError(f"{name} is {value}; expected a finite number above 0.")


def check_count(name: str, value: object) -> None:
    """Raise unless value is a whole number of at least one."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1.")


def choose(name: str, value: object, options: Iterable[str]) -> None:
    """Raise unless value is one of the options, and suggest the nearest."""
    options = list(options)
    if value not in options:
        raise ValueError(f"{name} is {value!r}; {suggest(str(value), options)}")
