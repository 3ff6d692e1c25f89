"""Checks of arguments that several packages share."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kfjax._support.naming import described, suggest
from kfjax._support.precision import eps_of
from kfjax._support.types import AnyArray, PyTree

__all__: list[str] = []

LARGEST_COUNT = 2**31 - 1  # the largest index of 32 bits
LARGEST_LOOP = 10_000  # iterations of a compiled loop, which cannot be interrupted
ROUNDING = 100  # entries of a covariance may be off by this multiple of n eps, relative to its size


def is_concrete(x: object) -> bool:
    """Return whether the values of x are known, as they are not inside a trace."""
    return not isinstance(x, jax.core.Tracer)


def numeric(*values: PyTree) -> ModuleType:
    """Return the numpy module if all values are known, or jax.numpy inside a trace.

    Building a model from known numbers therefore compiles nothing.
    """
    return np if all(map(is_concrete, jax.tree.leaves(values))) else jnp


def is_floating(dtype: np.dtype) -> bool:
    """Return whether a dtype is floating-point, including those of JAX."""
    return dtype.kind == "f" or (dtype.kind == "V" and jnp.issubdtype(dtype, jnp.floating))


@functools.cache
def _largest(dtype: np.dtype) -> float:
    """Return the largest number of a dtype."""
    return float(jnp.finfo(dtype).max)


def first_not_finite(
    array: np.ndarray, counted: np.ndarray | None = None, *, margin: float = 1.0
) -> tuple[str, str] | None:
    """Return the first entry that is not finite in JAX's precision, and its place, or None.

    Args:
        array: an array of any dtype.
        counted: booleans that broadcast to its shape: which entries count; None for all.
        margin: factor by which entries must be below the largest number.
    """
    if not is_floating(array.dtype):
        return None
    kept = jax.dtypes.canonicalize_dtype(array.dtype)
    bad = ~(np.abs(array) <= _largest(kept) / margin)  # false for NaN, too
    if counted is not None:
        bad &= counted
    if not bad.any():
        return None
    place = tuple(np.argwhere(bad)[0].tolist())
    value = array[place]
    word = "NaN" if np.isnan(value) else str(value)
    if np.isfinite(value):
        word = f"{value:g}, too large for {kept},"
    return word, f"at {list(place)}" if place else ""


def float_array(name: str, values: object) -> jax.Array:
    """Return an array of floating-point numbers; raise unless they are real numbers."""
    check_real(name, values)
    array = jnp.asarray(values)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return array.astype(jnp.result_type(float))


def real_numbers(name: str, values: object) -> np.ndarray:
    """Return a numpy array in double precision; raise unless the values are real numbers."""
    check_real(name, values)
    return np.asarray(values, np.float64)


def check_real(name: str, values: Any) -> None:
    """Raise unless the values are an array of real numbers."""
    try:
        is_array = hasattr(values, "dtype") and hasattr(values, "shape")
        dtype = values.dtype if is_array else np.asarray(values).dtype
    except ValueError as error:
        raise ValueError(f"{name} is ragged ({error}); expected an array of numbers.") from error
    except TypeError as error:
        raise ValueError(f"{name} is {described(values)}; expected real numbers.") from error
    if not (jnp.issubdtype(dtype, jnp.number) or dtype == np.bool_):
        raise ValueError(f"{name} has type {dtype}; expected real numbers.")
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} is complex ({dtype}); expected real numbers. Take its real and imaginary parts"
            " as two components."
        )


def check_covariance(name: str, cov: AnyArray) -> None:
    """Raise unless cov [n, n] is finite, symmetric and positive semidefinite, up to rounding."""
    if not is_concrete(cov):
        return
    if found := first_not_finite(np.asarray(cov)):
        raise ValueError(f"{name} has {' '.join(found)}; expected finite numbers.")
    C = np.asarray(cov, dtype=np.float64)
    eps = eps_of(cov)
    _check_symmetric(name, C, eps)
    _check_semidefinite(name, C, eps)


def _check_symmetric(name: str, C: np.ndarray, eps: float) -> None:
    """Raise if C_ij and C_ji differ by more than rounding."""
    # relative to the standard deviations of i and j, since units may differ by many orders of
    # magnitude; the floor is for variances of zero
    largest = np.abs(C).max(initial=0.0)
    scale = np.sqrt(np.maximum(np.diag(C), eps**2 * largest))
    difference = np.abs(C - C.T)
    rounding = ROUNDING * C.shape[0] * eps * np.outer(scale, scale)
    if (difference > rounding).any():
        raise ValueError(
            f"{name} is not symmetric (largest difference {difference.max():.2g}); expected a"
            " covariance. Use (C + C.T) / 2 if that is intended."
        )


def _check_semidefinite(name: str, C: np.ndarray, eps: float) -> None:
    """Raise if an eigenvalue or a variance is negative beyond rounding."""
    rounding = ROUNDING * C.shape[0] * eps
    largest = np.abs(C).max(initial=0.0)
    lowest = np.linalg.eigvalsh(C).min(initial=0.0)
    lowest_variance = np.diag(C).min(initial=0.0)
    # a variance is an entry, which has less rounding error than an eigenvalue
    if lowest < -rounding * largest or lowest_variance < -rounding / ROUNDING * largest:
        raise ValueError(
            f"{name} is indefinite (smallest eigenvalue {lowest:.2g}); expected a covariance. Check"
            " signs and units."
        )


def check_positive(
    name: str, value: PyTree, *, shape: tuple[int, ...] = (), zero: bool = False
) -> None:
    """Raise unless value has this shape and is finite and positive, or zero if `zero` is true."""
    expected = "of at least 0" if zero else "above 0"
    if not isinstance(value, jax.core.Tracer):
        try:
            numbers = np.asarray(value)
        except ValueError:  # rows of different lengths
            numbers = np.asarray(None)
        if numbers.dtype.kind not in "fiu" and not jnp.issubdtype(numbers.dtype, jnp.floating):
            raise ValueError(f"{name} is {described(value)}; expected a number {expected}.")
    if np.shape(value) != shape:
        raise ValueError(f"{name} has shape {np.shape(value)}; expected {shape or 'a number'}.")
    if numeric(value) is jnp:
        return
    numbers = np.asarray(value, float)
    within = numbers >= 0 if zero else numbers > 0
    if not (np.isfinite(numbers) & within).all():
        raise ValueError(f"{name} is {value}; expected a finite number {expected}.")


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> None:
    """Raise unless value is a finite static number within bounds, as constructors need."""
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    finite = is_number and not isinstance(value, bool) and math.isfinite(value)
    if finite and above < value < below and least <= value <= most:
        return
    bounds = (("above", above), ("of at least", least), ("below", below), ("at most", most))
    words = " and".join(f" {word} {bound:g}" for word, bound in bounds if math.isfinite(bound))
    raise ValueError(f"{name} is {described(value)}; expected a finite number{words}.")


def check_count(name: str, value: Any, *, least: int = 1, most: int = LARGEST_COUNT) -> None:
    """Raise unless value is a whole number from `least` to `most`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if whole and least <= value <= most:
        return
    within = f"of at least {least}" if most == LARGEST_COUNT else f"from {least} to {most}"
    raise ValueError(f"{name} is {described(value)}; expected a whole number {within}.")


def check_flag(name: str, value: object, *, unset: bool = False) -> None:
    """Raise unless value is True or False, or None with `unset`: a text or an array is neither."""
    if isinstance(value, (bool, np.bool_)) or (unset and value is None):
        return
    others = ", False or None" if unset else " or False"
    raise ValueError(f"{name} is {described(value)}; expected True{others}.")


def check_kind(name: str, value: object, kind: type) -> None:
    """Raise unless a value is an instance of a public class of kfjax."""
    if not isinstance(value, kind):
        package = "kfjax"
        if kind.__name__ not in sys.modules["kfjax"].__all__:
            package = ".".join(kind.__module__.split(".")[:2])
        raise ValueError(
            f"{name} is {described(value)}; expected a {package}.{kind.__name__}. Check the order"
            " of the arguments."
        )


def check_function(name: str, value: object, expected: str = "a function") -> None:
    """Raise unless a value can be called."""
    if not callable(value):
        raise ValueError(f"{name} is {described(value)}; expected {expected}.")


def items_of(name: str, values: Any, expected: str) -> list[Any]:
    """Return the items of a collection; raise unless there are some, and a text has none."""
    try:
        items = None if isinstance(values, (str, bytes)) else list(values)
    except TypeError:  # nothing to go through
        items = None
    if not items:
        got = described(values) if items is None else "empty"
        raise ValueError(f"{name} is {got}; expected {expected}.")
    return items


def check_mapping(name: str, value: object, expected: str) -> None:
    """Raise unless a value is a dict, or another mapping."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {described(value)}; expected {expected}.")


def as_path(name: str, value: object) -> Path:
    """Return a path; raise unless value is a path or a string."""
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{name} is {described(value)}; expected the path of a file or folder.")
    return Path(value)


def check_counts(who: str, **counts: Any) -> None:
    """Raise unless all values are whole numbers of at least one."""
    for name, value in counts.items():
        check_count(f"{who}: {name}", value)


def check_key(name: str, key: object, *, many: bool = False) -> None:
    """Raise unless key is one JAX random key, typed or raw (or an array of them, if `many`)."""
    if isinstance(key, (jax.Array, np.ndarray)):
        dims = 0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1
        fits = dims <= np.ndim(key) <= dims + many
        if fits and (dims == 0 or key.dtype == np.uint32):
            return
    raise ValueError(
        f"{name} is {described(key)}; expected a random key such as jax.random.key(0). Many keys"
        " go through jax.vmap."
    )


def choose_some(name: str, values: object, options: Iterable[str]) -> None:
    """Raise unless values are a nonempty collection of options."""
    options = list(options)
    if not isinstance(values, (tuple, list, set, frozenset)) or not values:
        raise ValueError(
            f"{name} is {values!r}; expected a tuple with some of {', '.join(options)}."
        )
    for value in values:
        choose(name, value, options)


def choose(name: str, value: object, options: Iterable[str]) -> None:
    """Raise unless value is one of the options, and suggest the nearest."""
    options = list(options)
    if not isinstance(value, str) or value not in options:
        got = value if isinstance(value, str) else described(value)
        raise ValueError(f"{name} is {got!r}; {suggest(got, options)}")
