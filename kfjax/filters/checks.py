"""Checks of arguments that have to be filters."""

from __future__ import annotations

from typing import Any

import jax

from kfjax._support.naming import described
from kfjax._support.values import NUMBERS, has_nan, refuse_nan
from kfjax.base import Filter

__all__: list[str] = []


def check_filter(who: str, filter: Any, *, recentre: bool = False) -> None:
    """Raise unless `filter` is a Filter (with `recentre`, if that is needed).

    Args:
        who: the function whose argument it is, for error texts.
        filter: anything, such as a constructor that was not called.
        recentre: whether a belief has to be written into its state.
    """
    if not isinstance(filter, Filter):
        got = getattr(filter, "__name__", type(filter).__name__)
        raise ValueError(
            f"{who}: filter is {got}; expected a kfjax.Filter. Call its constructor, as in"
            " kf.extended()."
        )
    if recentre and filter.recentre is None:
        raise ValueError(
            f"{who}: the filter has no recentre; expected one that has, such as kf.extended()."
        )


def check_params(who: str, params: object, *, nan: bool = False) -> None:
    """Raise unless params are a pytree of arrays, as every filter's are, without NaN."""
    leaves = jax.tree.leaves(params)
    for leaf in leaves:
        if not isinstance(leaf, NUMBERS):
            raise ValueError(
                f"{who}: params is or holds {described(leaf)}; expected a kfjax.StateSpaceModel, or"
                " another pytree of arrays that the filter takes."
            )
    if not nan and any(map(has_nan, leaves)):
        refuse_nan(f"{who}: params", params)


def check_filters(who: str, filters: Any, *, recentre: bool = False) -> None:
    """Raise unless `filters` is a tuple of Filters, at least one."""
    if not isinstance(filters, tuple) or isinstance(filters, Filter) or not filters:
        raise ValueError(
            f"{who}: filters is {type(filters).__name__}; expected a tuple (filter, filter, ...)."
        )
    for member in filters:
        check_filter(who, member, recentre=recentre)
