"""Checks of the values of arguments, as far as they are known: outside of a trace.

Errors name the array and the place of its first entry that is wrong.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kfjax._support.arguments import first_not_finite, is_concrete
from kfjax._support.naming import described
from kfjax._support.types import PyTree
from kfjax._support.values import ARRAYS, check_finite, path_of
from kfjax.base import Mask, State

__all__: list[str] = []

MARGIN = 16.0  # observations stay this far below the largest number, a common marker of "no data"


def _seen(word: str, name: str) -> str:
    """Return the expression of a mask that excludes entries described by `word`."""
    if word == "NaN":
        return f"~jnp.isnan({name})"
    if "inf" in word:
        return f"jnp.isfinite({name})"
    return f"jnp.abs({name}) < limit"


def check_observed(who: str, name: str, ys: PyTree, observed: Mask, length: Any) -> None:
    """Raise if an observation that counts is NaN or infinite, where values are known.

    Args:
        who: the function whose arguments these are, for error texts.
        name: the name of the observations.
        ys: observations, a pytree of arrays.
        observed: the mask, of arrays.
        length: the number of steps that count.
    """
    leaves = jax.tree.leaves(ys)
    masks = jax.tree.leaves(observed)
    if not all(map(is_concrete, [*leaves, *masks, length])):
        return
    masks = masks or [True] * len(leaves)
    if len(masks) != len(leaves):
        raise ValueError(
            f"{who}: observed has {len(masks)} parts; expected {len(leaves)}, in the structure of"
            f" {name}."
        )
    for index, (leaf, seen) in enumerate(zip(leaves, masks, strict=True)):
        # in numpy: inside a trace, jax operations on constants would give tracers
        y = np.asarray(leaf)
        mask = np.asarray(seen, bool)
        if mask.shape != y.shape[: mask.ndim]:
            continue  # the check of shapes reports it
        if length is not None:
            y = y[: int(length)]
            mask = mask[: int(length)] if mask.ndim else mask
        found = first_not_finite(
            y, mask.reshape(mask.shape + (1,) * (y.ndim - mask.ndim)), margin=MARGIN
        )
        if found:
            word, place = found
            where = f"{who}: {name}{path_of(ys, index)}"
            raise ValueError(
                f"{where} has {word} where it counts as observed{place and f', first {place}'};"
                f" expected numbers. For missing data pass observed={_seen(word, name)};"
                " kf.split_missing does so for a pytree of sensors."
            )


def check_start(who: str, state: State) -> None:
    """Raise unless a state that a user gave has a mean, and finite numbers as far as is known."""
    if not isinstance(getattr(state, "mean", None), ARRAYS):
        raise ValueError(
            f"{who}: state is {described(state)}; expected one with a mean. Start from filter.init"
            " or the final state of a run."
        )
    check_finite(f"{who}: state.mean", state.mean)
    if isinstance(getattr(state, "cov", None), ARRAYS):
        check_finite(f"{who}: state.cov", state.cov)
