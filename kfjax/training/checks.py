"""Checks of arguments that functions of training share."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfjax._support.arguments import check_kind, real_numbers
from kfjax._support.naming import described
from kfjax._support.types import Numbers
from kfjax._support.values import check_finite
from kfjax.base import Filter, Params
from kfjax.data import Dataset
from kfjax.data.batches import check_noise_on
from kfjax.filters.checks import check_filter, check_params

__all__: list[str] = []


def check_run(who: str, filter: Filter, params: Params, data: Dataset) -> None:
    """Raise unless a filter, its params and data are what they should be."""
    check_filter(who, filter)
    check_params(who, params)
    check_kind(f"{who}: data", data, Dataset)
    check_noise_on(who, params, data)


def check_optimizer(name: str, optimizer: object) -> None:
    """Raise unless an optimiser is one of optax, or None."""
    functions = (getattr(optimizer, part, None) for part in ("init", "update"))
    if optimizer is not None and not all(map(callable, functions)):
        raise ValueError(
            f"{name} is {described(optimizer)}; expected one of optax, such as optax.adam(1e-3), or"
            " kfjax.training.clipped_adam()."
        )


def check_pair(name: str, pair: Any) -> None:
    """Raise unless a teacher or student is a pair of a filter and its params."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or isinstance(pair, Filter):
        raise ValueError(f"{name} is {described(pair)}; expected a pair (filter, params).")
    check_filter(name, pair[0])
    check_params(name, pair[1])


def units_of(name: str, scale: Numbers, n: int) -> np.ndarray:
    """Return what errors are measured in [n], 1 by default."""
    if scale is None:
        return np.ones(n)
    units = real_numbers(name, scale)
    check_finite(name, units)
    if units.shape != (n,) or not (units > 0).all():
        raise ValueError(f"{name} is {units.tolist()}; expected {n} numbers above 0.")
    return units
