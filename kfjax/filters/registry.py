"""The filters by name: what the command line, the benchmark and the tables call them."""

from __future__ import annotations

import functools
from collections.abc import Callable

from kfjax.base import Filter
from kfjax.filters.gaussians import cubature, extended, gauss_hermite, kalman, unscented
from kfjax.naming import suggest

__all__ = ["FILTERS", "by_name"]

FILTERS: dict[str, Callable[[], Filter]] = {
    "kalman": kalman,
    "extended": extended,
    "iterated_extended": functools.partial(extended, iterations=3),
    "unscented": unscented,
    "cubature": cubature,
    "gauss_hermite": gauss_hermite,
}


def by_name(name: str) -> Filter:
    """Return the filter of that name, with its default settings.

    Args:
        name: a key of `FILTERS`.

    Raises:
        ValueError: if there is none; the text names the nearest.

    Example:
        >>> kf.filters.by_name("unscented") is kf.unscented()
        True
    """
    if name not in FILTERS:
        raise ValueError(f"unknown filter {name!r}; {suggest(name, FILTERS)}")
    return FILTERS[name]()
